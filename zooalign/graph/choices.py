"""What ``topk`` and ``argmax`` choose: can values tie, and does anybody see the order.

Numbers of positions may move with the positions only if nothing but the values decides which are
chosen. Equal values are told apart by position: so the values must differ for almost all weights.
They do if each depends on a weight of its own (a row of the router's matrix, its bias) through
operators that keep different numbers different; a ReLU, a comparison or a rounding may make any
of them equal. The same holds for numbers that are given in no order (``sorted=False``).
"""

from collections.abc import Collection, Sequence
from math import inf, prod
from typing import Any

import torch
from torch import fx

from zooalign.graph.arguments import named_arguments, plain_name
from zooalign.graph.layouts import COPIES, RESHAPES, operators

__all__ = ["Choices"]

_COPIES = COPIES | {"dropout"}
# Different numbers stay different.
_INJECTIVE = operators(
    "sigmoid tanh exp expm1 exp2 log log1p log2 log10 log_sigmoid softplus sqrt rsqrt reciprocal "
    "neg erf atan sinh asinh cbrt leaky_relu selu"
)
_POSITIVE = operators("sigmoid exp exp2 softmax _softmax softplus rsqrt")
_SOFTMAX = operators("softmax _softmax log_softmax _log_softmax")
_REDUCTIONS = operators("sum mean amax amin logsumexp")
# No piece of these is flat: something that varies goes in, something that varies comes out.
_SMOOTH = _INJECTIVE | operators("gelu silu mish sin cos square pow softsign")
_NORMS = operators("layer_norm rms_norm _fused_rms_norm group_norm batch_norm")
_WEIGHTED = operators("linear addmm conv1d conv2d conv3d layer_norm batch_norm group_norm")
_TAKES = operators("slice select index index_select gather permute transpose t expand unbind split")
_ELEMENTWISE = _SMOOTH | operators("relu abs clamp clamp_min clamp_max ceil floor round sign")
_ASSERTIONS = operators("_assert_tensor_metadata _assert_async")
_BINARY = operators("add sub mul div eq ne lt le gt ge maximum minimum logical_and logical_or pow")


