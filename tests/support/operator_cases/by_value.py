"""Cases as in :mod:`operator_cases`: rules of ``by_value`` and ``transform``."""

import torch
import torch.nn.functional as F
from sample_models import L
from torch import Tensor

from .case import OperatorCase

__all__ = ["CASES"]

_SIX = L(6)
_ROWS = torch.tensor([True, False])
_UNITS = torch.tensor([True, False, True, False, True, False])
_BOUNDS = torch.tensor([-0.4, 0.0, 0.3])
_RAMP = torch.arange(8.0) + 1


def _decided(x: Tensor) -> Tensor:
    return x * 2 if bool((torch.arange(3) > 1).any()) else x


def _windows(x: Tensor) -> Tensor:
    lines = (x[:, :, None] * _RAMP).flatten(0, 1)
    found = torch.stft(lines, 4, hop_length=2, center=False, return_complex=True)
    return found.abs().unflatten(0, (2, 6))


def _frequencies(x: Tensor) -> Tensor:
    found = torch.fft.fft(x)
    return found.real + found.imag


CASES = [
    OperatorCase("aten.index.Tensor", lambda x: x[_ROWS], _SIX),
    OperatorCase(
        "aten.index.Tensor",
        lambda x: x[:, _UNITS],
        2 * L(3),
        found=0,
        missed="units that a mask names are alike, and so are the others",
    ),
    OperatorCase("aten.item.default", _decided, _SIX),
    OperatorCase(
        "aten.masked_scatter.default",
        lambda x, p: x.masked_scatter(_ROWS[:, None].expand(2, 6), p),
        _SIX,
        {"p": (1, 6)},
    ),
    OperatorCase(
        "aten.masked_scatter.default",
        lambda x, p: x.masked_scatter(_UNITS, p),
        3 * L(3),
        {"p": (6,)},
        found=0,
        missed="units that a mask names are alike, and so are the others",
    ),
    OperatorCase("aten.bucketize.Tensor", lambda x: x + torch.bucketize(x, _BOUNDS), _SIX),
    OperatorCase("aten.searchsorted.Tensor", lambda x: x + torch.searchsorted(_BOUNDS, x), _SIX),
    OperatorCase(
        "aten.index_add.default",
        lambda x, p: p.index_add(0, torch.tensor([1, 0]), x),
        _SIX,
        {"p": (4, 6)},
    ),
    OperatorCase(
        "aten.repeat_interleave.self_Tensor",
        lambda x: x.repeat_interleave(torch.tensor([1, 2]), dim=0),
        _SIX,
    ),
    OperatorCase(
        "aten.fft_fft.default", lambda x: torch.fft.fft(x[:, :, None] * _RAMP).abs(), _SIX
    ),
    OperatorCase("aten.fft_fft.default", _frequencies, 0),
    OperatorCase("aten.stft.default", _windows, _SIX),
    OperatorCase("aten.cdist.default", lambda x, p: torch.cdist(x, p), _SIX + L(4), {"p": (4, 6)}),
    OperatorCase(
        "aten.cosine_similarity.default",
        lambda x, p: F.cosine_similarity(x[:, None], p[None], dim=-1),
        _SIX + L(4),
        {"p": (4, 6)},
    ),
    OperatorCase(
        "aten.broadcast_tensors.default",
        lambda x, p: torch.mul(*torch.broadcast_tensors(x, p)),
        _SIX,
        {"p": (6,)},
    ),
    OperatorCase(
        "aten.mse_loss.default",
        lambda x, p: F.mse_loss(x, p, reduction="none"),
        _SIX,
        {"p": (2, 6)},
    ),
    OperatorCase(
        "aten.linalg_norm.default",
        lambda x, p: torch.linalg.norm(x[:, :, None] * p, dim=1),
        _SIX + L(3),
        {"p": (3,)},
    ),
    # The columns change place together, the rows too; entries of a matrix have no other order.
    OperatorCase(
        "aten.linalg_norm.default",
        lambda x, p: x * torch.linalg.norm(x.new_zeros(4, 5) + p, 2),
        _SIX + L(4) + L(5),
        {"p": (4, 5)},
    ),
    OperatorCase("aten.clip.default", lambda x: x.clip(-0.5, 0.5), _SIX),
]
