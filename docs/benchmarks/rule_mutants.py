"""Every rule with one statement less: is the claim that is then too large caught?

    python docs/benchmarks/rule_mutants.py --calls 6 [--only zooalign.operators.join] [-o table.md]

A rule states equalities, positions that are told apart, and on what nothing may depend. Each kind
is dropped, the first statement of a run alone, then the second, and so on, and the mutant is tried
on drawn calls as in ``rules_against_operators.py``. A mutant is *caught* if its claim fails on
values, *the same* if it claims on no call more than the rule itself (another statement says the
same), and *survives* if it claims more and no call refutes it.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from operator_arguments import calls, overloads

from zooalign.graph.index_sets import Axis, Cause, IndexSets
from zooalign.graph.registry import OperatorRule
from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import Call, check

KINDS = {"equality": "one set", "apart": "told apart", "bound": "depends on no more"}
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
    states = grows = False
    for seed, call in enumerate(tried):
        sets = Forgetful(kind, number)
        try:
            mutant = check(call, rule, seed=seed, sets=sets)
        except Exception:  # the solver finds no sense in it
            return "caught"
        if sets.heard[kind] <= number:
            continue
        states = True
        if mutant.wrong:
            return "caught"
        grows = grows or mutant.claimed > check(call, rule, seed=seed).claimed + 1e-9
    return "" if not states else "survives" if grows else "the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=6, help="of each overload")
    parser.add_argument("--only", default="", help="rules whose full name has this in it")
    parser.add_argument("-o", "--output", type=Path, help="also write the table to a file")
    options = parser.parse_args()
    lines = ["| rule | kind | caught | the same | survives |", "|---|---|---|---|---|"]
    total: Counter[str] = Counter()
    for rule, tried in drawn_calls(options.calls, options.only):
        for kind, words in KINDS.items():
            found = [verdict(rule, tried, kind, n) for n in range(MOST_STATEMENTS)]
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
