"""State dicts whose positions along named axes come in one order, and rows that some lack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from zooalign.graph.coupled_axes import Place
from zooalign.graph.lazy_state import State, StateView, TensorInfo

__all__ = ["InOrder", "Sources", "filled"]


@dataclass(frozen=True, eq=False)
class Sources:
    """Where the positions of named axes come from in a model.

    ``of`` has by tensor an axis and, for each position along it, the model's own position, -1
    where it has none. A tensor that is not there keeps its order.
    """

    of: Mapping[str, tuple[int, np.ndarray]]

    @classmethod
    def along(cls, places: Mapping[Place, Sequence[int]]) -> "Sources":
        """The sources of each axis of a tensor."""
        return cls({n: (axis, np.array(index, int)) for (n, axis), index in places.items()})

    @property
    def lacking(self) -> tuple[str, ...]:
        """The tensors of which the model lacks positions."""
        return tuple(name for name, (_, index) in self.of.items() if (index < 0).any())

    def lacks(self, name: str) -> np.ndarray | None:
        """Which positions of a tensor the model lacks, as a mask; None where it has all."""
        mask = self.of[name][1] < 0 if name in self.of else np.zeros(0, dtype=bool)
        return mask if mask.any() else None


class InOrder(StateView):
    """A model's tensors with named axes in another order; what it lacks is zero."""

    def __init__(self, state: State, sources: Sources) -> None:
        super().__init__(state)
        self._sources = sources

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor without reading it."""
        info = super().info(name)
        if name not in self._sources.of:
            return info
        axis, index = self._sources.of[name]
        return replace(info, shape=(*info.shape[:axis], len(index), *info.shape[axis + 1 :]))

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name]
        if name not in self._sources.of:
            return tensor
        axis, index = self._sources.of[name]
        present = torch.from_numpy(np.maximum(index, 0)).to(tensor.device)
        if not tensor.shape[axis]:
            return tensor.new_zeros(self.info(name).shape)
        taken = tensor.index_select(axis, present)
        absent = torch.from_numpy(np.flatnonzero(index < 0)).to(tensor.device)
        return taken.index_fill_(axis, absent, 0) if len(absent) else taken


def filled(
    states: Sequence[State], sources: Sequence[Sources], weights: Sequence[float]
) -> list[State]:
    """Aligned state dicts in which each row that one lacks is the average of the others' rows.

    Of a row that one model alone has, every average is then that row. ``weights`` are those of the
    models; those that have a row share it in proportion, or alike where all of these are zero.
    """
    return [
        _Filled(index, states, sources, weights) if sources[index].lacking else state
        for index, state in enumerate(states)
    ]


class _Filled(StateView):
    def __init__(
        self,
        index: int,
        states: Sequence[State],
        sources: Sequence[Sources],
        weights: Sequence[float],
    ) -> None:
        super().__init__(states[index])
        self._index, self._states = index, states
        self._sources, self._weights = sources, weights

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name]
        lacking = self._sources[self._index].lacks(name)
        if lacking is None:
            return tensor
        axis, _ = self._sources[self._index].of[name]
        rows = np.flatnonzero(lacking)
        where = torch.from_numpy(rows).to(tensor.device)
        averaged = torch.zeros_like(tensor.index_select(axis, where), dtype=torch.float64)
        shape = [len(rows) if n == axis else 1 for n in range(tensor.ndim)]
        for number, share in enumerate(self._shares(name, rows)):
            if share.any():
                part = self._states[number][name].index_select(axis, where).to(averaged)
                averaged += part * torch.from_numpy(share).to(averaged).reshape(shape)
        return tensor.index_copy(axis, where, averaged.to(tensor.dtype))

    def _shares(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The share of each model in each row."""
        has = np.ones((len(self._states), len(rows)))
        for number, sources in enumerate(self._sources):
            lacking = sources.lacks(name)
            if lacking is not None:
                has[number] = ~lacking[rows]
        shares = has * np.array(self._weights)[:, None]
        alone = np.isclose(shares.sum(0), 0.0)
        shares[:, alone] = has[:, alone]
        total = shares.sum(0)
        divided: np.ndarray = shares / np.where(total == 0, 1.0, total)
        return divided
