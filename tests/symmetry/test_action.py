"""The claimed action: on parameters it is the spec's, on results it follows the operators."""

from typing import Any

import numpy as np
import pytest
import torch
from sample_models import CASES
from torch import Tensor, nn

from zooalign.graph.build import Traced
from zooalign.symmetry import Permutation, derive_spec
from zooalign.symmetry.action import Action, action_of_spec

SAMPLES = ["cifar_resnet20", "grouped_query_expand", "experts_einsum", "densenet", "res2net"]


def traced(module: nn.Module, *inputs: Tensor) -> tuple[Traced, Action]:
    derived = derive_spec(module, inputs)
    return derived.traced, action_of_spec(derived)


def value_of(traced: Traced, operator: str) -> Any:
    """The tensor, or tensors, of the only call of an operator."""
    nodes = [n for n in traced.captured.graph.nodes if str(n.target).startswith(operator)]
    (node,) = nodes
    return traced.values[node.name]


@pytest.mark.parametrize("name", SAMPLES)
def test_parameters_move_as_the_spec_moves_them(name: str) -> None:
    derived = derive_spec(CASES[name].build(), CASES[name].inputs())
    action, spec = action_of_spec(derived), derived.spec
    assert {g.id for g in spec.groups} <= {g.id for g in action.spec.groups}
    drawn = action.spec.random(3)
    member = Permutation(spec.hash, {g.id: drawn.indices[g.id] for g in spec.groups})
    move = action.move(drawn)
    for node, parameter in derived.traced.captured.parameters.items():
        tensor = derived.traced.values.get(node)
        if tensor is not None:
            value = torch.arange(float(np.prod(tensor.shape))).reshape(tensor.shape)
            assert torch.equal(
                move(tensor, value), spec.apply_to_tensor(member, parameter, value)
            ), parameter


def test_results_of_layers_move_with_their_units() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    graph, action = traced(module, torch.zeros(3, 4))
    move = action.move(action.transposition(np.random.default_rng(0), ["0.weight:0"]))
    relu = value_of(graph, "aten.relu")
    value = torch.arange(6.0).expand(3, 6)
    assert sorted(move(relu, value)[0].tolist()) == value[0].tolist()
    assert int((move(relu, value)[0] != value[0]).sum()) == 2
    assert not action.still(relu)
    assert action.still(graph.values[graph.captured.inputs[0]])


class Router(nn.Module):
    """The best expert's number for each of several tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.experts = nn.Linear(4, 5), nn.Parameter(torch.randn(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        best = self.score(x).argmax(-1)
        chosen: Tensor = torch.nn.functional.one_hot(best, 5).to(x.dtype) @ self.experts
        return chosen


def test_numbers_of_positions_are_renumbered() -> None:
    graph, action = traced(Router(), torch.zeros(7, 4))
    numbers = value_of(graph, "aten.argmax")
    scores = value_of(graph, "aten.linear")
    move = action.move(action.spec.random(1))
    value = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert not action.still(numbers)
    assert torch.equal(move(numbers, value.argmax(-1)), move(scores, value).argmax(-1))


def test_an_axis_without_variation_is_narrowed_first() -> None:
    class Expanded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(6)), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a.expand(x.shape[0], 6) + 0 * x.sum())

    graph, action = traced(Expanded(), torch.zeros(3, 4))
    expanded, move = value_of(graph, "aten.expand"), action.move(action.spec.random(1))
    value = torch.arange(18.0).reshape(3, 6)
    moved = move(expanded, value)
    assert moved.shape == (3, 6)
    assert torch.equal(moved, moved[:1].expand(3, 6))
    assert torch.equal(moved[0].sort().values, value[0])


def test_transpositions_exchange_two_units_in_one_context() -> None:
    derived = derive_spec(
        CASES["grouped_query_expand"].build(), CASES["grouped_query_expand"].inputs()
    )
    action = action_of_spec(derived)
    for group in derived.spec.groups:
        drawn = action.transposition(np.random.default_rng(1), [group.id])
        action.spec.check(drawn)
        still = action.spec.identity().indices
        moved = {name: int((drawn.indices[name] != still[name]).sum()) for name in still}
        assert {name: n for name, n in moved.items() if n} == {group.id: 2}