class Choices:
    """Answers for the operators of one graph that choose.

    ``parameters`` are the names of the placeholders that hold weights, ``inputs`` those of inputs.
    """

    def __init__(
        self, graph: fx.Graph, parameters: Collection[str], inputs: Collection[str]
    ) -> None:
        self.graph = graph
        self.parameters = parameters
        self.inputs = inputs
        self._varies: set[fx.Node] | None = None

    # ------------------------------------------------------------------ ties

    def may_tie(self, node: fx.Node) -> bool:
        """Whether values among which the call chooses may be equal for many weights."""
        given = _given(node)
        x: Any = given.get("self")
        dim = given.get("dim")
        if not isinstance(x, fx.Node) or not isinstance(dim, int) or not _shape(x):
            return True
        dim %= len(_shape(x))
        while plain_name(x) in _COPIES and _is_floating(x):
            x = x.args[0]
        if plain_name(x) == "masked_fill":
            given_x = _given(x)
            x, value = given_x["self"], given_x["value"]
            lowest = value == -inf or (value == 0 and self._positive(x))
            if not lowest or _left(given_x["mask"]) < (given.get("k") or 1):
                return True
        return not self._apart(x, frozenset({dim}))

    def _apart(self, node: Any, dims: frozenset[int]) -> frozenset[fx.Node]:
        """Weights, each of which alone makes all numbers along some axes different ones."""
        if not isinstance(node, fx.Node) or not _is_floating(node):
            return frozenset()
        if node.name in self.parameters:
            return frozenset({node})
        if node.op == "call_function" and "getitem" in str(node.target):
            source: Any
            source, number = node.args
            chosen = isinstance(source, fx.Node) and number == 0 and plain_name(source) == "topk"
            return self._apart(_given(source)["self"], dims) if chosen else frozenset()
        name, given = plain_name(node), _given(node)
        x = given.get("self", given.get("input"))
        if name in _COPIES:
            return self._apart(x, dims) if not given.get("train") else frozenset()
        if name in _INJECTIVE:
            return self._apart(x, dims) if given.get("negative_slope") != 0 else frozenset()
        if name in _SOFTMAX:
            within = given["dim"] % len(_shape(node)) in dims
            return self._apart(x, dims) if within else frozenset()
        if name in RESHAPES:
            return self._apart(x, _reshaped_from(_shape(x), _shape(node), dims))
        if name in _REDUCTIONS:
            return self._apart(x, _reduced_from(_shape(x), given, dims))
        if name in ("add", "sub", "mul", "div"):
            return self._combined(node, name, given, dims)
        if dims == {len(_shape(node)) - 1}:
            return self._projected(name, given)
        return frozenset()

    def _combined(
        self, node: fx.Node, name: str, given: dict[str, Any], dims: frozenset[int]
    ) -> frozenset[fx.Node]:
        """A sum with something that has not the same weights; a product with a positive number."""
        left, right = given["self"], given["other"]
        if not isinstance(right, fx.Node):
            zero = right == 0 and name in ("mul", "div")
            return frozenset() if zero else self._apart(left, dims)
        if not isinstance(left, fx.Node):
            return frozenset()
        apart: frozenset[fx.Node] = frozenset()
        for one, other in ((left, right), (right, left)):
            lead = len(_shape(node)) - len(_shape(one))
            if any(_shape(node)[d] != 1 and not _varies_along(one, d - lead) for d in dims):
                continue
            shifted = frozenset(d - lead for d in dims)
            if name in ("add", "sub"):
                apart |= self._apart(one, shifted) - _ancestors(other)
            elif self._positive(other) and not (name == "div" and one is right):
                behind = len(_shape(node)) - len(_shape(other))
                if not any(_varies_along(other, d - behind) for d in dims):
                    apart |= self._apart(one, shifted)
        return apart

    def _projected(self, name: str, given: dict[str, Any]) -> frozenset[fx.Node]:
        """A matrix product with weights, each result with a row and a bias of its own."""
        operands = {
            "linear": ("input", "weight", "bias"),
            "addmm": ("mat1", "mat2", "self"),
            "mm": ("self", "mat2", None),
            "matmul": ("self", "other", None),
        }.get(name)
        if operands is None:
            return frozenset()
        x, weight, bias = (given.get(key) if key else None for key in operands)
        matrix, added = self._weight(weight), self._weight(bias)
        apart = set()
        if added is not None and added not in _ancestors(x) | _ancestors(weight):
            apart.add(added)
        if matrix is not None and matrix not in _ancestors(x) and x in self._varying():
            apart.add(matrix)
        return frozenset(apart)

    def _weight(self, weight: Any) -> fx.Node | None:
        """The placeholder of a parameter of which this is a layout."""
        node: Any = weight
        while isinstance(node, fx.Node) and node.name not in self.parameters:
            layout = _COPIES | operators("t transpose permute view reshape slice select")
            if plain_name(node) not in layout or not _is_floating(node):
                return None
            node = node.args[0]
        return node if isinstance(node, fx.Node) and _is_floating(node) else None

    def _positive(self, node: Any) -> bool:
        if not isinstance(node, fx.Node) or not _is_floating(node):
            return False
        name, given = plain_name(node), _given(node)
        if name in _COPIES | RESHAPES | _REDUCTIONS | operators("expand permute transpose"):
            return self._positive(given.get("self", given.get("input")))
        if name == "add" and not isinstance(given["other"], fx.Node):
            return bool(given["other"] >= 0) and self._positive(given["self"])
        return name in _POSITIVE

    def _varying(self) -> set[fx.Node]:
        """Tensors whose rows are not all zeros, whatever the sign of what was computed before."""
        if self._varies is None:
            self._varies = set()
            for node in self.graph.nodes:
                if _is_floating(node) and self._row_varies(node, self._varies):
                    self._varies.add(node)
        return self._varies

    def _row_varies(self, node: fx.Node, known: set[fx.Node]) -> bool:
        if node.op == "placeholder":
            return node.name in self.parameters or node.name in self.inputs
        name, given = plain_name(node), _given(node)
        x = given.get("self", given.get("input", node.args[0] if node.args else None))
        if name in _WEIGHTED and self._weight(given.get("bias")) is not None:
            return True
        if name in _POSITIVE or name == "embedding":
            return True
        if name in ("add", "sub"):
            other = given["other"]
            return x is not other and (x in known or other in known)
        if name == "mul":
            return x in known and (given["other"] in known or _is_factor(given["other"]))
        if name in ("cat", "stack"):
            return any(part in known for part in given["tensors"])
        if name == "scaled_dot_product_attention":
            return given["value"] in known
        if name in _COPIES | RESHAPES | _SMOOTH | _NORMS | _TAKES or "getitem" in str(node.target):
            return x in known and not given.get("train")
        if name in operators("linear mm matmul bmm div conv1d conv2d conv3d mean"):
            return x in known
        return False

    # ------------------------------------------------------------------ order

    def order_is_seen(self, node: fx.Node) -> bool:
        """Whether anything depends on the order in which the call gives what it chose."""
        given = _given(node)
        if given.get("sorted", True) or given.get("k") == 1 or not _shape(given["self"]):
            return False
        carriers: dict[fx.Node, int] = {node: given["dim"] % len(_shape(given["self"]))}
        for later in self.graph.nodes:
            if not any(part in carriers for part in later.all_input_nodes):
                continue
            axis = _carried(later, carriers)
            if axis is None:
                return True
            if axis >= 0:
                carriers[later] = axis
        return False


