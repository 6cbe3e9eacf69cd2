"""The model libraries that plugins provide, built-in ones first."""

import os
from functools import lru_cache
from typing import Any

from zooalign.errors import ModelReferenceError
from zooalign.hooks.manager import (
    ALLOW_LIST,
    PluginError,
    items_of,
    loaded_plugins,
    warn_left_out,
)
from zooalign.zoo.adapters import LibraryAdapter
from zooalign.zoo.layout import WEIGHTS_NAME

__all__ = [
    "adapter_named",
    "adapter_problem",
    "failed_libraries",
    "library_adapters",
    "usual_weights",
]

_HOOK = "zooalign_library_adapters"


def library_adapters() -> tuple[LibraryAdapter, ...]:
    """The adapters of all plugins, built-in ones first. One whose adapters fail is left out."""
    return tuple(_collect(os.environ.get(ALLOW_LIST))[0].values())


def failed_libraries() -> dict[str, str]:
    """Why the adapters of a plugin are left out, by the plugin's name."""
    return _collect(os.environ.get(ALLOW_LIST))[1]


def adapter_named(library: str) -> LibraryAdapter:
    """The adapter of ``library``.

    Raises
    ------
    ModelReferenceError
        If none has that name.
    """
    adapters = {adapter.name: adapter for adapter in library_adapters()}
    if library in adapters:
        return adapters[library]
    known = ", ".join(f"{name}:" for name in adapters)
    failed = [
        info.name for info in loaded_plugins() if info.error or info.name in failed_libraries()
    ]
    hint = f"; plugins that failed to load: {', '.join(failed)}" if failed else ""
    raise ModelReferenceError(
        f"no library adapter is named {library!r}: there are {known}{hint} (zooalign plugins)"
    )


def usual_weights() -> tuple[str, ...]:
    """What the libraries call a file of weights, the most usual name first."""
    named = (getattr(adapter, "weights_name", WEIGHTS_NAME) for adapter in library_adapters())
    return tuple(dict.fromkeys((WEIGHTS_NAME, *named)))


def adapter_problem(item: Any) -> str | None:
    """What keeps an item of the hook from being an adapter."""
    return None if isinstance(item, LibraryAdapter) else f"{item!r} is not a LibraryAdapter"


@lru_cache(maxsize=8)
def _collect(allowed: str | None) -> tuple[dict[str, LibraryAdapter], dict[str, str]]:
    adapters: dict[str, LibraryAdapter] = {}
    errors: dict[str, str] = {}

    def problem_of(item: Any) -> str | None:
        taken = f"an adapter named {getattr(item, 'name', None)!r} is already there"
        return adapter_problem(item) or (taken if item.name in adapters else None)

    for info in loaded_plugins():
        if _HOOK not in info.hooks:
            continue
        try:
            items = items_of(_HOOK, problem_of, only=info.name)
        except PluginError as error:
            errors[info.name] = str(error)
            warn_left_out(info, str(error))
            continue
        adapters.update((adapter.name, adapter) for _, adapter in items)
    return adapters, errors
