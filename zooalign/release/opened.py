"""A directory or repo under the release gate, opened as far as it can be."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import CheckpointError, MergeError, ModelReferenceError, SpecError
from zooalign.graph.axis_names import AxisNames, Kind
from zooalign.graph.lazy_state import LazyTensors, StateView
from zooalign.merging.naming import changes_between, placed
from zooalign.release import layout
from zooalign.release.contents import Contents, LocalContents, is_inside, open_repo
from zooalign.release.front_matter import read_metadata
from zooalign.release.mirror import FormatFault, faults_of, headers_only, make_mirror
from zooalign.release.naming import without_head
from zooalign.release.opening import FamilyMember, derive_for, member_of
from zooalign.release.provenance import Provenance
from zooalign.release.settings import CheckRequest
from zooalign.release.sources import Source, source_of
from zooalign.symmetry import (
    Derived,
    Element,
    Mapped,
    Permutation,
    PermutationSpec,
    Permuted,
    SpecClasses,
)
from zooalign.symmetry.classes.element_file import moved_from_dict
from zooalign.symmetry.spec_file import from_json, permutation_from_dict
from zooalign.zoo import hub
from zooalign.zoo.building import state_dict_for
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.converted_checkpoint import as_architecture
from zooalign.zoo.layout import CONFIG_NAME
from zooalign.zoo.models import Model, open_model, open_weights
from zooalign.zoo.names import names_of, preprocessing_of
from zooalign.zoo.references import PICKLE_SUFFIXES
from zooalign.zoo.suggestions import no_such, parse

__all__ = ["OpenedRelease", "Parent", "open_release"]


_MAX_TEXT = 500_000_000
_EMPTY = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class Parent:
    """A model given with ``--parent``; ``index`` is its place in the recorded sources, or None."""

    member: FamilyMember
    index: int | None


@dataclass(frozen=True)
class OpenedRelease:
    """What is checked; ``repo`` is the name and resolved commit of a hub repo.

    ``headers`` is a directory with the header of every file of weights; a repo's has no values.
    ``model_or_error`` is the architecture, with a checkpoint of shapes and dtypes, or why the
    weights cannot be opened. ``request`` says what the gate looks at besides.
    """

    reference: str
    contents: Contents
    headers: Path
    model_or_error: Model | CheckpointError
    repo: hub.HubRepo | None
    request: CheckRequest
    _problems: dict[str, str | None] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All its files."""
        return tuple(entry.name for entry in self.contents.entries)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The recorded sources; none without a valid provenance."""
        return self.provenance.sources if self.has("provenance") else ()

    @property
    def parent_references(self) -> tuple[str, ...]:
        """The parents to compare with: those given, or those that the record names."""
        recorded = self.sources if self.request.recorded_parents else ()
        return (*self.request.parents, *(source.pinned for source in recorded))

    def has(self, need: str) -> bool:
        """Whether what a check needs is there and readable.

        ``weights``: shapes and dtypes; ``shapes``: they fit the architecture; ``values``: the
        numbers too; ``fit``: the numbers as a state dict of the architecture; ``spec``,
        ``provenance``, ``parents``; and what a caller asks for: ``data``, ``rerun``, ``against``.
        """
        request = self.request
        known: dict[str, Callable[[], bool]] = {
            "weights": lambda: self.problem("model") is None,
            "shapes": lambda: self.problem("fitted_shapes") is None,
            "values": lambda: not request.headers_only and self._values_are_inside,
            "fit": lambda: not request.headers_only and self.problem("state") is None,
            "spec": lambda: self.problem("spec") is None,
            "provenance": lambda: self.problem("provenance") is None,
            "parents": lambda: bool(self.parent_references) and not request.headers_only,
            "data": lambda: request.data is not None and not request.headers_only,
            "rerun": lambda: request.rerun and not request.headers_only,
            "against": lambda: request.against is not None,
        }
        return known[need]()

    def problem(self, part: str) -> str | None:
        """Why an attribute such as ``spec``, ``model`` or ``state`` has no value; None if it has.

        Reading an attribute that has a problem raises it, as CheckpointError or SpecError.
        """
        if part not in self._problems:
            try:
                getattr(self, part)
                self._problems[part] = None
            except (CheckpointError, SpecError) as error:
                self._problems[part] = str(error)
        return self._problems[part]

    def text(self, name: str) -> str | None:
        """A file's text, None if it is absent; SpecError if it is huge or not UTF-8."""
        entry = next((entry for entry in self.contents.entries if entry.name == name), None)
        if entry is None:
            return None
        too_long = SpecError(f"{name} is over {_MAX_TEXT} bytes and is not read")
        if (entry.size or 0) > _MAX_TEXT:  # before a byte of it is downloaded
            raise too_long
        try:
            path = self.contents.path(name)
            if path.stat().st_size > _MAX_TEXT:
                raise too_long
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError, CheckpointError) as error:
            raise SpecError(f"{name} cannot be read as text: {error}") from error

    def json(self, name: str) -> Any:
        """A JSON file's value, None if it is absent; SpecError if it is not JSON."""
        text = self.text(name)
        try:
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{name} is not JSON: {error}") from error

    def _required_text(self, name: str) -> str:
        text = self.text(name)
        if text is None:
            raise SpecError(f"{name} is missing")
        return text

    @cached_property
    def spec(self) -> PermutationSpec:
        """The recorded spec."""
        return from_json(self._required_text(layout.SPEC), layout.SPEC)

    @cached_property
    def provenance(self) -> Provenance:
        """The recorded provenance."""
        return Provenance.from_json(self._required_text(layout.PROVENANCE), layout.PROVENANCE)

    def permutation(self, name: str) -> Permutation:
        """A recorded permutation; SpecError if it is absent or none of the recorded spec's."""
        self._required_text(name)
        return permutation_from_dict(self.json(name), self.spec, name)

    def moved(self, name: str) -> Permutation | Element:
        """As :meth:`permutation`, or a recorded element that does more."""
        self._required_text(name)
        return moved_from_dict(self.json(name), self.spec, name)

    def applied(self, name: str, state: Mapping[str, Tensor]) -> StateView:
        """A state dict under what is recorded, tensor by tensor; SpecError as :meth:`moved`."""
        moved = self.moved(name)
        if isinstance(moved, Element):
            return Mapped(SpecClasses.of(self.spec, moved.symmetries), moved, state)
        return Permuted(self.spec, moved, state)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its card."""
        return read_metadata(self._required_text(layout.CARD))

    @property
    def permutation_only(self) -> bool:
        """Whether its card says, by a tag, that it is a permutation without weights."""
        tags = None if self.problem("metadata") else self.metadata.get("tags")
        return isinstance(tags, list) and layout.PERMUTATION_ONLY in tags

    @cached_property
    def faults(self) -> tuple[FormatFault, ...]:
        """Files of weights that break the format."""
        return faults_of(self.headers, self.names)

    @property
    def model(self) -> Model:
        """The architecture; its checkpoint has shapes and dtypes but no values."""
        if isinstance(self.model_or_error, CheckpointError):
            raise self.model_or_error
        return self.model_or_error

    @property
    def shapes(self) -> Checkpoint:
        """The weights' names, shapes, dtypes and files, without values."""
        assert self.model.checkpoint is not None
        return self.model.checkpoint

    @cached_property
    def weight_files(self) -> tuple[str, ...]:
        """Names of the files of weights that the model reads; none where it cannot be opened."""
        if not self.has("weights"):
            return ()
        return tuple(file.relative_to(self.headers).as_posix() for file in self.shapes.files)

    @cached_property
    def _values_are_inside(self) -> bool:
        """Whether there are files of weights, and none is a link that leads out."""
        linked = isinstance(self.contents, LocalContents) and not all(
            is_inside(self.contents.directory, self.contents.directory / name)
            for name in self.weight_files
        )
        return bool(self.weight_files) and not linked

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The weights with their values; a repo's are downloaded now."""
        path = [self.contents.path(name) for name in self.weight_files][-1]
        adapter = self.model.adapter
        return as_architecture(adapter, self.model.architecture, open_weights(path, adapter))

    @property
    def weights_directory(self) -> Path:
        """The directory of the weights' files and the configuration, as a library loads it."""
        if CONFIG_NAME in self.names:
            self.contents.path(CONFIG_NAME)
        return self.checkpoint.files[0].parent

    @cached_property
    def module(self) -> nn.Module:
        """The architecture, without weights."""
        return self.model.build()

    @cached_property
    def derived(self) -> Derived:
        """The symmetries derived from the architecture anew, with the graph."""
        accepted = self.accepts_value_dependent
        return derive_for(self.model, self.module, allow_value_dependent=accepted)

    @property
    def derived_spec(self) -> PermutationSpec:
        """The spec derived from the architecture anew."""
        return self.derived.spec

    @cached_property
    def axis_names(self) -> Mapping[Kind, AxisNames]:
        """The labels and tokens of its rows, where they are known."""
        return names_of(replace(self.model, directory=self.files_directory))

    @cached_property
    def preprocessing(self) -> Mapping[str, object]:
        """How its inputs are made, by field."""
        return preprocessing_of(replace(self.model, directory=self.files_directory))

    @cached_property
    def files_directory(self) -> Path:
        """Where its configuration lies, with the files of its tokenizer and processor."""
        wanted = getattr(self.model.adapter, "files_beside", lambda _: ())(self.names)
        paths = [self.contents.path(name) for name in (*wanted, CONFIG_NAME) if name in self.names]
        return paths[-1].parent if paths else self.headers

    @property
    def accepts_value_dependent(self) -> bool:
        """Whether it is accepted that values of inputs decide: by the request or the release."""
        return self.request.allow_value_dependent or (
            layout.SPEC in self.names and self.spec.value_dependent
        )

    @cached_property
    def fitted_shapes(self) -> LazyTensors:
        """The shapes under the architecture's keys; CheckpointError if they do not fit."""
        infos = {name: self.shapes.info(name) for name in self.shapes}
        # Tied tensors' values are compared elsewhere: here all are equally empty.
        empty = LazyTensors(infos, lambda _: _EMPTY)
        return state_dict_for(self.module, empty, where=self.reference)

    @cached_property
    def state(self) -> LazyTensors:
        """The weights under the architecture's keys; CheckpointError if they do not fit."""
        _ = self.fitted_shapes  # before values are downloaded
        return state_dict_for(self.module, self.checkpoint, where=self.reference)

    @cached_property
    def parents(self) -> tuple[Parent, ...]:
        """The given parents, opened as the same architecture, matched to sources by content."""
        parents: list[Parent] = []
        for reference in self.parent_references:
            parents.append(self._parent(reference, {parent.index for parent in parents}))
        return tuple(parents)

    def _parent(self, reference: str, taken: set[int | None]) -> Parent:
        opened = open_model(
            reference, model=self.request.model, allow_pickle=self.request.allow_pickle
        )
        if opened.checkpoint is None:
            raise CheckpointError(f"'{reference}' has no weights to compare with")
        hashes = {file.sha256 for file in source_of(opened, "parent").files}
        same = [i for i, s in enumerate(self.sources) if {f.sha256 for f in s.files} == hashes]
        # A model may be its own partner: its second mention is the second source.
        index = next((i for i in same if i not in taken), same[0] if same else None)
        return Parent(self._member(opened), index)

    def _member(self, opened: Model) -> FamilyMember:
        """A parent by the release's labels and tokens, without a classifier where it has none."""
        if self._recorded_naming.get("head") == "none":
            opened = without_head(opened)
        try:
            changes = changes_between(
                names_of(opened),
                self.axis_names,
                (opened.reference, self.reference),
                accepted=("labels", "tokens"),
            )
        except MergeError as error:
            raise CheckpointError(str(error)) from error
        if changes:
            changes = placed(changes, self.model.adapter, self.module, self.derived)
        return member_of(self.model, self.module, opened, changes)

    @property
    def _recorded_naming(self) -> Mapping[str, object]:
        naming = self.provenance.settings.get("naming") if self.has("provenance") else None
        return naming if isinstance(naming, Mapping) else {}


