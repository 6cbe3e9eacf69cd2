"""Operators of random networks that tell positions apart: orders, tables of numbers, windows."""

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

from sample_models.random_networks import operation
from sample_models.random_writer import MOST, MOST_AXES, Writer

__all__ = ["Positions"]

Along = Callable[[Tensor, int], Tensor]

# By the order of values along an axis.
ORDERED: dict[str, Along] = {
    "sort": lambda x, axis: x.sort(axis)[0],
    "topk": lambda x, axis: x.topk(2, axis)[0],
    "argsort": lambda x, axis: x.argsort(axis).to(x.dtype),
    "gather": lambda x, axis: x.gather(axis, x.argsort(axis)),
    "argmax": lambda x, axis: x * (x.argmax(axis, keepdim=True) + 1),
    "best": lambda x, axis: x.gather(axis, x.argmax(axis, keepdim=True)),
    "median": lambda x, axis: x.median(axis, keepdim=True)[0],
}
# By the order of positions along an axis.
ALONG: dict[str, Along] = {
    "cummax": lambda x, axis: x.cummax(axis)[0],
    "cumprod": lambda x, axis: x.cumprod(axis),
    "logcumsumexp": lambda x, axis: x.logcumsumexp(axis),
    "diff": lambda x, axis: x.diff(dim=axis),
    "rfft": lambda x, axis: torch.fft.rfft(x, dim=axis).abs(),
    "ramp": lambda x, axis: x * _ramp(x, axis),
    "unbind": lambda x, axis: torch.stack(x.unbind(axis)[::-1], axis),
    "mirror": lambda x, axis: x + x.flip(axis),
    "swap": lambda x, axis: torch.cat(
        [x.narrow(axis, 1, x.shape[axis] - 1), _first(x, axis)], axis
    ),
    "ends": lambda x, axis: torch.cat([_first(x, axis), x, x.narrow(axis, -1, 1)], axis),
}
# By neighbours along the last axis, of three axes.
NEIGHBOURS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: F.avg_pool1d(x, 2, 1),
    "avg3": lambda x: F.avg_pool1d(x, 3, 1, 1),
    "max": lambda x: F.max_pool1d(x, 2, 1),
    "adaptive_avg": lambda x: F.adaptive_avg_pool1d(x, 2),
    "adaptive_max": lambda x: F.adaptive_max_pool1d(x, 2),
    "linear": lambda x: F.interpolate(x, size=x.shape[-1] + 1, mode="linear"),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "reflect": lambda x: F.pad(x, (1, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 1), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 1), mode="circular"),
}
# Laid out anew, over the last two axes.
LAID_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "tril": lambda x: x.tril(),
    "triu": lambda x: x.triu(1),
    "diagonal": lambda x: x.diagonal(dim1=-2, dim2=-1),
    "rot90": lambda x: torch.rot90(x, 1, (-2, -1)),
    "flip": lambda x: x.flip(-1, -2),
    "even": lambda x: x[..., ::2],
    "flat": lambda x: x.transpose(-1, -2).flatten(-2),
    "gram": lambda x: x.softmax(-1) @ x.transpose(-1, -2),
}


def _ramp(x: Tensor, axis: int) -> Tensor:
    shape = [-1 if n == axis else 1 for n in range(x.ndim)]
    return torch.arange(1.0, x.shape[axis] + 1, dtype=x.dtype, device=x.device).view(shape)


def _first(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, 1)


@operation
def ordered(x: Tensor, *, axis: int, kind: str) -> Tensor:
    return {**ORDERED, **ALONG}[kind](x, axis)


@operation
def neighbours(x: Tensor, *, axis: int, kind: str) -> Tensor:
    moved = x.movedim(axis, -1)
    made = NEIGHBOURS[kind](moved.reshape(x.shape[0], -1, x.shape[axis]))
    return made.reshape(*moved.shape[:-1], made.shape[-1]).movedim(-1, axis)


