"""Every extension point of zooalign. A plugin is a module (or object) with some of these.

Outside plugins name it in the entry-point group ``zooalign``; what is built in is registered the
same way (:mod:`zooalign.zoo.plugins`). Mark an implementation with :data:`hookimpl`.
"""

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from zooalign.zoo.adapters import LibraryAdapter

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "zooalign"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def zooalign_library_adapters() -> "list[LibraryAdapter]":
    """Adapters that build, load and save the models of a library (``timm:``, ``py:``).

    One with the methods of :class:`~zooalign.zoo.adapters.Catalogue` lists what its library has.
    """
    return []


@hookspec
def zooalign_operators() -> list[Any]:
    """Modules of operator rules: what an operator does to the axes of its tensors."""
    return []


@hookspec
def zooalign_solvers() -> list[Any]:
    """Solvers of the assignment problem over the groups of a spec."""
    return []


@hookspec
def zooalign_checks() -> list[Any]:
    """Further checks of the release gate (``zooalign check``)."""
    return []
