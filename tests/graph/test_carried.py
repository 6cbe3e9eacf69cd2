"""What a call leaves for the next one: it moves with its tensor, is fixed, or is refused."""

from collections.abc import Callable

import pytest
import torch
from sample_models import L
from torch import Tensor, nn

from zooalign.errors import TraceError
from zooalign.graph.capture import capture
from zooalign.symmetry import extract_spec
from zooalign.symmetry.permutation import Permutation

X = torch.randn(3, 5, dtype=torch.float64)
Step = Callable[["Keeps", Tensor], Tensor]


class Keeps(nn.Module):
    """Hidden units, and several places to keep them in until the next call."""

    def __init__(self, step: Step, *, persistent: bool = True) -> None:
        super().__init__()
        self.step = step
        self.w, self.o = nn.Linear(5, 4, bias=False), nn.Linear(4, 2, bias=False)
        self.register_buffer("kept", torch.zeros(3, 4), persistent=persistent)
        self.plain = torch.zeros(3, 4)
        self.listed = [torch.zeros(3, 4)]

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self, x)


def copies(net: Keeps, x: Tensor) -> Tensor:
    y: Tensor = net.o(net.kept)
    net.kept.copy_(net.w(x).tanh())
    return y


def assigns(net: Keeps, x: Tensor) -> Tensor:
    y: Tensor = net.o(net.kept)
    net.kept = net.w(x).tanh()
    return y


def averages(net: Keeps, x: Tensor) -> Tensor:
    hidden = net.w(x)
    net.kept.mul_(0.9).add_(hidden, alpha=0.1)
    y: Tensor = net.o(hidden - net.kept)
    return y


def only_writes(net: Keeps, x: Tensor) -> Tensor:
    hidden = net.w(x)
    net.kept.copy_(hidden)
    y: Tensor = net.o(hidden)
    return y


def changed(net: nn.Module, moved: dict[str, Tensor], calls: int = 3) -> list[float]:
    """How far each of several calls is from the same calls on the module's own state."""
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    results = []
    for tensors in (state, moved):
        net.load_state_dict(tensors)
        with torch.no_grad():
            results.append([net(X + number) for number in range(calls)])
    return [float((a - b).abs().max()) for a, b in zip(*results, strict=True)]


@pytest.mark.parametrize("step", [copies, assigns, averages, only_writes])
def test_a_buffer_of_the_state_dict_moves_with_what_is_written(step: Step) -> None:
    net = Keeps(step).double().eval()
    spec = extract_spec(net, (X,))
    assert spec.log10_order == pytest.approx(L(4))
    assert {m.parameter for m in spec.groups[0].members} == {"w.weight", "o.weight", "kept"}
    for unit in range(3):
        index = {name: units.copy() for name, units in spec.identity().indices.items()}
        (units,) = index.values()
        units[[unit, unit + 1]] = units[[unit + 1, unit]]
        moved = spec.apply(Permutation(spec.hash, index), net.state_dict())
        assert max(changed(net, moved)) < 1e-12


def cyclic(net: Keeps, x: Tensor) -> Tensor:
    y: Tensor = net.o(net.kept)
    net.kept.copy_(net.kept.roll(1, 1) + net.w(x))
    return y


def test_units_that_trade_places_between_calls_are_one_cycle() -> None:
    net = Keeps(cyclic).double().eval()
    assert extract_spec(net, (X,)).log10_order == 0


def plain_copied(net: Keeps, x: Tensor) -> Tensor:
    y: Tensor = net.o(net.plain)
    net.plain.copy_(net.w(x))
    return y


def plain_assigned(net: Keeps, x: Tensor) -> Tensor:
    y: Tensor = net.o(net.plain)
    net.plain = net.w(x).tanh()
    return y


def listed(net: Keeps, x: Tensor) -> Tensor:
    y: Tensor = net.o(net.listed[-1])
    net.listed.append(net.w(x).tanh())
    return y


def shown(net: Keeps, x: Tensor) -> Tensor:
    hidden = net.w(x).tanh()
    net.last = hidden
    y: Tensor = net.o(hidden)
    return y


@pytest.mark.parametrize("step", [plain_assigned, listed, shown])
def test_an_attribute_that_is_assigned_does_not_move(step: Step) -> None:
    net = Keeps(step).double().eval()
    before = {name: value for name, value in vars(net).items() if name != "listed"}
    spec = extract_spec(net, (X,))
    assert spec.log10_order == 0
    assert any(
        "what a call writes to" in f.reason for f in spec.frozen if f.parameter == "w.weight"
    )
    assert {name: value for name, value in vars(net).items() if name != "listed"} == before
    assert len(net.listed) == 1


@pytest.mark.parametrize("step", [copies, assigns])
def test_a_buffer_outside_the_state_dict_does_not_move(step: Step) -> None:
    spec = extract_spec(Keeps(step, persistent=False).double(), (X,))
    assert spec.log10_order == 0
    assert {f.kind for f in spec.frozen if f.parameter == "o.weight" and f.axis == 1} == {"state"}


def test_a_write_to_a_tensor_that_is_no_buffer_is_refused() -> None:
    with pytest.raises(TraceError, match=r"Constant plain is mutated.*register_buffer"):
        extract_spec(Keeps(plain_copied).double(), (X,))


def test_a_cache_of_parameters_is_no_state() -> None:
    def cached(net: Keeps, x: Tensor) -> Tensor:
        net.table = net.w.weight.t() * 2
        y: Tensor = net.o(x @ net.table)
        return y

    spec = extract_spec(Keeps(cached).double(), (X,))
    assert spec.log10_order == pytest.approx(L(4))


@pytest.mark.parametrize("step", [copies, assigns, averages])
def test_a_recorded_run_sees_the_same_writes(step: Step) -> None:
    def recorded(net: Keeps, x: Tensor) -> Tensor:
        y = step(net, x)
        return y * 2 if torch.tensor([1, 0]).any() else y

    net = Keeps(recorded).double().eval()
    assert capture(net, (X,)).by_values
    assert capture(net, (X,)).written == ("kept",)
    assert extract_spec(net, (X,)).log10_order == pytest.approx(L(4))
    outside = Keeps(recorded, persistent=False).double()
    assert extract_spec(outside, (X,)).log10_order == 0
    assert torch.equal(outside.kept, torch.zeros(3, 4, dtype=torch.float64))


def test_a_second_call_that_takes_other_steps_is_refused() -> None:
    def remembers(net: Keeps, x: Tensor) -> Tensor:
        hidden = net.w(x)
        if getattr(net, "memory", None) is not None:
            hidden = hidden + net.memory.cumsum(-1)
        net.memory = x @ torch.ones(5, 4, dtype=x.dtype)
        y: Tensor = net.o(hidden)
        return y

    net = Keeps(remembers).double()
    with pytest.raises(TraceError, match=r"other steps in its second call.*keeps 'memory'"):
        extract_spec(net, (X,))
    assert not hasattr(net, "memory")
    net(X)
    assert extract_spec(net, (X,)).log10_order == 0
