"""What follows a product: bias, normalisation, layer scale, the sum of a residual stream, a ReLU.

A product is fitted to what the parents give as far behind it as its own weight can reach: behind
its bias, a batch normalisation and a layer scale (which are linear), behind the sum with another
branch, whose value is known by then.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor, fx

from zooalign.graph.capture import Capture
from zooalign.merging.affine_correction import Norm
from zooalign.merging.layers import PASSING, axis_order, packet
from zooalign.merging.refit.products import Product

__all__ = ["Chain", "chain_of", "shape_of"]

_RELU = {"aten.relu", "aten.relu_"}
_VIEWS = {"aten.view", "aten.reshape", "aten._unsafe_view"}
_SUMS = {"aten.add", "aten.add_"}
_SCALINGS = {"aten.mul", "aten.mul_"}


@dataclass(frozen=True)
class Chain:
    """Where a product's targets are read.

    Attributes
    ----------
    target:
        Its value is what the product is fitted to.
    bias:
        State-dict name of the bias, of one number per output; None without one.
    norm:
        The batch normalisation on the way.
    scale:
        State-dict name of a parameter of one number per output that multiplies it on the way.
    order:
        Which axis of the product's value each axis of the target is; None where it is the same.
    other:
        The other term of the sum on the way.
    relu:
        Whether a ReLU alone reads the target.
    """

    target: fx.Node
    bias: str | None = None
    norm: Norm | None = None
    scale: str | None = None
    order: tuple[int, ...] | None = None
    other: fx.Node | None = None
    relu: bool = False

    @property
    def intercept(self) -> bool:
        """Whether there is a parameter for the mean of each output."""
        return self.bias is not None or self.norm is not None

    @property
    def plain(self) -> bool:
        """Whether the target is the product's value, but for an intercept."""
        return (
            self.norm is None and self.scale is None and self.order is None and self.other is None
        )

    def as_product(self, value: Tensor) -> Tensor:
        """A value of the target's shape, its axes in the order of the product's value."""
        if self.order is None:
            return value
        return value.permute(sorted(range(len(self.order)), key=self.order.__getitem__))


def chain_of(
    captured: Capture,
    product: Product,
    norms: Sequence[Norm],
    free: Container[str],
    known: Callable[[fx.Node], bool],
) -> Chain | str:
    """What follows a product, as far as each value is read once; or why it cannot be fitted.

    ``free`` has the names of parameters that are read once; of a sum, ``known`` says whether the
    value of the other term is there when the product is computed.
    """
    chain = Chain(product.node)
    if product.bias is not None:
        name = captured.parameters.get(product.bias.name)
        if name is None or name not in free:
            return "its bias is computed or used more than once"
        groups, _, outputs = product.size
        if shape_of(product.bias) not in ((groups * outputs,), (1, outputs)):
            return "its bias is not one number per output"
        chain = Chain(product.node, name)
    by_node = {norm.node: norm for norm in norms}
    unscaled = chain
    while True:
        user = next(iter(chain.target.users), None)
        if chain.scale is None:
            unscaled = chain
        # Without a sum behind it, a scale changes no fit.
        ended = unscaled if chain.other is None else chain
        if user is None or len(chain.target.users) > 1 or user.op != "call_function":
            return ended
        if packet(user) in _RELU:
            return replace(chain, relu=True)
        if packet(user) in PASSING or (chain.order is None and _splits_rows(product, user)):
            longer: Chain | None = replace(chain, target=user)
        elif user in by_node:
            longer = _normalised(product, chain, by_node[user], free)
        else:
            longer = (
                _turned(product, chain, user)
                or _scaled(captured, product, chain, user)
                or _added(captured, product, chain, user, free)
            )
        if longer is None or (longer.other is not None and not known(longer.other)):
            return ended
        chain = longer


def _normalised(product: Product, chain: Chain, norm: Norm, free: Container[str]) -> Chain | None:
    """The chain with a normalisation of the product's outputs, if it has weights of its own."""
    own = all(name is not None and name in free for name in (norm.scale, norm.shift))
    channels = product.unit_axes == (1,) and shape_of(norm.source) == shape_of(product.node)
    if chain.plain and own and channels:
        return replace(chain, target=norm.node, norm=norm)
    return None


def _turned(product: Product, chain: Chain, user: fx.Node) -> Chain | None:
    """The chain with a transposition of the product's value."""
    order = axis_order(user)
    if order is None or not chain.plain or shape_of(chain.target) != shape_of(product.node):
        return None
    return replace(chain, target=user, order=tuple(order))


def _scaled(captured: Capture, product: Product, chain: Chain, user: fx.Node) -> Chain | None:
    """The chain with a parameter of one number per output that multiplies it: a layer scale."""
    unscaled = chain.norm is None and chain.scale is None and chain.other is None
    others = [x for x in user.args if x is not chain.target]
    if packet(user) not in _SCALINGS or not unscaled or len(others) != 1:
        return None
    factor = others[0]
    name = _viewed_parameter(captured, factor)
    if name is None or not isinstance(factor, fx.Node) or shape_of(user) != shape_of(chain.target):
        return None
    laid, given = shape_of(product.node), shape_of(factor)
    order = chain.order or range(len(laid))
    wanted = tuple(laid[a] if product.unit_axes == (a,) else 1 for a in order)
    padded = (1,) * (len(wanted) - len(given)) + given
    fits = padded == wanted and prod(given) == product.size[0] * product.size[2]
    return replace(chain, target=user, scale=name) if fits else None


def _viewed_parameter(captured: Capture, node: object) -> str | None:
    """The name of the parameter that a node is, or is a view of."""
    while isinstance(node, fx.Node) and packet(node) in _VIEWS | {"aten.unsqueeze"}:
        node = node.args[0]
    name = captured.parameters.get(node.name) if isinstance(node, fx.Node) else None
    return name if name in captured.trainable else None


def _added(
    captured: Capture, product: Product, chain: Chain, user: fx.Node, free: Container[str]
) -> Chain | None:
    """The chain with a sum: of a bias, or of another branch."""
    if packet(user) not in _SUMS or user.kwargs or shape_of(user) != shape_of(chain.target):
        return None
    others = [x for x in user.args if x is not chain.target]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    name = captured.parameters.get(others[0].name)
    if name is not None:
        plain = shape_of(user) == shape_of(product.node) and product.per_unit(shape_of(others[0]))
        fits = chain.plain and not chain.intercept and name in free and plain
        return replace(chain, target=user, bias=name) if fits else None
    if chain.other is None and shape_of(others[0]) == shape_of(user):
        return replace(chain, target=user, other=others[0])
    return None


def _splits_rows(product: Product, user: fx.Node) -> bool:
    """Whether an operator lays out rows on other axes, the product's outputs still on the last."""
    shape = shape_of(product.node)
    last = product.unit_axes == (len(shape) - 1,)
    return packet(user) in _VIEWS and last and shape_of(user)[-1:] == shape[-1:]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's value; empty where it is no tensor."""
    return tuple(getattr(node.meta.get("val"), "shape", ()))
