"""Imports that wait until they are used, so that a command starts without torch.

What every command passes through (the command line, plugins, references) must not import torch,
timm or the packages that compute. Such a file imports them in two branches: the first is what type
checkers and the order of packages see, the second is what runs::

    if TYPE_CHECKING:
        import torch
        from zooalign.zoo import building
    else:
        torch = lazy_module("torch")
        building = lazy_module("zooalign.zoo.building")

Names of types alone stand in the first branch only. ``tests/test_startup.py`` holds which modules
each command imports.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["lazy_module", "lazy_names"]


class _LazyModule(ModuleType):
    """A module that is imported when an attribute of it is first read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def lazy_module(name: str) -> ModuleType:
    """The module of this absolute name, imported at the first use of one of its attributes."""
    return _LazyModule(name)


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a module whose names come from others (PEP 562).

    Parameters
    ----------
    package:
        The ``__name__`` of the module that offers the names.
    modules:
        For each name, the module that defines it, imported when the name is first read.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
