"""Cases of :mod:`operator_cases`: rules of ``spatial`` (positions)."""

import torch
import torch.nn.functional as F
from sample_models import L

from .case import SIX, OperatorCase, case, grid, line

__all__ = ["CASES"]

_GRID = torch.tensor([[[[-0.5, 0.3], [0.2, 0.9], [0.1, -0.7]]]])


CASES: list[OperatorCase] = [
    case("aten.avg_pool1d.default", lambda x: F.avg_pool1d(line(x), 2), SIX),
    case("aten.max_pool2d.default", lambda x: F.max_pool2d(grid(x), 2), SIX),
    case("aten.adaptive_avg_pool2d.default", lambda x: F.adaptive_avg_pool2d(grid(x), 2), SIX),
    case(
        "aten.max_pool2d_with_indices.default",
        lambda x: F.max_pool2d(grid(x), 2, return_indices=True)[0],
        SIX,
    ),
    case(
        "aten.max_unpool2d.default",
        lambda x: F.max_unpool2d(*F.max_pool2d(grid(x).sin(), 2, return_indices=True), 2),
        SIX,
    ),
    case(
        "aten.upsample_nearest2d.vec",
        lambda x: F.interpolate(grid(x), scale_factor=2),
        SIX + 6 * 16 * L(4),
        found=SIX,
        missed="copies of one position",
    ),
    case(
        "aten.upsample_bilinear2d.vec",
        lambda x: F.interpolate(grid(x), size=(3, 3), mode="bilinear"),
        SIX,
    ),
    case(
        "aten.grid_sampler.default",
        lambda x: F.grid_sample(grid(x), _GRID.to(x).expand(2, -1, -1, -1), align_corners=False),
        SIX,
    ),
    case("aten.im2col.default", lambda x: F.unfold(grid(x), 3), SIX),
    case(
        "aten.col2im.default",
        lambda x, w: F.fold(F.unfold(grid(x), 2, stride=2) * w, (4, 4), 2, stride=2),
        SIX,
        w=(24, 1),
    ),
]
