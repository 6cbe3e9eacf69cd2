"""Weight matching: maximise the inner product of two models' weights over all permutations.

Coordinate descent (Ainsworth et al., arXiv 2209.04836, Algorithm 1) from one or several starts.
"""

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from zooalign.errors import MergeError
from zooalign.matching.assignment import AssignmentSolver, linear
from zooalign.matching.certificate import REACHED
from zooalign.matching.descent import Descent
from zooalign.matching.objective import Scale, tensors_matched, wide
from zooalign.matching.restarts import Found, next_start, summary
from zooalign.matching.result import Match
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["weight_matching"]

Progress = Callable[[int], None]


def weight_matching(
    spec: PermutationSpec,
    target: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    starts: int = 1,
    restarts: str = "random",
    seed: int = 0,
    scale: str = "balanced",
    solver: AssignmentSolver = linear,
    initial: Permutation | None = None,
    similarity: Mapping[str, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Match:
    """The permutation of ``source`` whose weights have the largest inner product with ``target``'s.

    Parameters
    ----------
    spec:
        Of the architecture.
    target, source:
        State dicts. Buffers (running statistics) take no part.
    starts:
        How many descents are made at most; the first starts at ``initial``. The best is returned.
        None follows one that reaches the upper bound of the objective: no permutation is better.
    restarts:
        Where the other descents start: ``random``, at random permutations; ``perturb``, at the
        best permutation found so far with part of the units of one family of groups shuffled
        (iterated local search, Lourenço et al. 2003), every fourth at a random permutation.
    seed:
        For the starts and the order of families.
    scale:
        What each tensor's inner product counts: ``plain`` as it is (the published objective),
        ``balanced`` divided by the square root of the product of the tensor's two norms, so that
        one large layer does not decide for all, ``cosine`` divided by the product.
    initial:
        Where the first descent starts (the identity if not given).
    similarity:
        Per group, of shape (units, units), target by source: what pairing two units is worth
        beside the weights, in units of the objective as it is reported.

    Raises
    ------
    MergeError
        If a tensor holds a value that is not finite, or for an unknown ``scale`` or ``restarts``.
    """
    if restarts not in ("perturb", "random"):
        raise MergeError(f"no restarts '{restarts}'; there are 'perturb' and 'random'")
    names = tensors_matched(spec, target, source)
    left = {n: wide(target[n]) for n in names}
    right = {n: wide(source[n]) for n in names}
    counted = Scale.of(scale, left, right)
    extra = {g: m * counted.total for g, m in (similarity or {}).items()}
    before = counted.value(left, right) + sum(float(np.trace(m)) for m in extra.values())
    found: list[Found] = []
    for number in range(max(1, starts)):
        generator = np.random.default_rng(seed + number)
        begin = initial or spec.identity()
        if number:
            begin = next_start(spec, found, number, restarts, generator, seed)
        descent = Descent(spec, left, right, begin, counted, solver, extra)
        sweeps = descent.run(generator)
        found.append(Found(descent.objective() / counted.total, descent.permutation, sweeps))
        if progress is not None:
            progress(number + 1)
        if not extra and found[-1].objective >= 1 - REACHED:
            break
    best = max(found, key=lambda one: one.objective)
    details = {**summary(found), "sweeps": best.sweeps}
    return Match(best.permutation, "weight", before / counted.total, best.objective, details)
