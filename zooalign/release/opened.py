"""A directory or repo under the release gate, opened as far as it can be."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zooalign.errors import CheckpointError, ModelReferenceError, SpecError
from zooalign.graph.lazy_state import LazyTensors
from zooalign.release import layout
from zooalign.release.contents import Contents, LocalContents, is_inside, open_repo
from zooalign.release.front_matter import read_metadata
from zooalign.release.mirror import Fault, faults_of, headers_only, make_mirror
from zooalign.release.opening import Member, derive_for
from zooalign.release.provenance import Provenance
from zooalign.release.settings import CheckRequest
from zooalign.release.sources import source_of
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.spec_file import from_json, permutation_from_dict
from zooalign.zoo import hub
from zooalign.zoo.building import state_dict_for
from zooalign.zoo.checkpoint import Checkpoint, open_checkpoint, open_pickle
from zooalign.zoo.converted_checkpoint import as_architecture
from zooalign.zoo.layout import CONFIG_NAME
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.references import PICKLE_SUFFIXES, parse_reference

__all__ = ["OpenedRelease", "Parent", "open_release"]


_MAX_TEXT = 500_000_000
_EMPTY = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class Parent:
    """A model given with ``--parent``; ``index`` is its place in the recorded sources, or None."""

    member: Member
    index: int | None


@dataclass(frozen=True)
class OpenedRelease:
    """What is checked.

    Attributes
    ----------
    reference:
        In normal form.
    contents:
        Its files.
    headers:
        A directory that has the header of every file of weights; for a repo no values.
    model:
        The architecture, with a checkpoint that has shapes and dtypes but no values; None where
        the weights cannot be opened at all, and ``unreadable`` says why.
    repo:
        Of a hub repo: its name and resolved commit.
    request:
        What the gate looks at besides.
    """

    reference: str
    contents: Contents
    headers: Path
    model: Model | None
    unreadable: str | None
    repo: hub.HubRepo | None
    request: CheckRequest

    @property
    def on_hub(self) -> bool:
        """Whether it is a repo."""
        return self.repo is not None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All its files."""
        return tuple(entry.name for entry in self.contents.entries)

    @property
    def parent_references(self) -> tuple[str, ...]:
        """The parents to compare with: those given, or those that the record names."""
        if self.request.recorded_parents and self.provenance is not None:
            return (*self.request.parents, *(source.pinned for source in self.provenance.sources))
        return self.request.parents

    def has(self, need: str) -> bool:
        """Whether what a check needs is there and readable.

        ``weights``: shapes and dtypes; ``shapes``: they fit the architecture; ``values``: the
        numbers too; ``fit``: the numbers as a state dict of the architecture; ``spec``,
        ``provenance``, ``parents``; and what a caller asks for: ``data``, ``rerun``, ``against``.
        """
        known: dict[str, Callable[[], bool]] = {
            "weights": lambda: self.model is not None,
            "shapes": lambda: self.shapes_problem is None,
            "values": lambda: not self.request.headers_only and self._values_are_inside,
            "fit": lambda: not self.request.headers_only and self.state_problem is None,
            "spec": lambda: self.spec is not None,
            "provenance": lambda: self.provenance is not None,
            "parents": lambda: bool(self.parent_references) and not self.request.headers_only,
            "data": lambda: self.request.data is not None and not self.request.headers_only,
            "rerun": lambda: self.request.rerun and not self.request.headers_only,
            "against": lambda: self.request.against is not None,
        }
        return known[need]()

    def text(self, name: str) -> str | None:
        """A file's text, None if it is absent.

        Raises
        ------
        SpecError
            If it is not UTF-8 text of a sensible size.
        """
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

    @cached_property
    def permutation_only(self) -> bool:
        """Whether its card says, by a tag, that it is a permutation without weights."""
        try:
            tags = read_metadata(self.text(layout.CARD) or "").get("tags")
        except SpecError:
            return False
        return isinstance(tags, list) and layout.PERMUTATION_ONLY in tags

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Files of weights that break the format."""
        return faults_of(self.headers, self.names)

    @property
    def shapes(self) -> Checkpoint:
        """The weights' names, shapes, dtypes and files, without values."""
        assert self.model is not None and self.model.checkpoint is not None
        return self.model.checkpoint

    @property
    def files_of_weights(self) -> tuple[Path, ...]:
        """The files of :attr:`headers` that the model reads; none where it cannot be opened."""
        return () if self.model is None else self.shapes.files

    @cached_property
    def _values_are_inside(self) -> bool:
        """Whether there are files of weights, and none is a link that leads out."""
        names = [f.relative_to(self.headers).as_posix() for f in self.files_of_weights]
        linked = isinstance(self.contents, LocalContents) and not all(
            is_inside(self.contents.directory, self.contents.directory / name) for name in names
        )
        return bool(names) and not linked

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The weights with their values; a repo's are downloaded now."""
        named = [file.relative_to(self.headers).as_posix() for file in self.shapes.files]
        paths = [self.contents.path(name) for name in named]
        pickled = named[-1].lower().endswith(PICKLE_SUFFIXES)
        opened = open_pickle(paths[-1]) if pickled else open_checkpoint(paths[-1])
        assert self.model is not None
        return as_architecture(self.model.adapter, self.model.architecture, opened)

    @property
    def weights_directory(self) -> Path:
        """The directory of the weights' files and the configuration, as a library loads it."""
        if CONFIG_NAME in self.names:
            self.contents.path(CONFIG_NAME)
        return self.checkpoint.files[0].parent

    @cached_property
    def module(self) -> nn.Module:
        """The architecture, without weights."""
        assert self.model is not None
        return self.model.build()

    @cached_property
    def derived_spec(self) -> PermutationSpec:
        """The spec derived from the architecture anew."""
        assert self.model is not None
        return derive_for(self.model, self.module).spec

    @property
    def spec_problem(self) -> str | None:
        """Why the spec file is not a valid spec, None if it is one."""
        return self._spec_read[1]

    @property
    def spec(self) -> PermutationSpec | None:
        """The recorded spec, None if it is absent or invalid."""
        return self._spec_read[0]

    @cached_property
    def _spec_read(self) -> tuple[PermutationSpec | None, str | None]:
        try:
            text = self.text(layout.SPEC)
            return (None, None) if text is None else (from_json(text, layout.SPEC), None)
        except SpecError as error:
            return None, str(error)

    @property
    def provenance(self) -> Provenance | None:
        """The recorded provenance, None if it is absent or invalid."""
        return self._provenance_read[0]

    @property
    def provenance_problem(self) -> str | None:
        """Why the provenance file is not valid, None if it is."""
        return self._provenance_read[1]

    @cached_property
    def _provenance_read(self) -> tuple[Provenance | None, str | None]:
        try:
            text = self.text(layout.PROVENANCE)
            if text is None:
                return None, None
            return Provenance.from_json(text, layout.PROVENANCE), None
        except SpecError as error:
            return None, str(error)

    def permutation(self, name: str) -> Permutation:
        """A recorded permutation; SpecError if it is absent or none of the recorded spec's."""
        body = self.json(name)
        if body is None:
            raise SpecError(f"{name} is missing")
        assert self.spec is not None
        return permutation_from_dict(body, self.spec, name)

    @cached_property
    def shapes_problem(self) -> str | None:
        """Why names and shapes do not fit the architecture, None if they do."""
        if self.model is None:
            return self.unreadable
        infos = {name: self.shapes.info(name) for name in self.shapes}
        try:
            # Tied tensors' values are compared elsewhere: here all are equally empty.
            state_dict_for(
                self.module, LazyTensors(infos, lambda name: _EMPTY), where=self.reference
            )
        except CheckpointError as error:
            return str(error)
        return None

    @cached_property
    def state(self) -> LazyTensors:
        """The weights under the architecture's keys; CheckpointError if they do not fit."""
        return state_dict_for(self.module, self.checkpoint, where=self.reference)

    @cached_property
    def state_problem(self) -> str | None:
        """Why the weights do not fit the architecture, None if they do."""
        if self.shapes_problem is not None:
            return self.shapes_problem
        try:
            _ = self.state
        except CheckpointError as error:
            return str(error)
        return None

    @cached_property
    def parents(self) -> tuple[Parent, ...]:
        """The given parents, opened as the same architecture, matched to sources by content.

        Raises
        ------
        ZooalignError
            If one cannot be opened, or does not fit the architecture.
        """
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
        state = state_dict_for(self.module, opened.checkpoint, where=reference)
        hashes = {file.sha256 for file in source_of(opened, "parent").files}
        recorded = self.provenance.sources if self.provenance else ()
        same = [i for i, s in enumerate(recorded) if {f.sha256 for f in s.files} == hashes]
        # A model may be its own partner: its second mention is the second source.
        index = next((i for i in same if i not in taken), same[0] if same else None)
        return Parent(Member(opened, opened.checkpoint, state), index)


