"""Checkpoints whose tensors are named or divided differently than the architecture's.

A library may store experts one by one and compute with all of them in one tensor, or have renamed
its parameters since. Such a checkpoint is read under the architecture's names, and what is
written in its place has the stored names and pieces again.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from zooalign.errors import CheckpointError, ZooalignWarning
from zooalign.graph.lazy_state import LazyTensors, TensorInfo, info_of, same_bytes
from zooalign.graph.wrappers import may_be_wrapped, without_wrappers
from zooalign.text import some_of
from zooalign.zoo.adapters import Architecture, LibraryAdapter
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.quantised import may_be_quantised, refuse_quantised

__all__ = ["ConvertedCheckpoint", "Part", "StoredNames", "as_architecture"]

Named = Mapping[str, Tensor]
# Parts held in memory while their pieces are written: two parts may alternate in a file.
_MOST_HELD = 2
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Part:
    """Tensors of a checkpoint that become tensors of the architecture together.

    ``forward`` and ``backward`` only move entries: one is the other's inverse, to the bit.

    Attributes
    ----------
    stored:
        Names in the checkpoint. None: the library has a value where nothing is stored.
    loaded:
        Names of the architecture, with shapes and dtypes. None: the module computes it itself, or
        has no use for it, and it is written as it was.
    forward:
        From tensors by stored names to tensors by names of the architecture.
    backward:
        The other way.
    unused:
        Whether it is of another class of the library (a pooler, another head), and so stays in the
        order it had where units move that it reads.
    """

    stored: tuple[str, ...]
    loaded: Mapping[str, TensorInfo]
    forward: Callable[[Named], Named]
    backward: Callable[[Named], Named]
    unused: bool = False


@runtime_checkable
class StoredNames(Protocol):
    """An optional part of an adapter: how its library converts checkpoints when loading."""

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
        part_of = {name: part for part in self.parts for name in part.loaded}

        def read(name: str) -> Tensor:
            part = part_of[name]
            pieces = {piece: stored[piece] for piece in part.stored}
            return _moved(part.forward, pieces, name)[name]

        super().__init__(
            {name: info for part in self.parts for name, info in part.loaded.items()},
            read,
            files=stored.files,
            layout={
                name: stored.layout[part.stored[0]]
                for part in self.parts
                if part.stored
                for name in part.loaded
            },
            metadata=stored.metadata,
            unused={
                name: stored.info(name)
                for part in self.parts
                if part.unused
                for name in part.stored
            },
        )

    @property
    def keeps_tensors(self) -> bool:
        """Whether every tensor is stored as it is, under whatever name."""
        return all(
            not part.loaded
            or (
                len(part.stored) == len(part.loaded) == 1
                and self.stored.info(part.stored[0]) == next(iter(part.loaded.values()))
            )
            for part in self.parts
        )

    def as_stored(self, tensors: Named) -> LazyTensors:
        """Tensors under the architecture's names, as the tensors that are stored in their place.

        Every tensor is read once if pieces are read in the order of the files.

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
        part_of = {piece: part for part in self.parts for piece in part.stored}
        held: dict[tuple[str, ...], Named] = {}

        def read(piece: str) -> Tensor:
            part = part_of[piece]
            if not part.loaded:
                return self.stored[piece]
            if part.stored not in held:
                whole = {name: tensors[name] for name in part.loaded}
                pieces = _moved(part.backward, whole, piece)
                loaded_again = part.forward(pieces)
                for name, tensor in whole.items():
                    if name not in loaded_again or not same_bytes(loaded_again[name], tensor):
                        raise CheckpointError(
                            f"{name}: the pieces it is stored in do not give it back"
                        )
                while len(held) >= _MOST_HELD:
                    held.pop(next(iter(held)))
                held[part.stored] = pieces
            return held[part.stored][piece]

        def info(piece: str, part: Part) -> TensorInfo:
            stored = self.stored.info(piece)
            if not part.loaded:
                return stored
            name, loaded = next(iter(part.loaded.items()))
            written = info_of(tensors, name)
            # A vocabulary of another size, where the tensor is stored as it is.
            shape = written.shape if loaded.shape == stored.shape else stored.shape
            return TensorInfo(shape, written.dtype)

        return LazyTensors({piece: info(piece, part) for piece, part in part_of.items()}, read)


def _moved(move: Callable[[Named], Named], tensors: Named, name: str) -> Named:
    try:
        result = move(tensors)
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # raised by the library's conversion
        raise CheckpointError(f"{name}: cannot be converted: {error}") from error
    if name not in result:
        raise CheckpointError(f"{name}: the library's conversion does not give it")
    return result


def as_architecture(
    adapter: LibraryAdapter, architecture: Architecture, checkpoint: Checkpoint
) -> Checkpoint:
    """``checkpoint`` under the architecture's names.

    Those that wrappers of modules put in front are dropped; a library may convert what it loads.

    Raises
    ------
    CheckpointError, ModelReferenceError
        The architecture cannot be built, or the weights are packed (GPTQ, AWQ, bitsandbytes).

    Warns
    -----
    ZooalignWarning
        The file has tensors that the architecture has no use for.
    """
    if may_be_quantised(checkpoint):
        expected = adapter.build(architecture).state_dict()
        refuse_quantised(checkpoint, expected, str(checkpoint.files[0]))
    if may_be_wrapped(checkpoint):
        expected = adapter.build(architecture).state_dict()
        names = without_wrappers({name: name for name in checkpoint}, expected)
        checkpoint = checkpoint if names is None else checkpoint.renamed(names)
    if not isinstance(adapter, StoredNames):
        return checkpoint
    infos = {name: checkpoint.info(name) for name in checkpoint}
    parts = adapter.stored_parts(architecture, infos)
    if parts is None:
        return checkpoint
    converted = ConvertedCheckpoint(checkpoint, parts)
    if converted.unused:
        warnings.warn(
            f"{checkpoint.files[0]}: {len(converted.unused)} tensors are not used by "
            f"{architecture.config.get('class', architecture.name)}: "
            f"{some_of(sorted(converted.unused), _SHOWN)}. They are kept as they are, and do not "
            "follow units that move: to move them too, name the class that has them in config.json",
            ZooalignWarning,
            stacklevel=3,
        )
    return converted
