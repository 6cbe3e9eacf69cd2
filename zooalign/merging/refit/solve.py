"""Least squares with a pull towards the average of the weights.

``W = W0 + (G + lambda I)^-1 (C - G W0)``, with G the Gram matrix of the inputs, C their products
with the targets and W0 the average. Where there is an intercept, it is free, and G and C are of
deviations from the mean.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from zooalign.merging.refit.sums import Sums

__all__ = ["RIDGES", "Solution", "best_ridge", "relu_rounds", "solved", "unexplained"]

# Shares of the mean variance of an input.
RIDGES = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0)
# Where no row is left to judge by.
DEFAULT = 0.1
# How far a ReLU round goes beyond what it solves for.
_OVER = 0.5


@dataclass(frozen=True, eq=False)
class Solution:
    """``rows @ matrix + intercept`` for each group: (g, i, o) and (g, o), in float64."""

    matrix: Tensor
    intercept: Tensor


def solved(sums: Sums, start: Tensor, ridge: float, intercept: bool) -> Solution:
    """The weights that fit best, drawn to ``start`` (g, i, o)."""
    used = sums.centred() if intercept else sums
    matrix = start + torch.cholesky_solve(
        used.cross - used.gram @ start, _factor(sums, ridge, used)
    )
    return _with_mean(sums, matrix, intercept)


def _factor(sums: Sums, ridge: float, used: Sums) -> Tensor:
    """The Cholesky factor of the Gram matrix with its ridge."""
    eye = torch.eye(used.gram.shape[1], dtype=torch.float64, device=used.gram.device)
    factor: Tensor = torch.linalg.cholesky(used.gram + ridge * sums.scale * eye)
    return factor


def _with_mean(sums: Sums, matrix: Tensor, intercept: bool) -> Solution:
    """A matrix with the intercept that gives outputs the targets' mean; zero without one."""
    means = (sums.targets - (sums.inputs[:, None, :] @ matrix)[:, 0]) / sums.count
    return Solution(matrix, means if intercept else torch.zeros_like(means))


def best_ridge(fit: Sums, judge: Sums, start: Tensor, intercept: bool) -> float:
    """The ridge whose fit on some rows has the least error on others.

    It is looked for downhill from the middle one of :data:`RIDGES`.
    """
    if not judge.count > 0:
        return DEFAULT

    @cache
    def judged(number: int) -> float:
        return error(solved(fit, start, RIDGES[number], intercept), judge)

    best = len(RIDGES) // 2
    while True:
        near = [n for n in (best, best - 1, best + 1) if 0 <= n < len(RIDGES)]
        least = min(near, key=judged)
        if least == best:
            return RIDGES[best]
        best = least


def error(solution: Solution, sums: Sums) -> float:
    """The sum of squared differences from the targets."""
    w, b = solution.matrix, solution.intercept
    explained = (w * (sums.gram @ w - 2 * sums.cross)).sum(1) + sums.squares
    shift = 2 * b * ((sums.inputs[:, None, :] @ w)[:, 0] - sums.targets) + sums.count * b * b
    return max(float((explained + shift).sum()), 0.0)


def unexplained(solution: Solution, sums: Sums, variance: float) -> float | None:
    """The error as a share of the targets' variance; None without rows."""
    if not sums.count > 0:
        return None
    return error(solution, sums) / variance if variance > 0 else 0.0


def averaged(sums: Sums, start: Tensor, intercept: bool) -> Solution:
    """The average itself, its outputs' mean set right where it can be."""
    return _with_mean(sums, start, intercept)


@dataclass(frozen=True, eq=False)
class ReluRows:
    """Rows of a layer before a ReLU.

    ``inputs`` are (n, g, i); ``other``, the other term of the sum before the ReLU, and ``behind``,
    what the parents give behind it, (n, g, o).
    """

    inputs: Tensor
    other: Tensor
    behind: Tensor


def relu_rounds(
    rows: ReluRows, sums: Sums, start: Tensor, ridge: float, intercept: bool, rounds: int
) -> Solution:
    """Fit to what is wanted behind the ReLU, from the fit before it.

    Where the parents are positive the target is theirs; elsewhere it is the last fit, but no more
    than zero. Each round solves with the same factor, for what the last fit is wrong by; all but
    the last go beyond the solution by half.
    """
    used = sums.centred() if intercept else sums
    factor, penalty = _factor(sums, ridge, used), ridge * sums.scale
    x, other, behind = (t.transpose(0, 1) for t in (rows.inputs, rows.other, rows.behind))
    mean = x.mean(1, keepdim=True) if intercept else torch.zeros_like(x[:, :1])
    centred = x - mean
    means = mean.double()
    current = solved(sums, start, ridge, intercept)
    for number in range(rounds):
        matrix, shift = current.matrix, current.intercept
        value = x @ matrix.to(x) + shift.to(x)[:, None] + other
        wrong = torch.where(behind > 0, behind, value.clamp(max=0)) - value
        pull = (centred.transpose(1, 2) @ wrong).double() + penalty * (start - matrix)
        step = torch.cholesky_solve(pull, factor)
        offset = wrong.mean(1).double() - (means @ step)[:, 0]
        over = 1.0 if number == rounds - 1 else 1.0 + _OVER
        moved = over * offset if intercept else torch.zeros_like(offset)
        current = Solution(matrix + over * step, shift + moved)
    return current
