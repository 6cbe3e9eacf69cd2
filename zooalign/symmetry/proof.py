"""A spec proved operator by operator, on numbers.

The claimed action exists on every tensor of the graph (:mod:`zooalign.symmetry.action`). So each
operator is checked by itself (:mod:`zooalign.symmetry.equivariance`): its result on permuted
operands must be the permuted result. By induction over the graph, outputs stay as they are. No
rounding adds up over the layers, and nothing hides behind a dead unit, a saturated softmax, a small
branch or an integer output.

Each operator sees random members of the whole group, and for each set of units that moves at it a
generator: an exchange of two of its units, in one context, while the other sets stay. They act on
the values of a run with random parameters in float64. Where those say little (all zeros, ties),
values are drawn anew. A group with a wrong element passes one random member with a probability of
one half at most, for values in general position. An operator that occurs again on real numbers,
with the same sets at the same places, makes the same claim, and is not checked again.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import fx

from zooalign.errors import SpecError
from zooalign.graph.arguments import unread_results
from zooalign.graph.build import Traced
from zooalign.graph.execute import called, steps
from zooalign.graph.operator import Tensor
from zooalign.symmetry.action import Action, Move, action_of_spec
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.equivariance import Operation, Permuted, claim_key, tensors_of
from zooalign.symmetry.node_run import NodeRun, is_random, is_real, written
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.precision import sample, tolerance_of_one

__all__ = ["Fault", "Proof", "Verdict", "prove"]

_Draw = Callable[[Sequence[int], torch.Generator], torch.Tensor]

Verdict = Literal["proved", "refuted", "not shown"]

_GETITEM = "<built-in function getitem>"
_MOST_FAULTS = 20
# At an operator where more sets of units move, some are exchanged together.
_MOST_ALONE = 4
# Values of which fewer are different than this share say little.
_DIFFERENT = 0.25


@dataclass(frozen=True)
class Fault:
    """An operator whose result is not permuted as its operands are.

    ``operator`` is such as ``aten.argmax.default``, ``node`` the name of the call. ``tensor`` says
    which of its tensors and ``axis`` which axis of that, if any; ``group`` is the one that was
    permuted ("several": no group alone shows it; empty: none needs to be). ``deviation`` is
    relative to the values themselves, infinite for integers and truth values.
    """

    operator: str
    node: str
    tensor: str
    axis: int | None
    group: str
    deviation: float

    def __str__(self) -> str:
        where = f"{self.tensor}{'' if self.axis is None else f' axis {self.axis}'}"
        at = f"at {self.operator} '{self.node}'"
        if not self.group:
            return f"{at}: {where} varies, where the spec says that it is constant"
        size = "" if self.deviation == float("inf") else f", it is {self.deviation:.1e} from that"
        return f"{at}: {where} is not permuted as group '{self.group}' says{size}"


@dataclass(frozen=True)
class Proof:
    """What was found out about a derived spec.

    Attributes
    ----------
    verdict:
        "proved", "refuted" (an operator does not keep the claim), or "not shown".
    why:
        In words, where it is not proved.
    faults:
        Operators at fault, in order.
    operators:
        How many were checked: those that something moves at, each claim once.
    members:
        Random members of the group that each of them saw. A wrong group passes with a probability
        of at most ``2 ** -members``, for values in general position.
    max_deviation:
        The largest at any operator that keeps the claim.
    tolerance:
        What rounding explains in one operator, by the least precise dtype that one computes in.
    """

    verdict: Verdict
    why: str
    faults: tuple[Fault, ...]
    operators: int
    members: int
    max_deviation: float
    tolerance: float


def prove(
    derived: Derived,
    state: Mapping[str, torch.Tensor],
    inputs: Sequence[Any],
    *,
    members: int = 3,
    seed: int = 0,
) -> Proof:
    """Check every operator of the traced graph against the claimed action of the group.

    Parameters
    ----------
    derived:
        The spec with its graph.
    state:
        Values of parameters and buffers, best random ones; each is read when it is needed.
    inputs:
        Those of the module, real ones in float64; nested as they are.
    members:
        How many random members of the group each operator sees.
    """
    live = derived.traced.values.keys()
    constants = derived.traced.captured.constants
    unknown = next((n for n, value in constants.items() if value is None and n in live), None)
    if unknown is not None:
        why = f"constant '{unknown}' has no value: the module was captured on the meta device"
        return Proof("not shown", why, (), 0, members, 0.0, tolerance_of_one(torch.float64))
    action = action_of_spec(derived)
    check = _Check(derived.traced, action, _Moves(action, members, seed), seed)
    graph = steps(
        derived.traced.captured,
        state,
        inputs,
        dtype=torch.float64,
        call=check.call,
        skip=lambda node: node.name not in live,
    )
    for node, value in graph:
        if node.op == "placeholder":
            check.source(node, value)
        elif node.op == "output":
            check.ends(node)
        check.done(node)
    return check.proof(members, [group.id for group in derived.spec.groups])


class _Moves:
    """What operators are tried with: random members of the whole group, and generators."""

    def __init__(self, action: Action, members: int, seed: int) -> None:
        self._action = action
        self.members = [action.move(action.spec.random(seed + n)) for n in range(members)]
        generator = np.random.default_rng(seed)
        everything = action.transposition(generator, [group.id for group in action.spec.groups])
        self._exchanged = everything.indices
        self._generators: dict[tuple[str, ...], Move] = {}

    def of(self, tensors: Iterable[Tensor]) -> list[Move]:
        """The random members, and the generators of the sets that move in these tensors."""
        return [*self.members, *self.generators(tensors)]

    def generators(self, tensors: Iterable[Tensor]) -> list[Move]:
        """For each set of units that moves in these tensors, an exchange of two of its units.

        Each set alone, or of many sets half of them at once, the halves so that any two sets are
        in different ones at least once.
        """
        moving: dict[str, None] = {}
        for tensor in tensors:
            moving.update((group.id, None) for group, _ in self._action.moving(tensor))
        names = tuple(moving)
        if len(names) <= _MOST_ALONE:
            return [self._generator((name,)) for name in names]
        digits = range(len(names).bit_length())
        return [
            self._generator(tuple(name for n, name in enumerate(names, 1) if n >> digit & 1))
            for digit in digits
        ]

    def _generator(self, names: tuple[str, ...]) -> Move:
        if names not in self._generators:
            still = self._action.spec.identity()
            indices = {**still.indices, **{name: self._exchanged[name] for name in names}}
            move = self._action.move(Permutation(still.spec_hash, indices))
            self._generators[names] = move
        return self._generators[names]


_Values = Mapping[fx.Node, Any]


class _Check:
    """The checks of one run through the graph."""

    def __init__(self, traced: Traced, action: Action, moves: _Moves, seed: int) -> None:
        self.tensors, self.captured = traced.values, traced.captured
        self.action, self.moves, self.seed = action, moves, seed
        self.faults: list[Fault] = []
        self.unclear: list[str] = []  # why operators could not be checked
        self.read: set[str] = set()
        self.generic: set[fx.Node] = set()  # what depends on real numbers that may be any
        self.shown: set[Hashable] = set()
        self.permuted: Permuted[fx.Node] = Permuted()
        self.users = {node: len(node.users) for node in traced.captured.graph.nodes}
        self.order = {node: number for number, node in enumerate(traced.captured.graph.nodes)}
        self.operators, self.max_deviation = 0, 0.0
        self.tolerance = tolerance_of_one(torch.float64)

    def proof(self, members: int, groups: Sequence[str]) -> Proof:
        """The verdict on these groups."""
        unread = [name for name in groups if name not in self.read]
        verdict: Verdict = "proved"
        why = ""
        if self.faults:
            verdict, why = "refuted", str(self.faults[0])
        elif self.unclear:
            verdict, why = "not shown", self.unclear[0]
        elif unread:
            verdict, why = "not shown", f"no operator reads group '{unread[0]}'"
        faults = tuple(self.faults)
        sizes = (self.max_deviation, self.tolerance)
        return Proof(verdict, why, faults, self.operators, members, *sizes)

    # ------------------------------------------------------------------ the ends

    def source(self, node: fx.Node, value: Any) -> None:
        """An input must not move and may vary; a constant must be what it is permuted."""
        claim = self.tensors.get(node.name)
        if not isinstance(claim, Tensor) or not isinstance(value, torch.Tensor):
            return
        if node.name in self.captured.constants:
            moves = self.moves.of([claim])
            self._agrees(node, Operation(lambda _: value, {}, claim, 0.0), {}, value, moves)
            return
        if value.is_floating_point() or value.is_complex():
            self.generic.add(node)
        if node.name in self.captured.parameters:
            return
        name = f"the network's input '{node.name}'"
        self._unmoved(node, claim, name)
        for axis, (size, sets) in enumerate(zip(claim.shape, claim.axes, strict=True)):
            if size > 1 and not sets:
                self._fault(Fault("input", node.name, name, axis, "", float("inf")))

    def ends(self, node: fx.Node) -> None:
        """Outputs must not move, and what is left for the next call moves as what it replaces."""
        stored = {
            self.captured.parameters[name]: tensor
            for name, tensor in self.tensors.items()
            if name in self.captured.parameters
        }
        parts: Any = node.args[0]
        count = len(parts) - len(self.captured.written)
        places = [*[""] * count, *self.captured.written]
        for part, place in zip(parts, places, strict=True):
            claims = tensors_of(self.tensors.get(part.name) if isinstance(part, fx.Node) else None)
            for tensor in claims:
                replaced = stored.get(self.captured.tied.get(place, place))
                if not place or not isinstance(replaced, Tensor):
                    what = f"what a call writes to '{place}'" if place else "the network's output"
                    self._unmoved(part, tensor, what)
                elif not self._alike(tensor, replaced):
                    what = f"what a call writes to '{place}'"
                    self._fault(Fault("output", part.name, what, None, "several", float("inf")))

    def _alike(self, first: Tensor, second: Tensor) -> bool:
        if first.shape != second.shape:
            return self.action.still(first) and self.action.still(second)
        numbers = torch.arange(float(np.prod(first.shape))).reshape(first.shape)
        return all(
            torch.equal(move(first, numbers), move(second, numbers))
            for move in self.moves.of([first, second])
        )

    def _unmoved(self, node: fx.Node, tensor: Tensor, name: str) -> None:
        if self.action.still(tensor):
            return
        group, member = (self.action.members(tensor) or self.action.numbered(tensor))[0]
        axis = member.axis if member.axis < tensor.ndim else None
        self._fault(Fault(str(node.target), node.name, name, axis, group.id, float("inf")))

    def _fault(self, fault: Fault) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)

    def _not_run(self, node: fx.Node, error: Exception) -> None:
        lines = str(error).splitlines() or [type(error).__name__]
        self.unclear.append(f"{node.target} '{node.name}' cannot be checked: {lines[0][:200]}")

    # ------------------------------------------------------------------ one operator

    def call(self, node: fx.Node, values: _Values) -> Any:
        """Run an operator as it is, and on permuted operands."""
        if any(part in self.generic for part in node.all_input_nodes) or is_random(node):
            self.generic.add(node)
        if str(node.target) == _GETITEM:
            return called(node, values)
        run, moves = NodeRun(node, self.seed), self._moves(node)
        checked = bool(moves) and not run.uninitialised and not self._known(node)
        operands = run.before(values) if checked else values
        try:
            value = run.real(values)
        except Exception as error:  # whatever an operator raises on values it was not traced with
            if moves:
                self._not_run(node, error)
            return run.any_values()
        if checked:
            self._check(node, run, operands, run.all_results(value, values), moves)
            if written(node):
                self.permuted.keep_first(node)
        for part in run.overwritten(values):
            self.permuted.drop(part)
        return value

    def done(self, node: fx.Node) -> None:
        """Forget permuted values that no later operator reads."""
        for part in (node, *node.all_input_nodes):
            self.users[part] -= part is not node
            if not self.users[part]:
                self.permuted.drop(part)

    def _operands(self, node: fx.Node) -> dict[fx.Node, Any]:
        return {part: self.tensors.get(part.name) for part in node.all_input_nodes}

    def _results(self, node: fx.Node) -> Any:
        """The claim on what is read of a node's results, and later where it writes."""
        claim = self.tensors.get(node.name)
        if isinstance(claim, (list, tuple)):
            unread = unread_results(node)
            claim = [None if number in unread else part for number, part in enumerate(claim)]
        if not written(node):
            return claim
        read: list[Any] = []
        for part in written(node):
            later = any(self.order[user] > self.order[node] for user in part.users)
            other = self.tensors.get(part.name)
            read.append(other if later and other != claim else None)
        return [claim, *read]

    def _moves(self, node: fx.Node) -> Sequence[Move]:
        """The moves to try: none where nothing moves, one where a result is to be constant."""
        operation = Operation(_not_called, self._operands(node), self._results(node), 0.0)
        try:
            for claim in operation.operands.values():
                for tensor in tensors_of(claim):
                    self.read.update(group.id for group, _ in self.action.members(tensor))
            if operation.moving(self.action):
                return self.moves.of(operation.tensors())
        except SpecError as error:
            self._not_run(node, error)
            return ()
        return self.moves.members[:1] if operation.constant() else ()

    def _known(self, node: fx.Node) -> bool:
        """Whether the same claim on the same operator was checked; it is from now on."""
        parts = node.all_input_nodes
        if is_random(node) or not all(p in self.generic and is_real(p) for p in (node, *parts)):
            return False
        key = claim_key(self.action, self._operands(node), self._results(node))
        numbers = {part: n for n, part in enumerate(parts)}
        call = fx.node.map_arg((node.args, dict(node.kwargs)), lambda part: f"%{numbers[part]}")
        whole = (str(node.target), repr(call), key)
        known = whole in self.shown
        self.shown.add(whole)
        return known

    def _check(
        self, node: fx.Node, run: NodeRun, values: _Values, result: Any, moves: Sequence[Move]
    ) -> None:
        """Compare an operator's result on permuted operands with its permuted result."""
        self.operators += 1
        operation = Operation(
            run.again, self._operands(node), self._results(node), run.tolerance(result)
        )
        self.tolerance = max(self.tolerance, operation.tolerance)
        if not self._agrees(node, operation, values, result, moves, self.permuted.of(node)):
            return
        if not any(map(_says_little, (*values.values(), result))):
            return
        for draw in (_normal, _positive):
            drawn = {part: self._drawn(part, value, draw) for part, value in values.items()}
            try:
                other = run.again(drawn)
            except Exception:  # the operator does not take these
                continue
            if not _says_little(other):
                again = [moves[0], *self.moves.generators(operation.tensors())]
                self._agrees(node, operation, drawn, other, again)
                return

    def _agrees(
        self,
        node: fx.Node,
        operation: Operation[fx.Node],
        values: _Values,
        result: Any,
        moves: Sequence[Move],
        permuted: Permuted[fx.Node] | None = None,
    ) -> bool:
        for move in moves:
            try:
                deviation = operation.agrees(move, values, result, permuted)
                if deviation is None:
                    self._disagrees(node, operation, move, values, result)
                    return False
            except Exception as error:  # of an operator, or where no action is defined
                self._not_run(node, error)
                return False
            self.max_deviation = max(self.max_deviation, deviation)
            for part in (part for part in node.all_input_nodes if self.users[part] == 1):
                self.permuted.drop(part, move)  # nobody else reads it: large, if a parameter
        return True

    def _disagrees(
        self,
        node: fx.Node,
        operation: Operation[fx.Node],
        move: Move,
        values: _Values,
        result: Any,
    ) -> None:
        where = operation.disagreement(self.action, move, values, result)
        several = isinstance(result, (list, tuple)) and not written(node)
        tensor = f"result {where.result}" if several else "the result"
        operator = str(node.target) if node.op == "call_function" else node.op
        group = where.group or ""
        self._fault(Fault(operator, node.name, tensor, where.axis, group, where.deviation))

    def _drawn(self, node: fx.Node, value: Any, draw: _Draw) -> Any:
        """Other values for an operand of real numbers that may be any."""
        claim = self.tensors.get(node.name)
        real = isinstance(value, torch.Tensor) and value.is_floating_point()
        if node not in self.generic or not isinstance(claim, Tensor) or not real:
            return value
        shape = [n if axis else 1 for n, axis in zip(claim.shape, claim.axes, strict=True)]
        generator = torch.Generator().manual_seed(self.seed + 1 + len(node.name))
        return draw(shape, generator).to(value.dtype).expand(value.shape)


def _not_called(_: _Values) -> None:
    """Stands for an operator whose claims alone are looked at."""


def _normal(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _positive(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return 0.1 + torch.rand(shape, generator=generator, dtype=torch.float64)


def _says_little(value: Any) -> bool:
    """Whether most real numbers of a value are alike or none at all."""
    for part in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(part, torch.Tensor) or not part.is_floating_point() or part.numel() < 4:
            continue
        some = sample(part).reshape(-1)
        if some[some.isfinite()].unique().numel() < _DIFFERENT * some.numel():
            return True
    return False
