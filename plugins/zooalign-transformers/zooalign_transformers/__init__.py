"""Hugging Face transformers as a plugin of zooalign: ``transformers:TYPE`` and its checkpoints.

Nothing here imports transformers before one of its models is asked for.
"""

from typing import Any

from zooalign.plugins import LibraryAdapter, hookimpl

__all__ = ["zooalign_library_adapters", "zooalign_operators"]


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    """Name the adapter of transformers."""
    from zooalign_transformers.adapter import TransformersAdapter

    return [TransformersAdapter()]


@hookimpl
def zooalign_operators() -> list[Any]:
    """Name the operator rules of transformers' own operators."""
    from zooalign_transformers import operators

    return [operators]
