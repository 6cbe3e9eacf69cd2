"""Where the next local search starts, and what is said of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zooalign.matching.assignment import whole
from zooalign.matching.places import families
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Found", "next_start", "perturbed", "summary"]

# Every so many starts one leaves the best for a random permutation.
_AFRESH = 4
# A perturbation shuffles between this share of a group's units and all of them.
_LEAST = 0.2


@dataclass(frozen=True)
class Found:
    """What one local search ended at, and after how many sweeps."""

    objective: float
    permutation: Permutation
    sweeps: int = 0


def next_start(
    spec: PermutationSpec,
    found: Sequence[Found],
    number: int,
    restarts: str,
    generator: np.random.Generator,
    seed: int,
) -> Permutation:
    """The permutation that start ``number`` (from 1 on) begins at."""
    if restarts == "random" or number % _AFRESH == 0:
        return spec.random(seed + number)
    best = max(found, key=lambda one: one.objective)
    return perturbed(spec, best.permutation, generator)


def perturbed(
    spec: PermutationSpec, permutation: Permutation, generator: np.random.Generator
) -> Permutation:
    """A permutation with part of the units of one family of groups shuffled.

    The family is drawn at random, and the share of its units that are shuffled too; what is
    nested in a unit moves with it.
    """
    choices = families(spec)
    if not choices:
        return permutation
    family = choices[int(generator.integers(len(choices)))]
    share = generator.uniform(_LEAST, 1.0)
    parts = {}
    for name in family:
        group = spec.by_id[name]
        index = np.tile(np.arange(group.size), (group.copies, 1))
        count = min(group.size, max(2, round(share * group.size)))
        for row in index:
            chosen = generator.choice(group.size, count, replace=False)
            row[np.sort(chosen)] = chosen
        parts[name] = index.reshape(*group.contexts, group.size)
    return spec.compose(whole(spec, parts), permutation)


def summary(found: Sequence[Found]) -> Mapping[str, float]:
    """Starts and their spread, for a report: how far local searches end from each other."""
    values = [one.objective for one in found]
    best = max(values)
    return {
        "starts": len(values),
        "spread": best - min(values),
        "mean_of_starts": sum(values) / len(values),
        "best_start": values.index(best),
    }
