"""Match two models of one architecture: find the permutation that brings one in the other's order."""

from zooalign.matching.activation import activation_matching, collect, match_statistics
from zooalign.matching.assignment import assign
from zooalign.matching.result import Match
from zooalign.matching.solvers import match, solvers
from zooalign.matching.statistics import Moments, Statistics
from zooalign.matching.weight import weight_matching

__all__ = [
    "Match",
    "Moments",
    "Statistics",
    "activation_matching",
    "assign",
    "collect",
    "match",
    "match_statistics",
    "solvers",
    "weight_matching",
]
