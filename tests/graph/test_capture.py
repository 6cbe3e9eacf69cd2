"""Capture: what is read from a module, and that the module is left alone."""

from collections.abc import Callable, Iterator

import pytest
import timm
import torch
from sample_models import CASES
from sample_models.small import TwoLayers
from torch import Tensor, nn

from zooalign.errors import TraceError
from zooalign.graph.capture import capture
from zooalign.graph.execute import evaluate
from zooalign.symmetry import extract_spec, verify
from zooalign.symmetry.groups import log10_factorial as L


@pytest.fixture(scope="module")
def custom_operator() -> Iterator[str]:
    library = torch.library.Library("zooalign_tests", "FRAGMENT")
    library.define("mystery(Tensor x) -> Tensor")
    library.impl("mystery", lambda x: x * torch.arange(x.shape[-1]), "CompositeExplicitAutograd")
    library.impl("mystery", torch.empty_like, "Meta")
    yield "zooalign_tests.mystery.default"
    library._destroy()


def test_the_module_is_left_untouched() -> None:
    module = CASES["vgg_flatten"].build()
    module.train()
    module[1].eval()
    flags = {name: m.training for name, m in module.named_modules()}
    before = {key: (value.clone(), value.data_ptr()) for key, value in module.state_dict().items()}
    capture(module, CASES["vgg_flatten"].inputs())
    assert {name: m.training for name, m in module.named_modules()} == flags
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key][0]) and value.data_ptr() == before[key][1]


def test_meta_modules_keep_the_buffers_that_hold_values() -> None:
    module = CASES["rotary_partial"].build().to_empty(device="meta")
    real = CASES["rotary_partial"].build()
    module.attention.cos, module.attention.sin = real.attention.cos, real.attention.sin
    found = capture(module, CASES["rotary_partial"].inputs())
    assert module.attention.cos is real.attention.cos
    known = [value for value in found.constants.values() if value is not None]
    assert any(torch.equal(value, real.attention.cos) for value in known)


@pytest.mark.parametrize("name", ["attention_3hd", "cifar_resnet20", "tied_embedding", "res2net"])
def test_meta_and_real_modules_have_one_spec(name: str) -> None:
    case = CASES[name]
    with torch.device("meta"):
        meta = case.build()
    assert extract_spec(meta, case.inputs()) == extract_spec(case.build(), case.inputs())


def test_constants_without_values_are_fixed() -> None:
    """A table created on meta may hold anything: it pins what it meets, rather than nothing."""
    with torch.device("meta"):
        module = CASES["relative_bias"].build()
    spec = extract_spec(module, CASES["relative_bias"].inputs())
    assert spec.log10_order <= CASES["relative_bias"].log10_order + 1e-6


def test_shapes_dtypes_and_ties_are_those_of_the_state_dict() -> None:
    module = CASES["tied_embedding"].build()
    found = capture(module, CASES["tied_embedding"].inputs())
    assert found.shapes == {key: tuple(value.shape) for key, value in module.state_dict().items()}
    assert found.dtypes == {key: value.dtype for key, value in module.state_dict().items()}
    assert found.tied == {"unembed.weight": "embed.weight"}
    resnet = CASES["cifar_resnet20"]
    names = capture(resnet.build(), resnet.inputs())
    assert "bn1.running_mean" not in names.trainable and "bn1.weight" in names.trainable


