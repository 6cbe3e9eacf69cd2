"""What a module gives on a state dict and inputs, once: everything that it gives, with a seed.

Nothing of the module is changed: what it writes to is a copy. Buffers that it wrote to are outputs
too. Random numbers are the same in every run.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import SpecError
from zooalign.graph.module_runner import call_module, evaluating
from zooalign.graph.outputs import named_tensors
from zooalign.symmetry.precision import LowestPrecision, largest_deviation, typical

__all__ = ["Outputs", "apart", "run_module", "seeded"]


@dataclass(frozen=True)
class Outputs:
    """Tensors with their places, and the least precise dtype that was computed in."""

    tensors: tuple[tuple[str, Tensor], ...]
    lowest: torch.dtype


def run_module(
    module: nn.Module,
    state: Mapping[str, Tensor],
    inputs: Sequence[Any],
    *,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Outputs:
    """Run a module in eval mode on a state dict.

    Parameters
    ----------
    state:
        By the names of the state dict, which need not be those of the parameters.
    dtype:
        Of all that is real; None leaves parameters in the dtypes they have in the module.
    """
    names = {id(t): name for name, t in module.state_dict(keep_vars=True).items()}
    places = [*module.named_parameters(remove_duplicate=False)]
    buffers = [*module.named_buffers(remove_duplicate=False)]
    values: dict[int, Tensor] = {}
    for _, tensor in (*places, *buffers):
        if id(tensor) in values or (tensor.is_meta and id(tensor) not in names):
            continue
        value = state[names[id(tensor)]] if id(tensor) in names else tensor.detach()
        real = tensor.is_floating_point()
        values[id(tensor)] = value.to("cpu", (dtype or tensor.dtype) if real else tensor.dtype)
    bound = {name: values[id(t)] for name, t in places if id(t) in values}
    written = {name: values[id(t)].clone() for name, t in buffers if id(t) in values}
    default = torch.get_default_dtype()
    with evaluating(module), torch.no_grad(), warnings.catch_warnings(), seeded(seed):
        warnings.simplefilter("ignore")
        torch.set_default_dtype(dtype or default)
        try:
            with LowestPrecision() as precision:
                result = call_module(module, {**bound, **written}, tuple(inputs))
        finally:
            torch.set_default_dtype(default)
    changed = [
        (f"buffer {name}", written[name])
        for name, tensor in buffers
        if id(tensor) in values and not torch.equal(written[name], values[id(tensor)])
    ]
    return Outputs((*named_tensors(result), *changed), precision.lowest)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed; what was drawn before goes on afterwards."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


def apart(
    first: Sequence[tuple[str, Tensor]], second: Sequence[tuple[str, Tensor]]
) -> tuple[float, str]:
    """The largest relative difference between outputs, and the place where it is.

    Raises
    ------
    SpecError
        If they are different in number, place or shape.
    """
    if [(n, t.shape) for n, t in first] != [(n, t.shape) for n, t in second]:
        raise SpecError("the outputs differ in number, place or shape")
    largest, place = 0.0, ""
    for (name, want), (_, got) in zip(first, second, strict=True):
        if want.numel() and not torch.equal(got, want):
            real = want.is_floating_point() or want.is_complex()
            error = largest_deviation(got, want, typical(want) if real else 0.0)
            if error >= largest:
                largest, place = error, name
    return largest, place