def _carried(node: fx.Node, carriers: dict[fx.Node, int]) -> int | None:
    """The axis of a result that has an order nobody knows; -1 if none has, None if it is seen."""
    if node.op == "call_function" and "getitem" in str(node.target):
        return carriers[node.all_input_nodes[0]]
    name, given = plain_name(node), _given(node)
    if name in _ASSERTIONS:
        return -1
    x = given.get("self", given.get("input"))
    at = carriers.get(x) if isinstance(x, fx.Node) else None
    if name in _COPIES | _ELEMENTWISE | _SOFTMAX | {"one_hot"} and len(node.all_input_nodes) == 1:
        return at
    if name in _BINARY:
        return _carried_by_both(node, carriers)
    if name in _REDUCTIONS | {"any", "prod"} and at is not None:
        gone = _reduced(len(_shape(x)), given)
        if at in gone:
            return -1
        return at if given.get("keepdim") else at - sum(number < at for number in gone)
    if name in ("gather", "scatter", "scatter_add"):
        dim: int = given["dim"] % len(_shape(node))
        index, source = carriers.get(given["index"]), given.get("src")
        if at is not None or index != dim:
            return None
        if name == "gather":
            return dim
        return -1 if not isinstance(source, fx.Node) or carriers.get(source) == dim else None
    if at is None:
        return None
    if name in RESHAPES:
        return _single(_shape(x), _shape(node), at)
    if name in ("permute", "transpose", "t"):
        return _order(name, given, len(_shape(x))).index(at)
    if name == "expand":
        return at + len(_shape(node)) - len(_shape(x))
    return None


def _carried_by_both(node: fx.Node, carriers: dict[fx.Node, int]) -> int | None:
    """An elementwise operator: operands have the same order, or do not vary along that axis."""
    rank = len(_shape(node))
    places = {
        carriers[part] + rank - len(_shape(part))
        for part in node.all_input_nodes
        if part in carriers
    }
    if len(places) != 1:
        return None
    (place,) = places
    for part in node.all_input_nodes:
        if part not in carriers and _varies_along(part, place - rank + len(_shape(part))):
            return None
    return place


# ------------------------------------------------------------------ axes


