"""Align, merge and check neural-network checkpoints modulo permutation.

The names below are the public Python API; ``docs/python.md`` shows them at work. They are imported
when they are first used: ``import zooalign`` alone imports neither torch nor any other library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zooalign import errors
    from zooalign.api import (
        Alignment,
        Merged,
        align,
        apply_to_optimizer,
        barrier,
        connectivity,
        explain,
        extract_spec,
        match,
        merge,
        verify,
    )
    from zooalign.matching import Match
    from zooalign.merging import BarrierCurve
    from zooalign.symmetry import Permutation, PermutationSpec, Verification

    __version__: str

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
    "apply_to_optimizer",
    "barrier",
    "connectivity",
    "errors",
    "explain",
    "extract_spec",
    "match",
    "merge",
    "verify",
]

# Everything else is in zooalign.api.
_ELSEWHERE = {
    "BarrierCurve": "zooalign.merging",
    "Match": "zooalign.matching",
    "Permutation": "zooalign.symmetry",
    "PermutationSpec": "zooalign.symmetry",
    "Verification": "zooalign.symmetry",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        return import_module("importlib.metadata").version("zooalign")
    if name == "errors":
        return import_module("zooalign.errors")
    return getattr(import_module(_ELSEWHERE.get(name, "zooalign.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
