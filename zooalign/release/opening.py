"""Opening models that are to be compared: one architecture, weights present and finite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import CheckpointError, MergeError, ModelReferenceError
from zooalign.symmetry import Derived, PermutationSpec, derive_spec
from zooalign.zoo.checkpoint import Checkpoint, LazyTensors, find_nonfinite
from zooalign.zoo.fitting import state_dict_for
from zooalign.zoo.models import Model, open_model

__all__ = ["CastLike", "Family", "Member", "derive_for", "open_family"]

# Two rows, so that nothing takes the batch for an axis of size one.
_BATCH = 2


@dataclass(frozen=True)
class Member:
    """A model with its weights.

    ``checkpoint`` has the names of its file, ``state`` those of the architecture, in its order.
    """

    model: Model
    checkpoint: Checkpoint
    state: LazyTensors

    @property
    def reference(self) -> str:
        """As the user named it, in normal form."""
        return self.model.reference


@dataclass(frozen=True)
class Family:
    """Models of one architecture: ``module`` has its parameters on meta, buffers with values."""

    members: tuple[Member, ...]
    module: nn.Module
    derived: Derived

    @property
    def spec(self) -> PermutationSpec:
        """The symmetries they share."""
        return self.derived.spec

    @property
    def first(self) -> Model:
        """The model whose library, configuration and inputs count."""
        return self.members[0].model

    def load(self, index: int, device: str = "cpu", dtype: torch.dtype | None = None) -> nn.Module:
        """A member as a module of the first one's architecture, in eval mode."""
        return self.first.adapter.build_with_weights(
            self.first.architecture, self.members[index].state, device=device, dtype=dtype
        )


class CastLike(Mapping[str, Tensor]):
    """A state dict in the dtypes of another, converted when read."""

    def __init__(self, state: Mapping[str, Tensor], like: LazyTensors) -> None:
        self._state, self._like = state, like

    def __getitem__(self, name: str) -> Tensor:
        return self._state[name].to(self._like.dtype(name))

    def __iter__(self) -> Any:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def open_family(
    references: Sequence[str], *, model: str | None = None, allow_pickle: bool = False
) -> Family:
    """Open models that must be of one architecture.

    Raises
    ------
    ModelReferenceError, CheckpointError, HubError
        If one cannot be opened, has no weights, or weights that are not finite.
    MergeError
        If they are not of one architecture.
    """
    opened = [_with_weights(ref, model, allow_pickle) for ref in references]
    first = opened[0]
    module = first.build()
    derived = derive_for(first, module)
    members = tuple(_member(found, first, module) for found in opened)
    for found in opened[1:]:
        _require_same_computation(first, derived.spec, found)
    return Family(members, module, derived)


def _with_weights(reference: str, model: str | None, allow_pickle: bool) -> Model:
    found = open_model(reference, model=model, allow_pickle=allow_pickle)
    if found.checkpoint is None:
        raise ModelReferenceError(
            f"'{reference}' names an architecture without weights; give a hub repo, a directory "
            "or a .safetensors file"
        )
    bad = find_nonfinite(found.checkpoint)
    if bad:
        place = found.checkpoint.layout.get(bad[0], "")
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise CheckpointError(
            f"{reference}: '{bad[0]}'{more} in {place} holds NaN or infinity, which nothing can be "
            "aligned or averaged with; use a checkpoint from before the training diverged"
        )
    return found


def _member(found: Model, first: Model, module: nn.Module) -> Member:
    assert found.checkpoint is not None
    try:
        state = state_dict_for(module, found.checkpoint, where=found.reference)
    except CheckpointError as error:
        if found is first:
            raise
        raise MergeError(
            f"'{found.reference}' ({found.architecture.name}) and '{first.reference}' "
            f"({first.architecture.name}) are not of one architecture: {error}"
        ) from error
    return Member(found, found.checkpoint, state)


def _require_same_computation(first: Model, spec: PermutationSpec, other: Model) -> None:
    """Equal shapes are not enough: another configuration may compute something else."""
    if other.architecture.to_json() == first.architecture.to_json():
        return
    theirs = derive_for(other, other.build()).spec
    if theirs.hash != spec.hash:
        raise MergeError(
            f"'{first.reference}' ({first.architecture.name}) and '{other.reference}' "
            f"({other.architecture.name}) have tensors of one shape but not the same symmetries: "
            "their configurations differ. Name the architecture of both (--model)"
        )


def derive_for(model: Model, module: nn.Module) -> Derived:
    """The spec of an opened model whose built module is at hand."""
    return derive_spec(
        module,
        model.example_inputs(_BATCH),
        architecture=model.architecture.name,
    )
