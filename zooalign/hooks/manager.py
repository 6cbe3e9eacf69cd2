"""Loading plugins: built-in ones first, then the entry points of the group ``zooalign``.

The environment variable ``ZOOALIGN_PLUGINS`` is an allow-list of outside plugins by entry-point
name, separated by commas; empty means none, unset means all. A plugin that fails is a named
warning and stays in :func:`loaded_plugins` with its error; it never stops the others.
"""

import importlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any, Literal

import pluggy

from zooalign.errors import ZooalignError, ZooalignWarning
from zooalign.hooks import hookspecs

__all__ = [
    "ALLOW_LIST",
    "PluginError",
    "PluginInfo",
    "hook_failed",
    "items_of",
    "loaded_plugins",
    "outside_allow_list",
    "warn_left_out",
]

ALLOW_LIST = "ZOOALIGN_PLUGINS"
BUILT_IN = {
    "timm": "zooalign.zoo.timm_adapter",
    "py": "zooalign.zoo.python_adapter",
    "torchvision": "zooalign.zoo.torchvision_adapter",
}


class PluginError(ZooalignError):
    """A plugin was loaded, but what it gives is not what its hook asks for."""


@dataclass(frozen=True)
class PluginInfo:
    """What is known of one plugin; ``error`` is None where it loads.

    ``module`` is where it comes from: the built-in module, or what the entry point names.
    """

    name: str
    origin: Literal["built-in", "entry point"]
    distribution: str | None
    version: str | None
    hooks: tuple[str, ...]
    error: str | None = None
    module: str = ""


@dataclass(frozen=True)
class _Loaded:
    manager: pluggy.PluginManager
    infos: tuple[PluginInfo, ...]


def loaded_plugins() -> tuple[PluginInfo, ...]:
    """All installed and allowed plugins, with their hooks or the error that keeps them out."""
    return _load(os.environ.get(ALLOW_LIST)).infos


def items_of(
    hook: str, problem_of: Callable[[Any], str | None], only: str | None = None
) -> list[tuple[PluginInfo, Any]]:
    """Every item that plugins give for a hook, built-in ones first, each with its plugin.

    Each plugin is called by itself, so that what fails has a name.

    Parameters
    ----------
    hook:
        The hook's name.
    problem_of:
        What is wrong with an item, None if nothing is: the package that uses the items knows.
    only:
        The name of the one plugin to ask.

    Raises
    ------
    PluginError
        If a plugin fails, or gives an item that has a problem. A release gate must not pass
        because one of its checks is missing.
    """
    loaded = _load(os.environ.get(ALLOW_LIST))
    items: list[tuple[PluginInfo, Any]] = []
    for info in loaded.infos:
        if hook not in info.hooks or only not in (None, info.name):
            continue
        try:
            provided = list(getattr(loaded.manager.get_plugin(info.name), hook)())
            problems = [problem for item in provided if (problem := problem_of(item))]
        except Exception as error:
            raise hook_failed(info, hook, f"{type(error).__name__}: {error}") from error
        if problems:
            raise hook_failed(info, hook, problems[0])
        items.extend((info, item) for item in provided)
    return items


def hook_failed(info: PluginInfo, hook: str, reason: str) -> PluginError:
    """The error that says which plugin fails in which hook, and why."""
    origin = info.distribution or info.origin
    return PluginError(
        f"plugin '{info.name}' ({origin}) fails in {hook}: {reason}; correct it, or leave it out "
        f"by listing the others in {ALLOW_LIST} (docs/plugins.md)"
    )


def warn_left_out(info: PluginInfo, reason: str) -> None:
    """Warn that a plugin is not used, and why."""
    warnings.warn(
        f"plugin {info.name!r} ({info.distribution or info.origin}) is left out: {reason}",
        ZooalignWarning,
        stacklevel=4,
    )


def outside_allow_list() -> tuple[PluginInfo, ...]:
    """Plugins that are installed and that the allow-list keeps out; they are not imported."""
    allowed = _allowed_names(os.environ.get(ALLOW_LIST))
    return tuple(
        _outside_info(entry)
        for entry in _installed()
        if allowed is not None and entry.name not in allowed
    )


@lru_cache(maxsize=8)
def _load(allow_list: str | None) -> _Loaded:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    infos = []
    for name, module in BUILT_IN.items():
        info = PluginInfo(name, "built-in", "zooalign", _zooalign_version(), (), module=module)
        infos.append(_register(manager, info, partial(importlib.import_module, module)))
    for entry in _outside(allow_list):
        infos.append(_register(manager, _outside_info(entry), entry.load))
    for info in infos:
        if info.error:
            warn_left_out(info, info.error)
    return _Loaded(manager, tuple(infos))


def _installed() -> list[EntryPoint]:
    return sorted(entry_points(group=hookspecs.PROJECT), key=lambda entry: entry.name)


def _allowed_names(allow_list: str | None) -> set[str] | None:
    if allow_list is None:
        return None
    return {name.strip() for name in allow_list.split(",") if name.strip()}


def _outside(allow_list: str | None) -> list[EntryPoint]:
    installed = _installed()
    allowed = _allowed_names(allow_list)
    if allowed is None:
        return installed
    for name in sorted(allowed - {entry.name for entry in installed}):
        warnings.warn(
            f"{ALLOW_LIST} allows the plugin {name!r}, which is not installed",
            ZooalignWarning,
            stacklevel=4,
        )
    return [entry for entry in installed if entry.name in allowed]


def _outside_info(entry: EntryPoint) -> PluginInfo:
    dist = entry.dist
    name = dist.metadata["Name"] if dist else None
    return PluginInfo(
        entry.name, "entry point", name, dist.version if dist else None, (), module=entry.value
    )


def _zooalign_version() -> str | None:
    try:
        return version("zooalign")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return None


def _register(
    manager: pluggy.PluginManager, info: PluginInfo, load: Callable[[], Any]
) -> PluginInfo:
    """Load and register one plugin; whatever it raises becomes its recorded error."""
    try:
        if manager.has_plugin(info.name):
            return replace(info, error="another plugin has the same name")
        plugin = load()
        manager.register(plugin, name=info.name)
    except (Exception, SystemExit) as error:
        return replace(info, error=f"{type(error).__name__}: {error}")
    callers = manager.get_hookcallers(plugin) or []
    unknown = [caller.name for caller in callers if not caller.has_spec()]
    if callers and not unknown:
        return replace(info, hooks=tuple(sorted(caller.name for caller in callers)))
    manager.unregister(plugin)
    problem = f"it implements unknown hooks: {', '.join(unknown)}" if unknown else "it has no hooks"
    return replace(info, error=problem)
