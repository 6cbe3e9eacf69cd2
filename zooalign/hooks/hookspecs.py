"""Every extension point of zooalign. A plugin is a module (or object) with some of these.

Outside plugins name it in the entry-point group ``zooalign``; what is built in is registered the
same way (:mod:`zooalign.hooks.manager`). Mark an implementation with :data:`hookimpl`.
"""

from collections.abc import Sequence
from typing import Any

import pluggy

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "zooalign"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def zooalign_library_adapters() -> Sequence[Any]:
    """Adapters that build, load and save the models of a library (``timm:``, ``py:``).

    One with the methods of :class:`~zooalign.zoo.adapters.Catalogue` lists what its library has.
    """
    return []


@hookspec
def zooalign_operators() -> Sequence[Any]:
    """Modules of operator rules: what an operator does to the axes of its tensors.

    Each holds functions marked with :func:`zooalign.graph.registry.rule`. They come after the
    built-in ones and those of plugins before, and win over them.
    """
    return []


@hookspec
def zooalign_solvers() -> Sequence[Any]:
    """Matching methods (``--method NAME``).

    Each is a subclass of :class:`zooalign.matching.Solver`: a frozen dataclass with a ``name``,
    what it ``needs``, its options as fields, and ``solve(self, problem)``, which returns a
    :class:`~zooalign.matching.Match` whose permutation reorders the source's units to match the
    target's. The result is checked like that of any method.
    """
    return []


@hookspec
def zooalign_checks() -> Sequence[Any]:
    """Further checks of the release gate (``zooalign check``).

    Each is a function decorated with :func:`zooalign.gate.findings.check`. Ids are
    ``family.name`` with a family of the plugin's own; a policy file can turn them off, set their
    severity and their parameters.
    """
    return []