def _given(node: Any) -> dict[str, Any]:
    return named_arguments(node, node.args, node.kwargs) if node.op == "call_function" else {}


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(int(n) for n in value.shape) if isinstance(value, torch.Tensor) else ()


def _is_floating(node: Any) -> bool:
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _varies_along(node: Any, number: int) -> bool:
    return number >= 0 and _shape(node)[number] != 1


def _is_factor(value: Any) -> bool:
    return isinstance(value, (int, float)) and value != 0


def _source(node: Any) -> Any:
    while plain_name(node) in _COPIES and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _ancestors(node: Any) -> set[fx.Node]:
    reached: set[fx.Node] = set()
    stack = [node] if isinstance(node, fx.Node) else []
    while stack:
        part = stack.pop()
        if part not in reached:
            reached.add(part)
            stack.extend(part.all_input_nodes)
    return reached


def _blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[set[int], set[int]]]:
    """The fewest axes of two shapes that hold the same positions, as numbers of both."""
    blocks, left, right = [], 0, 0
    while left < len(old) or right < len(new):
        first, second = left, right
        while True:
            if prod(old[first:left]) <= prod(new[second:right]) and left < len(old):
                left += 1
            elif right < len(new):
                right += 1
            else:
                break
            if prod(old[first:left]) == prod(new[second:right]) and left > first:
                break
        blocks.append((set(range(first, left)), set(range(second, right))))
    return blocks


def _reshaped_from(old: Sequence[int], new: Sequence[int], dims: frozenset[int]) -> frozenset[int]:
    return frozenset(n for block, into in _blocks(old, new) if into & dims for n in block)


def _single(old: Sequence[int], new: Sequence[int], number: int) -> int | None:
    """Where an axis is after a reshape, if it stays by itself."""
    for block, into in _blocks(old, new):
        if number in block:
            before = [n for n in block if old[n] != 1]
            after = [n for n in into if new[n] != 1]
            return after[0] if before == [number] and len(after) == 1 else None
    return None


def _reduced(rank: int, given: dict[str, Any]) -> set[int]:
    dims = given.get("dim")
    dims = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return {d % rank for d in dims}


def _reduced_from(
    old: Sequence[int], given: dict[str, Any], dims: frozenset[int]
) -> frozenset[int]:
    """Axes before a reduction: those that are left, and those that went."""
    gone = _reduced(len(old), given)
    kept = [n for n in range(len(old)) if n not in gone or given.get("keepdim")]
    return frozenset({kept[d] for d in dims} | gone)


def _order(name: str, given: dict[str, Any], rank: int) -> list[int]:
    if name == "permute":
        return [d % rank for d in given["dims"]]
    order = list(range(rank))
    first, second = (given.get("dim0", 0), given.get("dim1", 1)) if name == "transpose" else (0, 1)
    order[first], order[second] = order[second], order[first]
    return order


def _left(mask: fx.Node) -> int:
    """How many positions of the last axis a mask leaves in each row, as far as is known.

    The mask says which groups were not chosen: that many groups are left, with all they have.
    """
    mask = _source(mask)
    if plain_name(mask) not in ("bitwise_not", "logical_not"):
        return 0
    marks: Any = mask.args[0]
    shape = _shape(marks)
    while plain_name(marks) in _COPIES | RESHAPES | {"expand", "expand_as"}:
        marks = marks.args[0]
    given = _given(marks)
    if plain_name(marks) != "scatter" or not given.get("value"):
        return 0
    zeros, index = _source(given["self"]), given["index"]
    if plain_name(zeros) not in ("zeros_like", "zeros", "new_zeros"):
        return 0
    groups = _shape(marks)
    numbers = _source(index)
    chosen = "getitem" in str(numbers.target) and plain_name(numbers.args[0]) == "topk"
    in_rows = given["dim"] % len(groups) == len(groups) - 1
    even = prod(shape) * groups[-1] == prod(groups) * shape[-1]
    if not (chosen and in_rows and even):
        return 0
    return _shape(numbers)[-1] * (shape[-1] // groups[-1])
