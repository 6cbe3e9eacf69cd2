"""Operators that multiply and sum: linear layers, matrix products, convolutions, attention."""

from math import prod

from zooalign.graph.index_sets import LIMIT
from zooalign.graph.notation import expression
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.operators.elementwise import same

# Operators that the notation alone describes: the pattern, its operands by their names, and their
# roles.
_PATTERNS = {
    "linear": ("*b i, o i, ?o -> *b o", "input weight bias", "factor factor term"),
    "mm": ("a i, i b -> a b", "self mat2", "factor"),
    "bmm": ("n a i, n i b -> n a b", "self mat2", "factor"),
    "baddbmm": ("n a i, n i b, n a b -> n a b", "batch1 batch2 self", "factor factor term"),
    "mv": ("a i, i -> a", "self vec", "factor"),
    "dot": ("i, i -> *n", "self tensor", "factor"),
    "vdot": ("i, i -> *n", "self other", "still"),
    "outer": ("a, b -> a b", "self vec2", "factor"),
    "bilinear": (
        "*b i, *b j, o i j, ?o -> *b o",
        "input1 input2 weight bias",
        "factor factor factor term",
    ),
    "cdist": ("*n a i, *n b i -> *n a b", "x1 x2", "still"),
    "_cdist_forward": ("*n a i, *n b i -> *n a b", "x1 x2", "still"),
}


@rule(*(f"aten.{name}" for name in _PATTERNS))
def by_notation(op: Operator) -> Tensor:
    """What the notation alone describes."""
    pattern, names, roles = _PATTERNS[op.name.split(".")[1].removesuffix("_")]
    return op.relate(pattern, *(op[name] for name in names.split()), roles=roles)


@rule("aten.addmm", roles="factor factor term")
def addmm(op: Operator) -> Result:
    """``bias + x @ weight`` (Conv1D of GPT-2)."""
    bias = op["self"] if op["self"].ndim == 1 else None
    if bias is None:
        return op.freeze(LIMIT, "addmm with a bias of two axes")
    return op.relate("b i, i o, o -> b o", op["mat1"], op["mat2"], bias)


@rule("aten.inner", roles="factor")
def inner(op: Operator) -> Tensor:
    """Inner products over the last axes, all other axes crossed."""
    x, y = op.tensors()
    left = [f"x{n}" for n in range(x.ndim - 1)]
    right = [f"y{n}" for n in range(y.ndim - 1)]
    return op.relate(expression([[*left, "i"], [*right, "i"]], [[*left, *right]]), x, y)


@rule("aten.matmul", roles="factor")
def matmul(op: Operator) -> Tensor:
    """Matrix product with broadcast batch axes; vectors as NumPy treats them."""
    x, y = op.tensors()
    if x.ndim == 1 and y.ndim == 1:
        return op.relate("i, i -> *n", x, y)
    if x.ndim == 1:
        return op.relate("i, *n i b -> *n b", x, y)
    if y.ndim == 1:
        return op.relate("*n a i, i -> *n a", x, y)
    return op.relate("*n a i, *n i b -> *n a b", x, y)


@rule("aten.einsum", roles="factor")
def einsum(op: Operator) -> Tensor:
    """By its equation; an ellipsis stands for the batch axes."""
    equation = op["equation"].replace(" ", "")
    left, _, right = equation.partition("->")
    operands = left.split(",")
    if "->" not in equation:
        letters = sorted({c for c in left if c.isalpha() and left.count(c) == 1})
        right = ("..." if "..." in left else "") + "".join(letters)

    def axes(term: str) -> list[str]:
        head, dots, tail = term.partition("...")
        return [*_letters(head), *(["*batch"] if dots else []), *_letters(tail)]

    return op.relate(expression([axes(o) for o in operands], [axes(right)]), *op["tensors"])


def _letters(term: str) -> list[str]:
    # Case matters in an equation, and a name may not be a keyword of the notation.
    return [f"{'u' if c.isupper() else 'l'}_{c}" for c in term]


@rule(
    *aten("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"),
    roles="factor factor term",
)
def convolution(op: Operator) -> Result:
    """Channels within groups; positions are told apart unless the kernel is a single point."""
    x, weight, sizes = op["input"], op["weight"], {"g": op["groups"]}
    if x.ndim != weight.ndim:
        return op.freeze(LIMIT, "convolution without a batch axis")
    pointwise = prod(weight.shape[2:]) == 1 and _all(op["stride"], 1)
    if "transpose" in op.name:  # the weight's channel axes are the other way round
        pattern = "n (g c) *s!, (g c) o *k!, ?(g o) -> n (g o) *t!"
        sizes["o"] = weight.shape[1]
    elif pointwise and (op["padding"] == "valid" or _all(op["padding"], 0)):
        pattern = "n (g c) *s, (g o) c *k, ?(g o) -> n (g o) *s"
    else:
        pattern = "n (g c) *s!, (g o) c *k!, ?(g o) -> n (g o) *t!"
    return op.relate(pattern, x, weight, op["bias"], sizes=sizes, fixed="kernel position")


def _all(values: object, value: int) -> bool:
    return isinstance(values, (list, tuple)) and all(v == value for v in values)


@rule("aten.scaled_dot_product_attention")
def attention(op: Operator) -> Result:
    """Scores over the keys, softmax, weighted sum of the values; heads are batch axes."""
    if op["dropout_p"]:
        return op.freeze("random", "dropout of the scores")
    q, k, v, mask = op["query"], op["key"], op["value"], op["attn_mask"]
    grouped = op.get("enable_gqa") and q.shape[-3] != k.shape[-3]
    copies = not v.axes[-2] and v.shape[-2] > 1 and v.ndim == q.ndim
    if copies and mask is None and not grouped:
        # Weights that sum to one, of copies of one value: that value, whatever the scores are.
        return op.moved([*v.axes[:-2], (), v.axes[-1]])
    sizes = {"kv": k.shape[-3]} if grouped else {}
    queries, keys = ("*b (kv r)", "*b kv") if grouped else ("*b", "*b")
    if op["is_causal"]:
        q, k = (_ordered(op, x) for x in (q, k))
    # The scores are a tensor too, though they are not a node of the graph.
    inner = op.within((*q.shape[:-1], k.shape[-2]))
    products = f"{queries} t d, {keys} s d -> {queries} t s"
    scores: Tensor = inner.relate(products, q, k, sizes=sizes, roles="factor")
    if mask is not None:
        hides = "attn_mask" in op.values.boolean
        scores = same(inner, scores, mask, roles="term still" if hides else "term")
    # By the scores, not by queries and keys: a mask may vary where these do not.
    weighted = f"{queries} t [s], {keys} [s] e -> {queries} t e"
    return op.relate(weighted, scores, v, sizes=sizes, roles="still factor")


def _ordered(op: Operator, x: Tensor) -> Tensor:
    """Tokens whose order matters, equal ones too."""
    if not x.axes[-2] and x.shape[-2] > 1:
        return op.shaped(x.shape, [*x.axes[:-2], op.fixed_axis(x.shape[-2], "order"), x.axes[-1]])
    op.sets.fix(x.axes[-2], op.cause("order", "causal attention"))
    return x
