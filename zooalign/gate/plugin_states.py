"""What plugins add: checks, matching methods, operator rules, model libraries.

Every hook of every plugin is called by itself, so that what fails has a name. A plugin that
cannot be loaded is left out with a warning, but one that was loaded and then fails in a hook stops
the command that asked for it: a release gate must not pass because a check of it is missing.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from zooalign.errors import ZooalignError
from zooalign.gate.findings import Check
from zooalign.plugins.manager import (ALLOW_LIST, PluginInfo, implementations, loaded_plugins, outside_allow_list)

__all__ = [
    "PluginError",
    "PluginState",
    "plugin_checks",
    "plugin_operators",
    "plugin_solvers",
    "plugin_states",
]

_SOLVER_ARGUMENTS = ("spec", "target", "source")


class PluginError(ZooalignError):
    """A plugin was loaded, but what it gives is not what its hook asks for."""


@dataclass(frozen=True)
class PluginState:
    """A plugin, what it provides, and why it does not work where it does not.

    ``left_out`` says that the allow-list keeps it out.
    """

    info: PluginInfo
    provides: tuple[str, ...] = field(default=())
    error: str | None = None
    left_out: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {
            **vars(self.info),
            "hooks": list(self.info.hooks),
            "provides": list(self.provides),
            "left_out": self.left_out,
            "error": self.error,
        }


def plugin_checks() -> tuple[Check, ...]:
    """The checks of all plugins.

    Raises
    ------
    PluginError
        If one gives something else than checks.
    """
    return tuple(item for _, items in _items("zooalign_checks", _check) for item in items)


def plugin_operators() -> tuple[ModuleType, ...]:
    """The modules of operator rules of all plugins.

    Raises
    ------
    PluginError
        If one gives something else than modules with rules.
    """
    return tuple(item for _, items in _items("zooalign_operators", _rules) for item in items)


def plugin_solvers() -> dict[str, Any]:
    """The matching methods of all plugins by name (``--method NAME``).

    Raises
    ------
    PluginError
        If one gives something else than solvers, or a name twice or a built-in one.
    """
    found: dict[str, Any] = {}
    for info, items in _items("zooalign_solvers", _solver):
        for solver in items:
            name = _solver_name(solver)
            if name in found:
                raise _failed(info, "zooalign_solvers", f"a method named {name!r} is there already")
            found[name] = solver
    return found


def plugin_states() -> tuple[PluginState, ...]:
    """All plugins with what each provides; nothing is raised."""
    states = []
    for info in loaded_plugins():
        provides: list[str] = []
        error = info.error
        for hook, (kind, validate, name) in _KINDS.items():
            if error is not None or hook not in info.hooks:
                continue
            try:
                for _, items in _items(hook, validate, only=info.name):
                    provides.extend(f"{kind} {name(item)}" for item in items)
            except PluginError as problem:
                error = str(problem)
        states.append(PluginState(info, tuple(provides), error))
    left_out = (
        PluginState(info, error=f"not in {ALLOW_LIST}", left_out=True)
        for info in outside_allow_list()
    )
    return (*states, *left_out)


def _items(
    hook: str, validate: Callable[[Any], str | None], only: str | None = None
) -> list[tuple[PluginInfo, list[Any]]]:
    found = []
    for info, call in implementations(hook):
        if only not in (None, info.name):
            continue
        try:
            items = list(call())
            problems = [problem for item in items if (problem := validate(item))]
        except Exception as error:
            raise _failed(info, hook, f"{type(error).__name__}: {error}") from error
        if problems:
            raise _failed(info, hook, problems[0])
        found.append((info, items))
    return found


def _failed(info: PluginInfo, hook: str, reason: str) -> PluginError:
    origin = info.distribution or info.origin
    return PluginError(
        f"plugin '{info.name}' ({origin}) fails in {hook}: {reason}; correct it, or leave it out "
        f"by listing the others in {ALLOW_LIST} (docs/plugins.md)"
    )


def _check(item: Any) -> str | None:
    if not isinstance(item, Check):
        return f"{item!r} is not a zooalign.gate.findings.Check"
    from zooalign.gate.checks import BUILT_IN

    if item.id in {known.id for known in BUILT_IN}:
        return f"a check with the id {item.id!r} is built in"
    return None


def _rules(item: Any) -> str | None:
    return None if isinstance(item, ModuleType) else f"{item!r} is not a module"


def _solver(item: Any) -> str | None:
    if not callable(item):
        return f"{item!r} is not callable"
    names = list(inspect.signature(item).parameters.values())[:3]
    if tuple(p.name for p in names) != _SOLVER_ARGUMENTS:
        return f"{_solver_name(item)} does not take (spec, target, source, ...)"
    from zooalign.matching.solvers import BUILT_IN

    name = _solver_name(item)
    return f"a method named {name!r} is there already" if name in BUILT_IN else None


def _adapter(item: Any) -> str | None:
    return None  # checked when it was loaded


def _solver_name(item: Any) -> str:
    return str(getattr(item, "name", None) or getattr(item, "__name__", repr(item)))


_KINDS: dict[str, tuple[str, Callable[[Any], str | None], Callable[[Any], str]]] = {
    "zooalign_library_adapters": ("library", _adapter, lambda item: str(item.name)),
    "zooalign_operators": ("operators", _rules, lambda item: str(item.__name__)),
    "zooalign_solvers": ("method", _solver, _solver_name),
    "zooalign_checks": ("check", _check, lambda item: str(item.id)),
}
