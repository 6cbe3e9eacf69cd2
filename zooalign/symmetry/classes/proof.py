"""Classes proved operator by operator: on mapped operands, is the result mapped?

The maps of a class are known on every tensor of the graph, not only on parameters. So each operator
is checked by itself on random ones, of all groups at once, as permutations are
(:mod:`zooalign.symmetry.proof`): random rotations, invertible maps of condition 4 at most,
log-uniform scales and signs, on the values of a run with random parameters in float64. The weights
that linear maps need to be one are one in that run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from zooalign.graph.execute import called, steps
from zooalign.graph.tensor import Tensor
from zooalign.symmetry.action import action_of_spec
from zooalign.symmetry.classes.derive import Classes
from zooalign.symmetry.classes.elements import Element, SpecClasses
from zooalign.symmetry.classes.maps import UnitMaps, mapped
from zooalign.symmetry.classes.places import Place, Places
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.equivariance import Operation, Permuted, tensors_of
from zooalign.symmetry.node_run import NodeRun, written
from zooalign.symmetry.precision import tolerance_of_one
from zooalign.symmetry.proof import Fault, Proof, Verdict

__all__ = ["prove_classes"]

_GETITEM = "<built-in function getitem>"


def prove_classes(
    derived: Derived,
    classes: Classes,
    state: Mapping[str, torch.Tensor],
    inputs: Sequence[Any],
    *,
    members: int = 2,
    seed: int = 0,
) -> Proof:
    """Check every operator of the traced graph against random elements of all classes.

    Parameters
    ----------
    classes:
        Those of :func:`~zooalign.symmetry.classes.derive_classes`, which may go less far.
    state:
        Values of parameters and buffers, best random ones.
    inputs:
        Those of the module, real ones in float64; nested as they are.
    members:
        How many random elements each operator sees.

    Raises
    ------
    SpecError
        If a weight that has to become one cannot, for its values.
    """
    derived = classes.derived or derived
    group = SpecClasses(derived.spec, classes.groups)
    check = _Check(derived, classes, [group.random(seed + n) for n in range(members)], seed)
    graph = steps(
        derived.traced.captured,
        group.absorbed(state),
        inputs,
        dtype=torch.float64,
        call=check.call,
        skip=lambda node: node.name not in derived.traced.values,
    )
    for _ in graph:
        pass
    return check.proof(members)


class _Move:
    """One element, applied to any tensor of the graph."""

    def __init__(self, places: Places, classes: Classes, element: Element) -> None:
        self.places, self.classes, self.element = places, classes, element

    def alone(self, name: str) -> "_Move":
        """The same of one group, and nothing of the others."""
        groups = self.classes.groups
        alone = {n: of if n == name else of.within("permutations") for n, of in groups.items()}
        none = self.element.maps[name].scales.new_ones
        maps = {
            n: m if n == name else UnitMaps(None, none((0, *m.scales.shape[1:])), none((0,)))
            for n, m in self.element.maps.items()
        }
        classes = replace(self.classes, groups=alone)
        return _Move(self.places, classes, replace(self.element, maps=maps))

    def __call__(self, tensor: Tensor, value: torch.Tensor) -> torch.Tensor:
        """The value mapped; itself where nothing is multiplied.

        Along an axis that the tensor is said not to vary along, the first position counts.
        """
        varying = tuple(slice(None) if axis else slice(1) for axis in tensor.axes)
        narrow = result = value[varying]
        for occurrence, member in self.places.members(tensor):
            group = occurrence.group
            exponents = [self.classes.exponents(group.id, n) for n in occurrence.places]
            if not all(e.nothing for e in exponents):
                result = mapped(result, group, member, exponents, self.element.maps[group.id])
        return value if result is narrow else result.expand(value.shape).contiguous()


class _Check:
    """The checks of one run through the graph."""

    def __init__(
        self, derived: Derived, classes: Classes, elements: Sequence[Element], seed: int
    ) -> None:
        self.claims, self.seed = derived.traced.values, seed
        self.said, self.classes = classes.said, classes
        places = Places(action_of_spec(derived)) if self.said is None else self.said.places
        self.places = places
        self.moves = [_Move(places, classes, element) for element in elements]
        self.known: Permuted[fx.Node] = Permuted()
        self.users = {node: len(node.users) for node in derived.traced.captured.graph.nodes}
        self.faults: list[Fault] = []
        self.unclear: list[str] = []
        self.operators, self.max_deviation = 0, 0.0
        self.tolerance = tolerance_of_one(torch.float64)

    def proof(self, members: int) -> Proof:
        """The verdict on all classes."""
        verdict: Verdict = "proved"
        why = ""
        if self.faults:
            verdict, why = "refuted", str(self.faults[0])
        elif self.unclear:
            verdict, why = "not shown", self.unclear[0]
        sizes = (self.max_deviation, self.tolerance)
        return Proof(verdict, why, tuple(self.faults), self.operators, members, *sizes)

    def call(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        """Run an operator as it is, and on mapped operands."""
        if str(node.target) == _GETITEM:
            return called(node, values)
        run = NodeRun(node, self.seed)
        operands = {part: self.claims.get(part.name) for part in node.all_input_nodes}
        claims = [*operands.values(), self.claims.get(node.name)]
        mapped = any(self._mapped(tensor) for tensor in tensors_of(claims))
        checked = mapped and not run.uninitialised
        before = run.before(values) if checked else values
        try:
            value = run.real(values)
        except Exception as error:  # whatever an operator raises on values it was not traced with
            if checked:
                self._not_run(node, error)
            return run.any_values()
        if checked:
            self._check(node, run, before, run.all_results(value, values))
            if written(node):
                self.known.keep_first(node)
        for part in run.overwritten(values):
            self.known.drop(part)
        for part in (node, *node.all_input_nodes):
            self.users[part] -= part is not node
            if not self.users[part]:
                self.known.drop(part)
        return value

    def _mapped(self, tensor: Tensor) -> bool:
        return any(
            not self.classes.exponents(place.group, number).nothing
            for number, place in self._places(tensor)
        )

    def _places(self, tensor: Tensor) -> list[tuple[int, Place]]:
        return [(number, self.places.known[number]) for number in self.places.numbers(tensor)]

    def _not_run(self, node: fx.Node, error: Exception) -> None:
        lines = str(error).splitlines() or [type(error).__name__]
        self.unclear.append(f"{node.target} '{node.name}' cannot be checked: {lines[0][:200]}")

    def _check(
        self, node: fx.Node, run: NodeRun, values: Mapping[fx.Node, Any], result: Any
    ) -> None:
        """Compare an operator's result on mapped operands with its mapped result."""
        self.operators += 1
        operands = {part: self.claims.get(part.name) for part in node.all_input_nodes}
        claim = self.claims.get(node.name)
        if written(node):  # what it wrote to is not read any more
            claim = [claim, *[None] * len(written(node))]
        tolerance = run.tolerance(result)
        self.tolerance = max(self.tolerance, tolerance)
        operation = Operation(run.again, operands, claim, tolerance)
        length = any(self._is_of_length(tensor) for tensor in tensors_of(claim))
        for move in self.moves:
            try:
                if length:  # a part of a length: not mapped itself, but what reads it is
                    moved = {k: self.known(move, k, operands[k], v) for k, v in values.items()}
                    self.known.known[node, id(move)] = run.again(moved)
                    continue
                apart = operation.deviations(move, values, result, self.known.of(node))
            except Exception as error:  # of an operator, or where no action is defined
                self._not_run(node, error)
                return
            if max(apart, default=0.0) > tolerance:
                self._fault(node, operation, move, values, result)
                return
            self.max_deviation = max(self.max_deviation, *apart)

    def _is_of_length(self, tensor: Tensor) -> bool:
        """Whether a tensor has squares of units that linear maps act on."""
        return self.said is not None and any(
            number in self.said.lengths and self.classes.groups[place.group].linear is not None
            for number, place in self._places(tensor)
        )

    def _fault(
        self,
        node: fx.Node,
        operation: Operation[fx.Node],
        move: "_Move",
        values: Mapping[fx.Node, Any],
        result: Any,
    ) -> None:
        """Name the first group that disagrees alone."""
        names = dict.fromkeys(
            place.group for tensor in operation.tensors() for _, place in self._places(tensor)
        )
        group, deviations = "several", operation.deviations(move, values, result)
        for name in names:
            alone = operation.deviations(move.alone(name), values, result)
            if max(alone, default=0.0) > operation.tolerance:
                group, deviations = name, alone
                break
        worst = max(deviations, default=0.0)
        self.faults.append(Fault(str(node.target), node.name, "the result", None, group, worst))
