"""Solve for one permutation a network, whatever is compared and through what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from zooalign.matching.joint import JointObjective, ascend
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["ManyMatch", "Problem", "solve", "solve_pair"]

Progress = Callable[[int], None]
# The objective of some networks that stand at some permutations, and of one network to another.
Make = Callable[[Sequence[int], Sequence[Permutation]], JointObjective]
Pair = Callable[[int, int], Permutation]


@dataclass(frozen=True)
class ManyMatch:
    """One permutation a network, which bring all of them in one order.

    Attributes
    ----------
    permutations:
        To be applied to the networks' state dicts. The reference's own is the identity.
    method:
        ``activation`` or ``weight``.
    through:
        ``universe``, ``mean`` or ``reference``.
    reference:
        The network whose order is kept.
    objective_before, objective_after:
        Mean over all pairs: correlation of paired units, or inner product of weights over the
        product of their norms; for the networks as they are, and in the order found.
    details:
        Numbers for a report: sweeps, and the objective from each reference (``from_0``, ...).
    """

    permutations: tuple[Permutation, ...]
    method: str
    through: str
    reference: int
    objective_before: float
    objective_after: float
    details: Mapping[str, float] = field(default_factory=dict)

    def between(self, spec: PermutationSpec, i: int, j: int) -> Permutation:
        """The permutation that brings network ``j`` in the order network ``i`` has now.

        ``between(i, j)`` after ``between(j, k)`` is ``between(i, k)`` exactly.
        """
        return spec.compose(spec.invert(self.permutations[i]), self.permutations[j])


@dataclass(frozen=True)
class Problem:
    """What is to be brought in one order, whatever is compared."""

    spec: PermutationSpec
    count: int
    make: Make
    pair: Pair
    method: str
    facts: Mapping[str, float] = field(default_factory=dict)


def solve(
    problem: Problem,
    through: str,
    references: Sequence[int],
    seed: int,
    progress: Progress | None,
) -> ManyMatch:
    """The result of the best reference; parameters as of :func:`zooalign.matching.match_many`."""
    spec, everyone = problem.spec, range(problem.count)
    identity = (spec.identity(),) * problem.count
    before = problem.make(everyone, identity).value()
    details = dict(problem.facts)
    best: tuple[float, tuple[Permutation, ...], int] | None = None
    for reference in references if through != "mean" else references[:1]:
        at, sweeps = identity, 0
        if through != "mean":
            at = tuple(
                spec.identity() if n == reference else problem.pair(reference, n) for n in everyone
            )
        objective = problem.make(everyone, at)
        if through != "reference":
            at, sweeps = ascend(
                spec, objective, at, by_network=through == "mean", seed=seed, progress=progress
            )
        value = objective.value()
        details |= {f"from_{reference}": value, "sweeps": sweeps}
        if best is None or value > best[0]:
            best = (value, at, reference)
    assert best is not None
    after, at, reference = best
    # Only the networks' order relative to each other matters: keep the reference's own.
    back = spec.invert(at[reference])
    kept = tuple(spec.compose(back, p) for p in at)
    return ManyMatch(kept, problem.method, through, reference, before, after, details)


def solve_pair(
    spec: PermutationSpec, make: Make, seed: int, target: int, source: int
) -> Permutation:
    """Bring the source in the order of the target by the joint objective of the two."""
    objective = make((target, source), (spec.identity(),) * 2)
    found, _ = ascend(spec, objective, (spec.identity(),) * 2, moving=(1,), seed=seed)
    return found[1]
