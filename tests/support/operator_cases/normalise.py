"""Cases of :mod:`operator_cases`: rules of ``normalise`` (norms and reductions)."""

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor

from .case import INDEX, SIX, TWO_THREE, OperatorCase, case, line, own_orders

__all__ = ["CASES"]


def _native_norm(x: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return F.batch_norm(x, q.detach(), p.detach().abs() + 1, p, q, training=False)


CASES: list[OperatorCase] = [
    case("aten.batch_norm.default", _native_norm, SIX, p=(6,), q=(6,)),
    # Statistics of each of three channels over two positions.
    case(
        "aten.batch_norm.default",
        lambda x: F.batch_norm(x.view(-1, 2, 3).transpose(1, 2), None, None, training=True),
        L(3) + 3 * L(2),
    ),
    case(
        "aten.instance_norm.default",
        lambda x, p, q: F.instance_norm(x.view(-1, 2, 3), None, None, p, q),
        TWO_THREE,
        p=(2,),
        q=(2,),
    ),
    case(
        "aten.layer_norm.default", lambda x, p, q: F.layer_norm(x, (6,), p, q), SIX, p=(6,), q=(6,)
    ),
    case(
        "aten.layer_norm.default",
        lambda x, p: F.layer_norm(x.view(-1, 2, 3), (3,), p),
        L(2) + L(3),
        p=(3,),
    ),
    case("aten.layer_norm.default", lambda x: F.layer_norm(x.view(-1, 2, 3), (3,)), TWO_THREE),
    case("aten.rms_norm.default", lambda x, p: F.rms_norm(x, (6,), p), SIX, p=(6,)),
    case(
        "aten.group_norm.default",
        lambda x, p, q: F.group_norm(x, 2, p, q),
        TWO_THREE,
        p=(6,),
        q=(6,),
    ),
    case("aten.softmax.int", lambda x: x.view(-1, 2, 3).softmax(2), TWO_THREE),
    # Softmax over the two: whole rows change places, one order of the three for both.
    case("aten.softmax.int", lambda x: x.view(-1, 2, 3).softmax(1), L(3) + 3 * L(2)),
    case("aten.log_softmax.int", lambda x: x.view(-1, 2, 3).log_softmax(2), TWO_THREE),
    case(
        "aten.linalg_vector_norm.default",
        lambda x: F.normalize(x.view(-1, 2, 3), dim=2),
        TWO_THREE,
    ),
    case("aten.sum.dim_IntList", lambda x: x.view(-1, 2, 3).sum(2), TWO_THREE),
    case("aten.mean.dim", lambda x: x * x.mean(1, keepdim=True), SIX),
    case("aten.amax.default", lambda x: x.view(-1, 2, 3).amax(2), TWO_THREE),
    case("aten.var.dim", lambda x: x.view(-1, 2, 3).var(2), TWO_THREE),
    case("aten.sum.default", lambda x, p: x * p.sum(), SIX + L(4), p=(4,)),
    # The greatest of three and its place: which of them it is shows in the output.
    case("aten.max.dim", lambda x: x.view(-1, 2, 3).max(2)[1] * x[:, :1], 0),
    case("aten.max.default", lambda x, p: x * p.max(), SIX + L(4), p=(4,)),
    case(
        "aten.var_mean.dim", lambda x: torch.cat(torch.var_mean(x.view(-1, 2, 3), 2), 1), TWO_THREE
    ),
    case("aten.cumsum.default", lambda x: x.cumsum(1), 0),
    # Units of their own at each position are one set where positions are summed.
    case(
        "aten.cumsum.default",
        lambda x, p: own_orders(x, p).cumsum(1),
        SIX + L(3),
        p=(4, 3, 6),
    ),
    case("aten.cumsum.default", lambda x: x[:, :, None].expand(-1, -1, 3).cumsum(2), SIX),
    case("aten.logcumsumexp.default", lambda x: x.logcumsumexp(1), 0),
    case("aten.cummax.default", lambda x: x.cummax(1)[0], 0),
    case("aten.cummin.default", lambda x: x.cummin(1)[0], 0),
    case("aten.diff.default", lambda x: torch.cat([x, x.diff(dim=1)], 1), 0),
    case("aten.argmax.default", lambda x: x.view(-1, 2, 3).argmax(2) * x[:, :1], 0),
    # The best of three by rank, and the numbers of the best: experts of a router stay free.
    case("aten.topk.default", lambda x: x.topk(3)[0], SIX),
    case(
        "aten.scatter_reduce.two",
        lambda x: x.new_zeros(2, 6, 2).scatter_reduce(
            2, torch.tensor([0, 0, 1, 1]).expand(2, 6, 4), line(x), "amax", include_self=False
        ),
        SIX,
    ),
    case(
        "aten.scatter_reduce.two",
        lambda x: (
            x
            * torch.zeros_like(x).scatter_reduce(
                1, torch.tensor([0, 0, 1, 2, 2, 5]).expand(2, -1), x, "sum"
            )
        ),
        L(2),
        found=0.0,
        missed="two units that are summed into one position",
    ),
    case("aten.scatter.src", lambda x: x * torch.zeros_like(x).scatter(1, *x.topk(3)[::-1]), SIX),
    case("aten.clone.default", lambda x: x * x.clone(), SIX),
    case(
        "aten.scatter.value",
        lambda x: x * x.scatter(1, INDEX[:3].expand(2, -1), 2.0),
        2 * L(3),
        found=0,
        missed="positions that are written are alike, and so are the others",
    ),
    # The smallest of all weights, and the first: the others are alike.
    case("aten.sort.default", lambda x, p: x * p.sort()[0][:1] * p[:1] * p, L(5), p=(6,)),
    case("aten.sort.default", lambda x: x.view(-1, 2, 3).sort(2)[0], TWO_THREE),
    case("aten.sort.stable", lambda x: x * x.sort(stable=True)[0][:, :1], SIX),
    case("aten.sort.default", lambda x: x * x.sort(1)[1], 0),
    case("aten.max.dim", lambda x: x * x.max(1, keepdim=True)[0], SIX),
    case("aten.min.dim", lambda x: x.view(-1, 2, 3).min(2)[0], TWO_THREE),
    case("aten.median.dim", lambda x: x * x.median(1, keepdim=True)[0], SIX),
    case("aten.nanmedian.dim", lambda x: x * x.nanmedian(1, keepdim=True)[0], SIX),
    case("aten.kthvalue.default", lambda x: x * x.kthvalue(2, 1, True)[0], SIX),
    case("aten.mode.default", lambda x: x * x.mode(1, True)[0], SIX),
    case("aten.median.default", lambda x, w: x * w.median(), SIX + L(12), w=(3, 4)),
]
