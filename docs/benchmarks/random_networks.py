"""Thousands of random networks: every spec verifies, and what it holds frozen is told apart.

    python docs/benchmarks/random_networks.py --networks 5000 --seed 0 [--wide] [--converse]

Networks are drawn by the grammar of ``random_programs`` in ``tests/support/sample_models``, with
``--wide`` from rarer operators too (orders, tables of numbers, windows, masks, statistics). Each
one is extracted and verified, all groups at once and each alone, in batches with a seed each; a
batch can be run again with ``--seed N --networks 1``. The first network whose spec is wrong is made
as small as possible and printed. With ``--converse`` a network also fails in which two units of a
frozen set change places without a change of the output: a symmetry that was missed. Pairs that
always hold the same value, or that nothing reads, are counted apart, and so are sets that are held
by a limit of zooalign: reversed axes, and positions laid beside themselves (``cat([x, x])`` along
an axis that is fixed is one fixed axis, though the two copies of a position are alike). And so are
networks where nothing is missed once a layer reads the whole of every tensor: what ties units in
positions that nothing reads ties them all the same.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from hypothesis import HealthCheck, Phase, given, seed, settings
from sample_models.random_networks import Program
from sample_models.random_programs import programs

from zooalign.coverage.reasons import MATHEMATICAL
from zooalign.errors import SpecError
from zooalign.graph.index_sets import Cause
from zooalign.symmetry import derive_spec, verify
from zooalign.symmetry.converse import Unchanged, converse

BATCH = 100


class Tally:
    """What was seen so far."""

    def __init__(self) -> None:
        self.networks = self.with_groups = self.nested = self.mixable = self.limited = 0

    def __str__(self) -> str:
        return (
            f"{self.networks} networks, {self.with_groups} with symmetries, "
            f"{self.nested} with nested ones, {self.mixable} with copies or unread units, "
            f"{self.limited} with a symmetry missed by a limit"
        )


def examine(arguments: tuple[Any, ...], tally: Tally, missed: bool) -> None:
    """Extract and verify one network.

    Raises
    ------
    AssertionError
        If a group of the spec changes the function, an operator is not understood, or, where that
        is asked for, a symmetry was missed.
    """
    torch.manual_seed(0)
    module = Program(*arguments)
    derived = derive_spec(module, module.inputs())
    spec = derived.spec
    assert not spec.unknown_operators, spec.unknown_operators
    proof = verify(module, spec, module.inputs(), alone=True)
    assert proof.max_relative_error <= proof.tolerance, proof
    tally.networks += 1
    tally.with_groups += bool(spec.groups)
    tally.nested += any(group.over for group in spec.groups)
    if missed:
        unchanged = converse(module, derived, module.inputs()).unchanged
        missing = [pair for pair in unchanged if not pair.mixable]
        wrong = _wrong(unchanged)
        if wrong and any(step.name in ("cut", "select") for step in arguments[1]):
            torch.manual_seed(0)
            module = Program(*arguments, whole=True)
            derived = derive_spec(module, module.inputs())
            wrong = _wrong(converse(module, derived, module.inputs()).unchanged)
        assert not wrong, wrong
        tally.mixable += len(unchanged) > len(missing)
        tally.limited += bool(missing)


def _wrong(unchanged: Iterable[Unchanged]) -> list[Unchanged]:
    """Symmetries that were missed without a limit that says so."""
    return [pair for pair in unchanged if not pair.mixable and not _limited(pair.cause)]


def _limited(cause: Cause) -> bool:
    """Whether a set is held by a limit: a reason that is none, or positions beside themselves."""
    joined = cause.kind == "position" and cause.operator.startswith(("aten.cat", "aten.stack"))
    return cause.kind not in MATHEMATICAL or joined


def batch(number: int, tally: Tally, missed: bool, wide: bool) -> None:
    """One batch under its own seed; hypothesis shrinks what fails and prints it."""

    @seed(number)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs(most=12, wide=wide))
    def run(arguments: tuple[Any, ...]) -> None:
        with suppress(SpecError):  # nothing finite to compare
            examine(arguments, tally, missed)

    run()


def main() -> int:
    """Run the batches; 1 if a spec was wrong or lacks a symmetry."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wide", action="store_true", help="Rarer operators too.")
    parser.add_argument("--converse", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tally, start = Tally(), time.perf_counter()
    for number in range(asked.seed, asked.seed + -(-asked.networks // BATCH)):
        try:
            batch(number, tally, asked.converse, asked.wide)
        except AssertionError as error:
            print(f"seed {number}: a wrong spec, or one that lacks a symmetry\n{error}")
            for note in getattr(error, "__notes__", ()):
                print(note)
            return 1
        print(f"seed {number}: {tally}, {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
