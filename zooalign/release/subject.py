"""A directory or repo under the release gate, opened as far as it can be."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from zooalign.errors import CheckpointError, SpecError
from zooalign.release import layout
from zooalign.release.opening import Member
from zooalign.release.provenance import Provenance
from zooalign.release.sources import source_of
from zooalign.release.spec_of import derive_for
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.spec_file import from_json, permutation_from_dict
from zooalign.zoo import hub
from zooalign.zoo.checkpoint import Checkpoint
from zooalign.zoo.fitting import state_dict_for
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.references import parse_reference

__all__ = ["Parent", "Subject", "open_subject"]

_MAX_TEXT = 500_000_000
_WANTED = (layout.CARD, layout.SPEC, layout.PROVENANCE, layout.BARRIER, layout.DIGESTS)


@dataclass(frozen=True)
class Parent:
    """A model given with ``--parent``; ``index`` is its place in the recorded sources, or None."""

    member: Member
    index: int | None


@dataclass(frozen=True)
class Subject:
    """What is checked.

    ``model`` is None where the weights cannot be opened at all; ``unreadable`` says why.
    ``names`` are all its files, relative to ``directory``.
    """

    reference: str
    directory: Path
    names: tuple[str, ...]
    model: Model | None
    unreadable: str | None
    on_hub: bool
    parent_references: tuple[str, ...] = ()
    allow_pickle: bool = False
    architecture: str | None = None

    def has(self, need: str) -> bool:
        """Whether what a check needs is there and readable."""
        return {
            "weights": lambda: self.model is not None,
            "fit": lambda: self.state_problem is None,
            "spec": lambda: self.spec is not None,
            "provenance": lambda: self.provenance is not None,
            "parents": lambda: bool(self.parent_references),
        }[need]()

    def text(self, name: str) -> str | None:
        """A file's text, None if it is absent.

        Raises
        ------
        SpecError
            If it is not UTF-8 text of a sensible size.
        """
        path = self.directory / name
        if name not in self.names:
            return None
        try:
            if path.stat().st_size > _MAX_TEXT:
                raise SpecError(f"{name} is over {_MAX_TEXT} bytes and is not read")
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SpecError(f"{name} cannot be read as text: {error}") from error

    def json(self, name: str) -> Any:
        """A JSON file's value, None if it is absent; SpecError if it is not JSON."""
        text = self.text(name)
        try:
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{name} is not JSON: {error}") from error

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights."""
        assert self.model is not None and self.model.checkpoint is not None
        return self.model.checkpoint

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
        """Why the spec file is no valid spec, None if it is one."""
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
    def state(self) -> Any:
        """The weights under the architecture's keys; CheckpointError if they do not fit."""
        return state_dict_for(self.module, self.checkpoint, where=self.reference)

    @cached_property
    def state_problem(self) -> str | None:
        """Why the weights do not fit the architecture, None if they do."""
        if self.model is None:
            return self.unreadable
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
        return tuple(self._parent(reference) for reference in self.parent_references)

    def _parent(self, reference: str) -> Parent:
        opened = open_model(reference, model=self.architecture, allow_pickle=self.allow_pickle)
        if opened.checkpoint is None:
            raise CheckpointError(f"'{reference}' has no weights to compare with")
        state = state_dict_for(self.module, opened.checkpoint, where=reference)
        hashes = {file.sha256 for file in source_of(opened, "parent").files}
        recorded = self.provenance.sources if self.provenance else ()
        index = next(
            (i for i, s in enumerate(recorded) if {f.sha256 for f in s.files} == hashes), None
        )
        return Parent(Member(opened, opened.checkpoint, state), index)


def open_subject(
    reference: str,
    *,
    parents: Sequence[str] = (),
    model: str | None = None,
    allow_pickle: bool = False,
) -> Subject:
    """Open what is to be checked.

    Weights that cannot be read are something to report, not an error.

    Raises
    ------
    ModelReferenceError, HubError
        If there is no such directory or repo, or its architecture is not known.
    """
    parsed = parse_reference(reference)
    if parsed.kind not in ("hub", "directory"):
        raise SpecError(
            f"'{reference}' is neither a directory nor a hub repo, which is what a release is"
        )
    found: Model | None = None
    unreadable = None
    directory = Path(parsed.target)
    try:
        found = open_model(reference, model=model, allow_pickle=allow_pickle)
    except CheckpointError as error:
        if parsed.kind == "hub":
            raise
        unreadable = str(error)
    names: Sequence[str]
    if found is not None and found.repo is not None:
        names = _fetched(found.repo)
        directory = found.directory or directory
    else:
        names = _listed(directory)
    return Subject(
        reference=str(parsed),
        directory=directory,
        names=tuple(names),
        model=found,
        unreadable=unreadable,
        on_hub=parsed.kind == "hub",
        parent_references=tuple(parents),
        allow_pickle=allow_pickle,
        architecture=model,
    )


def _fetched(repo: hub.HubRepo) -> list[str]:
    """Download the small files that checks read; the names of all of the repo's files."""
    permutations = [n for n in repo.names if n.startswith(f"{layout.FOLDER}/permutation")]
    hub.fetch(repo, [n for n in (*_WANTED, *permutations) if n in repo.names], token=None)
    return list(repo.names)


def _listed(directory: Path) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() or path.is_symlink()
    )
