"""Cases of :mod:`operator_cases`: rules of ``index`` (positions by number)."""

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor

from .case import INDEX, SIX, TWO_THREE, OperatorCase, case, own_orders

__all__ = ["CASES"]


def _indexed_write(x: Tensor) -> Tensor:
    made = x * 2
    made[:, torch.tensor([1, 3])] = x[:, :2]
    return made


def _masked_write(x: Tensor, p: Tensor, rows: bool = False) -> Tensor:
    """One value where a mask says so: in a matrix, or in all of a row at once."""
    made = x.view(-1, 2, 3) * 2
    mask = (p.sum(1) if rows else p) > 0
    made[mask.expand(made.shape[0], *mask.shape)] = p.sum()
    return made + x.view(-1, 2, 3) * p


def _written_rows(x: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Two of four rows are replaced: rows are told apart, units are not."""
    made = x[:, None] * p
    made[:, torch.tensor([1, 3])] = q * x[:, None]
    return made


CASES: list[OperatorCase] = [
    case(
        "aten.embedding.default",
        lambda x, e: x * F.embedding(torch.tensor([1, 0]), e),
        SIX,
        e=(2, 6),
    ),
    case(
        "aten.embedding_bag.padding_idx",
        lambda x, e: x * F.embedding_bag(torch.tensor([1, 0, 1]), e, torch.tensor([0, 2])),
        SIX,
        e=(2, 6),
    ),
    case(
        "aten.embedding_bag.padding_idx",
        lambda x, e: x * F.embedding_bag(INDEX, e, torch.arange(6)).sum(1),
        SIX + L(4),
        found=L(4),
        missed="rows that a table of numbers names in another order",
        e=(6, 4),
    ),
    case(
        "aten.isin.Tensor_Tensor",
        lambda x, p: x * p * torch.isin(p.round(), torch.tensor([0.0, 1.0])),
        SIX,
        p=(6,),
    ),
    case("aten.index_select.default", lambda x: x.index_select(1, INDEX), 0),
    case("aten.index.Tensor", lambda x: x[:, INDEX] * x, 0),
    case("aten.index.Tensor", lambda x, e: x * e[torch.tensor([1, 0])], SIX, e=(2, 6)),
    case("aten.gather.default", lambda x: x.gather(1, INDEX.expand(2, -1)), 0),
    # Along the batch of p, with one number for all units: the units stay free.
    case(
        "aten.gather.default",
        lambda x, p: x * p.gather(0, torch.tensor([[1], [0]]).expand(2, 6)),
        SIX,
        p=(2, 6),
    ),
    # Numbers that are computed along the positions themselves lay them out in another order: units
    # with an own order at each of them would meet the wrong ones.
    case(
        "aten.gather.default",
        lambda x, p: own_orders(x, p).gather(
            1, own_orders(x, p).sum(2, keepdim=True).argsort(1).expand(-1, -1, 3)
        ),
        SIX + L(4) + L(3),
        p=(4, 3, 6),
        found=SIX + L(3),
        missed="positions that are sorted afterwards",
    ),
    case(
        "aten.index_select.default",
        lambda x, p: own_orders(x, p).index_select(1, p.sum((1, 2)).argsort()),
        SIX + L(4) + L(3),
        p=(4, 3, 6),
        found=SIX + L(3),
        missed="positions that are sorted afterwards",
    ),
    case(
        "aten.embedding.default",
        lambda x, p: F.embedding(p.sum((1, 2)).argsort(), p.amax(2)) * own_orders(x, p),
        SIX + L(3),
        p=(4, 3, 6),
    ),
    case("aten.arange.start", lambda x: x * torch.arange(1, 7), 0),
    case("aten.tril.default", lambda x, w: x @ w.tril(), 0, w=(6, 6)),
    case(
        "aten.triu.default",
        lambda x, w: torch.einsum("bi,hij->bhj", x, w.triu()),
        L(3),
        w=(3, 6, 6),
    ),
    case("aten.one_hot.default", lambda x: x[:, :, None] * F.one_hot(torch.arange(6), 6), 0),
    case(
        "aten.meshgrid.indexing",
        lambda x, p: x[:, :, None] * torch.meshgrid(p, p, indexing="ij")[0],
        SIX + L(6),
        p=(6,),
        found=0,
        missed="grids of equal rows",
    ),
    # Units written over are read nowhere, or elsewhere; the other three are alike.
    case(
        "aten.index_put_.default",
        _indexed_write,
        L(3),
        found=0,
        missed="positions that a constant table does not name",
    ),
    case("aten.index_put_.default", _written_rows, SIX, p=(4, 1), q=(2, 6)),
    case("aten.index_put_.default", _masked_write, SIX, p=(2, 3)),
    case("aten.index_put_.default", lambda x, p: _masked_write(x, p, True), TWO_THREE, p=(2, 3)),
]
