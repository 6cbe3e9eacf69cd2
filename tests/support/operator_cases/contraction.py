"""Cases of :mod:`operator_cases`: rules of ``contraction`` (contraction)."""

from typing import Any

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor

from .case import SIX, TWO_THREE, OperatorCase, case, grid, line

__all__ = ["CASES"]


def _heads(x: Tensor, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """Six tokens of width 1 become queries, keys and values of 2 heads with 3 dims."""
    tokens = x[:, :, None]
    parts = [torch.einsum("btc,hdc->bhtd", tokens, w) for w in (q, k, v)]
    return F.scaled_dot_product_attention(*parts, **options).sum(2)


def _grouped(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Two query heads for each of two key/value heads."""
    tokens = x[:, :, None]
    parts = [torch.einsum("btc,hdc->bhtd", tokens, w) for w in (q, k, v)]
    return F.scaled_dot_product_attention(*parts, enable_gqa=True).sum(2)


def _masked(*tensors: Tensor, m: Tensor) -> Tensor:
    """Queries, keys and values; the last given stands for those that are not."""
    q, k, v = (*tensors, *[tensors[-1]] * (3 - len(tensors)))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=m)


def _copies(x: Tensor, count: int) -> Tensor:
    """Tokens that are all alike."""
    return x.mean(1)[:, None, None, None].expand(-1, -1, count, -1)


def _volume(x: Tensor) -> Tensor:
    return torch.stack([grid(x), grid(x).square()], 2)


CASES: list[OperatorCase] = [
    # What a group of channels reads and what it writes are one set: an own order in each group.
    case(
        "aten.conv1d.default",
        lambda x, p: x + F.conv1d(x[:, :, None], p, groups=2)[:, :, 0],
        TWO_THREE,
        p=(6, 3, 1),
    ),
    case(
        "aten.conv_transpose1d.default",
        lambda x, p: x + F.conv_transpose1d(x[:, :, None], p, groups=2)[:, :, 0],
        TWO_THREE,
        p=(6, 3, 1),
    ),
    # And one order for all groups, where something without groups is added.
    case(
        "aten.conv1d.default",
        lambda x, p, q: (
            (x.unflatten(1, (2, 3)) * q).flatten(1) + F.conv1d(x[:, :, None], p, groups=2)[:, :, 0]
        ),
        L(2) + L(3),
        p=(6, 3, 1),
        q=(3,),
    ),
    case("aten.linear.default", lambda x, w, b: F.linear(x, w, b), SIX + L(4), w=(4, 6), b=(4,)),
    case("aten.addmm.default", lambda x, w, b: torch.addmm(b, x, w), SIX + L(4), w=(6, 4), b=(4,)),
    case("aten.mm.default", lambda x, w: torch.mm(x, w), SIX + L(4), w=(6, 4)),
    # Gram matrix of two rows of three: rows, and one order of the three for both.
    case(
        "aten.bmm.default", lambda x: torch.bmm(x.view(-1, 2, 3), x.view(-1, 2, 3).mT), L(2) + L(3)
    ),
    case(
        "aten.baddbmm.default",
        lambda x, c: torch.baddbmm(c, x.view(-1, 2, 3), x.view(-1, 2, 3).mT),
        L(2) + L(3),
        c=(1, 2, 2),
    ),
    case("aten.mv.default", lambda x, w, v: x * torch.mv(w, v), SIX + L(4), w=(6, 4), v=(4,)),
    case("aten.dot.default", lambda x, p, q: x * torch.dot(p, q), SIX + L(4), p=(4,), q=(4,)),
    case(
        "aten.inner.default",
        lambda x, p, q: x * torch.inner(p, q).tanh().sum(),
        SIX + L(4) + L(2) + L(3),
        p=(2, 4),
        q=(3, 4),
    ),
    case(
        "aten.outer.default",
        lambda x, p, q: x[:, :, None] * torch.outer(p, q),
        SIX + L(3),
        p=(6,),
        q=(3,),
    ),
    # Two rows through one matrix: rows, three inputs and four outputs, alike for both rows.
    case("aten.matmul.default", lambda x, w: x.view(-1, 2, 3) @ w, L(2) + L(3) + L(4), w=(3, 4)),
    case("aten.matmul.default", lambda x, w: (x @ w)[:, None], SIX, w=(6,)),
    case("aten.matmul.default", lambda x, p, q: x * (p @ q), SIX + L(4), p=(4,), q=(4,)),
    case("aten.matmul.default", lambda x, w, p: x * (p @ w), SIX + L(4), p=(4,), w=(4, 6)),
    # A matrix for each row: inputs and outputs are ordered for each row.
    case(
        "aten.einsum.default",
        lambda x, w: torch.einsum("brc,rdc->brd", x.view(-1, 2, 3), w),
        L(2) + 2 * L(3) + 2 * L(4),
        w=(2, 4, 3),
    ),
    case("aten.einsum.default", lambda x, w: x * torch.einsum("ii", w), SIX + L(4), w=(4, 4)),
    case(
        "aten.bilinear.default",
        lambda x, w, b: F.bilinear(x, x, w, b),
        SIX + L(4),
        w=(4, 6, 6),
        b=(4,),
    ),
    case(
        "aten.conv1d.default",
        lambda x, w, b: F.conv1d(line(x), w, b),
        SIX + L(4),
        w=(4, 6, 3),
        b=(4,),
    ),
    # Two groups of three inputs and two outputs.
    case(
        "aten.conv2d.default",
        lambda x, w, b: F.conv2d(grid(x), w, b, groups=2),
        L(2) + 2 * L(3) + 2 * L(2),
        w=(4, 3, 3, 3),
        b=(4,),
    ),
    # A kernel of one point treats positions alike: six channels, and five positions made by p.
    case(
        "aten.conv2d.default",
        lambda x, w, p: F.conv2d(x[:, :, None, None] + p, w),
        SIX + L(4) + L(5),
        w=(4, 6, 1, 1),
        p=(5, 1),
    ),
    # With a stride of two it reads three of them.
    case(
        "aten.conv2d.default",
        lambda x, w, p: F.conv2d(x[:, :, None, None] + p, w, stride=(2, 1)),
        SIX + L(4) + L(3) + L(2),
        w=(4, 6, 1, 1),
        p=(5, 1),
        found=SIX + L(4),
        missed="positions read by a kernel of one point with a stride",
    ),
    case(
        "aten.conv3d.default", lambda x, w: F.conv3d(_volume(x), w), SIX + L(2), w=(2, 6, 2, 3, 3)
    ),
    case(
        "aten.conv_transpose1d.default",
        lambda x, w, b: F.conv_transpose1d(line(x), w, b),
        SIX + L(4),
        w=(6, 4, 2),
        b=(4,),
    ),
    case(
        "aten.conv_transpose2d.input",
        lambda x, w, b: F.conv_transpose2d(grid(x), w, b, groups=2),
        L(2) + 2 * L(3) + 2 * L(2),
        w=(6, 2, 2, 2),
        b=(4,),
    ),
    case(
        "aten.conv_transpose3d.input",
        lambda x, w: F.conv_transpose3d(_volume(x), w),
        SIX + L(2),
        w=(6, 2, 1, 2, 1),
    ),
    # Six tokens, two heads, three query/key and three value dims in each.
    case(
        "aten.scaled_dot_product_attention.default",
        _heads,
        SIX + L(2) + 4 * L(3),
        q=(2, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    case(
        "aten.scaled_dot_product_attention.default",
        lambda x, **p: _heads(x, **p, is_causal=True),
        L(2) + 4 * L(3),
        q=(2, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    # Every token has the same value: weights that sum to one make it of that, in any order.
    case(
        "aten.scaled_dot_product_attention.default",
        lambda x: F.scaled_dot_product_attention(
            x[:, :, None], x[:, :, None], x[:, None].expand(-1, 6, -1), is_causal=True
        ).sum(1),
        SIX,
    ),
    # A mask of one row and column per token, made from one vector.
    case(
        "aten.scaled_dot_product_attention.default",
        lambda x, m, **p: _heads(x, **p, attn_mask=m[:, None] + m),
        SIX + L(2) + 4 * L(3),
        m=(6,),
        q=(2, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
    # Only the mask tells heads apart, or queries, or keys from each other.
    case(
        "aten.scaled_dot_product_attention.default",
        lambda x, m: _masked(x[:, None, :, None].expand(-1, 2, -1, -1), m=m),
        SIX + L(2),
        m=(2, 6, 6),
    ),
    case(
        "aten.scaled_dot_product_attention.default",
        lambda x, m: _masked(_copies(x, 4), x[:, None, :, None], m=m),
        SIX + L(4),
        m=(4, 6),
    ),
    case(
        "aten.scaled_dot_product_attention.default",
        lambda x, m, v: (
            _masked(x[:, None, :, None], _copies(x, 3), v.expand(x.shape[0], 1, -1, -1), m=m)
            * x[:, None, :, None]
        ),
        SIX + L(3) + L(2),
        m=(6, 3),
        v=(3, 2),
    ),
    case(
        "aten.scaled_dot_product_attention.default",
        _grouped,
        SIX + L(2) + 2 * L(2) + 4 * L(3),
        q=(4, 3, 1),
        k=(2, 3, 1),
        v=(2, 3, 1),
    ),
]
