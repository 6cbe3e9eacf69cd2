"""Checkpoints whose tensors have other names, or are cut otherwise, than the architecture's.

A library may store experts one by one and compute with all of them in one tensor, or have renamed
its parameters since. Such a checkpoint is read under the architecture's names, and what is
written in its place has the stored names and pieces again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo, info_of, same_bytes
from zooalign.zoo.adapters import Architecture, LibraryAdapter
from zooalign.zoo.checkpoint import Checkpoint

__all__ = ["ConvertedCheckpoint", "Part", "StoredNames", "as_architecture"]

Named = Mapping[str, Tensor]
# Parts that are kept while their pieces are written: two whose pieces take turns in a file.
_KEPT = 2


@dataclass(frozen=True, eq=False)
class Part:
    """Tensors of a checkpoint that become tensors of the architecture together.

    ``forward`` and ``backward`` only move entries: one is the other's inverse, to the bit.

    Attributes
    ----------
    stored:
        Names in the checkpoint.
    own:
        Names of the architecture, with shapes and dtypes. None: the module computes it itself, and
        it is written as it was.
    forward:
        From tensors by stored names to tensors by own names.
    backward:
        The other way.
    """

    stored: tuple[str, ...]
    own: Mapping[str, TensorInfo]
    forward: Callable[[Named], Named]
    backward: Callable[[Named], Named]


@runtime_checkable
class StoredNames(Protocol):
    """What an adapter may also offer: how its library converts checkpoints when it loads them."""

    def stored_parts(
        self, architecture: Architecture, infos: Mapping[str, TensorInfo]
    ) -> Sequence[Part] | None:
        """All tensors of a checkpoint in parts; None where names and tensors are the module's."""
        ...


class ConvertedCheckpoint(Checkpoint):
    """A checkpoint under the architecture's names; ``stored`` is it as it lies in its files.

    A tensor's place in ``layout`` is the file of the first piece of its part.
    """

    def __init__(self, stored: Checkpoint, parts: Sequence[Part]) -> None:
        self.stored = stored
        self.parts = tuple(parts)
        place = {name: part for part in self.parts for name in part.own}

        def read(name: str) -> Tensor:
            part = place[name]
            return _moved(part.forward, {piece: stored[piece] for piece in part.stored}, name)[name]

        super().__init__(
            {name: info for part in self.parts for name, info in part.own.items()},
            read,
            files=stored.files,
            layout={
                name: stored.layout[part.stored[0]] for part in self.parts for name in part.own
            },
            metadata=stored.metadata,
        )

    def as_stored(self, tensors: Named) -> LazyTensors:
        """Tensors under the architecture's names, as the tensors that are stored in their place.

        Every tensor is asked for once if pieces are read in the order of the files.

        Raises
        ------
        CheckpointError
            There are other tensors than this checkpoint's.
        """
        if set(tensors) != set(self):
            other = sorted(set(tensors) ^ set(self))
            raise CheckpointError(
                f"{other[0]}: the tensors to write are not those of the checkpoint whose layout "
                "they are to have"
            )
        place = {piece: part for part in self.parts for piece in part.stored}
        kept: dict[tuple[str, ...], Named] = {}

        def read(piece: str) -> Tensor:
            part = place[piece]
            if not part.own:
                return self.stored[piece]
            if part.stored not in kept:
                whole = {name: tensors[name] for name in part.own}
                pieces = _moved(part.backward, whole, piece)
                _require_inverse(part, pieces, whole)
                while len(kept) >= _KEPT:
                    kept.pop(next(iter(kept)))
                kept[part.stored] = pieces
            return kept[part.stored][piece]

        def info(piece: str, part: Part) -> TensorInfo:
            stored = self.stored.info(piece)
            if not part.own:
                return stored
            return replace(stored, dtype=info_of(tensors, next(iter(part.own))).dtype)

        return LazyTensors({piece: info(piece, part) for piece, part in place.items()}, read)


def _moved(move: Callable[[Named], Named], tensors: Named, wanted: str) -> Named:
    try:
        found = move(tensors)
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # a library's own conversion
        raise CheckpointError(f"{wanted}: cannot be converted: {error}") from error
    if wanted not in found:
        raise CheckpointError(f"{wanted}: the library's conversion does not give it")
    return found


def _require_inverse(part: Part, pieces: Named, whole: Named) -> None:
    """What is written must be read as what was meant."""
    again = part.forward(pieces)
    for name, tensor in whole.items():
        if name not in again or not same_bytes(again[name], tensor):
            raise CheckpointError(f"{name}: the pieces it is stored in do not give it back")


def as_architecture(
    adapter: LibraryAdapter, architecture: Architecture, checkpoint: Checkpoint
) -> Checkpoint:
    """``checkpoint`` under the architecture's names, where its library converts what it loads.

    Raises
    ------
    CheckpointError, ModelReferenceError
        The architecture cannot be built.
    """
    if not isinstance(adapter, StoredNames):
        return checkpoint
    infos = {name: checkpoint.info(name) for name in checkpoint}
    parts = adapter.stored_parts(architecture, infos)
    return checkpoint if parts is None else ConvertedCheckpoint(checkpoint, parts)
