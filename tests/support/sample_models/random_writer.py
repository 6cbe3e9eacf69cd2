"""What draws the steps of a random network one by one, keeping track of shapes."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st

from sample_models.random_networks import Step, run_step

__all__ = ["MOST", "MOST_AXES", "Writer"]

MOST = 192  # positions of one sample of a tensor
MOST_AXES = 5


class Writer:
    """Every method ``_new_*`` of a subclass draws one kind of step on a tensor of the pool."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        width = draw(st.sampled_from([(4,), (3, 4), (2, 6), (4, 3, 2)]))
        self.width: tuple[int, ...] = width
        self.shapes: list[tuple[int, ...]] = [width]
        self.steps: list[Step] = []
        self.parameters: list[tuple[int, ...]] = []
        # Hidden axes first: everything on the input's own axes is fixed.
        for axis in range(1, len(width) + 1):
            if axis == len(width) or draw(st.booleans()):
                self._linear(len(self.shapes) - 1, axis)

    def _parameter(self, *shape: int) -> int:
        known = [n for n, s in enumerate(self.parameters) if s == shape]
        if known and self.draw(st.integers(0, 4)) == 0:  # a shared parameter
            return self.draw(st.sampled_from(known))
        self.parameters.append(tuple(shape))
        return len(self.parameters) - 1

    def _add(
        self, name: str, reads: Sequence[int], parameters: Sequence[int] = (), **values: Any
    ) -> None:
        step = Step(name, tuple(reads), tuple(parameters), tuple(values.items()))
        pool = [torch.empty(2, *s, device="meta") for s in self.shapes]
        weights = [torch.empty(s, device="meta") for s in self.parameters]
        self.steps.append(step)
        self.shapes.extend(tuple(x.shape[1:]) for x in run_step(step, pool, weights))

    def _like(self, shape: tuple[int, ...]) -> int:
        """A tensor of the pool that has this shape."""
        return self._pick([m for m, s in enumerate(self.shapes) if s == shape])

    def _parts(self, shape: tuple[int, ...], axis: int) -> list[int]:
        """Tensors of the pool that have this shape, or are shorter along an axis."""
        return [
            m
            for m, other in enumerate(self.shapes)
            if len(other) == len(shape)
            and other[: axis - 1] == shape[: axis - 1]
            and other[axis:] == shape[axis:]
            and other[axis - 1] <= shape[axis - 1]
        ]

    def _pick(self, values: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def _linear(self, n: int, axis: int) -> None:
        size, new = self.shapes[n][axis - 1], self._pick([2, 3, 4, 6])
        if prod(self.shapes[n]) // size * new <= MOST:
            self._add("linear", [n], [self._parameter(new, size), self._parameter(new)], axis=axis)

    def step(self) -> None:
        """One more step, on one of the latest tensors."""
        latest = range(max(0, len(self.shapes) - 4), len(self.shapes))
        candidates = [n for n in latest if n > 0 and self.shapes[n]] or [len(self.shapes) - 1]
        n = self._pick(candidates)
        shape = self.shapes[n]
        if not shape:
            return
        name = self._pick([m[5:] for m in dir(self) if m.startswith("_new_")])
        axis = self._pick(range(1, len(shape) + 1))
        getattr(self, f"_new_{name}")(n, shape, axis)
