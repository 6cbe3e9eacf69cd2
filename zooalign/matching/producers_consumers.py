"""Which tensors produce the units of a group and which consume them, by trial.

A weight's rows, biases and norms produce units; the columns of the next weight consume them. This
decides how a unit is removed, doubled or merged with another. The graph is run once on random
parameters; then one unit's slice of a tensor is changed, and the operators that tensor goes into
are run again. If only that unit of the result changes, the slice produces the unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from zooalign.graph.execute import steps
from zooalign.matching.unit_views import (
    COPIES,
    UnitView,
    activation_views,
    base_name,
    from_front,
    tensor_views,
    to_front,
)
from zooalign.symmetry.derive import Derived

__all__ = ["CONSUMES", "PRODUCES", "Roles", "find_roles"]

PRODUCES, CONSUMES = "produces", "consumes"
# By (tensor, group, axes).
Roles = Mapping[tuple[str, str, tuple[int, ...]], frozenset[str]]

# Differences below this share of the value are rounding of float64 sums.
_ROUNDING = 1e-9
# A unit that nothing shows (behind a ReLU that never fires) is passed over for the next.
_MOST_TRIED = 64


def find_roles(derived: Derived, state: Mapping[str, Tensor], inputs: Sequence[Any]) -> Roles:
    """What each tensor's axis is to the group that stands along it, by random float64 values.

    Both roles for a tied tensor that is used in two ways, none where no output shows a difference.
    """
    trial = _Trial(derived, state, inputs)
    return {
        (name, place.group, place.axes): trial.role(name, place)
        for name, places in tensor_views(derived.spec).items()
        for place in places
    }


class _Trial:
    """One run of the graph whose values are kept, to run single operators again."""

    def __init__(
        self, derived: Derived, state: Mapping[str, Tensor], inputs: Sequence[Any]
    ) -> None:
        self.captured = derived.traced.captured
        self.places = activation_views(derived, "all")
        self.state = state
        # Copies: operators that work in place change a value later.
        self.values: dict[fx.Node, Any] = {
            node: _copy(value)
            for node, value in steps(self.captured, state, inputs, dtype=torch.float64)
        }
        self.weights: set[fx.Node] = set()  # computed from the state dict alone
        for node in self.captured.graph.nodes:
            stored = node.op == "placeholder" and node.name not in self.captured.inputs
            computed = node.op == "call_function" and set(node.all_input_nodes) <= self.weights
            if stored or (computed and node.all_input_nodes):
                self.weights.add(node)

    def role(self, name: str, place: UnitView) -> frozenset[str]:
        parameters, tied = self.captured.parameters, self.captured.tied
        roots = []
        for node in self.captured.graph.nodes:
            stored = parameters.get(node.name) if node.op == "placeholder" else None
            if stored is not None and tied.get(stored, stored) == tied.get(name, name):
                roots.append(node)
        for unit in range(min(len(place.positions), _MOST_TRIED)):
            if seen := frozenset(self._seen(roots, place, unit)):
                return seen
        return frozenset()

    def _seen(self, roots: Sequence[fx.Node], place: UnitView, unit: int) -> Iterator[str]:
        changed: dict[fx.Node, Any] = {
            node: _shaken(self.values[node], place, unit)
            for node in roots
            if node in self.values  # one that no operator reads has no value
        }
        for node in self.captured.graph.nodes:
            if node.op != "call_function" or not any(n in changed for n in node.all_input_nodes):
                continue
            with torch.no_grad():
                value = node.target(
                    *self._given(node.args, changed), **self._given(node.kwargs, changed)
                )
            if node in self.weights:
                changed[node] = value
            elif base_name(str(node.target)) in COPIES:
                yield PRODUCES  # concatenated with data unchanged
            elif isinstance(value, Tensor):
                difference = (value - self.values[node]).abs()
                limit = _ROUNDING * float(self.values[node].abs().max())
                if float(difference.max()) > limit:
                    yield self._role_in(node, difference > limit, place.group, unit)

    def _given(self, arguments: Any, changed: Mapping[fx.Node, Any]) -> Any:
        """Arguments of a node: values for nodes, and float64 where a floating dtype is named."""

        def value(argument: Any) -> Any:
            if isinstance(argument, fx.Node):
                return _copy(changed[argument] if argument in changed else self.values[argument])
            named = isinstance(argument, torch.dtype) and argument.is_floating_point
            return torch.float64 if named else argument

        given = dict(arguments) if isinstance(arguments, dict) else arguments
        return fx.node.map_aggregate(given, value)

    def _role_in(self, node: fx.Node, moved: Tensor, group: str, unit: int) -> str:
        """Whether what changed is one unit of the group, somewhere in the result."""
        for place in self.places.get(node.name, ()):
            if place.group == group:
                rows = place.rows(moved).any(1)
                nowhere_else = int(place.rows(moved).sum()) == int(moved.sum())
                if nowhere_else and rows.nonzero().flatten().tolist() == [unit]:
                    return PRODUCES
        return CONSUMES


def _shaken(value: Tensor, place: UnitView, unit: int) -> Tensor:
    """One unit's slice of a tensor, changed."""
    if not value.is_floating_point():
        return value
    rows = to_front(value, place.axes).clone()
    where = torch.from_numpy(place.positions[unit].copy())
    rows[where] = rows[where] * 1.37 + 0.11
    return from_front(rows, place.axes, [value.shape[a] for a in place.axes]).contiguous()


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)(_copy(v) for v in value)
    return value
