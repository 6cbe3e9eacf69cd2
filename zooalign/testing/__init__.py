"""Test helpers for projects that load, publish or rewrite models. See ``docs/testing.md``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zooalign.testing._faults import (
        Corrupt,
        Cut,
        Drop,
        EndlessPages,
        Fault,
        RedirectLoop,
        Reply,
        Shorten,
        Slow,
    )
    from zooalign.testing._server import LoggedRequest
    from zooalign.testing.equivalence import assert_equivalent
    from zooalign.testing.hub import LoopbackHub

__all__ = [
    "Corrupt",
    "Cut",
    "Drop",
    "EndlessPages",
    "Fault",
    "LoggedRequest",
    "LoopbackHub",
    "RedirectLoop",
    "Reply",
    "Shorten",
    "Slow",
    "assert_equivalent",
]

_WHERE = {
    "LoggedRequest": "_server",
    "LoopbackHub": "hub",
    "assert_equivalent": "equivalence",
}


def __getattr__(name: str) -> Any:
    # The hub must not pay for torch, nor assert_equivalent for the hub.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE.get(name, '_faults')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
