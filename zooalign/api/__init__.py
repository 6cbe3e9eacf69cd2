"""The functions of ``zooalign`` that take modules in memory; see ``docs/python.md``."""

from zooalign.api.aligning import Alignment, align, match
from zooalign.api.connecting import connectivity
from zooalign.api.merging import Merged, barrier, merge
from zooalign.api.optimizers import apply_to_optimizer
from zooalign.api.symmetries import explain, extract_spec, verify

__all__ = [
    "Alignment",
    "Merged",
    "align",
    "apply_to_optimizer",
    "barrier",
    "connectivity",
    "explain",
    "extract_spec",
    "match",
    "merge",
    "verify",
]
