"""Rules of operators that models of transformers use and the core does not know."""

from zooalign.plugins import Operator, Tensor, rule, same

__all__: list[str] = []


@rule("aten._weight_norm")
def weight_norm(op: Operator) -> Tensor:
    """``v * g / |v|``, the norm over all axes but one."""
    v: Tensor = op["v"]
    kept = op["dim"] % v.ndim
    axes = [f"a{n}" for n in range(v.ndim)]
    left = " ".join(axis if n == kept else f"[{axis}]" for n, axis in enumerate(axes))
    lengths = " ".join(axis if n == kept else "1" for n, axis in enumerate(axes))
    return op.relate(f"{left}, {lengths} -> {' '.join(axes)}", v, op["g"])


@rule("aten.polar")
def polar(op: Operator) -> Tensor:
    """Complex numbers from lengths and angles."""
    return same(op, *op.tensors())


@rule("aten.view_as_complex")
def view_as_complex(op: Operator) -> Tensor:
    """Pairs along the last axis become numbers: real and imaginary part are told apart."""
    x: Tensor = op["self"]
    op.sets.fix(x.axes[-1], op.cause("position", "real and imaginary part"))
    return op.tensor(x.axes[:-1])


@rule("aten.view_as_real")
def view_as_real(op: Operator) -> Tensor:
    """Numbers become pairs along a new last axis."""
    x: Tensor = op["self"]
    return op.tensor([*x.axes, op.fixed_axis(2, "position", "real and imaginary part")])


@rule("aten._is_all_true", "aten._is_any_true")
def whether(op: Operator) -> Tensor:
    """One answer about all elements, whatever their order."""
    op.first()
    return op.tensor([])
