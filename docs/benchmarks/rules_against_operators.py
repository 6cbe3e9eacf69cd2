"""Every rule against its operator: the claimed joint action is tried on values.

    python docs/benchmarks/rules_against_operators.py --calls 50 [--seed 0] [--only aten.einsum]

For every overload that a rule covers, calls are drawn from its schema
(``tests/support/operator_arguments.py``): with ties, zeros of both signs, views, axes of one
position and of equal sizes, and repeated operands, whose axes are sets of their own, one set, or
products. The rule alone says how operands and results are permuted together; members of that group
and single exchanges are tried, in float64 (:mod:`zooalign.testing.rules`). The report names the
first calls whose claim does not hold, and the overloads that no drawn call was taken by.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from operator_arguments import calls, overloads

from zooalign.symmetry.extract import operator_rules
from zooalign.testing.rules import check


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=50, help="of each overload")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="overloads whose name has this in it")
    options = parser.parse_args()
    start = time.perf_counter()
    counts: Counter[str] = Counter()
    untried = []
    for name, overload, rule in overloads(operator_rules()):
        if options.only not in name:
            continue
        counts["overloads"] += 1
        tried = 0
        for number, call in enumerate(calls(overload, options.calls, options.seed)):
            outcome = check(call, rule, seed=number)
            tried += 1
            counts["calls"] += 1
            counts["moves"] += outcome.moves
            counts["calls that a rule does not cover"] += bool(outcome.fault)
            counts["wrong claims"] += bool(outcome.wrong)
            if outcome.wrong:
                print(f"WRONG {outcome.wrong}", flush=True)
        if not tried:
            untried.append(name)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"no call: {' '.join(untried) or 'none'}; {time.perf_counter() - start:.0f} s")
    return bool(counts["wrong claims"])


if __name__ == "__main__":
    sys.exit(main())
