"""Operators on single elements: unit i of every operand is unit i of the result."""

from math import isfinite

from zooalign.graph.index_sets import Axis
from zooalign.graph.operator import Operator, Result, Tensor
from zooalign.graph.registry import aten, rule


def same(op: Operator, *tensors: Tensor, roles: str | None = None) -> Tensor:
    """Broadcast the operands against each other; axes that meet are one index set.

    ``roles`` are those of the operands (:mod:`zooalign.graph.statement`), where the rule's own do
    not say them.
    """
    shape = op.results[0]
    axes: list[Axis] = [()] * len(shape)
    for tensor in tensors:
        lead = len(shape) - tensor.ndim
        for number, axis in enumerate(tensor.axes):
            axes[lead + number] = op.same_axis(axes[lead + number], axis)
    result = op.moved(axes)
    op.relate_elementwise(tensors, result, roles)
    return result


@rule(
    *aten("""
acos acosh angle bitwise_not ceil celu digamma elu erfc exp exp2 expm1 floor frac gelu hardshrink
hardsigmoid hardswish hardtanh isfinite isinf isnan lgamma log log10 log1p log2 log_sigmoid
logical_not logit mish nan_to_num relu6 round selu sgn sigmoid sign signbit silu softplus softshrink
threshold trunc _conj conj real imag conj_physical i0 polygamma
""")
)
@rule(
    *aten("""
alias clone contiguous deg2rad detach detach_ lift_fresh lift_fresh_copy neg negative positive
rad2deg to _to_copy resolve_conj resolve_neg requires_grad_ cpu
"""),
    roles="factor",
)
@rule(*aten("relu leaky_relu"), roles="positive")
@rule(*aten("asin asinh atan atanh erf erfinv sin sinh tan tanh"), roles="odd")
@rule(*aten("cos cosh"), roles="even")
@rule("aten.abs", roles="absolute")
@rule("aten.square", roles="**2")
@rule("aten.sqrt", roles="**1/2")
@rule("aten.rsqrt", roles="**-1/2")
@rule("aten.reciprocal", roles="**-1")
def unary(op: Operator) -> Tensor:
    """``*a -> *a``."""
    return same(op, op.first())


@rule("aten.type_as", "aten.to.other", roles="factor")
def converted(op: Operator) -> Tensor:
    """``*a -> *a``, in the type of another tensor."""
    op.only_form("other")
    return same(op, op["self"])


@rule(
    *aten("""
div true_divide floor_divide divide remainder fmod pow maximum minimum max.other min.other eq ne lt
le gt ge equal logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor
bitwise_left_shift bitwise_right_shift __and__ __or__ __xor__ lerp atan2 addcmul addcdiv float_power
xlogy hypot copysign ldexp isclose heaviside nextafter floor_divide.Scalar square.out __lshift__
__rshift__ fmax fmin logaddexp logaddexp2 complex polar
igamma igammac gcd lcm clamp clamp_min clamp_max clip copy _prelu_kernel
""")
)
@rule(*aten("add sub rsub subtract"), roles="term")
@rule(*aten("mul multiply"), roles="factor")
@rule(*aten("div.Tensor div.Scalar"), roles="factor divisor")
@rule("aten.where", roles="still term")
@rule("aten.masked_fill", roles="term still term")
def nary(op: Operator) -> Tensor:
    """``*a, *a -> *a`` with broadcasting."""
    return same(op, *op.tensors())


@rule(
    *aten("""
zeros ones full new_zeros new_ones new_full scalar_tensor zeros_like ones_like full_like
""")
)
def constant(op: Operator) -> Tensor:
    """A tensor of one value varies along no axis."""
    op.only_form("self")
    return op.moved([()] * len(op.results[0]))


@rule("aten.fill", "aten.zero")
def filled(op: Operator) -> Tensor:
    """One value in the place of all others: it does not tell positions apart, nor join them."""
    op.only_form("value")
    return same(op, op["self"])


@rule(*aten("empty empty_like new_empty empty_permuted empty_strided new_empty_strided"))
def uninitialised(op: Operator) -> Tensor:
    """Memory that holds anything, until something is written there."""
    op.only_form("self")
    if op.values.overwritten:
        return constant(op)
    return op.moved([op.fixed_axis(n, "random", "not initialised") for n in op.results[0]])


@rule(
    *aten("""
rand_like randn_like randint_like uniform log_normal exponential geometric cauchy random
bernoulli.p normal.float_float normal_functional
""")
)
def noise_like(op: Operator) -> Tensor:
    """Numbers drawn one after another in the form of a tensor: all positions are told apart."""
    op.only_form("self", "high")
    return op.moved([op.fixed_axis(n, "random", "drawn one by one") for n in op.results[0]])


@rule(*aten("bernoulli normal native_dropout rrelu_with_noise poisson binomial"))
def random(op: Operator) -> Result:
    """Numbers drawn one after another by values: all positions are told apart, of constants too."""
    return op.freeze("random", "drawn one by one")


@rule(*aten("dropout alpha_dropout feature_dropout feature_alpha_dropout"), roles="factor")
@rule("aten.rrelu", roles="positive")
def noise(op: Operator) -> Result:
    """Nothing, or a slope for all, unless the network is trained: then :func:`random`."""
    switch = op["training"] if "rrelu" in op.name else op["train"]
    return random(op) if switch else same(op, op.first())


@rule("aten.pow.Tensor_Scalar")
def power(op: Operator) -> Tensor:
    """Each element to one power."""
    exponent = op["exponent"]
    finite = isinstance(exponent, int | float) and isfinite(exponent)
    return same(op, op["self"], roles=f"**{exponent}" if finite else None)


@rule("aten.prelu", roles="positive still")
def prelu(op: Operator) -> Tensor:
    """One slope per channel, or one for all."""
    x, slope = op["self"], op["weight"]
    if slope.shape == (1,) or x.ndim < 2 or slope.ndim != 1:
        return same(op, x, slope)
    return op.relate("n c *s, c -> n c *s", x, slope)


@rule("aten.glu")
def glu(op: Operator) -> Tensor:
    """Two halves of one axis, multiplied."""
    x: Tensor = op["self"]
    number = op["dim"] % x.ndim
    half = x.shape[number] // 2
    axes = list(x.axes)
    axes[number] = op.varying(x, number)
    halves = []
    for low in (0, half):
        cut = op.sets.cut_out(axes, number, low, low + half)
        halves.append(op.shaped((*x.shape[:number], half, *x.shape[number + 1 :]), cut))
    return same(op, *halves)
