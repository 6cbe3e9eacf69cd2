"""Align, merge and check neural-network checkpoints modulo permutation.

The whole public surface is the names in ``__all__``; ``docs/python.md`` shows them at work.
Importing the package is cheap: torch is imported when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zooalign.api import Alignment, Merged, align, barrier, merge
    from zooalign.matching.result import Match
    from zooalign.matching.solvers import match
    from zooalign.merging.curve import BarrierCurve
    from zooalign.symmetry.explain import explain
    from zooalign.symmetry.extract import derive_spec, extract_spec
    from zooalign.symmetry.permutation import Permutation
    from zooalign.symmetry.spec import PermutationSpec
    from zooalign.symmetry.verify import Verification, verify

__all__ = [
    "Alignment",
    "BarrierCurve",
    "Match",
    "Merged",
    "Permutation",
    "PermutationSpec",
    "Verification",
    "__version__",
    "align",
    "barrier",
    "derive_spec",
    "explain",
    "extract_spec",
    "match",
    "merge",
    "verify",
]

_HOMES = {
    "Alignment": "zooalign.api",
    "BarrierCurve": "zooalign.merging.curve",
    "Match": "zooalign.matching.result",
    "Merged": "zooalign.api",
    "Permutation": "zooalign.symmetry.permutation",
    "PermutationSpec": "zooalign.symmetry.spec",
    "Verification": "zooalign.symmetry.verify",
    "align": "zooalign.api",
    "barrier": "zooalign.api",
    "derive_spec": "zooalign.symmetry.extract",
    "explain": "zooalign.symmetry.explain",
    "extract_spec": "zooalign.symmetry.extract",
    "match": "zooalign.matching.solvers",
    "merge": "zooalign.api",
    "verify": "zooalign.symmetry.verify",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("zooalign")
    if name not in _HOMES:
        raise AttributeError(f"module 'zooalign' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
