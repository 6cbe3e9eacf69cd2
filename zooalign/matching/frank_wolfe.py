"""Frank-Wolfe on the weight objective: all groups move at once.

The permutations of all groups are relaxed to doubly stochastic matrices. Each step asks one linear
assignment per family of groups for the best vertex by the gradient, and goes along the line to it
as far as the objective rises; on the line the objective is a polynomial, so the step is exact. The
matrices are projected to permutations at the end. The idea is that of Crisostomi et al. (C2M3,
arXiv 2405.17897) for many models; here it starts at the mean of all permutations, takes nested
groups, and a coordinate descent polishes the projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zooalign.matching.problem import Match, MatchProblem, Solver, option
from zooalign.matching.relaxed import Relaxation
from zooalign.matching.weight import (
    REACHED,
    SCALES,
    Descent,
    LocalOptimum,
    Scale,
    compared_weights,
    inner,
    summary,
)
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["FrankWolfeMatching", "maximise_on_unit"]

# The relaxed objective is done when the gradient promises less than this share of its bound.
_DONE = 1e-6


@dataclass(frozen=True, kw_only=True)
class FrankWolfeMatching(Solver):
    """Weight matching by Frank-Wolfe over all groups at once.

    The first search starts at the mean of all permutations, the others halfway between that mean
    and a random permutation.
    """

    name = "frank-wolfe"
    objective = "agreement of the weights, of 1 at most"
    reads_by_tensor = True
    starts: int = option(1, "the most starts to search from; the best result is taken")
    scale: str = option("balanced", "as for weight matching", choices=SCALES)
    steps: int = option(200, "steps of one search at most")
    polish: bool = option(True, "end with a coordinate descent from the projection")

    def solve(self, problem: MatchProblem) -> Match:
        """Search from each start, and project; values that are not finite raise MergeError."""
        spec, seed = problem.spec, problem.seed
        target, source, scale = compared_weights(problem, self.scale)
        objective = _RelaxedObjective(spec, target, source, scale)
        ends: list[LocalOptimum] = []
        relaxed: list[float] = []
        for number in range(max(1, self.starts)):
            begin = objective.begin(spec.random(seed + number) if number else None)
            matrices, value, steps = objective.maximise(begin, self.steps)
            descent = Descent(spec, target, source, objective.relaxation.project(matrices), scale)
            if self.polish:
                descent.run(np.random.default_rng(seed + number))
            relaxed.append(value / scale.total)
            end = LocalOptimum(descent.objective() / scale.total, descent.permutation, steps)
            ends.append(end)
            problem.progress(number + 1)
            if end.objective >= 1 - REACHED:
                break
        best = max(range(len(ends)), key=lambda n: ends[n].objective)
        return Match(
            ends[best].permutation,
            self.name,
            scale.value(target, source) / scale.total,
            ends[best].objective,
            {**summary(ends), "steps": ends[best].sweeps, "relaxed_objective": relaxed[best]},
        )


class _RelaxedObjective:
    """The relaxed weight objective of two state dicts."""

    def __init__(
        self,
        spec: PermutationSpec,
        target: Mapping[str, Tensor],
        source: Mapping[str, Tensor],
        scale: Scale,
    ) -> None:
        self.spec, self.target, self.source, self.scale = spec, target, source, scale
        self.relaxation = Relaxation(spec, target)
        self.like = next(iter(target.values()), torch.zeros(0))

    def begin(self, permutation: Permutation | None) -> dict[str, Tensor]:
        """The mean of all permutations, or halfway between it and the one given."""
        uniform = self.relaxation.uniform(self.like)
        if permutation is None:
            return uniform
        vertex = self.relaxation.matrices(permutation, self.like)
        return {g: torch.lerp(uniform[g], vertex[g], 0.5) for g in uniform}

    def maximise(
        self, matrices: dict[str, Tensor], steps: int
    ) -> tuple[dict[str, Tensor], float, int]:
        """The matrices at the end, the relaxed objective there, and the steps taken."""
        value = self.value(matrices)
        for step in range(steps):
            gradient = self.gradient(matrices)
            vertex = self.relaxation.matrices(self.relaxation.project(gradient), self.like)
            promised = sum(inner(gradient[g], vertex[g] - m) for g, m in matrices.items())
            if promised <= _DONE * self.scale.total:
                return matrices, value, step
            on_line = [
                self.value({g: torch.lerp(m, vertex[g], float(s)) for g, m in matrices.items()})
                for s in _nodes(self.relaxation.degree)
            ]
            length = maximise_on_unit(on_line)
            moved = {g: torch.lerp(m, vertex[g], length) for g, m in matrices.items()}
            higher = self.value(moved)
            if higher - value <= _DONE * 1e-2 * self.scale.total:
                return matrices, value, step
            matrices, value = moved, higher
        return matrices, value, steps

    def value(self, matrices: Mapping[str, Tensor]) -> float:
        return sum(
            inner(t, self.relaxation.moved(matrices, n, self.source[n])) * self.scale.share[n]
            for n, t in self.target.items()
        )

    def gradient(self, matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
        leaves = {g: m.detach().requires_grad_() for g, m in matrices.items()}
        gradient = {g: torch.zeros_like(m) for g, m in matrices.items()}
        for name, tensor in self.target.items():  # one at a time: only one graph is held
            used = sorted({p.group for p in self.relaxation.places.get(name, ())})
            with torch.enable_grad():
                moved = self.relaxation.moved(leaves, name, self.source[name])
                value = (moved * tensor).sum() * self.scale.share[name]
            parts = torch.autograd.grad(value, [leaves[g] for g in used])
            for g, part in zip(used, parts, strict=True):
                gradient[g] += part
        return gradient


def _nodes(degree: int) -> np.ndarray:
    """Chebyshev's points on [0, 1], as many as fix a polynomial of the degree."""
    count = max(degree, 1) + 1
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(count) / (count - 1))


def maximise_on_unit(values: "list[float] | np.ndarray") -> float:
    """Where on [0, 1] the polynomial through ``values`` at Chebyshev's points is greatest."""
    nodes = _nodes(len(values) - 1)
    polynomial = np.polynomial.Polynomial.fit(nodes, values, len(values) - 1)
    roots = polynomial.deriv().roots()
    inside = [s for s in np.real(roots[np.isreal(roots)]).tolist() if 0 < s < 1]
    candidates: list[float] = [0.0, 1.0, *inside]
    return max(candidates, key=lambda s: float(polynomial(s)))
