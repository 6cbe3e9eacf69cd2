"""Runs of a module on random parameters and inputs in float64."""

import warnings
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.batches import Batch
from zooalign.graph.module_runner import Runner, evaluating
from zooalign.graph.outputs import named_tensors
from zooalign.symmetry.precision import LowestPrecision, relative_error, tolerance

__all__ = [
    "Trial",
    "mixes_precisions",
    "named_outputs",
    "outputs",
    "random_inputs",
    "random_state",
]


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
        if not isinstance(tensor, Tensor):  # of get_extra_state
            continue
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
            stored = tensor.detach().to("cpu", torch.float64)
            value = torch.where(stored.isinf(), stored.sign() * (2 + value.abs()), value)
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
    """As :func:`named_outputs` of the module in eval mode with ``state``, without their places.

    It computes in float32 if all of ``state`` and ``inputs`` are float32, in float64 otherwise.
    """
    floating = {t.dtype for t in (*state.values(), *inputs) if _is_floating(t)}
    dtype = torch.float32 if floating == {torch.float32} else torch.float64
    with evaluating(module):
        return [t for _, t in named_outputs(Runner.in_place(module, state, dtype), inputs)]


def named_outputs(run: Runner, inputs: tuple[Any, ...]) -> list[tuple[str, Tensor]]:
    """The floating outputs of a module on positional inputs, with their places, as float64.

    Raises
    ------
    SpecError
        If it has no floating output, or one that is not finite.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(Batch(inputs, {}, None))
    floating = [(n, t.double()) for n, t in named_tensors(result) if t.is_floating_point()]
    if not floating or not all(bool(torch.isfinite(t).all()) for _, t in floating):
        raise SpecError(
            f"{type(run.module).__name__} gives no finite floating output on these parameters and "
            "inputs, so nothing can be compared numerically. Check the weights for NaN and infinity"
        )
    return floating


def mixes_precisions(error: RuntimeError) -> bool:
    """Whether a run in float64 failed because the module computes a part in float32 by name.

    Or because it hides tokens by the lowest number of float64, which float32 cannot hold.
    """
    text = str(error).lower()
    return ("double" in text and "float" in text) or "type float without overflow" in text


class Trial:
    """A module with random parameters and inputs, and what it computes with them.

    It is run in float64, or in float32 where a part of it computes in float32 by name.
    ``reference`` are the outputs with the random ``state`` and ``inputs``, ``lowest`` is the lowest
    precision seen while the module ran.
    """

    def __init__(self, module: nn.Module, example_inputs: Sequence[Any], seed: int) -> None:
        self.module = module
        self.state = random_state(module, seed)
        self.inputs = random_inputs(example_inputs, seed)
        with LowestPrecision() as precision:
            try:
                self.reference = outputs(module, self.state, self.inputs)
            except (RuntimeError, SpecError) as failure:
                if isinstance(failure, RuntimeError) and not mixes_precisions(failure):
                    raise
                self.state = {name: _single(x) for name, x in self.state.items()}
                self.inputs = tuple(_single(x) for x in self.inputs)
                self.reference = outputs(module, self.state, self.inputs)
        self.lowest = precision.lowest

    @property
    def tolerance(self) -> float:
        """The relative error rounding may cause."""
        return tolerance(self.lowest)

    def error(self, state: Mapping[str, Tensor], inputs: tuple[Any, ...] | None = None) -> float:
        """How far the outputs with another state dict (and inputs) are from the reference."""
        others = outputs(self.module, state, self.inputs if inputs is None else inputs)
        return relative_error(self.reference, others)


def _single(x: Any) -> Any:
    return x.float() if _is_floating(x) else x


def _is_floating(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
