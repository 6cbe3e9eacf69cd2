"""Which products of a graph are refitted, to what, and why the others are not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, fx

from zooalign.graph.capture import Capture
from zooalign.merging.affine_correction import Norm, find_norms
from zooalign.merging.layers import weight_uses
from zooalign.merging.refit.chain import Chain, chain_of
from zooalign.merging.refit.order import depends_on, reordered
from zooalign.merging.refit.products import Product, parameter_behind, product_of
from zooalign.merging.refit.report import RefitLayer, RefitSettings
from zooalign.merging.refit.samples import Samples

__all__ = ["Fit", "Plan", "planned"]

_FLOAT64 = 8


@dataclass(frozen=True)
class Fit:
    """A product that is refitted, and where its targets are."""

    product: Product
    chain: Chain

    def outputs(self, target: Tensor, samples: Samples) -> Tensor:
        """A value of the target's shape, at sampled positions: (rows, groups, outputs)."""
        return self.product.outputs(self.chain.as_product(target), samples)


@dataclass(frozen=True)
class Plan:
    """A graph in the order in which it is refitted.

    ``fits`` are by the product's node, ``norms`` by their own; ``averaged`` has the products that
    are not refitted, with the reason.
    """

    captured: Capture
    fits: Mapping[fx.Node, Fit]
    norms: Mapping[fx.Node, Norm]
    averaged: Mapping[fx.Node, RefitLayer]


def planned(
    captured: Capture, settings: RefitSettings, only: Callable[[str], bool] | None = None
) -> Plan:
    """What to refit in a graph, residual branches computed before the products added to them."""
    first: dict[fx.Node, fx.Node] = {}

    for node, fit in _plan(captured, settings, only, lambda product, other: True).fits.items():
        other = fit.chain.other
        if other is not None and not depends_on(other, node, first):
            first[node] = other
    ordered = reordered(captured, first)
    number = {node: n for n, node in enumerate(ordered.graph.nodes)}
    return _plan(ordered, settings, only, lambda product, other: number[other] < number[product])


def _plan(
    captured: Capture,
    settings: RefitSettings,
    only: Callable[[str], bool] | None,
    before: Callable[[fx.Node, fx.Node], bool],
) -> Plan:
    norms, _ = find_norms(captured)
    uses = weight_uses(captured)
    free = {n for n in captured.trainable if uses[captured.tied.get(n, n)] == 1}
    fits: dict[fx.Node, Fit] = {}
    averaged: dict[fx.Node, RefitLayer] = {}
    raw = settings.inputs != "merge"  # the methods compared with fit what the product gives
    for node in captured.graph.nodes:
        product = product_of(captured, node) if node.op == "call_function" else None
        if product is None:
            continue
        if isinstance(product, str):
            averaged[node] = RefitLayer(_name(captured, node), product)
            continue
        chain: Chain | str | None = _obstacle(captured, product, settings, free, only)
        if chain is None:
            chain = chain_of(
                captured,
                product,
                () if raw else norms,
                free,
                (lambda _: False) if raw else partial(before, node),
            )
        if isinstance(chain, str):
            averaged[node] = RefitLayer(product.name, chain)
        else:
            fits[node] = Fit(product, chain)
    return Plan(captured, fits, {norm.node: norm for norm in norms}, averaged)


def _obstacle(
    captured: Capture,
    product: Product,
    settings: RefitSettings,
    free: set[str],
    only: Callable[[str], bool] | None,
) -> str | None:
    if only is not None and not only(product.name):
        return "it was not to be refitted"
    if product.name not in free:
        return f"'{product.name}' is used more than once"
    needed = matrix_bytes(product)
    if needed > settings.memory:
        return (
            f"its matrices take {needed / 2**30:.3g} GiB, more than memory allows "
            f"({settings.memory / 2**30:.3g} GiB)"
        )
    return None


def matrix_bytes(product: Product) -> int:
    """Bytes of a layer's Gram matrices (two parts, their sum, its factor) and products."""
    groups, inputs, outputs = product.size
    return _FLOAT64 * groups * inputs * (4 * inputs + 4 * outputs)


def _name(captured: Capture, node: fx.Node) -> str:
    """The name of the parameter that is the weight, or that it is computed from."""
    behind = [parameter_behind(captured, n) for n in node.all_input_nodes]
    return next((name for name in behind if name is not None), node.name)