def test_parameters_tied_by_storage_are_one() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6, bias=False), nn.Linear(6, 4, bias=False)
            self.again = nn.Parameter(self.first.weight.data)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.tanh(self.first(x)) + torch.tanh(x @ self.again.t()))

    module, inputs = Shared(), (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert spec.log10_order == pytest.approx(L(6))
    assert {m.parameter for m in spec.groups[0].members} == {"first.weight", "again", "last.weight"}


def test_unused_parameters_are_listed_and_left_alone() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)
            self.pooler = nn.Linear(6, 6)
            self.register_buffer("table", torch.zeros(5))

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.a(x).relu()
            self.pooler(hidden)
            return self.b(hidden)

    module, inputs = Unused(), (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert set(spec.unused) == {"pooler.weight", "pooler.bias", "table"}
    assert spec.log10_order == pytest.approx(L(6))
    moved = spec.apply(spec.random(1), module.state_dict())
    assert moved["pooler.weight"] is not None
    assert torch.equal(moved["pooler.weight"], module.pooler.weight)


def test_an_unknown_operator_freezes_what_it_touches_and_is_named(custom_operator: str) -> None:
    class Mystery(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.ops.zooalign_tests.mystery(self.a(x))
            return self.c(self.b(x).relu())

    module, inputs = Mystery(), (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert spec.unknown_operators == {custom_operator: 1}
    assert spec.log10_order == pytest.approx(L(5))
    reasons = {(f.parameter, f.axis): f.reason for f in spec.frozen}
    assert custom_operator in reasons["a.weight", 0]
    assert "operator not understood" in reasons["a.weight", 0]
    assert verify(module, spec, inputs).ok


class _Written(nn.Module):
    """A tensor is divided by its sum in place; ``again`` reads it once more, before or after."""

    def __init__(self, again: str) -> None:
        super().__init__()
        self.again = again
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        first = y.view(-1, 2, 3) if self.again == "as a view" else y.sum(-1, keepdim=True)
        before = self.c(y) if self.again == "before" else 0
        y /= y.sum(-1, keepdim=True)
        if self.again == "as a view":  # which sees what was written since
            before = self.c(first.flatten(1))
        return self.b(y) + before


@pytest.mark.parametrize(
    ("again", "functional"), [("", False), ("before", True), ("as a view", True)]
)
def test_writes_that_only_reductions_saw_before_need_no_other_graph(
    again: str, functional: bool
) -> None:
    module, inputs = _Written(again), (torch.zeros(2, 4) + 1,)
    found = capture(module, inputs)
    written = [node for node in found.graph.nodes if str(node.target) == "aten.div_.Tensor"]
    assert bool(written) is not functional
    spec = extract_spec(module, inputs)
    assert spec.log10_order == pytest.approx(L(6))
    assert verify(module, spec, inputs).ok


@pytest.mark.parametrize(
    ("value", "order"),
    [
        (torch.full((6,), 3.0), L(6)),
        (torch.tensor(3.0), L(6)),
        (torch.arange(6.0), 0.0),
        (torch.tensor([1.0, 1, 1, 2, 2, 2]), 2 * L(3)),
        (torch.arange(6), 0.0),
        (torch.full((2, 6), 3.0), L(6)),
        (torch.tensor([[1.0], [2.0]]).expand(2, 6), L(6)),
    ],
)
def test_constants_pin_where_they_vary_and_only_there(value: Tensor, order: float) -> None:
    module, inputs = TwoLayers(torch.mul, persistent=False, other=value), (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert spec.log10_order == pytest.approx(order)
    assert verify(module, spec, inputs).ok


def test_a_persistent_buffer_moves_with_its_units() -> None:
    module, inputs = TwoLayers(torch.mul, other=torch.arange(6.0)), (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert spec.log10_order == pytest.approx(L(6))
    assert "other" in {m.parameter for m in spec.groups[0].members}
    assert verify(module, spec, inputs).ok


def test_integer_buffers_are_numbers_of_positions() -> None:
    order = torch.tensor([1, 0, 3, 2, 5, 4])
    module, inputs = TwoLayers(lambda h, order: h[:, order], order=order), (torch.zeros(2, 4),)
    spec = extract_spec(module, inputs)
    assert spec.log10_order == 0.0
    reasons = {(f.parameter, f.axis): f.kind for f in spec.frozen}
    assert reasons["order", 0] == reasons["first.weight", 0] == "index"
    moved = spec.apply(spec.random(0), module.state_dict())
    assert torch.equal(moved["order"], order)


def test_a_buffer_the_module_updates_is_no_output() -> None:
    def count(hidden: Tensor, seen: Tensor) -> Tensor:
        seen.add_(hidden.mean(0))
        return hidden

    spec = extract_spec(TwoLayers(count, seen=torch.zeros(6)), (torch.zeros(2, 4),))
    assert spec.log10_order == pytest.approx(L(6))


def test_what_cannot_be_traced_is_said_in_one_sentence() -> None:
    class Branching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(
        TraceError, match=r"cannot trace Branching on inputs of shapes \[\(1, 3\)\]"
    ):
        capture(Branching(3, 2), (torch.zeros(1, 3),))
    with pytest.raises(TraceError, match="Check that the example inputs"):
        capture(nn.Linear(3, 2), (torch.zeros(1, 5),))


def _gradient(hidden: Tensor) -> Tensor:
    return torch.func.grad(lambda x: x.tanh().sum())(hidden)


def _gradient_of_autograd(hidden: Tensor) -> Tensor:
    return torch.autograd.grad(hidden.tanh().sum(), hidden)[0]


@pytest.mark.parametrize("derivative", [_gradient, _gradient_of_autograd])
def test_derivatives_in_the_forward_pass_are_told_as_such(
    derivative: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(TraceError, match="takes derivatives in its forward pass"):
        extract_spec(TwoLayers(derivative), (torch.zeros(2, 4),))


def test_a_branch_of_torch_cond_is_not_understood_and_holds_its_units() -> None:
    def branch(hidden: Tensor) -> Tensor:
        return torch.cond(hidden.sum() > 0, torch.relu, lambda x: x.cumsum(-1), (hidden,))

    spec = extract_spec(TwoLayers(branch), (torch.zeros(2, 4),))
    assert dict(spec.unknown_operators) == {"cond": 1}
    assert not spec.groups


def test_no_weight_is_allocated() -> None:
    """A model far larger than memory is captured: 400 GB of weights, on meta."""
    with torch.device("meta"):
        width = 100_000
        module = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(10)))
        spec = extract_spec(module, (torch.zeros(1, width),))
    assert len(spec.groups) == 9


def test_timm_models_on_meta_and_real_agree() -> None:
    with torch.device("meta"):
        meta = timm.create_model("resnet18")
    inputs = (torch.zeros(1, 3, 64, 64),)
    assert (
        extract_spec(meta, inputs).hash == extract_spec(timm.create_model("resnet18"), inputs).hash
    )


def test_a_no_grad_inside_the_module_is_no_operator() -> None:
    class Quiet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                hidden = self.a(x).relu()
            return self.b(hidden)

    spec = extract_spec(Quiet(), (torch.zeros(2, 4),))
    assert spec.log10_order == pytest.approx(L(6))
    assert not spec.unknown_operators


def test_blocks_that_set_a_mode_are_put_in_their_place() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                hidden = self.a(x).relu()
                low, high = hidden.chunk(2, -1)
            return self.b(torch.cat([high, low], -1))

    module, inputs = Careful(), (torch.randn(2, 4),)
    spec = extract_spec(module, inputs)
    assert not spec.unknown_operators
    assert spec.log10_order == pytest.approx(2 * L(3))
    (made,) = evaluate(capture(module, inputs), module.state_dict(), inputs)
    assert torch.equal(made, module(*inputs))


def test_a_sparse_input_is_frozen_where_it_meets_the_network() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.i, self.o = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            y: Tensor = self.o(torch.sparse.mm(edges, self.i(x)))
            return y

    spec = extract_spec(Graph(), (torch.randn(2, 6), torch.eye(2).to_sparse_csr()))
    assert spec.log10_order in (0, pytest.approx(L(4)))
