"""The numeric proof: random members of the group against the untouched module.

Parameters are randomised first: zero-initialised norms, 1e-6 layer scales and zero biases hide
mistakes. The module itself is run, not the captured graph, in float64.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from zooalign.errors import SpecError
from zooalign.symmetry.apply import apply
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.precision import LowestPrecision, tolerance
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["Verification", "random_state", "verify"]


# A network of products can amplify rounding by millions. Many times what roundings of inputs
# and parameters causes is accepted, far below what any mistake does.
_AMPLIFIED = 30.0
_MOST_AMPLIFIED = 1e-6


@dataclass(frozen=True)
class Verification:
    """What the numeric check found.

    Attributes
    ----------
    ok:
        Whether all errors are within the tolerance and the check was able to see one.
    max_relative_error:
        Largest |difference| of outputs over the largest |output|, over all trials.
    tolerance:
        What rounding may cause, from the lowest precision seen while the module ran, and from
        what a few roundings of inputs and parameters cause where that is more.
    sensitivity:
        The relative change that moving units without their counterparts causes: a check with a
        sensitivity near the tolerance proves nothing.
    groups:
        How many groups were checked alone.
    worst:
        The group with the largest error, or "all" for all at once.
    log10_order:
        Of the spec that was checked.
    """

    ok: bool
    max_relative_error: float
    tolerance: float
    sensitivity: float
    groups: int
    worst: str
    log10_order: float


def verify(
    module: nn.Module,
    spec: PermutationSpec,
    example_inputs: Sequence[Any],
    *,
    seed: int = 0,
    alone: bool | int = False,
    trials: int = 1,
) -> Verification:
    """Check that members of the spec's group do not change what the module computes.

    Parameters
    ----------
    module:
        The module; parameters may be on the meta device (random values are used), buffers that
        are not in the state dict must hold their values. It is not changed.
    example_inputs:
        Positional inputs; floating ones are replaced by normal random values in float64.
    seed:
        For parameters, inputs and permutations.
    alone:
        Check every group alone too (as many forward passes), or at most this many groups, evenly
        chosen.
    trials:
        How many members of the whole group are tried.

    Raises
    ------
    SpecError
        If the module computes no finite floating output, so that nothing can be compared.
    """
    state = random_state(module, seed)
    inputs = _random_inputs(example_inputs, seed)
    with LowestPrecision() as precision:
        try:
            reference = _outputs(module, state, inputs)
        except RuntimeError as problem:
            if not _mixes(problem):
                raise
            # Some modules compute a part in float32 by name and cannot run in float64.
            state = {name: _single(x) for name, x in state.items()}
            inputs = tuple(_single(x) for x in inputs)
            reference = _outputs(module, state, inputs)
    limit = tolerance(precision.lowest)
    worst, largest = "all", 0.0
    for trial in range(trials):
        permutation = spec.random(seed + trial)
        error = _error(reference, _outputs(module, apply(spec, permutation, state), inputs))
        largest = max(largest, error)
    chosen = _chosen(spec, alone)
    for name in chosen:
        error = _error(
            reference, _outputs(module, apply(spec, _only(spec, name, seed), state), inputs)
        )
        if error > largest or (worst == "all" and error > limit):
            worst = name  # a group that is wrong alone says more than all at once
        largest = max(largest, error)
    if largest > limit:  # it may be that the module amplifies rounding
        shaken = (_shaken(state, inputs, precision.lowest, seed + n) for n in range(3))
        response = max(_error(reference, _outputs(module, *found)) for found in shaken)
        limit = max(limit, min(_MOST_AMPLIFIED, _AMPLIFIED * response))
    sensitivity = _sensitivity(module, spec, state, inputs, reference, seed)
    able = sensitivity > 10 * limit or not spec.groups
    return Verification(
        ok=largest <= limit and able,
        max_relative_error=largest,
        tolerance=limit,
        sensitivity=sensitivity,
        groups=len(chosen),
        worst=worst,
        log10_order=spec.log10_order,
    )


def random_state(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random float64 values for everything in the state dict, at scales that keep signals alive.

    Weights of two axes and more are normal with the variance of their fan-in; vectors (norms,
    biases, layer scales, slopes) are uniform in 0.5 to 1.5 with random sign for biases only;
    buffers named as variances are positive. Integer buffers keep their values.
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
        state[name] = value
        first[id(tensor)] = value
    return state


def _random_inputs(example_inputs: Sequence[Any], seed: int) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed + 1)

    def fresh(x: Any) -> Any:
        if isinstance(x, Tensor) and x.is_floating_point():
            return torch.randn(tuple(x.shape), generator=generator, dtype=torch.float64)
        if isinstance(x, Tensor) and x.is_meta:
            return torch.zeros(tuple(x.shape), dtype=x.dtype)
        return x

    return tuple(fresh(x) for x in example_inputs)


def _outputs(
    module: nn.Module, state: Mapping[str, Tensor], inputs: tuple[Any, ...]
) -> list[Tensor]:
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


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _error(reference: Sequence[Tensor], outputs: Sequence[Tensor]) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
        for a, b in zip(outputs, reference, strict=True)
        if b.numel()
    )


def _chosen(spec: PermutationSpec, alone: bool | int) -> list[str]:
    names = [group.id for group in spec.groups]
    if alone is True:
        return names
    count = min(int(alone), len(names))
    return [names[i * len(names) // count] for i in range(count)]


def _moving(spec: PermutationSpec, seed: int) -> dict[str, np.ndarray]:
    """A random member in which every group moves something: small groups often would not."""
    indices = dict(spec.random(seed).indices)
    for name, still in spec.identity().indices.items():
        if np.array_equal(indices[name], still):
            moved = still.copy()
            first = (0,) * (still.ndim - 1)
            moved[first] = still[first][::-1]
            indices[name] = moved
    return indices


def _only(spec: PermutationSpec, name: str, seed: int) -> Permutation:
    still = spec.identity().indices
    return Permutation(spec.hash, {**still, name: _moving(spec, seed)[name]})


def _shaken(
    state: Mapping[str, Tensor], inputs: tuple[Any, ...], dtype: torch.dtype, seed: int
) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
    """State and inputs with a relative change of a few roundings of ``dtype`` everywhere."""
    generator = torch.Generator().manual_seed(seed)

    def shake(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x * (1 + 4 * torch.finfo(dtype).eps * noise)

    return {name: shake(x) for name, x in state.items()}, tuple(shake(x) for x in inputs)


def _sensitivity(
    module: nn.Module,
    spec: PermutationSpec,
    state: dict[str, Tensor],
    inputs: tuple[Any, ...],
    reference: list[Tensor],
    seed: int,
) -> float:
    """How much the output changes when a single tensor is permuted without the others.

    The largest of three tensors: one may stand where a saturated softmax hides it.

    A spec whose every group stands in one place only can not show this; random noise on one
    tensor stands in for it.
    """
    moved = apply(spec, Permutation(spec.hash, _moving(spec, seed)), state)
    changed = [n for n in moved if moved[n] is not state[n] and n in spec.by_parameter]
    tried = [changed[(2 * i + 1) * len(changed) // 6] for i in range(3)] if changed else []
    error = 0.0
    for name in tried:
        half = {**state, name: moved[name]}
        error = max(error, _error(reference, _outputs(module, half, inputs)))
    if error == 0.0 and tried:
        noise = {n: state[n] + torch.randn_like(state[n]) for n in tried}
        error = _error(reference, _outputs(module, {**state, **noise}, inputs))
    return error


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


def _single(x: Any) -> Any:
    return x.float() if _is_floating(x) else x


def _mixes(error: RuntimeError) -> bool:
    """Whether torch complains of float32 beside float64."""
    text = str(error).lower()
    return "double" in text and "float" in text
