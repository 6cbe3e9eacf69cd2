"""Every rule with one statement less, or one grant more: is a claim that is too large caught?

    python docs/benchmarks/rule_mutants.py --calls 6 [--only zooalign.operators.join]
        [--kinds batch,moved] [-o table.md]

A rule states equalities, positions that are told apart, and on what nothing may depend. Each kind
is dropped, the first statement of a run alone, then the second, and so on. Where a rule names the
axes that may be depended on (``op.tensor(axes, batch=...)``), each axis that it does not name is
granted too, one at a time; then all of them at once, as ``op.moved`` does. A mutant is tried
on drawn calls as in ``rules_against_operators.py``. It is *caught* if its claim fails on
values, *the same* if it claims on no call more than the rule itself (another statement says the
same), and *survives* if it claims more and no call refutes it: the first such call is printed.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from operator_arguments import calls, overloads

from zooalign.graph.index_sets import Axis, Cause, IndexSets
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import OperatorRule
from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import Call, check

KINDS = {
    "equality": "one set",
    "apart": "told apart",
    "bound": "depends on no more",
    "batch": "grants one axis more",
    "moved": "grants all axes",
}
MOST_STATEMENTS = 6
MOST_OVERLOADS = 3


class Forgetful(IndexSets):
    """Index sets that do not hear one statement of a kind; statements inside others are heard."""

    def __init__(self, kind: str, number: int) -> None:
        super().__init__()
        self._kind, self._number = kind, number
        self.heard: Counter[str] = Counter()
        self._inside = 0, {}  # as of a version

    def _hears(self, kind: str) -> bool:
        self.heard[kind] += 1
        return not (kind == self._kind and self.heard[kind] - 1 == self._number)

    def unify_axes(self, left: Axis, right: Axis) -> None:
        if self._hears("equality"):
            super().unify_axes(left, right)

    def fix(self, axis: Iterable[int], cause: Cause) -> None:
        axis = tuple(axis)
        if not axis or self._hears("apart"):
            super().fix(axis, cause)

    def axis(self, size: int, fixed: Cause | None = None) -> Axis:
        told_apart = fixed is not None and size > 1
        return super().axis(size, fixed if not told_apart or self._hears("apart") else None)

    def bound(self, axes: Iterable[Axis]) -> None:
        if self._hears("bound"):
            super().bound(axes)


class Granting(Operator):
    """An operator, in a mutant of its rule that grants dependence on more than the rule does.

    ``number`` counts the axes that the rule does not grant, over its results; None grants them all.
    """

    def __init__(self, op: Operator, number: int | None) -> None:
        super().__init__(op.sets, op.name, op.node, op.arguments, op.results, op.values)
        self._read = op._read  # what the rule looks at is noted there
        self._number, self.denied = number, 0

    def tensor(
        self, axes: Sequence[Axis], result: int = 0, *, batch: Iterable[Axis] = ()
    ) -> Tensor:
        kept = {self.sets.digits(axis) for axis in batch}
        given = (axis for each in self.operands() for axis in each.axes)
        denied = dict.fromkeys(self.sets.digits(axis) for axis in (*given, *axes))
        denied = [axis for axis in denied if axis and axis not in kept]
        first, self.denied = self.denied, self.denied + len(denied)
        if self._number is None:
            return self.moved(axes, result)
        more = denied[self._number - first :][:1] if self._number >= first else []
        return super().tensor(axes, result, batch=[*kept, *more])


def granting(rule: OperatorRule, number: int | None, seen: list[int]) -> OperatorRule:
    """The rule with grants added; ``seen`` gets how many axes it denied in each call."""

    @wraps(rule)
    def mutant(op: Operator) -> Result:
        granted = Granting(op, number)
        try:
            return rule(granted)
        finally:
            seen.append(granted.denied)

    return mutant


def drawn_calls(count: int, only: str) -> Iterator[tuple[OperatorRule, list[Call]]]:
    """Every rule with calls of a few of its overloads."""
    by_rule: dict[OperatorRule, list[Any]] = defaultdict(list)
    for _, overload, rule in overloads(operator_rules()):
        if only in f"{rule.__module__}.{rule.__name__}":
            by_rule[rule].append(overload)
    for rule, found in by_rule.items():
        step = max(1, len(found) // MOST_OVERLOADS)
        chosen = found[::step][:MOST_OVERLOADS]
        yield rule, [call for overload in chosen for call in calls(overload, count)]


def verdict(rule: OperatorRule, tried: Sequence[Call], kind: str, number: int) -> str:
    """What becomes of one mutant; nothing if no run states as much."""
    states = grows = ""
    for seed, call in enumerate(tried):
        sets = Forgetful(kind, number)
        denied: list[int] = []
        mutated = rule
        if kind in ("batch", "moved"):
            mutated = granting(rule, number if kind == "batch" else None, denied)
        try:
            mutant = check(call, mutated, seed=seed, sets=sets)
        except Exception:  # the solver finds no sense in it
            return "caught"
        if max(sets.heard[kind], *denied, 0) <= number:
            continue
        states = str(call)
        if mutant.wrong:
            return "caught"
        if not grows and mutant.claimed > check(call, rule, seed=seed).claimed + 1e-9:
            grows = str(call)
    if grows:
        print(f"{KINDS[kind]}, number {number}: {grows}", file=sys.stderr, flush=True)
    return "" if not states else "survives" if grows else "the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=6, help="of each overload")
    parser.add_argument("--only", default="", help="rules whose full name has this in it")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of mutants")
    parser.add_argument("-o", "--output", type=Path, help="also write the table to a file")
    options = parser.parse_args()
    chosen = {kind: words for kind, words in KINDS.items() if kind in options.kinds.split(",")}
    lines = ["| rule | kind | caught | the same | survives |", "|---|---|---|---|---|"]
    total: Counter[str] = Counter()
    for rule, tried in drawn_calls(options.calls, options.only):
        for kind, words in chosen.items():
            most = 1 if kind == "moved" else MOST_STATEMENTS
            found = [verdict(rule, tried, kind, n) for n in range(most)]
            count = Counter(verdict for verdict in found if verdict)
            total.update(count)
            if count:
                name = f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"
                numbers = (str(count[v]) for v in ("caught", "the same", "survives"))
                lines.append(f"| `{name}` | {words} | {' | '.join(numbers)} |")
                print(lines[-1], flush=True)
    print(dict(total))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
