"""Opening models that are to be compared: one architecture, weights present and finite."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor, nn

from zooalign.errors import CheckpointError, MergeError, ModelReferenceError, ZooalignWarning
from zooalign.graph.devices import require_device
from zooalign.graph.dtypes import is_finite
from zooalign.graph.lazy_state import LazyState
from zooalign.kinds import Symmetries
from zooalign.merging.named_rows import InOrder, Sources
from zooalign.merging.naming import (
    NameChange,
    changes_between,
    common_names,
    placed,
    sources_of,
    warn_of_changes,
)
from zooalign.release.naming import (
    NamesRecord,
    renamed,
    require_known_choices,
    warn_of_preprocessing,
    without_head,
)
from zooalign.release.settings import Naming, OpenSettings
from zooalign.symmetry import Derived, PermutationSpec, derive_spec
from zooalign.zoo.adapters import NamedAxes
from zooalign.zoo.building import state_dict_for
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.configurations import differing_fields
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.names import names_of

__all__ = ["EXAMPLE_ROWS", "Family", "FamilyMember", "derive_for", "member_of", "open_family"]

# Architectures are traced with two rows, so that nothing takes the batch for an axis of size one.
EXAMPLE_ROWS = 2


@dataclass(frozen=True)
class FamilyMember:
    """A model with its weights.

    ``stored`` is it as its files have it, ``stored_state`` its tensors by the architecture's names.
    ``model`` and ``state`` have the labels and tokens of the family, in its order: ``changes`` say
    how they differ, and ``sources`` which rows come from where. ``module`` is built from its own
    configuration, parameters on meta; ``differing`` are the fields in which that computes
    something else than the first member's, with both values.
    """

    stored: Model
    stored_state: LazyState
    model: Model
    state: LazyState
    module: nn.Module
    differing: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    changes: tuple[NameChange, ...] = ()
    sources: Sources = field(default_factory=lambda: Sources({}))

    @property
    def reference(self) -> str:
        """As the user named it, in normal form."""
        return self.model.reference

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights under the names of the file."""
        assert self.stored.checkpoint is not None
        return self.stored.checkpoint

    @property
    def is_resized(self) -> bool:
        """Whether it has another number of labels or tokens than the family."""
        return any(len(change.own) != len(change.common) for change in self.changes)


@dataclass(frozen=True)
class Family:
    """Models of one architecture: ``module`` has its parameters on meta, buffers with values.

    ``is_headless`` says that classifiers were left out.
    """

    members: tuple[FamilyMember, ...]
    module: nn.Module
    derived: Derived
    is_headless: bool = False

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

    @property
    def lacks_rows(self) -> bool:
        """Whether some member lacks labels or tokens of the family."""
        return any(member.sources.lacking for member in self.members)

    @property
    def records(self) -> tuple[NamesRecord, ...]:
        """What became of named rows, for provenance."""
        return tuple(
            NamesRecord.of(index, change)
            for index, member in enumerate(self.members)
            for change in member.changes
        )

    @cached_property
    def stored_forms(self) -> tuple[tuple[nn.Module, PermutationSpec], ...]:
        """Module and spec of each member with its own labels and tokens."""
        allow = self.spec.value_dependent
        forms = []
        for member in self.members:
            module, spec = member.module, self.spec
            if member.is_resized:
                module = member.stored.build()
                spec = derive_for(member.stored, module, allow_value_dependent=allow).spec
            forms.append((module, spec))
        return tuple(forms)

    def config_files(self) -> dict[str, bytes]:
        """The files to write beside weights with the labels and tokens of the family."""
        first = self.members[0]
        files = first.stored.config_files()
        adapter = first.model.adapter
        if not isinstance(adapter, NamedAxes) or not (first.changes or self.is_headless):
            return files
        names = [(change.own, change.common) for change in first.changes]
        others = [member.stored.config_files() for member in self.members[1:]] if names else []
        return adapter.renamed_files(first.model.architecture, files, names, others)


