"""The numeric proof: random members of the group against the untouched module.

Parameters are randomised first: zero-initialised norms, 1e-6 layer scales and zero biases hide
mistakes. The module itself is run, not the captured graph, in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted
from zooalign.symmetry.trial import Trial

__all__ = ["Verification", "verify"]


# A network of products can amplify rounding by millions. A multiple of the effect of rounding
# inputs and parameters is accepted, far below the effect of any mistake.
_AMPLIFIED = 30.0
_MOST_AMPLIFIED = 1e-6


@dataclass(frozen=True)
class Verification:
    """Result of the numeric check.

    Attributes
    ----------
    ok:
        Whether all errors are within the tolerance, and a mistake would have been seen.
    max_relative_error:
        Largest |difference| of outputs over the largest |output|, over all trials.
    tolerance:
        The error rounding may cause: by the lowest precision seen while the module ran, or by
        the effect of a few roundings of inputs and parameters where that is more.
    sensitivity:
        The relative change caused by permuting a tensor without its counterparts. A check whose
        sensitivity is near the tolerance proves nothing.
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
        Number of random members of the whole group that are tried.

    Raises
    ------
    SpecError
        If the module computes no finite floating output, so that nothing can be compared.
    """
    run = Trial(module, example_inputs, seed)
    limit = run.tolerance
    largest = max(
        (run.error(spec.apply(spec.random(seed + trial), run.state)) for trial in range(trials)),
        default=0.0,
    )
    worst = "all"
    chosen, still, moving = _chosen(spec, alone), spec.identity().indices, _moving(spec, seed)
    for name in chosen:
        only = Permutation(spec.hash, {**still, name: moving[name]})
        error = run.error(spec.apply(only, run.state))
        if error > largest or (worst == "all" and error > limit):
            worst = name  # a group that is wrong alone says more than all at once
        largest = max(largest, error)
    if largest > limit:  # perhaps the module amplifies rounding
        response = max(run.error(*_shaken(run, seed + n)) for n in range(3))
        limit = max(limit, min(_MOST_AMPLIFIED, _AMPLIFIED * response))
    sensitivity = _sensitivity(run, spec, Permutation(spec.hash, moving))
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
            first = (0,) * (still.ndim - 1)
            indices[name] = still.copy()
            indices[name][first] = still[first][::-1]
    return indices


def _shaken(run: Trial, seed: int) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
    """State and inputs with a relative change of a few roundings everywhere."""
    generator = torch.Generator().manual_seed(seed)

    def shake(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x * (1 + 4 * torch.finfo(run.lowest).eps * noise)

    return {n: shake(x) for n, x in run.state.items()}, tuple(shake(x) for x in run.inputs)


def _sensitivity(run: Trial, spec: PermutationSpec, permutation: Permutation) -> float:
    """How much the output changes when a single tensor is permuted without the others.

    The largest of three tensors: one may stand where a saturated softmax hides it. Where every
    group has a single member this shows nothing, so random noise is put on the tensors instead.
    """
    state = run.state
    changed = [n for n in state if n in spec.by_parameter and spec.moves(permutation, n)]
    moved = Permuted(spec, permutation, state)
    tried = [changed[(2 * i + 1) * len(changed) // 6] for i in range(3)] if changed else []
    error = max((run.error({**state, name: moved[name]}) for name in tried), default=0.0)
    if error == 0.0 and tried:
        noise = {n: state[n] + torch.randn_like(state[n]) for n in tried}
        error = run.error({**state, **noise})
    return error