@contextmanager
def open_release(
    reference: str, request: CheckRequest | None = None, *, files_only: bool = False
) -> Iterator[OpenedRelease]:
    """Open what is to be checked: its list of files and its headers, no values.

    Weights that cannot be read are something to report, not an error. With ``files_only`` the
    model is not opened, so its architecture need not be known: who follows the record, or reads
    spec and permutation, needs none.

    Raises
    ------
    ModelReferenceError, HubError
        If there is no such directory or repo, or its architecture is not known.
    """
    request = request or CheckRequest()
    parsed = parse(reference)
    name, repo = str(parsed), None
    with tempfile.TemporaryDirectory() as folder:
        if parsed.kind == "hub":
            repo, contents = open_repo(parsed.target, parsed.revision)
            headers = Path(folder)
            headers = headers if files_only else _headers(contents, headers, request)
        elif parsed.kind == "directory":
            headers = Path(parsed.target)
            if not headers.is_dir():
                raise no_such("directory", str(parsed))
            contents = LocalContents.of(headers)
        else:
            raise SpecError(
                f"'{reference}' is neither a directory nor a hub repo, which is what a release is"
            )
        model: Model | CheckpointError = CheckpointError(f"{name}: was opened for its files alone")
        if not files_only:
            model = _opened(name if repo is None else str(headers), request, shown=name)
        yield OpenedRelease(name, contents, headers, model, repo, request)


def _headers(contents: Contents, folder: Path, request: CheckRequest) -> Path:
    """A directory with what opening a repo's model needs."""
    if isinstance(contents, LocalContents):
        return contents.directory
    names = [entry.name for entry in contents.entries]
    pickled = [name for name in names if name.lower().endswith(PICKLE_SUFFIXES)]
    if request.allow_pickle and pickled and not any(n.endswith(".safetensors") for n in names):
        # A pickle has no header: it is read whole, or not at all.
        return [contents.path(n) for n in (*pickled, CONFIG_NAME) if n in names][-1].parent
    make_mirror(contents, folder)
    return folder


def _opened(path: str, request: CheckRequest, *, shown: str) -> Model | CheckpointError:
    """The model by its headers, or why it cannot be opened; ``shown`` is its public name."""
    try:
        model = open_model(path, model=request.model, allow_pickle=request.allow_pickle)
    except CheckpointError as error:
        return CheckpointError(str(error).replace(path, shown))
    except ModelReferenceError as error:
        raise ModelReferenceError(str(error).replace(path, shown)) from None
    assert model.checkpoint is not None
    return replace(model, reference=shown, checkpoint=headers_only(model.checkpoint))
