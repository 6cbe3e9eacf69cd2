"""Match two models of one architecture: find the permutation that brings one in the other's order."""

from zooalign.match.activation import activation_matching, collect, match_statistics
from zooalign.match.assignment import assign
from zooalign.match.result import Match
from zooalign.match.solvers import match, solvers
from zooalign.match.statistics import Moments, Statistics
from zooalign.match.weight import weight_matching

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
