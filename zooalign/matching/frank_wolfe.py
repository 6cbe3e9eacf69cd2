"""Frank-Wolfe on the weight objective: all groups move at once.

The permutations of all groups are relaxed to doubly stochastic matrices. Each step asks one linear
assignment per family of groups for the best vertex by the gradient, and goes along the line to it
as far as the objective rises; on the line the objective is a polynomial, so the step is exact. The
matrices are projected to permutations at the end. The idea is that of Crisostomi et al. (C2M3,
arXiv 2405.17897) for many models; here it starts at the mean of all permutations, takes nested
groups, and a coordinate descent polishes the projection.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from zooalign.matching.assignment import AssignmentSolver, assign, linear, whole
from zooalign.matching.relaxed import Relaxation
from zooalign.matching.result import Match
from zooalign.matching.weight import (
    REACHED,
    Descent,
    Found,
    Scale,
    inner,
    summary,
    tensors_matched,
    wide,
)
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["frank_wolfe_matching", "maximise_on_unit"]

# The relaxed objective is done when the gradient promises less than this share of its bound.
_DONE = 1e-6
_MOST_STEPS = 200


def frank_wolfe_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    starts: int = 1,
    seed: int = 0,
    scale: str = "balanced",
    steps: int = _MOST_STEPS,
    polish: bool = True,
    solver: AssignmentSolver = linear,
    initial: Permutation | None = None,
    progress: Callable[[int], None] | None = None,
) -> Match:
    """Weight matching by Frank-Wolfe over all groups at once.

    Parameters
    ----------
    spec, target, source, scale:
        As for :func:`~zooalign.matching.weight.weight_matching`.
    starts:
        The first starts at ``initial`` or else at the mean of all permutations, the others
        halfway between that mean and a random permutation. The best is returned.
    steps:
        Steps of one start at most.
    polish:
        End with a coordinate descent from the projection.

    Raises
    ------
    MergeError
        If a tensor holds a value that is not finite, or for an unknown scale.
    """
    names = tensors_matched(spec, target, source)
    left, right = ({n: wide(state[n]) for n in names} for state in (target, source))
    counted = Scale.of(scale, left, right)
    problem = _Problem(spec, left, right, counted, solver)
    before = counted.value(left, right)
    found: list[Found] = []
    relaxed = []
    for number in range(max(1, starts)):
        begin = problem.begin(initial if number == 0 else spec.random(seed + number), number)
        matrices, value, used = problem.run(begin, steps)
        permutation = problem.project(matrices)
        descent = Descent(spec, left, right, permutation, counted, solver)
        if polish:
            descent.run(np.random.default_rng(seed + number))
        relaxed.append(value / counted.total)
        found.append(Found(descent.objective() / counted.total, descent.permutation, used))
        if progress is not None:
            progress(number + 1)
        if found[-1].objective >= 1 - REACHED:
            break
    best = max(range(len(found)), key=lambda n: found[n].objective)
    return Match(
        found[best].permutation,
        "frank-wolfe",
        before / counted.total,
        found[best].objective,
        {**summary(found), "steps": found[best].sweeps, "relaxed_objective": relaxed[best]},
    )


class _Problem:
    """The relaxed weight objective of two state dicts."""

    def __init__(
        self,
        spec: PermutationSpec,
        target: Mapping[str, Tensor],
        source: Mapping[str, Tensor],
        scale: Scale,
        solver: AssignmentSolver,
    ) -> None:
        self.spec, self.target, self.source = spec, target, source
        self.scale, self.solver = scale, solver
        self.relaxation = Relaxation(spec, target)
        self.like = next(iter(target.values()), torch.zeros(0))

    def begin(self, permutation: Permutation | None, number: int) -> dict[str, Tensor]:
        uniform = self.relaxation.uniform(self.like)
        if permutation is None:
            return uniform
        vertex = self.relaxation.matrices(permutation, self.like)
        share = 0.5 if number else 1.0
        return {g: torch.lerp(uniform[g], vertex[g], share) for g in uniform}

    def run(self, matrices: dict[str, Tensor], steps: int) -> tuple[dict[str, Tensor], float, int]:
        """The matrices at the end, the relaxed objective there, and the steps taken."""
        value = self.value(matrices)
        for step in range(steps):
            gradient = self.gradient(matrices)
            vertex = self.relaxation.matrices(self.project(gradient), self.like)
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
        found = {g: torch.zeros_like(m) for g, m in matrices.items()}
        for name, tensor in self.target.items():  # one at a time: only one graph is held
            used = sorted({p.group for p in self.relaxation.places.get(name, ())})
            with torch.enable_grad():
                moved = self.relaxation.moved(leaves, name, self.source[name])
                value = (moved * tensor).sum() * self.scale.share[name]
            for g, part in zip(
                used, torch.autograd.grad(value, [leaves[g] for g in used]), strict=True
            ):
                found[g] += part
        return found

    def project(self, matrices: Mapping[str, Tensor]) -> Permutation:
        similarity = {g: m.cpu().numpy() for g, m in matrices.items()}
        return whole(self.spec, assign(self.spec, similarity, solver=self.solver))


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
    return max((0.0, 1.0, *inside), key=lambda s: float(polynomial(s)))
