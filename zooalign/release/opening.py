"""Opening models that are to be compared: one architecture, weights present and finite."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from zooalign.errors import CheckpointError, MergeError, ModelReferenceError, ZooalignWarning
from zooalign.graph.devices import require_device
from zooalign.graph.lazy_state import LazyTensors
from zooalign.release.settings import OpenSettings
from zooalign.symmetry import Derived, PermutationSpec, derive_spec
from zooalign.zoo.building import state_dict_for
from zooalign.zoo.checkpoint import Checkpoint, is_finite
from zooalign.zoo.configurations import differing_fields, same_architecture
from zooalign.zoo.models import Model, open_model

__all__ = ["Family", "FamilyMember", "derive_for", "member_of", "open_family"]

# Two rows, so that nothing takes the batch for an axis of size one.
_BATCH = 2


@dataclass(frozen=True)
class FamilyMember:
    """A model with its weights.

    ``checkpoint`` has the names of its file, ``state`` those of the architecture, in its order.
    ``module`` is built from its own configuration, parameters on meta; ``differing`` are the fields
    in which that computes something else than the first member's, with both values.
    """

    model: Model
    checkpoint: Checkpoint
    state: LazyTensors
    module: nn.Module
    differing: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """As the user named it, in normal form."""
        return self.model.reference


@dataclass(frozen=True)
class Family:
    """Models of one architecture: ``module`` has its parameters on meta, buffers with values."""

    members: tuple[FamilyMember, ...]
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

    @property
    def differing(self) -> tuple[str, ...]:
        """The fields in which some member computes something else than the first, sorted."""
        return tuple(sorted({name for member in self.members for name in member.differing}))

    @property
    def differences(self) -> str:
        """Which fields differ between which members, in words; empty where none do."""
        return "; ".join(
            f"'{self.first.reference}' and '{member.reference}' differ in "
            + ", ".join(f"{name} ({a}, {b})" for name, (a, b) in member.differing.items())
            for member in self.members
            if member.differing
        )

    def accept_different(self, accepted: str | None, what: str) -> None:
        """Refuse ``what`` where configurations differ in a field that is not ``accepted``.

        Parameters
        ----------
        accepted:
            Names of fields, separated by commas.
        what:
            What needs one configuration, the subject of "runs in the configuration of ...".

        Raises
        ------
        MergeError
            A field that differs is not accepted.

        Warns
        -----
        ZooalignWarning
            Fields differ and are accepted.
        """
        if not self.differing:
            return
        names = {name.strip() for name in (accepted or "").split(",")}
        told = f"{self.differences}: {what} runs in the configuration of '{self.first.reference}'"
        if not names.issuperset(self.differing):
            raise MergeError(
                f"{told}, and the others compute something else. If that is meant, accept it "
                f"(--allow-different-configs {','.join(self.differing)})"
            )
        warnings.warn(told, ZooalignWarning, stacklevel=3)

    def load(self, index: int, device: str = "cpu", dtype: torch.dtype | None = None) -> nn.Module:
        """A member as a module of its own architecture, in eval mode."""
        member = self.members[index]
        return member.model.adapter.build_with_weights(
            member.model.architecture, member.state, device=device, dtype=dtype
        )


def open_family(references: Sequence[str], settings: OpenSettings | None = None) -> Family:
    """Open models that must be of one architecture.

    Raises
    ------
    ModelReferenceError, CheckpointError, HubError
        If one cannot be opened or has no weights; and, when a tensor is first read, if it is
        not finite.
    MergeError
        If they are not of one architecture, or there is no such device as the settings name.
    """
    settings = settings or OpenSettings()
    require_device(getattr(settings, "device", "cpu"))
    opened = [_with_weights(ref, settings.model, settings.allow_pickle) for ref in references]
    first = opened[0]
    module = first.build()
    allow = settings.allow_value_dependent
    derived = derive_for(first, module, allow_value_dependent=allow)
    members = tuple(_member(model, first, module) for model in opened)
    for other in members[1:]:
        _require_same_symmetries(first, derived.spec, other, allow)
    return Family(members, module, derived)


def _with_weights(reference: str, model: str | None, allow_pickle: bool) -> Model:
    opened = open_model(reference, model=model, allow_pickle=allow_pickle)
    if opened.checkpoint is None:
        raise ModelReferenceError(
            f"'{reference}' names an architecture without weights; give a hub repo, a directory "
            "or a .safetensors file"
        )
    return replace(opened, checkpoint=_finite(opened.checkpoint, reference))


def _finite(checkpoint: Checkpoint, reference: str) -> Checkpoint:
    """The checkpoint, whose tensors are checked when they are first read: no pass of its own."""
    checked: set[str] = set()

    def check(name: str, tensor: Tensor) -> Tensor:
        if name not in checked and not is_finite(tensor):
            raise CheckpointError(
                f"{reference}: '{name}' in {checkpoint.layout.get(name, '')} holds NaN or "
                "infinity, which nothing can be aligned or averaged with; use a checkpoint from "
                "before the training diverged"
            )
        checked.add(name)
        return tensor

    return checkpoint.read_through(check)


def _member(model: Model, first: Model, module: nn.Module) -> FamilyMember:
    assert model.checkpoint is not None
    try:
        state = state_dict_for(module, model.checkpoint, where=model.reference)
    except CheckpointError as error:
        if model is first:
            raise
        raise MergeError(
            f"'{model.reference}' ({model.architecture.name}) and '{first.reference}' "
            f"({first.architecture.name}) are not of one architecture: {error}"
        ) from error
    return member_of(first, module, model, state)


def member_of(first: Model, module: nn.Module, model: Model, state: LazyTensors) -> FamilyMember:
    """A member of the family of ``first``, whose module is at hand; ``state`` fits both."""
    assert model.checkpoint is not None
    own_module = module if same_architecture(first, model) else model.build()
    differing = differing_fields(first, model)
    return FamilyMember(model, model.checkpoint, state, own_module, differing)


def _require_same_symmetries(
    first: Model, spec: PermutationSpec, other: FamilyMember, allow_value_dependent: bool
) -> None:
    """Equal shapes are not enough: another configuration may have other symmetries."""
    if same_architecture(first, other.model):
        return
    allow = allow_value_dependent
    theirs = derive_for(other.model, other.module, allow_value_dependent=allow).spec
    if theirs.hash != spec.hash:
        raise MergeError(
            f"'{first.reference}' ({first.architecture.name}) and '{other.reference}' "
            f"({other.model.architecture.name}) have tensors of one shape but not the same "
            "symmetries: their configurations differ. Name the architecture of both (--model)"
        )


def derive_for(
    model: Model,
    module: nn.Module,
    *,
    allow_value_dependent: bool = False,
    prove: bool | None = None,
) -> Derived:
    """The spec of an opened model whose built module is at hand.

    It is proved where that costs less than the trace, as by :func:`~zooalign.extract_spec`.
    """
    return derive_spec(
        module,
        model.example_inputs(_BATCH),
        architecture=model.architecture.name,
        allow_value_dependent=allow_value_dependent,
        prove=prove,
    )
