"""diffusers as a plugin of zooalign: ``diffusers:CLASS`` and checkpoints of its model classes.

Nothing here imports diffusers before one of its models is asked for.
"""

from zooalign.plugins import LibraryAdapter, hookimpl

__all__ = ["zooalign_library_adapters"]


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    """Name the adapter of diffusers."""
    from zooalign_diffusers.adapter import DiffusersAdapter

    return [DiffusersAdapter()]
