"""An order for each value of another set: only where every operator sees the one with the other.

In each network a weight has an axis of units and one of positions, so units could have an order of
their own at each position. Then an operator brings positions together, and the result is added to
what came in: all tensors that have the units have the positions too, though not the same ones.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sample_models import L
from sample_models.generators import WRONG, worst_generator
from sample_models.small import Weights
from torch import Tensor

from zooalign.symmetry import derive_spec

ROWS = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
CYCLE = torch.tensor([1, 2, 3, 0])
SMOOTHING = torch.tensor([[[0.25, 0.5, 0.25]]], dtype=torch.float64)


def residual(mix: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Four positions of three units; ``mix`` works along axis 1 of (rows, positions, units)."""

    def function(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        h = x[:, :4, None] * w
        return torch.einsum("btu,otu->bo", (h + mix(h)).tanh(), v)

    return function


def smoothed(h: Tensor) -> Tensor:
    """Each unit by itself, with a kernel of constants."""
    rows = h.mT.reshape(-1, 1, 4)
    return F.conv1d(rows, SMOOTHING.to(h.dtype), padding=1).view(-1, 3, 4).mT


def padded(h: Tensor, mode: str) -> Tensor:
    return F.pad(h.mT, (1, 1), mode=mode).mT[:, 2:]


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "average pooling": lambda h: F.avg_pool1d(h.mT, 3, 1, 1).mT,
    "maximum pooling": lambda h: F.max_pool1d(h.mT, 3, 1, 1).mT,
    "adaptive pooling": lambda h: F.adaptive_avg_pool1d(h.mT, 4).mT,
    "interpolation": lambda h: F.interpolate(h.mT, scale_factor=2.0, mode="linear").mT[:, 2:6],
    "Fourier transform": lambda h: torch.fft.fft(h, dim=1).real,
    "two Fourier transforms": lambda h: torch.fft.irfft(torch.fft.rfft(h, dim=1).abs(), 4, 1),
    "table of numbers": lambda h: h[:, CYCLE],
    "selection": lambda h: h.index_select(1, CYCLE),
    "gather": lambda h: h.gather(1, CYCLE[None, :, None].expand(h.shape)),
    "written by number": lambda h: torch.zeros_like(h).index_copy(1, CYCLE, h),
    "added by number": lambda h: torch.zeros_like(h).index_add(1, CYCLE, h),
    "put by number": lambda h: torch.zeros_like(h).index_put((torch.arange(16)[:, None], CYCLE), h),
    "repeated by numbers": lambda h: h.repeat_interleave(torch.tensor([2, 1, 0, 1]), dim=1),
    "constant kernel": smoothed,
    "shifted": lambda h: h.roll(1, 1),
    "in reversed order": lambda h: h.flip(1),
    "taken apart": lambda h: torch.cat([h[:, ::2], h[:, 1::2]], 1),
    "reflected border": lambda h: padded(h, "reflect"),
    "border of copies": lambda h: padded(h, "replicate"),
    "border of zeros": lambda h: padded(h, "constant"),
    "running sum": lambda h: h.cumsum(1),
    "running maximum": lambda h: h.cummax(1)[0],
    "differences": lambda h: F.pad(h, (0, 0, 1, 0)).diff(dim=1),
    "shares": lambda h: h.softmax(1),
    "normed": lambda h: F.layer_norm(h.mT, (4,)).mT,
    "sum": lambda h: h.sum(1, keepdim=True),
    "triangle": lambda h: torch.einsum("btu,ts->bsu", h, torch.ones(4, 4, dtype=h.dtype).tril()),
    "windows": lambda h: h.unfold(1, 2, 1).sum(-1).repeat(1, 2, 1)[:, :4],
    "attention": lambda h: F.scaled_dot_product_attention(h, h, h),
    "complex": lambda h: (
        torch.view_as_complex(h.mT.reshape(-1, 3, 2, 2).contiguous()).abs().repeat(1, 1, 2).mT
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_one_order_for_all_positions_that_meet(name: str) -> None:
    module = Weights(residual(MIXED[name]), (4, 3), (2, 4, 3))
    spec = derive_spec(module, (ROWS,)).spec
    change, generator = worst_generator(module, spec, (ROWS,))
    assert change < WRONG, generator
    assert L(3) - 1e-9 < spec.log10_order < 4 * L(3) - 1e-9


def test_an_order_for_each_position_where_they_stay_apart() -> None:
    module = Weights(residual(torch.sin), (4, 3), (2, 4, 3))
    assert derive_spec(module, (ROWS,)).spec.log10_order == pytest.approx(4 * L(3))


def test_one_order_for_two_positions_that_meet() -> None:
    module = Weights(residual(lambda h: torch.cat([h[:, 2:], h[:, :2]], 1)), (4, 3), (2, 4, 3))
    spec = derive_spec(module, (ROWS,)).spec
    change, generator = worst_generator(module, spec, (ROWS,))
    assert change < WRONG, generator
    assert spec.log10_order == pytest.approx(2 * L(3))


def gram(x: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Rows of the one factor meet rows of the other, in another layout."""
    return x.sum() + ((p @ p.mT).reshape(2, 8) * q).tanh().sum()


def gram_in_groups(x: Tensor, w: Tensor, o: Tensor) -> Tensor:
    h = F.linear(x, w)[:, :, None] * x[:, None, :3]
    return F.linear((h @ h.mT).view(-1, 2, 32).tanh().sum(1), o)


def gram_normed(x: Tensor, p: Tensor) -> Tensor:
    return x.sum() + F.group_norm(p.mT @ p, 2).tanh().sum()


def repeated(x: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Row (i, d) holds ``p[j, d]`` beside ``r[i, d]``, and i and j are one set."""
    e = p.repeat(1, 3) + q + r
    v = r.view(3, 2).sum(1) + p.sum(1)
    return x.sum() * e.tanh().sum() + v.tanh().sum()


def shuffled(x: Tensor, w: Tensor, g: Tensor) -> Tensor:
    """Taps of each channel meet those of the channel that comes to its place."""
    taps = w[:, 0]
    return x.sum() + ((taps + F.channel_shuffle(taps[None], 2)[0]).tanh() * g).sum()


def three_operands(x: Tensor, a: Tensor, p: Tensor) -> Tensor:
    """Dims are summed between one token and another."""
    h = torch.einsum("tdi,bi->btd", a, x)
    return torch.einsum("btd,e,bsd->btse", h, p, h).softmax(-2).pow(2).sum((1, 2))


def one_weight_three_times(x: Tensor, p: Tensor) -> Tensor:
    return x.sum() + torch.einsum("ab,cd,ae->eb", p, p, p).tanh().sum()


def twice_in_a_grouped_layer(x: Tensor, w: Tensor) -> Tensor:
    """What a group reads is what it computes: groups move, and channels in all groups alike."""
    h = F.linear(x[:, :4], w.reshape(8, 4))
    for _ in range(2):
        h = h + F.conv1d(h[:, :, None], w, groups=2)[:, :, 0]
    return h.square().sum(1)


def rows_beside_recurrent_units(x: Tensor, h: Tensor, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Each unit reads all units of the step before: rows have one order for all of them."""
    steps = x[:3, None].expand(3, 4, 5)
    out, _ = torch.rnn_tanh(steps, h[None], [w, u], False, 1, 0.0, False, False, False)
    return x.sum() + (out * v).sum()


TWICE: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "Gram matrix in another layout": (gram, [(4, 3), (2, 8)]),
    "Gram matrix in groups": (gram_in_groups, [(8, 5), (2, 32)]),
    "Gram matrix normed in groups": (gram_normed, [(3, 6)]),
    "repeated beside itself": (repeated, [(3, 2), (3, 6), (6,)]),
    "shuffled beside itself": (shuffled, [(6, 1, 3), (6, 3)]),
    "three operands": (three_operands, [(4, 3, 5), (2,)]),
    "one weight three times": (one_weight_three_times, [(3, 3)]),
    "grouped layer in a residual": (twice_in_a_grouped_layer, [(8, 4, 1)]),
    "rows of a recurrent layer": (
        rows_beside_recurrent_units,
        [(4, 2), (2, 5), (2, 2), (4, 2)],
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_set_that_occurs_twice(name: str) -> None:
    function, shapes = TWICE[name]
    module = Weights(function, *shapes)
    change, generator = worst_generator(module, derive_spec(module, (ROWS,)).spec, (ROWS,))
    assert change < WRONG, generator


def test_an_order_for_each_position_that_is_read_by_its_own_number() -> None:
    """As the heads of sparse attention are, beside queries that are chosen."""
    columns = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]])

    def function(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        h = torch.einsum("bi,tsi,tui->tsbu", x, v, w)
        chosen = h[torch.arange(4)[:, None], columns]
        return torch.einsum("tsbu,tu->b", chosen.tanh(), w[:, :, 0])

    module = Weights(function, (4, 3, 5), (4, 2, 5))
    spec = derive_spec(module, (ROWS,)).spec
    change, generator = worst_generator(module, spec, (ROWS,))
    assert change < WRONG, generator
    assert spec.log10_order == pytest.approx(4 * L(3))
