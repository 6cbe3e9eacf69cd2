"""All plugins, what each provides, and why one does not work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zooalign.graph.registry import rules_problem
from zooalign.hooks.manager import (
    ALLOW_LIST,
    PluginError,
    PluginInfo,
    items_of,
    loaded_plugins,
    outside_allow_list,
)
from zooalign.lazy import lazy_module
from zooalign.zoo.libraries import adapter_problem, failed_libraries

if TYPE_CHECKING:
    import zooalign.gate.checks as checks
    import zooalign.matching.solvers as solvers
else:
    checks = lazy_module("zooalign.gate.checks")
    solvers = lazy_module("zooalign.matching.solvers")

__all__ = ["PluginResult", "PluginsResult", "plugin_states"]


@dataclass(frozen=True, kw_only=True)
class PluginResult(PluginInfo):
    """A plugin, what it provides, and why it does not work if it does not.

    ``left_out`` says that the allow-list keeps it out.
    """

    provides: tuple[str, ...]
    left_out: bool


@dataclass(frozen=True)
class PluginsResult:
    """The JSON of ``zooalign plugins`` (``docs/cli.md``)."""

    plugins: tuple[PluginResult, ...]


def plugin_states() -> tuple[PluginResult, ...]:
    """All plugins with what each provides; nothing is raised."""
    left_out = (
        PluginResult(**{**vars(info), "error": f"not in {ALLOW_LIST}"}, provides=(), left_out=True)
        for info in outside_allow_list()
    )
    return (*map(_state, loaded_plugins()), *left_out)


def _state(info: PluginInfo) -> PluginResult:
    provides: list[str] = []
    error = info.error or failed_libraries().get(info.name)
    for hook, (kind, problem_of, name) in _KINDS.items():
        if error is None and hook in info.hooks:
            try:
                items = items_of(hook, problem_of, only=info.name)
                provides += [f"{kind} {name(item)}" for _, item in items]
            except PluginError as problem:
                error = str(problem)
    fields = {**vars(info), "error": error}
    return PluginResult(**fields, provides=tuple(provides), left_out=False)


# Per hook: what its items are called, what may be wrong with one, and its name. Methods and checks
# are looked up when a plugin has some: their modules import torch.
_KINDS: dict[str, tuple[str, Callable[[Any], str | None], Callable[[Any], str]]] = {
    "zooalign_library_adapters": ("library", adapter_problem, lambda item: str(item.name)),
    "zooalign_operators": ("operators", rules_problem, lambda item: str(item.__name__)),
    "zooalign_solvers": (
        "method",
        lambda item: solvers.solver_problem(item),
        lambda item: str(item.name),
    ),
    "zooalign_checks": (
        "check",
        lambda item: checks.check_problem(item),
        lambda item: str(item.id),
    ),
}
