"""Permutation-only releases: a few kilobytes that make the aligned checkpoint of the parent."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from zooalign.errors import CheckpointError, MergeError, SpecError
from zooalign.pipelines.assemble import require_output
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.card import make_card
from zooalign.release.contents import LocalContents
from zooalign.release.curves import curves_from_json
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.provenance import Provenance
from zooalign.release.sources import source_of
from zooalign.symmetry import Permuted
from zooalign.zoo.checkpoint import INDEX_NAME
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.writer import digest_of, write_model

__all__ = ["ApplyReport", "apply_permutation", "prove_parent"]


@dataclass(frozen=True)
class ApplyReport:
    """What was written; ``tensors`` is how many were compared with their published SHA-256."""

    output: str
    parent: str
    release: str
    files: tuple[str, ...]
    tensors: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {**vars(self), "files": list(self.files)}


def apply_permutation(
    parent: str,
    release: str,
    output: str,
    *,
    model: str | None = None,
    allow_pickle: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ApplyReport:
    """Permute ``parent`` as ``release`` says and write the aligned checkpoint.

    Parameters
    ----------
    parent:
        The model that was aligned; its files must be the recorded ones, by SHA-256.
    release:
        A directory or repo with a spec, a permutation and a provenance; it needs no weights, and
        if it has some they are not read.
    output:
        The directory to write, as ``zooalign align`` wrote it: the release's files, the weights,
        and what the release lacks of configuration and card.

    Raises
    ------
    SpecError
        If the release is no alignment, or spec and permutation do not fit the parent.
    CheckpointError
        If the parent is not the recorded one, or what was made is not what was published; nothing
        is left behind.
    """
    start = time.perf_counter()
    require_output(output, overwrite=overwrite)
    with open_release(_or_hub(release)) as subject:
        made = _alignment(subject)
        opened = open_model(parent, model=model, allow_pickle=allow_pickle)
        tensors, published = _permuted(subject, made, opened)
        assert opened.checkpoint is not None
        kept = _files(subject, made, opened, Path(output).name)
        config = {n: c for n, c in opened.config_files().items() if n not in kept}
        written = count(1)

        def read(name: str) -> Tensor:
            progress("permute", next(written), len(tensors))
            return tensors[name]

        def proved(digests: Mapping[str, str]) -> Mapping[str, bytes]:
            for name, digest in digests.items():
                _require_published(name, digest, published)
            return kept

        write_model(
            output,
            read,
            config_files=config,
            extra_files=proved,
            layout_like=opened.checkpoint,
            overwrite=overwrite,
        )
    files = tuple(entry.name for entry in LocalContents.of(Path(output)).entries)
    return ApplyReport(
        output,
        opened.reference,
        subject.reference,
        files,
        len(opened.checkpoint),
        time.perf_counter() - start,
    )


def _files(subject: OpenedRelease, made: Provenance, opened: Model, title: str) -> dict[str, bytes]:
    """The release's files but for weights; where it has none, with the card of one that has."""
    found = {
        name: subject.contents.path(name).read_bytes()
        for name in subject.names
        if not name.startswith(".") and not name.endswith(".safetensors") and name != INDEX_NAME
    }
    if subject.permutation_only:
        try:
            text = subject.text(layout.BARRIER)
            curves = () if text is None else curves_from_json(text)
        except MergeError as error:
            raise SpecError(f"{layout.BARRIER} is malformed: {error}") from error
        found[layout.CARD] = make_card(
            made,
            title=title,
            library=opened.adapter.name,
            curves=curves,
            plot=layout.PLOT if layout.PLOT in found else None,
            spec=subject.spec,
        ).encode()
    return found


def _alignment(subject: OpenedRelease) -> Provenance:
    made = subject.provenance
    problem = subject.provenance_problem or subject.spec_problem
    if made is None or subject.spec is None:
        reason = problem or f"{layout.PROVENANCE} or {layout.SPEC} is missing"
        raise SpecError(f"{subject.reference} is no release of a permutation: {reason}")
    if made.operation != "align" or len(made.alignments) != 1:
        raise SpecError(
            f"{subject.reference} is a {made.operation}; only an alignment is one parent permuted"
        )
    return made


def prove_parent(subject: OpenedRelease, made: Provenance, opened: Model) -> Mapping[str, Tensor]:
    """The parent permuted as a release says, lazily, each tensor proved by its published digest.

    Raises
    ------
    SpecError, CheckpointError
        If the parent is not the recorded one, or a tensor is not the published one.
    """
    tensors, published = _permuted(subject, made, opened)
    for name in tensors:
        _require_published(name, digest_of(tensors[name]), published)
    return tensors


def _permuted(
    subject: OpenedRelease, made: Provenance, opened: Model
) -> tuple[Permuted, Mapping[str, Any]]:
    """The recorded parent permuted, lazily, and the published digests of what comes out."""
    _require_parent(opened, made)
    assert opened.checkpoint is not None and subject.spec is not None
    permutation = subject.permutation(made.alignments[0].permutation)
    published = subject.json(layout.DIGESTS)
    if not isinstance(published, dict):
        raise SpecError(
            f"{layout.DIGESTS} is missing or malformed, so what comes out could not be checked"
        )
    return Permuted(subject.spec, permutation, opened.checkpoint), published


def _require_parent(opened: Model, made: Provenance) -> None:
    if opened.checkpoint is None:
        raise CheckpointError(f"'{opened.reference}' has no weights to permute")
    recorded = made.sources[made.alignments[0].source]
    expected = {file.sha256 for file in recorded.files}
    if {file.sha256 for file in source_of(opened, "source").files} != expected:
        at = f" at {recorded.commit}" if recorded.commit else ""
        raise CheckpointError(
            f"'{opened.reference}' is not the parent that was aligned, {recorded.reference}{at}: "
            "its files of weights have other SHA-256; give the recorded one"
        )


def _require_published(name: str, digest: str, published: Mapping[str, Any]) -> None:
    if published.get(name) != digest:
        raise CheckpointError(
            f"{name}: the parent permuted is not the tensor that was published (SHA-256 differs "
            f"from that in {layout.DIGESTS})"
        )


def _or_hub(text: str) -> str:
    """A path that looks like a repo's name, as a path."""
    return f"./{text}" if Path(text).is_dir() and not text.startswith((".", "/")) else text
