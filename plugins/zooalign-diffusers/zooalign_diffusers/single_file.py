"""Files in the layout of the program that a model comes from, such as ``sd_xl_base_1.0``.

diffusers converts such a file when it loads it (``from_single_file``). What its conversion does is
found by converting numbers in place of weights: each row of each stored tensor has a number, and
those that arrive say where it went. So every tensor can be read under the module's names and
written back where it came from, and what belongs to other models in the file stays as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from safetensors import safe_open
from torch import Tensor
from zooalign.plugins import Architecture, CheckpointError, Part, TensorInfo

from zooalign_diffusers.building import expected_tensors
from zooalign_diffusers.model_classes import class_named, complete, quiet

__all__ = ["in_original_layout", "single_file_in", "stored_parts"]

Named = Mapping[str, Tensor]
# A second copy of the denoiser, averaged over its training.
_AVERAGED = "model_ema."


@dataclass(frozen=True)
class _Rows:
    """Rows ``start`` to ``stop`` of a stored tensor."""

    stored: str
    start: int
    stop: int


def in_original_layout(architecture: Architecture, names: Iterable[str]) -> bool:
    """Whether none of the module's names is among a checkpoint's."""
    return not set(names) & set(expected_tensors(architecture))


def single_file_in(directory: Path, architecture: Architecture) -> Path | None:
    """The file in a directory that ``from_single_file`` is to load, None for the usual layout."""
    files = sorted(directory.glob("*.safetensors"))
    if len(files) != 1 or _conversion(architecture.name) is None:
        return None
    with safe_open(files[0], "pt") as file:
        names = set(file.keys())
    return files[0] if in_original_layout(architecture, names) else None


def stored_parts(
    architecture: Architecture, infos: Mapping[str, TensorInfo]
) -> Sequence[Part] | None:
    """The tensors of a file in its original layout, in parts; None where names are the module's.

    Parameters
    ----------
    infos:
        Shapes and dtypes of the file's tensors.

    Raises
    ------
    CheckpointError
        diffusers does not convert the file, or does more to it than to move rows.
    """
    conversion = _conversion(architecture.name)
    if conversion is None or not in_original_layout(architecture, infos):
        return None
    expected = expected_tensors(architecture)
    where = f"diffusers:{architecture.name}"
    if averaged := [name for name in infos if name.startswith(_AVERAGED)]:
        raise CheckpointError(
            f"{averaged[0]}: the file holds a second copy of the model, averaged over its "
            f"training ({_AVERAGED}), whose units would stay in the old order; remove the copy "
            "that you do not use from the file"
        )
    numbered = _numbered(infos)
    converted = _converted(conversion, architecture, numbered, where)
    rows: dict[str, tuple[_Rows, ...]] = {}
    loaded: dict[str, TensorInfo] = {}
    for name in (name for name in expected if name in converted):
        pieces = _rows_of(converted[name], numbered)
        loaded[name] = _fitting(name, pieces, expected[name], infos)
        rows[name] = pieces or ()
    if not loaded:
        raise CheckpointError(f"{where}: diffusers finds no weights of this model in the file")
    return _parts(rows, loaded, infos)


def _conversion(name: str) -> Any:
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    return SINGLE_FILE_LOADABLE_CLASSES.get(name, {}).get("checkpoint_mapping_fn")


def _converted(
    conversion: Any,
    architecture: Architecture,
    numbered: Mapping[str, "_Numbered"],
    where: str,
) -> dict[str, Tensor]:
    """What diffusers makes of numbers in place of weights."""
    config = complete(class_named(architecture.name, where), architecture.config)
    try:
        with quiet():
            result = conversion(
                checkpoint={name: item.numbers() for name, item in numbered.items()},
                config=config,
            )
    except Exception as error:
        raise CheckpointError(
            f"{where}: diffusers cannot convert the file to this model: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; is the configuration "
            "the file's?"
        ) from error
    return {name: tensor for name, tensor in result.items() if isinstance(tensor, Tensor)}


@dataclass(frozen=True)
class _Numbered:
    """A stored tensor and the numbers of its rows.

    A row has a number for each place of its kernel, and its inputs share them: numbers are few,
    and a conversion that turns a tensor is seen. All are odd, so that one that computes is too.
    """

    info: TensorInfo
    first: int

    @property
    def rows(self) -> int:
        return self.info.shape[0] if self.info.shape else 1

    @property
    def kernel(self) -> int:
        return prod(self.info.shape[2:])

    @property
    def last(self) -> int:
        return self.first + 2 * self.rows * self.kernel

    def numbers(self) -> Tensor:
        shape = [size if axis != 1 else 1 for axis, size in enumerate(self.info.shape)]
        numbers = torch.arange(self.first, self.last, 2, dtype=torch.int32)
        return numbers.reshape(shape)


def _numbered(infos: Mapping[str, TensorInfo]) -> dict[str, _Numbered]:
    result: dict[str, _Numbered] = {}
    first = 1
    for name, info in infos.items():
        if 0 not in info.shape:
            result[name] = _Numbered(info, first)
            first = result[name].last
    return result


def _rows_of(numbers: Tensor, numbered: Mapping[str, _Numbered]) -> tuple[_Rows, ...] | None:
    """Which rows of the stored tensors a converted one consists of; None if not of such."""
    rows = numbers.reshape(numbers.shape[0] if numbers.ndim else 1, -1).long()
    sources = list(numbered.values())
    firsts = torch.tensor([source.first for source in sources])
    steps = torch.tensor([2 * source.kernel for source in sources])
    place = torch.bucketize(rows[:, 0].contiguous(), firsts, right=True) - 1
    row = (rows[:, 0] - firsts[place]) // steps[place]
    places_of_kernel = torch.arange(0, 2 * rows.shape[1], 2)
    if (steps[place] != 2 * rows.shape[1]).any() or not torch.equal(
        rows, (firsts[place] + row * steps[place])[:, None] + places_of_kernel
    ):
        return None
    ends = ((place.diff() != 0) | (row.diff() != 1)).nonzero().flatten() + 1
    names = list(numbered)
    return tuple(
        _Rows(names[int(place[first])], int(row[first]), int(row[first]) + last - first)
        for first, last in pairwise([0, *ends.tolist(), len(row)])
    )


def _fitting(
    name: str, pieces: Sequence[_Rows] | None, expected: Tensor, infos: Mapping[str, TensorInfo]
) -> TensorInfo:
    """Name and type of a converted tensor, whose rows have the sizes of those it is made of."""
    shape = tuple(expected.shape)
    if pieces is None:
        raise CheckpointError(
            f"{name}: diffusers does more to it than to move rows when it converts the file, so "
            "it cannot be written back"
        )
    stored = {infos[piece.stored] for piece in pieces}
    sizes = {tuple(size for size in info.shape[1:] if size != 1) for info in stored}
    dtypes = {info.dtype for info in stored}
    rows = sum(piece.stop - piece.start for piece in pieces)
    if (
        sizes != {tuple(size for size in shape[1:] if size != 1)}
        or rows != (shape[0] if shape else 1)
        or len(dtypes) != 1
    ):
        of = ", ".join(f"{p.stored} {tuple(infos[p.stored].shape)}" for p in pieces[:3])
        raise CheckpointError(f"{name}: has shape {shape} in the model, but is made of {of}")
    return TensorInfo(shape, dtypes.pop())


def _parts(
    rows: Mapping[str, tuple[_Rows, ...]],
    loaded: Mapping[str, TensorInfo],
    infos: Mapping[str, TensorInfo],
) -> list[Part]:
    """Stored tensors and those they become, divided as far as they can be."""
    graph = nx.Graph()
    graph.add_nodes_from(("stored", name) for name in infos)
    for name, pieces in rows.items():
        graph.add_edges_from((("loaded", name), ("stored", piece.stored)) for piece in pieces)
    parts = []
    for component in nx.connected_components(graph):
        stored = {name: infos[name] for name in infos if ("stored", name) in component}
        inside = {name: info for name, info in loaded.items() if ("loaded", name) in component}
        parts.append(_part(stored, inside, {name: rows[name] for name in inside}))
    return parts


def _part(
    stored: Mapping[str, TensorInfo],
    loaded: Mapping[str, TensorInfo],
    rows: Mapping[str, tuple[_Rows, ...]],
) -> Part:
    if loaded:
        _require_each_row_once(stored, rows)

    def forward(tensors: Named) -> Named:
        return {
            name: torch.cat(
                [tensors[p.stored][p.start : p.stop].flatten(1) for p in pieces]
            ).reshape(loaded[name].shape)
            if tensors[pieces[0].stored].ndim > 1
            else torch.cat([tensors[p.stored][p.start : p.stop] for p in pieces])
            for name, pieces in rows.items()
        }

    def backward(tensors: Named) -> Named:
        result = {name: torch.empty(info.shape, dtype=info.dtype) for name, info in stored.items()}
        for name, pieces in rows.items():
            first = 0
            for piece in pieces:
                part = result[piece.stored][piece.start : piece.stop]
                part.copy_(tensors[name][first : first + len(part)].reshape(part.shape))
                first += len(part)
        return result

    return Part(tuple(stored), loaded, forward, backward)


def _require_each_row_once(
    stored: Mapping[str, TensorInfo], rows: Mapping[str, tuple[_Rows, ...]]
) -> None:
    taken: dict[str, list[tuple[int, int]]] = {name: [] for name in stored}
    for pieces in rows.values():
        for piece in pieces:
            taken[piece.stored].append((piece.start, piece.stop))
    for name, spans in taken.items():
        stop = 0
        for start, end in sorted(spans):
            if start != stop:
                break
            stop = end
        else:
            if stop == (stored[name].shape or (1,))[0]:
                continue
        raise CheckpointError(
            f"{name}: diffusers does not load each of its rows once, so it cannot be written back"
        )