@contextmanager
def open_release(reference: str, request: CheckRequest | None = None) -> Iterator[OpenedRelease]:
    """Open what is to be checked: its list of files and its headers, no values.

    Weights that cannot be read are something to report, not an error.

    Raises
    ------
    ModelReferenceError, HubError
        If there is no such directory or repo, or its architecture is not known.
    """
    request = request or CheckRequest()
    parsed = parse_reference(reference)
    if parsed.kind == "hub":
        repo, contents = open_repo(parsed.target, parsed.revision)
        with tempfile.TemporaryDirectory() as folder:
            mirror = _headers(contents, Path(folder), request)
            model, unreadable = _opened(str(mirror), request, shown=str(parsed))
            yield OpenedRelease(str(parsed), contents, mirror, model, unreadable, repo, request)
        return
    if parsed.kind != "directory":
        raise SpecError(
            f"'{reference}' is neither a directory nor a hub repo, which is what a release is"
        )
    directory = Path(parsed.target)
    if not directory.is_dir():
        raise ModelReferenceError(f"'{parsed}': there is no such directory")
    model, unreadable = _opened(str(parsed), request, shown=str(parsed))
    yield OpenedRelease(
        str(parsed), LocalContents.of(directory), directory, model, unreadable, None, request
    )


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


def _opened(path: str, request: CheckRequest, *, shown: str) -> tuple[Model | None, str | None]:
    """The model by its headers, or why it cannot be opened; ``shown`` is its public name."""
    try:
        model = open_model(path, model=request.model, allow_pickle=request.allow_pickle)
    except CheckpointError as error:
        return None, str(error).replace(path, shown)
    except ModelReferenceError as error:
        raise ModelReferenceError(str(error).replace(path, shown)) from None
    assert model.checkpoint is not None
    return dataclasses.replace(
        model, reference=shown, checkpoint=headers_only(model.checkpoint)
    ), None
