"""Operators that work on positions, channel by channel: pooling, resizing, grids."""

from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import rule

_POOLS = [
    *(f"aten.{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)),
    *(f"aten.adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)),
    *(f"aten.max_pool{n}d_with_indices" for n in (2, 3)),
    *(f"aten._adaptive_avg_pool{n}d" for n in (2, 3)),
]


@rule(*_POOLS)
def pool(op: Operator) -> Result:
    """Positions are told apart by their windows; channels stay."""
    x = op.first()
    positions = int(op.name.split("pool")[1][0])
    op.fix(x.axes[-positions:], "kernel position")
    results = []
    for number, shape in enumerate(op.results):
        new = [op.fixed_axis(n, "kernel position") for n in shape[-positions:]]
        results.append(op.tensor([*x.axes[:-positions], *new], number))
    return results


_RESIZES = [
    *(f"aten.upsample_{mode}" for mode in ("nearest1d", "nearest2d", "nearest3d")),
    *(f"aten.upsample_{mode}" for mode in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")),
    *(f"aten._upsample_{mode}_aa" for mode in ("bilinear2d", "bicubic2d")),
    *(f"aten._upsample_nearest_exact{n}d" for n in (1, 2, 3)),
]


@rule(*_RESIZES)
def resize(op: Operator) -> Tensor:
    """New positions from old ones; channels stay."""
    return op.relate("n c *s! -> n c *t!", op.first(), fixed="position")


@rule("aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d")
def grid_sample(op: Operator) -> Tensor:
    """Values of each channel at positions that a grid names."""
    x, grid = op["input"], op["grid"]
    op.fix([grid.axes[-1]], "position", "coordinates")
    op.fix(x.axes[2:], "position")
    return op.relate("n c *s, n *t xy -> n c *t", x, grid)


@rule("aten.im2col")
def unfold(op: Operator) -> Tensor:
    """``n c h w -> n (c kernel) windows``."""
    x: Tensor = op["self"]
    cause = op.cause("kernel position")
    for axis in x.axes[2:]:
        op.sets.fix(axis, cause)
    channels = op.varying(x, 1)
    kernel = op.sets.axis(op.results[0][1] // x.shape[1], cause)
    return op.tensor([x.axes[0], (*channels, *kernel), op.sets.axis(op.results[0][2], cause)])


@rule("aten.col2im")
def fold(op: Operator) -> Tensor:
    """``n (c kernel) windows -> n c h w``."""
    x: Tensor = op["self"]
    shape = op.results[0]
    channels, kernel = op.sets.factor(op.varying(x, 1), x.shape[1] // shape[1])
    cause = op.cause("kernel position")
    op.sets.fix((*kernel, *x.axes[2]), cause)
    return op.tensor([x.axes[0], channels, *(op.sets.axis(n, cause) for n in shape[2:])])
