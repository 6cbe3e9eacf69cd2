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

from zooalign.errors import ModelReferenceError, ZooalignWarning
from zooalign.plugins import hooks
from zooalign.zoo.adapters import LibraryAdapter

__all__ = [
    "ALLOW_LIST",
    "PluginInfo",
    "adapter_named",
    "implementations",
    "library_adapters",
    "loaded_plugins",
    "outside_allow_list",
    "plugin_manager",
]

ALLOW_LIST = "ZOOALIGN_PLUGINS"
BUILT_IN = {"timm": "zooalign.zoo.timm_adapter", "py": "zooalign.zoo.python_adapter"}


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
    adapters: tuple[LibraryAdapter, ...]


def plugin_manager() -> pluggy.PluginManager:
    """The manager with every plugin registered; loaded once per value of the allow-list."""
    return _load(os.environ.get(ALLOW_LIST)).manager


def loaded_plugins() -> tuple[PluginInfo, ...]:
    """All plugins that were found, with their hooks or the error that keeps them out."""
    return _load(os.environ.get(ALLOW_LIST)).infos


def implementations(hook: str) -> list[tuple[PluginInfo, Callable[[], Any]]]:
    """The plugins that implement a hook, built-in ones first, each with its own function."""
    loaded = _load(os.environ.get(ALLOW_LIST))
    return [
        (info, getattr(loaded.manager.get_plugin(info.name), hook))
        for info in loaded.infos
        if info.error is None and hook in info.hooks
    ]


def outside_allow_list() -> tuple[PluginInfo, ...]:
    """Plugins that are installed and that the allow-list keeps out; they are not imported."""
    allowed = os.environ.get(ALLOW_LIST)
    if allowed is None:
        return ()
    names = {name.strip() for name in allowed.split(",")}
    found = sorted(entry_points(group=hooks.PROJECT), key=lambda entry: entry.name)
    return tuple(_outside_info(entry) for entry in found if entry.name not in names)


def library_adapters() -> tuple[LibraryAdapter, ...]:
    """The adapters of all plugins, built-in ones first."""
    return _load(os.environ.get(ALLOW_LIST)).adapters


def adapter_named(library: str) -> LibraryAdapter:
    """The adapter of ``library``.

    Raises:
        ModelReferenceError: none has that name.
    """
    adapters = library_adapters()
    for adapter in adapters:
        if adapter.name == library:
            return adapter
    known = ", ".join(f"{adapter.name}:" for adapter in adapters)
    failed = [info.name for info in loaded_plugins() if info.error]
    hint = f"; plugins that failed to load: {', '.join(failed)}" if failed else ""
    raise ModelReferenceError(
        f"no library adapter is named {library!r}: there are {known}{hint} (zooalign plugins)"
    )


@lru_cache(maxsize=8)
def _load(allowed: str | None) -> _Loaded:
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    infos = []
    for name, module in BUILT_IN.items():
        info = PluginInfo(name, "built-in", "zooalign", _own_version(), (), module=module)
        infos.append(_register(manager, info, partial(importlib.import_module, module)))
    for entry in _outside(allowed):
        infos.append(_register(manager, _outside_info(entry), entry.load))
    adapters: dict[str, LibraryAdapter] = {}
    checked = tuple(_collect(manager, info, adapters) for info in infos)
    for info in checked:
        if info.error:
            warnings.warn(
                f"plugin {info.name!r} ({info.distribution or info.origin}) is left out: "
                f"{info.error}",
                ZooalignWarning,
                stacklevel=3,
            )
    return _Loaded(manager, checked, tuple(adapters.values()))


def _outside(allowed: str | None) -> list[EntryPoint]:
    found = sorted(entry_points(group=hooks.PROJECT), key=lambda entry: entry.name)
    if allowed is None:
        return found
    names = {name.strip() for name in allowed.split(",") if name.strip()}
    for name in sorted(names - {entry.name for entry in found}):
        warnings.warn(
            f"{ALLOW_LIST} allows the plugin {name!r}, which is not installed",
            ZooalignWarning,
            stacklevel=4,
        )
    return [entry for entry in found if entry.name in names]


def _outside_info(entry: EntryPoint) -> PluginInfo:
    dist = entry.dist
    name = dist.metadata["Name"] if dist else None
    return PluginInfo(
        entry.name, "entry point", name, dist.version if dist else None, (), module=entry.value
    )


def _own_version() -> str | None:
    try:
        return version("zooalign")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return None


def _failed(info: PluginInfo, error: BaseException | str) -> PluginInfo:
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return replace(info, hooks=(), error=text)


def _register(
    manager: pluggy.PluginManager, info: PluginInfo, load: Callable[[], Any]
) -> PluginInfo:
    """Load and register one plugin; whatever it raises becomes its recorded error."""
    try:
        if manager.has_plugin(info.name):
            return _failed(info, "another plugin has the same name")
        plugin = load()
        manager.register(plugin, name=info.name)
    except (Exception, SystemExit) as error:
        return _failed(info, error)
    callers = manager.get_hookcallers(plugin) or []
    unknown = [caller.name for caller in callers if not caller.has_spec()]
    if unknown or not callers:
        manager.unregister(plugin)
        what = (
            f"it implements unknown hooks: {', '.join(unknown)}" if unknown else "it has no hooks"
        )
        return _failed(info, what)
    names = tuple(sorted(caller.name for caller in callers))
    return replace(info, hooks=names)


def _collect(
    manager: pluggy.PluginManager, info: PluginInfo, adapters: dict[str, LibraryAdapter]
) -> PluginInfo:
    """Add the adapters of one plugin, so that a failing one is known by name."""
    if info.error or "zooalign_library_adapters" not in info.hooks:
        return info
    plugin: Any = manager.get_plugin(info.name)
    try:
        found = list(plugin.zooalign_library_adapters())
        for adapter in found:
            if not isinstance(adapter, LibraryAdapter):
                raise TypeError(f"{adapter!r} is not a LibraryAdapter")
            if adapter.name in adapters:
                raise ValueError(f"an adapter named {adapter.name!r} is already there")
    except Exception as error:
        manager.unregister(plugin)
        return _failed(info, error)
    adapters.update((adapter.name, adapter) for adapter in found)
    return info