@operation
def laid_out(x: Tensor, *, kind: str) -> Tensor:
    return LAID_OUT[kind](x)


@operation
def halves(x: Tensor, *, axis: int, added: bool) -> Tensor:
    """Rotary embeddings turn halves so."""
    low, high = x.chunk(2, axis)
    turned = torch.cat([-high, low], axis)
    return x + turned if added else turned


@operation
def shuffle(x: Tensor) -> Tensor:
    return F.channel_shuffle(x, 2)


@operation
def window(x: Tensor, *, axis: int, size: int, step: int) -> Tensor:
    return x.unfold(axis, size, step)


@operation
def by_other(x: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return x.gather(axis, y.argsort(axis))


@operation
def numbered(x: Tensor, *, axis: int, kind: str, table: tuple[int, ...]) -> Tensor:
    """Positions read by a table of numbers."""
    index = torch.tensor(table, device=x.device)
    if kind == "select":
        return x.index_select(axis, index)
    if kind == "index":
        return x[(slice(None),) * axis + (index,)]
    index, shape = _spread(index, x, axis)
    if kind == "along":
        return x.take_along_dim(index, axis)
    return x.gather(axis, index.expand(shape))


@operation
def put(x: Tensor, y: Tensor, *, axis: int, kind: str, table: tuple[int, ...]) -> Tensor:
    """Positions written by a table of numbers."""
    index = torch.tensor(table, device=x.device)
    if kind == "add":
        return x.index_add(axis, index, y)
    if kind == "copy":
        return x.index_copy(axis, index, y)
    if kind == "put":
        made = x.clone()
        made[(slice(None),) * axis + (index,)] = y
        return made
    index, shape = _spread(index, x, axis)
    index = index.expand(shape)
    return x.scatter_add(axis, index, y) if kind == "scatter_add" else x.scatter(axis, index, y)


def _spread(index: Tensor, x: Tensor, axis: int) -> tuple[Tensor, list[int]]:
    shape = [len(index) if n == axis else size for n, size in enumerate(x.shape)]
    return index.view([-1 if n == axis else 1 for n in range(x.ndim)]), shape


class Positions(Writer):
    """Draws them."""

    def _new_ordered(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] > 1 and 2 * prod(shape) <= MOST:
            self._add("ordered", [n], axis=axis, kind=self._pick([*ORDERED, *ALONG]))

    def _new_neighbours(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] > 2 and 2 * prod(shape) <= MOST:
            self._add("neighbours", [n], axis=axis, kind=self._pick([*NEIGHBOURS]))

    def _new_laid_out(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) > 1 and prod(shape) // shape[-1] * max(shape) <= MOST:
            self._add("laid_out", [n], kind=self._pick([*LAID_OUT]))

    def _new_halves(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] % 2 == 0:
            self._add("halves", [n], axis=axis, added=self.draw(st.booleans()))

    def _new_shuffle(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) > 1 and shape[0] % 2 == 0:
            self._add("shuffle", [n])

    def _new_window(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size = self._pick([2, 3])
        fits = shape[axis - 1] >= size and prod(shape) * size <= MOST
        if fits and len(shape) < MOST_AXES:
            self._add("window", [n], axis=axis, size=size, step=self._pick([1, size]))

    def _new_by_other(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("by_other", [n, self._like(shape)], axis=axis)

    def _new_numbered(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size = shape[axis - 1]
        count = self._pick(range(1, size + 2))
        if prod(shape) // size * count <= MOST:
            table = tuple(self._pick(range(size)) for _ in range(count))
            kind = self._pick(["select", "index", "gather", "along"])
            self._add("numbered", [n], axis=axis, kind=kind, table=table)

    def _new_put(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        m = self._pick(self._parts(shape, axis))
        order = self.draw(st.permutations(range(shape[axis - 1])))
        table = tuple(order[: self.shapes[m][axis - 1]])
        kind = self._pick(["add", "copy", "put", "scatter_add", "scatter"])
        self._add("put", [n, m], axis=axis, kind=kind, table=table)
