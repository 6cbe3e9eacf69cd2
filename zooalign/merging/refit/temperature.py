"""The scale of a merge's logits, set to that of the parents' mean."""

import math
from collections.abc import Sequence

from scipy.optimize import minimize_scalar
from torch import Tensor, fx

from zooalign.graph.arguments import plain_name
from zooalign.graph.layouts import LAYOUTS
from zooalign.graph.lazy_state import State
from zooalign.merging.affine_correction import aliases_of
from zooalign.merging.refit.agreement import class_axis, divergence
from zooalign.merging.refit.plan import Fit, Plan
from zooalign.merging.refit.samples import Split

__all__ = ["best_temperature", "cooled", "last_layer"]

_BOUNDS = (math.log(0.05), math.log(20.0))


def last_layer(plan: Plan) -> Fit | None:
    """The product whose outputs the network returns first; None where something changes them."""
    (output,) = (node for node in plan.captured.graph.nodes if node.op == "output")
    node = next(iter(output.args[0]), None)
    while isinstance(node, fx.Node) and plain_name(node) in LAYOUTS:
        node = node.all_input_nodes[0]
    for fit in plan.fits.values():
        if fit.chain.target is node and fit.chain.plain:
            return fit
    return None


def best_temperature(
    outputs: Sequence[Tensor], wanted: Sequence[Tensor], split: Split, rows: int
) -> float | None:
    """What to divide logits by for the least divergence from the wanted ones, on held-out rows.

    None where outputs are no logits.
    """
    if class_axis(outputs[0]) is None:
        return None

    def apart(logarithm: float) -> float:
        return divergence([x / math.exp(logarithm) for x in outputs], wanted, split, rows)

    return math.exp(minimize_scalar(apart, bounds=_BOUNDS, method="bounded").x)


def cooled(plan: Plan, state: State, last: Fit, temperature: float) -> dict[str, Tensor]:
    """A state dict whose logits are divided by a temperature."""
    result = dict(state)
    for name in (last.product.name, last.chain.bias):
        for alias in aliases_of(plan.captured, result, name):
            result[alias] = result[alias] / temperature
    return result
