"""Hugging Face transformers as a plugin of zooalign: ``transformers:TYPE`` and its checkpoints.

Nothing here imports transformers before one of its models is asked for.
"""

from zooalign.zoo.adapters import LibraryAdapter
from zooalign.zoo.hooks import hookimpl

__all__ = ["zooalign_library_adapters"]


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    from zooalign_transformers.adapter import TransformersAdapter

    return [TransformersAdapter()]
