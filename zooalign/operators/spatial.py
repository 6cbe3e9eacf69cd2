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
    positions = int(op.name.split("pool")[1][0])
    old, new = (" ".join(f"{letter}{n}!" for n in range(positions)) for letter in "st")
    results = ", ".join([f"*n {new}"] * len(op.results))
    roles = "factor" if "avg" in op.name else "largest" if len(op.results) == 1 else None
    expression = f"*n {old} -> {results}"
    return op.relate_all(expression, op.first(), fixed="kernel position", roles=roles)


@rule("aten.max_unpool2d", "aten.max_unpool3d")
def unpool(op: Operator) -> Tensor:
    """Values written to the positions of their channel that numbers name; channels stay."""
    positions = int(op.name.split("pool")[1][0])
    old, new = (" ".join(f"{letter}{n}!" for n in range(positions)) for letter in "st")
    return op.relate(f"*n {old}, *n {old} -> *n {new}", op["self"], op["indices"], fixed="index")


_RESIZES = [
    *(f"aten.upsample_{mode}" for mode in ("nearest1d", "nearest2d", "nearest3d")),
    *(f"aten.upsample_{mode}" for mode in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")),
    *(f"aten._upsample_{mode}_aa" for mode in ("bilinear2d", "bicubic2d")),
    *(f"aten._upsample_nearest_exact{n}d" for n in (1, 2, 3)),
]


@rule(*_RESIZES, roles="factor")
def resize(op: Operator) -> Tensor:
    """New positions from old ones; channels stay."""
    return op.relate("n c *s! -> n c *t!", op.first(), fixed="position")


@rule("aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d")
def grid_sample(op: Operator) -> Tensor:
    """Values of each channel at positions that a grid names."""
    x, grid = op["input"], op["grid"]
    return op.relate("n c *s!, n *t xy! -> n c *t", x, grid)


@rule("aten.im2col")
def unfold(op: Operator) -> Tensor:
    """``n c h w -> n (c kernel) windows``."""
    return op.relate("n c *s! -> n (c k!) w!", op["self"], fixed="kernel position")


@rule("aten.col2im")
def fold(op: Operator) -> Tensor:
    """``n (c kernel) windows -> n c h w``."""
    sizes = {"c": op.results[0][1]}
    return op.relate("n (c k!) w! -> n c *s!", op["self"], sizes=sizes, fixed="kernel position")
