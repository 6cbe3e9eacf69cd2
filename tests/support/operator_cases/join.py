"""Cases of :mod:`operator_cases`: rules of ``join`` (sums of sets)."""

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor

from .case import SIX, OperatorCase, case, line, sliced_write

__all__ = ["CASES"]


def _twice(x: Tensor) -> Tensor:
    return x[:, None].expand(-1, 2, -1)


def _selected_write(x: Tensor) -> Tensor:
    made = x * 2
    made[:, 1] = x[:, 0]
    return made


def _strided_write(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, ::2] = x[:, ::2].exp()
    return x


CASES: list[OperatorCase] = [
    case("aten.slice.Tensor", lambda x: torch.cat([x[:, 2:].softmax(1), x], 1), L(2) + L(4)),
    # Every second one: three pairs, whose first units only are read.
    case("aten.slice.Tensor", lambda x: x * x[:, ::2].sum(1, keepdim=True), 2 * L(3)),
    case("aten.slice.Tensor", lambda x: x * x[:, :5:2].sum(1, keepdim=True), 2 * L(3)),
    case("aten.slice.Tensor", lambda x: x * x[:, 5::2].tanh(), L(5)),
    case(
        "aten.slice.Tensor",
        lambda x: x * x[:, 1:5:2].sum(1, keepdim=True),
        L(2) + L(4),
        found=3 * L(2),
        missed="units between those taken, with units before and behind them",
    ),
    case(
        "aten.slice.Tensor",
        lambda x: x * x[:, ::5].sum(1, keepdim=True),
        L(2) + L(4),
        found=0,
        missed="blocks of five do not fit",
    ),
    case("aten.slice.Tensor", lambda x: torch.cat([x[:, 6::3], x], 1), SIX),
    case(
        "aten.narrow.default",
        lambda x: torch.cat([x.narrow(1, 2, 4).softmax(1), x], 1),
        L(4) + L(2),
    ),
    case(
        "aten.select.int",
        lambda x: torch.cat([x.view(-1, 2, 3).select(1, 1).softmax(1), x], 1),
        2 * L(3),
    ),
    case("aten.unbind.int", lambda x: torch.cat(x.view(-1, 2, 3).unbind(1), 1), 2 * L(3)),
    case(
        "aten.split.Tensor",
        lambda x: torch.cat([y.softmax(1) for y in x.split(4, 1)], 1),
        L(4) + L(2),
    ),
    case(
        "aten.split_with_sizes.default",
        lambda x: torch.cat([y.softmax(1) for y in x.split([1, 5], 1)], 1),
        L(5),
    ),
    case(
        "aten.chunk.default",
        lambda x: torch.cat([y.softmax(1) for y in x.chunk(2, 1)], 1),
        2 * L(3),
    ),
    case("aten.cat.default", lambda x, p: torch.cat([x, x * p], 1), SIX, p=(6,)),
    # Two empty parts, as of caches that hold nothing yet.
    case("aten.cat.default", lambda x: torch.cat([torch.cat(2 * [x[:, :0]], 1), x], 1), SIX),
    # Copies of one tensor are alike, not those of one and of another made of the same units.
    case("aten.cat.default", lambda x: torch.cat(2 * [_twice(x)], 1), SIX + 6 * L(4)),
    case(
        "aten.cat.default", lambda x: torch.cat([_twice(x), _twice(x).tanh()], 1), SIX + 12 * L(2)
    ),
    case("aten.stack.default", lambda x, p: torch.stack([x, x * p], 1), SIX, p=(6,)),
    # The border holds zeros: its readers are three units that nothing tells apart.
    case("aten.pad.default", lambda x: F.pad(x, (2, 2)), SIX + L(4)),
    case(
        "aten.pad.default",
        lambda x: F.pad(x, (1, 2)),
        SIX + L(3),
        found=SIX + L(2),
        missed="a piece of one unit is not counted among others",
    ),
    # A border beside positions, and beside copies: it is alike in itself, and with neither.
    case("aten.pad.default", lambda x: F.pad(line(x), (2, 2)).sum(1), SIX + L(4)),
    case("aten.pad.default", lambda x: F.pad(_twice(x).mT, (2, 2)).sum(1), SIX + L(2) + L(4)),
    case(
        "aten.pad.default",
        lambda x: F.pad(line(x), (1, 2), mode="reflect"),
        SIX + 3 * L(2),
        found=SIX,
        missed="a position and its copy in the border",
    ),
    case("aten.roll.default", lambda x: torch.cat([x.softmax(1), x.roll(2, 1)], 1), L(2) + L(4)),
    case("aten.slice_scatter.default", _strided_write, 2 * L(3)),
    case("aten.slice_scatter.default", sliced_write, 2 * L(2) + L(4)),
    case(
        "aten.slice_scatter.default",
        lambda x: sliced_write(x, 2),
        2 * L(4) + L(2),
        found=4 * L(2),
        missed="what is not written, before and between what is",
    ),
    case("aten.select_scatter.default", _selected_write, L(4)),
]
