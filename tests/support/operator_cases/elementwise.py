"""Cases of :mod:`operator_cases`: rules of ``elementwise`` (element by element)."""

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor

from .case import SIX, OperatorCase, case, sliced_write

__all__ = ["CASES"]


def _written(x: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    made.copy_(x)
    return made + x


def _filled(x: Tensor, p: Tensor) -> Tensor:
    made = x * 1
    made.masked_fill_(p > 0, 0.5)
    return made + x * p


def _shifted(x: Tensor, p: Tensor) -> Tensor:
    return torch.bitwise_left_shift((x * 8).long(), (p.abs() * 3).long()).to(x.dtype) * p


CASES: list[OperatorCase] = [
    case("aten.gelu.default", lambda x: F.gelu(x), SIX),
    case("aten.relu_.default", lambda x: F.relu(x + 1, inplace=True), SIX),
    case("aten.pow.Tensor_Scalar", lambda x: x**2, SIX),
    case("aten.mul.Tensor", lambda x, p: x * p, SIX, p=(6,)),
    case("aten.add.Tensor", lambda x, p: x[:, :, None] + p, SIX + 6 * L(3), p=(6, 3)),
    case("aten.where.self", lambda x, p: torch.where(x > 0, x, p), SIX, p=(6,)),
    case("aten.lerp.Tensor", lambda x, p, q: torch.lerp(x, p, q), SIX, p=(6,), q=(6,)),
    case("aten.maximum.default", lambda x, p: torch.maximum(x, p), SIX, p=(6,)),
    case("aten.addcmul.default", lambda x, p, q: torch.addcmul(x, p, q), SIX, p=(6,), q=(6,)),
    case("aten.clamp.Tensor", lambda x, p: torch.clamp(x, min=p), SIX, p=(6,)),
    case(
        "aten.zeros.default",
        lambda x: torch.cat([x, torch.zeros(2, 4, device=x.device) + 1], 1),
        SIX + L(4),
    ),
    case("aten.clamp_min.Tensor", lambda x, p: x.clamp_min(p), SIX, p=(6,)),
    case("aten.prelu.default", lambda x, p: F.prelu(x - 0.5, p), SIX, p=(6,)),
    case("aten.clamp_min.Tensor", lambda x, p: x.clamp_min(p), SIX, p=(6,)),
    case("aten.prelu.default", lambda x, p: F.prelu(x, p), SIX, p=(1,)),
    # Two units that are not written, four that are, two readers of zeros.
    case("aten.copy.default", sliced_write, 2 * L(2) + L(4)),
    case("aten.copy_.default", _written, SIX),
    case(
        "aten.masked_fill_.Scalar", lambda x, p: (x + 1).masked_fill_(x > 0, 0.5) * p, SIX, p=(6,)
    ),
    case("aten.masked_fill_.Scalar", _filled, SIX, p=(6,)),
    case("aten.glu.default", lambda x: F.glu(x, 1), L(3)),
    case("aten.type_as.default", lambda x, p: x.type_as(p) * p, SIX, p=(6,)),
    case("aten.bitwise_left_shift.Tensor", _shifted, SIX, p=(6,)),
    case("aten.fill.Scalar", lambda x: x + torch.fill(x, 2.0), SIX),
    case("aten.empty_like.default", lambda x: x + torch.empty_like(x).fill_(2.0), SIX),
    case("aten.dropout.default", lambda x: F.dropout(x, 0.5, False), SIX),
]