def open_family(
    references: Sequence[str], settings: OpenSettings | None = None, naming: Naming | None = None
) -> Family:
    """Open models that must be of one architecture.

    Rows that stand for labels and tokens come in the order of the first one's names. ``naming``
    says what becomes of names that not all have.

    Raises
    ------
    ModelReferenceError, CheckpointError, HubError
        If one cannot be opened or has no weights; and, when a tensor is first read, if it is
        not finite.
    MergeError
        If they are not of one architecture, or have other labels or tokens, or there is no such
        device as the settings name.

    Warns
    -----
    ZooalignWarning
        If rows are taken by their names.
    """
    settings, naming = settings or OpenSettings(), naming or Naming()
    require_device(getattr(settings, "device", "cpu"))
    require_known_choices(naming)
    opened = [_with_weights(ref, settings.model, settings.allow_pickle) for ref in references]
    if naming.head == "none":
        opened = [without_head(model) for model in opened]
    names = [names_of(model) for model in opened]
    common = common_names(names, naming.tokens)
    first = opened[0].reference
    changes = [
        changes_between(own, common, (model.reference, first), naming.accepted)
        for own, model in zip(names, opened, strict=True)
    ]
    models = [renamed(model, change) for model, change in zip(opened, changes, strict=True)]
    module = models[0].build()
    allow = settings.allow_value_dependent
    symmetries: Symmetries = getattr(settings, "symmetries", "permutations")
    derived = derive_for(models[0], module, allow_value_dependent=allow, symmetries=symmetries)
    members = tuple(
        _member(stored, module, models[0], placed(each, models[0].adapter, module, derived))
        for stored, each in zip(opened, changes, strict=True)
    )
    for member in members:
        warn_of_changes(member.reference, member.changes)
    warn_of_preprocessing(opened)
    if symmetries != "permutations" and any(m.is_resized or m.differing for m in members):
        raise MergeError(
            "models with other labels, tokens or configurations than the first are permuted only: "
            "leave --symmetries at permutations"
        )
    for other in members[1:]:
        _require_same_symmetries(models[0], derived.spec, other, allow)
    return Family(members, module, derived, naming.head == "none")


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


def _member(
    stored: Model, module: nn.Module, first: Model, changes: Sequence[NameChange]
) -> FamilyMember:
    try:
        return member_of(first, module, stored, changes)
    except CheckpointError as error:
        if stored.reference == first.reference:
            raise
        raise MergeError(
            f"'{stored.reference}' ({stored.architecture.name}) and '{first.reference}' "
            f"({first.architecture.name}) are not of one architecture: {error}"
        ) from error


def member_of(
    first: Model, module: nn.Module, stored: Model, changes: Sequence[NameChange] = ()
) -> FamilyMember:
    """A member of the family of ``first``, whose module is at hand.

    Raises
    ------
    CheckpointError
        Its weights do not fit the architecture.
    """
    assert stored.checkpoint is not None
    model = renamed(stored, changes)
    resized = any(len(change.own) != len(change.common) for change in changes)
    holder = stored.build() if resized else module
    state = state_dict_for(holder, stored.checkpoint, where=stored.reference)
    sources, differing = sources_of(changes), differing_fields(first, model)
    return FamilyMember(
        stored,
        state,
        model,
        InOrder(state, sources) if sources.of else state,
        model.build() if differing else module,
        differing,
        tuple(changes),
        sources,
    )


def _require_same_symmetries(
    first: Model, spec: PermutationSpec, other: FamilyMember, allow_value_dependent: bool
) -> None:
    """Equal shapes are not enough: another configuration may have other symmetries."""
    if not other.differing:
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
    symmetries: Symmetries = "permutations",
    prove: bool | None = None,
) -> Derived:
    """The spec of an opened model whose built module is at hand.

    It is proved where that costs less than the trace, as by :func:`~zooalign.extract_spec`.
    """
    return derive_spec(
        module,
        model.example_inputs(EXAMPLE_ROWS),
        architecture=model.architecture.name,
        allow_value_dependent=allow_value_dependent,
        symmetries=symmetries,
        prove=prove,
    )
