"""Running a captured graph on a state dict gives what the module gives."""

import weakref

import pytest
import timm
import torch
from sample_models import CASES
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.capture import capture
from zooalign.graph.execute import evaluate, lockstep, steps
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.symmetry.trial import random_state


def _random(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.randn_like(x) if x.is_floating_point() else x for x in inputs)


def _single(module: nn.Module) -> dict[str, Tensor]:
    state = random_state(module, 2)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _loaded(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict(state)
    return module.eval()


@pytest.mark.parametrize("name", CASES)
def test_samples_captured_on_meta_run_on_real_weights(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    module = case.build()
    state = _single(module)
    meta = case.build()
    buffers = {id(b) for b in meta.buffers()}
    for part in meta.modules():  # parameters on meta, buffers hold their values
        for key, value in part._parameters.items():
            if value is not None:
                part._parameters[key] = nn.Parameter(value.to("meta"))
    if name == "tied_embedding":
        meta.unembed.weight = meta.embed.weight
    assert buffers == {id(b) for b in meta.buffers()}
    captured = capture(meta, case.inputs())
    inputs = _random(case.inputs())
    (made,) = evaluate(captured, state, inputs)
    with torch.no_grad():
        expected = _loaded(module, state)(*(x.clone() for x in inputs))
    assert torch.allclose(made, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "convnext_atto"])
def test_timm_models_captured_on_meta_run_on_real_weights(name: str) -> None:
    with torch.device("meta"):
        captured = capture(timm.create_model(name), (torch.zeros(2, 3, 64, 64),))
    module = timm.create_model(name)
    state = _single(module)
    x = torch.randn(2, 3, 64, 64)
    (made,) = evaluate(captured, state, (x,))
    with torch.no_grad():
        expected = _loaded(module, state)(x)
    assert torch.allclose(made, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_transformers_with_positions_run_on_real_weights() -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=64)
    captured = capture(module, (torch.zeros(2, 3, 64, 64),))
    state, x = _single(module), torch.randn(2, 3, 64, 64)
    (made,) = evaluate(captured, state, (x,))
    with torch.no_grad():
        assert torch.allclose(made, _loaded(module, state)(x), rtol=1e-3, atol=1e-4)


def test_in_float64_constants_follow() -> None:
    case = CASES["rotary_partial"]
    module = case.build()
    captured = capture(module, case.inputs())
    state, (x,) = random_state(module, 0), _random(case.inputs())
    (made,) = evaluate(captured, state, (x.double(),), dtype=torch.float64)
    assert made.dtype == torch.float64
    with torch.no_grad():
        expected = _loaded(module.double(), state)(x.double())
    assert torch.allclose(made, expected, rtol=1e-12)


def test_values_are_dropped_as_soon_as_nothing_reads_them() -> None:
    """The number of live tensors does not grow with depth."""
    module = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(20)))
    captured = capture(module, (torch.zeros(4, 8),))
    alive: list[weakref.ref[Tensor]] = []
    most = 0
    for node, value in steps(captured, module.state_dict(), (torch.randn(4, 8),)):
        if node.op == "call_function":
            alive.append(weakref.ref(value))
        del value
        most = max(most, sum(ref() is not None for ref in alive))
    assert most <= 3


def test_parameters_are_read_when_needed_and_dropped_after() -> None:
    """However deep a network, no more of its parameters are in memory than one operator reads."""
    module = nn.Sequential(*(nn.Linear(8, 8) for _ in range(20)))
    captured = capture(module, (torch.zeros(4, 8),))
    alive: list[weakref.ref[Tensor]] = []

    def read(name: str) -> Tensor:
        tensor = module.state_dict()[name].clone()
        alive.append(weakref.ref(tensor))
        return tensor

    state = LazyTensors({n: TensorInfo.of(t) for n, t in module.state_dict().items()}, read)
    most = 0
    for _, value in steps(captured, state, (torch.randn(4, 8),)):
        del value
        most = max(most, sum(ref() is not None for ref in alive))
    assert len(alive) == 40
    assert most == 2


def test_two_models_in_step() -> None:
    case = CASES["mlp"]
    module = case.build()
    captured = capture(module, case.inputs())
    states = [random_state(module, seed) for seed in (1, 2)]
    x = torch.randn(5, 4, dtype=torch.float64)
    last = None
    for node, (left, right) in lockstep(captured, states, (x,)):
        last = (node.op, left, right)
    assert last is not None and last[0] == "output"
    for found, state in zip(last[1:], states, strict=True):
        assert torch.equal(found[0], evaluate(captured, state, (x,))[0])


def test_a_tied_name_may_be_missing() -> None:
    case = CASES["tied_embedding"]
    module = case.build()
    captured = capture(module, case.inputs())
    state = module.state_dict()
    expected = evaluate(captured, state, case.inputs())[0]
    for missing in ("embed.weight", "unembed.weight"):
        kept = {key: value for key, value in state.items() if key != missing}
        assert torch.equal(evaluate(captured, kept, case.inputs())[0], expected)
    with pytest.raises(SpecError, match=r"no '(un)?embed\.weight'"):
        kept = {key: value for key, value in state.items() if "embed.weight" not in key}
        evaluate(captured, kept, case.inputs())


def test_constants_without_values_are_named() -> None:
    with torch.device("meta"):
        module = CASES["rotary_full"].build()
    captured = capture(module, CASES["rotary_full"].inputs())
    real = CASES["rotary_full"].build()
    with pytest.raises(SpecError, match="has no value"):
        evaluate(captured, real.state_dict(), CASES["rotary_full"].inputs())


class _ShufflesOtherLayout(nn.Module):
    """The real kernel keeps the layout of its operand, the fake one claims a contiguous result."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        x[:, 0] += x[:, 1]  # so that the graph is made functional
        shuffled = nn.functional.channel_shuffle(x.permute(0, 3, 1, 2), 2)
        return shuffled.flatten(1)


def test_a_tensor_may_lie_in_memory_otherwise_than_its_fake_twin() -> None:
    module, inputs = _ShufflesOtherLayout(), (torch.randn(2, 4, 3, 2),)
    (found,) = evaluate(capture(module, inputs), {}, inputs)
    assert torch.equal(found, module(*inputs))
