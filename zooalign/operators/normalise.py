"""Operators that compare the positions of an axis with each other: norms, softmax, reductions."""

from zooalign.graph.notation import expression, names
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule
from zooalign.operators.elementwise import same


@rule("aten.batch_norm", "aten._native_batch_norm_legit_no_training", "aten.native_batch_norm")
def batch_norm(op: Operator) -> Tensor:
    """With running statistics each channel is scaled alone."""
    parameters = (op.get(name) for name in ("weight", "bias", "running_mean", "running_var"))
    # Otherwise by those of the batch, over all samples and positions.
    stored = op.get("running_mean") is not None and not op.get("training")
    left, right = ("n c *s", "n c *s") if stored else ("[n] c [*s]", "n c *s")
    pattern = f"{left}, ?c, ?c, ?c, ?c -> {right}"
    roles = "standardised factor term mean still" if stored else "still"
    return op.relate(pattern, op["input"], *parameters, roles=roles)


@rule("aten.instance_norm")
def instance_norm(op: Operator) -> Tensor:
    """Each channel of each sample over its positions."""
    return op.relate(
        "n c [*s], ?c, ?c, ?c, ?c -> n c *s",
        *(op[name] for name in ("input", "weight", "bias", "running_mean", "running_var")),
    )


@rule("aten.layer_norm", roles="centred factor term")
@rule("aten.rms_norm", "aten._fused_rms_norm", roles="rms factor")
def layer_norm(op: Operator) -> Tensor:
    """Over the last axes; weight and bias belong to them."""
    x = op["input"]
    last = names(len(op["normalized_shape"]))
    over, scaled = ["*n", *(f"[{name}]" for name in last)], [f"?{last[0]}", *last[1:]]
    pattern = expression([over, scaled, scaled], [["*n", *last]])
    return op.relate(pattern, x, op.get("weight"), op.get("bias"))


@rule("aten.group_norm", roles="centred factor term")
def group_norm(op: Operator) -> Tensor:
    """Over the channels and positions of each group."""
    x, weight, bias = op["input"], op["weight"], op["bias"]
    pattern = "n (g [c]) [*s], ?(g c), ?(g c) -> n (g c) *s"
    return op.relate(pattern, x, weight, bias, sizes={"g": op["num_groups"]})


@rule("aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax")
def softmax(op: Operator) -> Tensor:
    """Over one axis: a sum without it is computed on the way."""
    x = op.first()
    if x.ndim == 0:
        return op.moved([])
    left = names(x.ndim, {op["dim"] % x.ndim: "[{}]"})
    return op.relate(expression([left], [names(x.ndim)]), x)


@rule(
    *aten("""
prod std var logsumexp norm any all nansum frobenius_norm nanmean count_nonzero var_mean std_mean
median.default nanmedian.default
""")
)
@rule(*aten("sum mean"), roles="factor")
@rule(*aten("amax amin"), roles="largest")
@rule("aten.linalg_vector_norm")
def reduce(op: Operator) -> Result:
    """Axes go; with ``keepdim`` one position is left."""
    x = op.first()
    dims = op.get("dim")
    if dims is None or dims == []:
        dims = list(range(x.ndim))
    gone = {d % x.ndim for d in ([dims] if isinstance(dims, int) else dims)} if x.ndim else set()
    kept = "1" if op.get("keepdim") else ""
    left = names(x.ndim, dict.fromkeys(gone, "[{}]"))
    right = [kept if number in gone else name for number, name in enumerate(left)]
    euclidean = op.name.startswith("aten.linalg_vector_norm") and op["ord"] == 2
    roles = "length" if euclidean else None
    return op.relate_all(expression([left], [right] * len(op.results)), x, roles=roles)


@rule("aten.linalg_norm")
def matrix_norm(op: Operator) -> Result:
    """Over one axis, or of all entries; with an ``ord`` and two axes that of a matrix.

    Rows may change places and columns, all rows at once and all columns at once.
    """
    x, dims, order = op.first(), op["dim"], op["ord"]
    if dims is None:
        dims = list(range(x.ndim)) if order is not None else []
    rows_and_columns = [d % x.ndim for d in dims]
    if len(dims) == 2 and order not in (None, "fro"):
        for number in rows_and_columns:
            op.apart(x, number)
    return reduce(op)


@rule("aten.max", "aten.min")
def extreme(op: Operator) -> Result:
    """Over everything, or of two tensors."""
    tensors = op.tensors()
    return same(op, *tensors) if len(tensors) > 1 else reduce(op)


@rule("aten.diff")
def differences(op: Operator) -> Result:
    """Neighbours along an axis: its order matters."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    for border in (op["prepend"], op["append"]):
        if border is not None:
            return op.freeze("order")
    left = names(x.ndim, {number: "{}!"})
    right = [*left[:number], "d!", *left[number + 1 :]]
    return op.relate(expression([left], [right]), x, fixed="order")


@rule(*aten("cumsum cumprod logcumsumexp cummax cummin argsort"))
def ordered(op: Operator) -> Result:
    """The order along an axis matters: it is fixed."""
    x = op.first()
    dim = op.get("dim")
    if dim is None:
        return op.freeze("order")
    if x.ndim == 0:
        return [op.moved([], result) for result in range(len(op.results))]
    number = dim % x.ndim
    axes = list(x.axes)
    op.fix([axes[number]], "order")
    op.apart(x, number)
    if not axes[number]:  # equal values before, a running sum after
        axes[number] = op.fixed_axis(x.shape[number], "order")
    return [op.moved(axes, result) for result in range(len(op.results))]
