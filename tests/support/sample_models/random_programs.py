"""Random programs: arguments of a random network, drawn step by step so that shapes fit."""

from math import prod
from typing import Any

from hypothesis import strategies as st

from sample_models.random_positions import Positions
from sample_models.random_values import Values
from sample_models.random_writer import MOST, MOST_AXES, Writer

__all__ = ["programs"]


class _Common(Writer):
    """The operators that most networks are made of."""

    def _new_linear(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._linear(n, axis)

    def _new_activation(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("activation", [n], kind=self._pick(["tanh", "relu", "silu"]))

    def _new_scale(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        kept = [size if self.draw(st.booleans()) else 1 for size in shape]
        self._add(self._pick(["scale", "shift"]), [n], [self._parameter(*kept)])

    def _new_norm(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if self.draw(st.booleans()):
            last = shape[axis - 1 :]
            if prod(last) > 1:
                both = [self._parameter(*last), self._parameter(*last)]
                self._add("layer_norm", [n], both, affine=self.draw(st.booleans()))
        else:
            groups = self._pick([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])
            if prod(shape) // groups > 1:
                both = [self._parameter(shape[0]), self._parameter(shape[0])]
                self._add("group_norm", [n], both, groups=groups)

    def _new_softmax(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] > 1:  # of one element it is 1, whatever was computed before
            self._add("softmax", [n], axis=axis)

    def _new_reduce(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        kind = self._pick(["mean", "sum", "amax"])
        if len(shape) > 1:
            self._add("reduce", [n], axis=axis, kind=kind, keep=self.draw(st.booleans()))

    def _new_reshape(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        sizes, at = list(shape), axis - 1
        factors = [f for f in range(2, sizes[at]) if sizes[at] % f == 0]
        if at + 1 < len(sizes) and self.draw(st.booleans()):
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif factors and len(sizes) < MOST_AXES:
            inner = self._pick(factors)
            sizes[at : at + 1] = [sizes[at] // inner, inner]
        else:
            # All of it laid out anew.
            outer = self._pick([f for f in range(1, prod(sizes) + 1) if prod(sizes) % f == 0])
            sizes = [outer, prod(sizes) // outer]
        self._add("reshape", [n], shape=tuple(sizes))

    def _new_permute(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        order = self.draw(st.permutations(range(1, len(shape) + 1)))
        self._add("permute", [n], order=tuple(order))

    def _new_cut(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size = shape[axis - 1]
        if size > 1:
            low = self._pick(range(size))
            high = self._pick(range(low + 1, size + 1))
            step = self._pick([1, 1, 1, 2])
            self._add("cut", [n], axis=axis, low=low, high=size if step == 2 else high, step=step)

    def _new_select(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) > 1:
            self._add("select", [n], axis=axis, index=self._pick(range(shape[axis - 1])))

    def _new_chunk(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        size = shape[axis - 1]
        if size > 1:
            self._add("chunk", [n], axis=axis, parts=self._pick([p for p in (2, 3) if p <= size]))

    def _new_glu(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if shape[axis - 1] % 2 == 0:
            self._add("glu", [n], axis=axis)

    def _new_join(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        fits = [
            m
            for m, other in enumerate(self.shapes)
            if len(other) == len(shape)
            and other[: axis - 1] == shape[: axis - 1]
            and other[axis:] == shape[axis:]
        ]
        other = self._pick(fits)
        if prod(shape) + prod(self.shapes[other]) <= MOST:
            pair = self._pick([[n, other], [other, n]])
            alike = self.shapes[other] == shape and len(shape) < MOST_AXES
            name = self._pick(["cat", "stack"]) if alike else "cat"
            self._add(name, pair, axis=axis)

    def _new_combine(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        def broadcasts(other: tuple[int, ...]) -> bool:
            pairs = zip(other[::-1], shape[::-1], strict=False)
            return len(other) == len(shape) and all(a in (1, b) for a, b in pairs)

        fits = [m for m, other in enumerate(self.shapes) if broadcasts(other)]
        self._add(self._pick(["add", "add", "mul"]), [n, self._pick(fits)])

    def _new_contract(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        m = self._pick(range(1, len(self.shapes)) if len(self.shapes) > 1 else [0])
        other, size = self.shapes[m], shape[axis - 1]
        if size not in other:
            return
        left = "cdefg"[: len(shape)]
        right = ["hijkl"[i] for i in range(len(other))]
        right[self._pick([i for i, s in enumerate(other) if s == size])] = left[axis - 1]
        kept = [c for c in left if c != left[axis - 1]] + [c for c in right if c not in left]
        for c in list(kept):  # some axes are shared instead of crossed
            at = left.find(c)
            if at >= 0 and self.draw(st.booleans()):
                same = [i for i, s in enumerate(other) if s == shape[at] and right[i] in kept]
                if same and right[same[0]] not in left:
                    kept.remove(right[same[0]])
                    right[same[0]] = c
        if self.draw(st.booleans()):
            kept = [left[axis - 1], *kept]  # a batch axis, not a contracted one
        sizes = dict(zip([*left, *right], [*shape, *other], strict=True))
        if kept and prod(sizes[c] for c in kept) <= MOST and len(kept) <= MOST_AXES:
            equation = f"b{left},b{''.join(right)}->b{''.join(kept)}"
            self._add("contract", [n, m], equation=equation)

    def _new_weigh(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        left = "cdefg"[: len(shape)]
        batch = [c for c in left if c != left[axis - 1] and self.draw(st.integers(0, 2)) == 0]
        new = self._pick([2, 3, 4])
        sizes = dict(zip(left, shape, strict=True))
        weight = [sizes[c] for c in batch]
        if prod(shape) // shape[axis - 1] * new <= MOST:
            parameter = self._parameter(*weight, new, shape[axis - 1])
            right = "".join(batch) + "n" + left[axis - 1]
            equation = f"b{left},{right}->b{left.replace(left[axis - 1], 'n')}"
            self._add("weigh", [n], [parameter], equation=equation)

    def _new_conv(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) != 2:
            return
        channels, length = shape
        groups = self._pick([g for g in range(1, channels + 1) if channels % g == 0])
        each = self._pick([1, 2])
        kernel = self._pick([k for k in (1, 3) if k <= length])
        if groups * each * length <= MOST:
            weight = self._parameter(groups * each, channels // groups, kernel)
            bias = self._parameter(groups * each)
            self._add("conv", [n], [weight, bias], groups=groups, padding=kernel // 2)

    def _new_attention(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if len(shape) == 3:
            reads = [n, self._like(shape), self._like(shape)]
            self._add("attention", reads, causal=self._pick([False, False, True]))

    def _new_pad(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        low, high = self._pick([(1, 1), (0, 2), (2, 1)])
        if prod(shape) // shape[axis - 1] * (shape[axis - 1] + low + high) <= MOST:
            self._add("pad", [n], axis=axis, low=low, high=high)

    def _new_spread(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if 2 * prod(shape) <= MOST and len(shape) < MOST_AXES:
            self._add("spread", [n], axis=axis, size=2)

    def _new_repeat(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        if 2 * prod(shape) <= MOST:
            self._add("repeat", [n], axis=axis, times=2, interleave=self.draw(st.booleans()))

    def _new_turn(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        self._add("turn", [n], axis=axis, kind=self._pick(["roll", "flip", "cumsum"]))

    def _new_write(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        other = self._pick(self._parts(shape, axis))
        low = self._pick(range(shape[axis - 1] - self.shapes[other][axis - 1] + 1))
        self._add("write", [n, other], axis=axis, low=low)

    def _new_recurrent(self, n: int, shape: tuple[int, ...], axis: int) -> None:
        both, units = self.draw(st.booleans()), self._pick([2, 3])
        if len(shape) == 2 and shape[0] * units * (1 + both) <= MOST:
            rows = 4 * units
            each = [(rows, shape[1]), (rows, units), (rows,), (rows,)]
            self._add("recurrent", [n], [self._parameter(*s) for s in each * (1 + both)], both=both)


class _Wide(_Common, Positions, Values):
    """Rarer ones beside them."""


@st.composite
def programs(draw: Any, most: int = 10, *, wide: bool = False) -> tuple[Any, ...]:
    """Arguments of a :class:`Program`; ``wide`` draws from all operators, the rarer ones too."""
    writer = (_Wide if wide else _Common)(draw)
    for _ in range(draw(st.integers(1, most))):
        writer.step()
    return writer.width, tuple(writer.steps), tuple(writer.parameters)
