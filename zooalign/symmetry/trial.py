"""Runs of a module on random parameters and inputs in float64."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.batches import Batch
from zooalign.graph.module_runner import Runner, evaluating
from zooalign.graph.outputs import named_tensors
from zooalign.symmetry.precision import LowestPrecision, relative_error, tolerance

__all__ = [
    "DrawnState",
    "Trial",
    "mixes_precisions",
    "named_outputs",
    "outputs",
    "random_inputs",
    "random_state",
]


_PERIOD = 1_000_003


def random_state(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random float64 values for everything in the state dict, at scales that keep signals alive.

    Weights of two axes and more are normal with the variance of their fan-in; vectors (norms,
    biases, layer scales, slopes) are uniform in 0.5 to 1.5 with random sign for biases only;
    buffers named as variances are positive. Infinite values of buffers are bounds, and become
    finite ones of their sign beyond 2. Integer buffers keep their values.
    """
    generator = torch.Generator().manual_seed(seed)
    trainable = _trainable(module)
    state: dict[str, Tensor] = {}
    first: dict[int, Tensor] = {}

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for name, tensor in module.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):  # of get_extra_state
            continue
        if id(tensor) not in first:
            first[id(tensor)] = _drawn(name, tensor, name in trainable, normal, generator)
        state[name] = first[id(tensor)]
    return state


class DrawnState(Mapping[str, Tensor]):
    """A random state dict as of :func:`random_state`, of which each tensor is drawn when read.

    The values of a tensor do not depend on which others were read. Nothing is kept. Matrices are
    uniform and repeat after a prime number of values: they are drawn a hundred times faster.
    """

    def __init__(self, module: nn.Module, seed: int, *, native: bool = False) -> None:
        """``native``: in the dtypes of the module, instead of float64."""
        state = module.state_dict(keep_vars=True)
        self._tensors = {name: t for name, t in state.items() if isinstance(t, Tensor)}
        self._native = native
        self._trainable, self._seed = _trainable(module), seed
        first: dict[int, str] = {}
        self._first = {name: first.setdefault(id(t), name) for name, t in self._tensors.items()}
        self._number = {name: number for number, name in enumerate(self._tensors)}
        generator = torch.Generator().manual_seed(seed)
        value = torch.rand(_PERIOD, generator=generator, dtype=torch.float64)
        self._uniform = value.mul_(2).sub_(1).mul_(sqrt(3))

    def __getitem__(self, name: str) -> Tensor:
        name = self._first[name]
        generator = torch.Generator().manual_seed((self._seed << 24) + self._number[name])

        def uniform(shape: tuple[int, ...]) -> Tensor:
            count = prod(shape)
            start = int(torch.randint(_PERIOD, (), generator=generator))
            value = torch.empty(count, dtype=torch.float64)
            for place in range(-start, count, _PERIOD):
                piece = self._uniform[max(0, -place) : count - place]
                value[max(0, place) : place + _PERIOD] = piece
            return value.view(shape)

        trainable = name in self._trainable
        value = _drawn(name, self._tensors[name], trainable, uniform, generator)
        return value.to(self._tensors[name].dtype) if self._native else value

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _trainable(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters(remove_duplicate=False)}


def _drawn(
    name: str,
    tensor: Tensor,
    trainable: bool,
    normal: Callable[[tuple[int, ...]], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """A random value for one tensor of a state dict.

    ``normal`` draws matrices of variance one, in memory of their own.
    """
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        return torch.zeros(shape, dtype=tensor.dtype) if tensor.is_meta else tensor.detach()
    if len(shape) >= 2:
        value = normal(shape).div_(sqrt(max(1, tensor.numel() // max(1, shape[0]))))
    else:
        value = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
        signed = name.endswith("bias") or (not trainable and "var" not in name)
        if signed and shape:
            value = value * (torch.randint(0, 2, shape, generator=generator) * 2 - 1)
    if not trainable and not tensor.is_meta and bool(tensor.isinf().any()):
        stored = tensor.detach().to("cpu", torch.float64)
        value = torch.where(stored.isinf(), stored.sign() * (2 + value.abs()), value)
    return value


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
