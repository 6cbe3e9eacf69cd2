"""Cases of :mod:`operator_cases`: rules of ``view`` (views)."""

import torch
import torch.nn.functional as F
from sample_models import L

from .case import SIX, TWO_THREE, OperatorCase, case, grid, own_orders

__all__ = ["CASES"]


CASES: list[OperatorCase] = [
    case("aten.view.default", lambda x: x.view(-1, 2, 3).mean(1), L(3) + 3 * L(2)),
    case("aten.reshape.default", lambda x: x.reshape(-1, 3, 2).tanh().reshape(-1, 6), SIX),
    case("aten.permute.default", lambda x: x.view(-1, 2, 3).permute(0, 2, 1).softmax(1), TWO_THREE),
    case("aten.transpose.int", lambda x: x.view(-1, 2, 3).transpose(1, 2).softmax(1), TWO_THREE),
    case("aten.t.default", lambda x, w: x @ w.t(), SIX + L(4), w=(4, 6)),
    case("aten.mT.default", lambda x: x.view(-1, 2, 3).mT.softmax(1), TWO_THREE),
    case("aten.numpy_T.default", lambda x, w: x @ w.T, SIX + L(4), w=(4, 6)),
    case("aten.movedim.int", lambda x: x.view(-1, 2, 3).movedim(1, 2).softmax(1), TWO_THREE),
    case("aten.squeeze.dim", lambda x: x[:, None].tanh().squeeze(1), SIX),
    # The three copies are alike: their readers may change places, unit by unit.
    case("aten.expand.default", lambda x: x[:, :, None].expand(-1, -1, 3), SIX + 6 * L(3)),
    case("aten.repeat.default", lambda x: x.repeat(1, 2), SIX + 6 * L(2)),
    case("aten.repeat_interleave.self_int", lambda x: x.repeat_interleave(2, 1), SIX + 6 * L(2)),
    case(
        "aten.flip.default",
        lambda x: x[:, :, None] * torch.stack([x.sum(1), x.amax(1)], 1).flip(-1)[:, None],
        SIX,
    ),
    case(
        "aten.flip.default",
        lambda x, p: torch.stack(x.chunk(2, 1), 1).flip(1) * p,
        SIX,
        found=2 * L(3),
        missed="parts that only change places",
        p=(2, 3),
    ),
    case(
        "aten.flip.default",
        lambda x: x.flip(1).tanh(),
        SIX,
        found=0,
        missed="units in reversed order",
    ),
    case(
        "aten.rot90.default",
        lambda x: torch.rot90(x[:, :, None], 2, (1, 2)),
        SIX,
        found=0,
        missed="units in reversed order",
    ),
    case("aten.flip.default", lambda x: torch.cat([x, x.cumsum(1).flip(1).tanh()], 1), 0),
    case(
        "aten.flip.default",
        lambda x, p: own_orders(x, p).flip(1),
        SIX + L(4) + 4 * L(3),
        p=(4, 3, 6),
        found=SIX + L(3),
        missed="units that move where the axis is reversed",
    ),
    case(
        "aten.pixel_shuffle.default",
        lambda x, w: F.conv2d(F.pixel_shuffle(grid(x), 2), w),
        L(2) + L(3),
        width=8,
        w=(3, 2, 3, 3),
    ),
    case("aten.pixel_unshuffle.default", lambda x: F.pixel_unshuffle(grid(x), 2), SIX),
    # Groups of three mixed to groups of two; softmax over each new group: rows and columns.
    case(
        "aten.channel_shuffle.default",
        lambda x: F.channel_shuffle(x[:, :, None], 2).view(-1, 3, 2).softmax(2),
        L(3) + 3 * L(2),
    ),
    # Real and imaginary parts, multiplied by a complex weight a unit.
    case(
        "aten.view_as_complex.default",
        lambda x, p: torch.view_as_real(
            torch.view_as_complex(x.view(-1, 3, 2)) * torch.view_as_complex(p)
        ),
        L(3),
        p=(3, 2),
    ),
    # An own order of units for the real parts would not fit the imaginary ones.
    case(
        "aten.view_as_real.default",
        lambda x, p: torch.view_as_real(
            torch.view_as_complex(torch.einsum("bc,nrc->bnr", x, p)).exp()
        ),
        SIX + L(4),
        p=(4, 2, 6),
    ),
    case("aten.unfold.default", lambda x: x.unfold(1, 3, 3).softmax(2), TWO_THREE),
    case("aten.unfold.default", lambda x: x.unfold(1, 3, 1).softmax(2), 0),
    case(
        "aten.as_strided.default",
        lambda x: (x * 1).as_strided((2, 2, 3), (6, 3, 1)).softmax(2),
        TWO_THREE,
    ),
    case("aten.as_strided.default", lambda x: (x * 1).as_strided((2, 4), (6, 1)), 0),
]
