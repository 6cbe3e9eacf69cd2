"""Find the permutation that reorders one model's units to match another's."""

from zooalign.matching.assignment import assign
from zooalign.matching.many import ManyMatch, match_many, match_stacked
from zooalign.matching.masks import (
    MaskOverlap,
    apply_mask,
    carry_mask,
    mask_of,
    mask_overlap,
    match_masks,
)
from zooalign.matching.problem import Match, MatchProblem, Options, Solver, option
from zooalign.matching.solvers import match, solvers
from zooalign.matching.statistics import Moments, Statistics
from zooalign.matching.unit_responses import collect, match_statistics
from zooalign.matching.widths import Padded, pad_to

__all__ = [
    "ManyMatch",
    "MaskOverlap",
    "Match",
    "MatchProblem",
    "Moments",
    "Options",
    "Padded",
    "Solver",
    "Statistics",
    "apply_mask",
    "assign",
    "carry_mask",
    "collect",
    "mask_of",
    "mask_overlap",
    "match",
    "match_many",
    "match_masks",
    "match_stacked",
    "match_statistics",
    "option",
    "pad_to",
    "solvers",
]
