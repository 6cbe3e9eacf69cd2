"""Models of one architecture in two widths: the narrow one padded with dead units to the wide one.

A dead unit has zeros where it is made and zeros where it is read, so the padded model computes
what the narrow one did. It has the wide model's shapes and spec, and every method of matching and
merging works on the pair. To a dead unit every unit has similarity zero: the best assignment of the
padded pair is the best rectangular assignment of the narrow model's units to the wide one's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor, nn

from zooalign.errors import MergeError, TraceError
from zooalign.matching.assignment import unit_order
from zooalign.matching.resize import (
    Placement,
    Slots,
    first_slots,
    placements,
    same_groups,
    spread,
    tensor_places,
)
from zooalign.matching.wide import Difference, first_difference
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec
from zooalign.symmetry.trial import random_inputs, random_state

__all__ = ["Padded", "pad_to"]


@dataclass(frozen=True, eq=False)
class Padded:
    """A model in the shapes of a wider one.

    Attributes
    ----------
    state:
        Its state dict: the given tensors, with zeros for the units that were added.
    spec:
        The wider architecture's.
    live:
        Per group a boolean for every unit (all contexts, row-major): False for dead ones.
    """

    state: Mapping[str, Tensor]
    spec: PermutationSpec
    live: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        object.__setattr__(self, "live", MappingProxyType(dict(self.live)))

    def permuted(self, permutation: Permutation) -> "Padded":
        """The model with a permutation of the wider architecture's units applied."""
        live = {g: kept[unit_order(self.spec, g, permutation)] for g, kept in self.live.items()}
        return Padded(self.spec.apply(permutation, self.state), self.spec, live)


def pad_to(
    narrow: nn.Module,
    wide: nn.Module,
    state: Mapping[str, Tensor],
    example_inputs: Sequence[Any],
    *,
    seed: int = 0,
) -> Padded:
    """A state dict of the narrow architecture in the shapes of the wide one, of the same function.

    Parameters
    ----------
    narrow, wide:
        The two architectures: the same graph, in which groups of units differ in size. Their own
        values are not used (parameters may be on the meta device).
    state:
        The narrow model's; its dtypes and devices stay.
    example_inputs:
        Positional inputs both take; only shapes and dtypes matter.
    seed:
        For the random parameters of the check.

    Raises
    ------
    MergeError
        If the architectures differ in more than widths, a group is larger in the narrow one, or
        dead units change what an operator computes: a norm or a softmax over units, the scale of
        attention by its head dims. The operator and the layer are named.
    TraceError
        If an architecture cannot be traced.

    Notes
    -----
    The check is numeric: both graphs run side by side on random parameters in float64, and every
    unit of the narrow model must have the same values in both.
    """
    small, large = (derive_spec(m, tuple(example_inputs)) for m in (narrow, wide))
    same_groups(small.spec, large.spec)
    slots = first_slots(small.spec, large.spec)
    placed = _placed(small.spec, large.spec, slots)
    found = _check(narrow, small, large, slots, placed, example_inputs, seed)
    if found is not None:
        raise MergeError(_explained(found, small.spec, large.spec))
    unknown = [name for name in state if name not in placed]
    if unknown:
        raise MergeError(
            f"the state dict holds '{unknown[0]}', which {type(narrow).__name__} lacks: it is of "
            "another architecture"
        )
    live = {}
    for group in large.spec.groups:
        kept = np.zeros(group.copies * group.size, dtype=bool)
        kept[slots[group.id]] = True
        live[group.id] = kept
    return Padded(_spread_all(state, small.spec, placed), large.spec, live)


def _placed(
    small: PermutationSpec, large: PermutationSpec, slots: Slots
) -> dict[str, tuple[Placement, ...]]:
    narrow, wide = tensor_places(small), tensor_places(large)
    return {
        name: placements(narrow[name], wide[name], shape, large.shapes[name], slots, name)
        for name, shape in small.shapes.items()
    }


def _spread_all(
    state: Mapping[str, Tensor],
    spec: PermutationSpec,
    placed: Mapping[str, Sequence[Placement]],
) -> dict[str, Tensor]:
    result = {}
    for name in state:
        tensor = state[name]
        if tuple(tensor.shape) != spec.shapes[name]:
            raise MergeError(
                f"'{name}' has shape {tuple(tensor.shape)}, the narrow architecture has "
                f"{spec.shapes[name]}"
            )
        result[name] = spread(tensor, placed[name])
    return result


def _check(
    narrow: nn.Module,
    small: Derived,
    large: Derived,
    slots: Slots,
    placed: Mapping[str, Sequence[Placement]],
    example_inputs: Sequence[Any],
    seed: int,
) -> Difference | None:
    state = random_state(narrow, seed)
    inputs = random_inputs(example_inputs, seed)
    padded = _spread_all(state, small.spec, placed)
    try:
        return first_difference(small, large, state, padded, slots, inputs)
    except RuntimeError as error:
        raise TraceError(f"the architectures cannot be run side by side: {error}") from error


def _explained(found: Difference, small: PermutationSpec, large: PermutationSpec) -> str:
    sizes = [
        f"'{g}' ({small.by_id[g].structure} against {large.by_id[g].structure})"
        for g in found.groups[:3]
    ]
    what = ", ".join(sizes) or "the groups of other sizes"
    return (
        f"units of {what} cannot be padded: dead units change what {found} computes, because it "
        "lets units of a group act on each other (a norm, a softmax, a mean over them, or a scale "
        "by their number). Choose a pair of the same width there."
    )
