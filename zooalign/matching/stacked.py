"""Many checkpoints, one permutation: two sequences of checkpoints matched as one objective.

A training trajectory, or the levels of iterative pruning, is a sequence of checkpoints. *Simultaneous
weak* connectivity modulo permutation (Sharma et al., arXiv 2404.06498) says that one permutation
aligns every checkpoint of one sequence with that of the other at the same place. Stacking them
sums their objectives: inner products of weights, or correlations of units with the responses of
all checkpoints side by side.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zooalign.matching.many import match_many
from zooalign.matching.result import Match
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["match_stacked"]


def match_stacked(
    spec: PermutationSpec,
    targets: Sequence[Mapping[str, Tensor]],
    sources: Sequence[Mapping[str, Tensor]],
    *,
    method: str = "activation",
    **options: Any,
) -> Match:
    """The one permutation for all ``sources`` that brings each in the order of its target.

    Parameters
    ----------
    spec:
        Of the architecture.
    targets, sources:
        State dicts, as many of each; ``sources[t]`` is compared with ``targets[t]``.
    method:
        ``activation`` (needs ``data`` and ``module``) or ``weight``.
    options:
        Those of :func:`~zooalign.matching.many.match_many`: ``data``, ``module``, ``scale``,
        ``kind``, ``columns``, ``seed``, ``progress``.

    Returns
    -------
    Match
        Its objectives are means over the checkpoints. With one checkpoint of each this is
        matching of a pair.

    Raises
    ------
    MergeError, DataError
        As for :func:`~zooalign.matching.many.match_many`.
    """
    found = match_many(
        spec,
        [list(targets), list(sources)],
        method=method,
        through="reference",
        references=(0,),
        **options,
    )
    return Match(
        found.permutations[1],
        method,
        found.objective_before,
        found.objective_after,
        {**found.details, "checkpoints": len(targets)},
    )
