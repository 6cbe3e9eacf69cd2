"""Runs of a module on random parameters and inputs in float64, and how far their outputs differ."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from zooalign.errors import SpecError

__all__ = ["outputs", "random_inputs", "random_state", "relative_error"]


def random_state(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random float64 values for everything in the state dict, at scales that keep signals alive.

    Weights of two axes and more are normal with the variance of their fan-in; vectors (norms,
    biases, layer scales, slopes) are uniform in 0.5 to 1.5 with random sign for biases only;
    buffers named as variances are positive. Infinite values of buffers are bounds, and become
    finite ones of their sign beyond 2. Integer buffers keep their values.
    """
    generator = torch.Generator().manual_seed(seed)
    trainable = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    state: dict[str, Tensor] = {}
    first: dict[int, Tensor] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            state[name] = first[id(tensor)]
            continue
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            value = torch.zeros(shape, dtype=tensor.dtype) if tensor.is_meta else tensor.detach()
        elif len(shape) >= 2:
            fan_in = max(1, tensor.numel() // max(1, shape[0]))
            value = torch.randn(shape, generator=generator, dtype=torch.float64) / sqrt(fan_in)
        else:
            value = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
            signed = name.endswith("bias") or (name not in trainable and "var" not in name)
            if signed and shape:
                value = value * (torch.randint(0, 2, shape, generator=generator) * 2 - 1)
        if name not in trainable and not tensor.is_meta and bool(tensor.isinf().any()):
            held = tensor.detach().to("cpu", torch.float64)
            value = torch.where(held.isinf(), held.sign() * (2 + value.abs()), value)
        state[name] = value
        first[id(tensor)] = value
    return state


def random_inputs(example_inputs: Sequence[Any], seed: int) -> tuple[Any, ...]:
    """Inputs like the examples: floating ones normal in float64, the others as they are."""
    generator = torch.Generator().manual_seed(seed + 1)

    def fresh(x: Any) -> Any:
        if isinstance(x, Tensor) and x.is_floating_point():
            return torch.randn(tuple(x.shape), generator=generator, dtype=torch.float64)
        if isinstance(x, Tensor) and x.is_meta:
            return torch.zeros(tuple(x.shape), dtype=x.dtype)
        return x

    return tuple(fresh(x) for x in example_inputs)


def outputs(
    module: nn.Module, state: Mapping[str, Tensor], inputs: tuple[Any, ...]
) -> list[Tensor]:
    """The floating outputs of ``module`` in eval mode with ``state``, as float64.

    It computes in float32 if all of ``state`` and ``inputs`` are float32, in float64 otherwise.

    Raises
    ------
    SpecError
        It has no floating output, or one that is not finite.
    """
    floating = {t.dtype for t in (*state.values(), *inputs) if _is_floating(t)}
    dtype = torch.float32 if floating == {torch.float32} else torch.float64
    others = {
        name: buffer.to(dtype) if buffer.is_floating_point() else buffer
        for name, buffer in module.named_buffers(remove_duplicate=False)
        if name not in state and not buffer.is_meta
    }
    with torch.no_grad(), _evaluating(module), _computing_in(dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Tied names have one value each; tying them again would want one tensor.
        result = torch.func.functional_call(module, {**state, **others}, inputs, tie_weights=False)
    found = [
        t.double()
        for t in tree_leaves(_plain(result))
        if isinstance(t, Tensor) and t.is_floating_point()
    ]
    if not found or not all(bool(torch.isfinite(t).all()) for t in found):
        raise SpecError(
            f"{type(module).__name__} gives no finite floating output on random parameters: "
            "its spec cannot be verified numerically"
        )
    return found


def relative_error(reference: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Largest |difference| of an output over its largest |value|, over all outputs."""
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
        for a, b in zip(found, reference, strict=True)
        if b.numel()
    )


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


@contextmanager
def _computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Tensors the forward pass makes without a dtype are of this one."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def _is_floating(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
