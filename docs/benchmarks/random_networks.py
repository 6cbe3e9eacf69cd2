"""Thousands of random networks: no spec moves what it must not, checked unit by unit.

    python docs/benchmarks/random_networks.py --networks 5000 --seed 0 [--wide] [--converse]
    python docs/benchmarks/random_networks.py --grammar written --networks 5000 --seed 0

Each network is extracted. Then neighbouring units of each group change places, one pair in one
context at a time, on the module itself with random parameters and inputs in float64; ``verify``
takes no part. The report counts the networks, those that were refused, those with an unsound spec,
and the mean of log10 of the group's order, which shows lost symmetries.

There are two grammars. Networks of *steps* are drawn by ``random_programs`` in
``tests/support/sample_models``, with ``--wide`` from rarer operators too (orders, tables of
numbers, windows, masks, statistics), in batches of a hundred with a seed each. *Written* networks
are lines of code by ``written_grammar``: parameters in several roles, sizes that coincide, pieces
cut and reordered, einsums drawn letter by letter, writes in place; each has a seed. The first
unsound network (with ``--keep-going`` each) is made as small as possible and printed.

With ``--converse`` a network of steps also fails in which two units of a frozen set change places
without a change of the output: a symmetry that was missed. Pairs that always hold the same value,
or that nothing reads, are counted apart, and so are sets that are held by a limit of zooalign:
reversed axes, and positions laid beside themselves (``cat([x, x])`` along an axis that is fixed is
one fixed axis, though the two copies of a position are alike). And so are networks where nothing is
missed once a layer reads the whole of every tensor: what ties units in positions that nothing reads
ties them all the same.
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
from sample_models.generators import WRONG, worst_generator
from sample_models.random_networks import Program
from sample_models.random_programs import programs
from sample_models.written_grammar import written_network
from sample_models.written_networks import WrittenNetwork, smallest

from zooalign.coverage.reasons import MATHEMATICAL
from zooalign.errors import SpecError, ZooalignError
from zooalign.graph.index_sets import Cause
from zooalign.symmetry import PermutationSpec, derive_spec, extract_spec
from zooalign.symmetry.converse import Unchanged, converse

BATCH = 100
MOST_GENERATORS = 24  # of one group


class Tally:
    """What was seen so far."""

    def __init__(self) -> None:
        self.networks = self.with_groups = self.nested = self.mixable = self.limited = 0
        self.refused = self.unsound = 0
        self.log10_order = 0.0

    def count(self, spec: PermutationSpec) -> None:
        """One more network, with its spec."""
        self.networks += 1
        self.with_groups += bool(spec.groups)
        self.nested += any(group.over for group in spec.groups)
        self.log10_order += spec.log10_order

    def __str__(self) -> str:
        return (
            f"{self.networks} networks, {self.unsound} unsound, {self.refused} refused, "
            f"{self.with_groups} with symmetries, {self.nested} with nested ones, "
            f"mean log10 order {self.log10_order / max(1, self.networks):.3f}, "
            f"{self.mixable} with copies or unread units, "
            f"{self.limited} with a symmetry missed by a limit"
        )


def examine(arguments: tuple[Any, ...], tally: Tally, missed: bool) -> None:
    """Extract and check one network.

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
    error, generator = worst_generator(module, spec, module.inputs(), MOST_GENERATORS)
    assert error <= WRONG, (error, generator)
    tally.count(spec)
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


def unsound(network: WrittenNetwork) -> bool:
    """Whether the spec of a network moves what it must not; False where there is no spec."""
    try:
        spec = extract_spec(network.module(), network.inputs())
    except (ZooalignError, RuntimeError):  # torch's words for shapes that do not fit
        return False
    return worst_generator(network.module(), spec, network.inputs(), MOST_GENERATORS)[0] > WRONG


def written(number: int, tally: Tally) -> bool:
    """Examine the network of one seed; whether its spec is right."""
    network = written_network(number)
    try:
        spec = extract_spec(network.module(), network.inputs())
    except ZooalignError as error:
        print(f"seed {number}: {error}")
        tally.refused += 1
        return True
    tally.count(spec)
    error, _ = worst_generator(network.module(), spec, network.inputs(), MOST_GENERATORS)
    if error <= WRONG:
        return True
    tally.unsound += 1
    small = smallest(network, unsound)
    spec = extract_spec(small.module(), small.inputs())
    error, generator = worst_generator(small.module(), spec, small.inputs())
    print(f"seed {number}: a wrong spec\n{small.source()}")
    print(f"# {[(g.id, g.structure) for g in spec.groups]}: {generator} changes {error:.1e}\n")
    return False


def run_written(first: int, networks: int, keep_going: bool) -> int:
    """The networks of consecutive seeds; 1 if a spec was wrong."""
    tally, start = Tally(), time.perf_counter()
    for number in range(first, first + networks):
        right = written(number, tally)
        last = number + 1 == first + networks
        if last or (number + 1) % BATCH == 0 or not (right or keep_going):
            print(f"seed {number}: {tally}, {time.perf_counter() - start:.0f} s", flush=True)
        if not (right or keep_going):
            break
    return int(tally.unsound > 0)


def main() -> int:
    """Run the batches; 1 if a spec was wrong or lacks a symmetry."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wide", action="store_true", help="Rarer operators too.")
    parser.add_argument("--converse", action="store_true")
    parser.add_argument("--grammar", choices=("steps", "written"), default="steps")
    parser.add_argument("--keep-going", action="store_true", help="Written: past a wrong spec.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.grammar == "written":
        return run_written(asked.seed, asked.networks, asked.keep_going)
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
