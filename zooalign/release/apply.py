"""Permutation-only releases: a few kilobytes that make the aligned checkpoint of the parent."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zooalign.errors import CheckpointError, SpecError
from zooalign.release import layout
from zooalign.release.assemble import digest_of, require_output
from zooalign.release.contents import LocalContents
from zooalign.release.listing import hash_file
from zooalign.release.open_subject import open_subject
from zooalign.release.progress import Progress, silent
from zooalign.release.provenance import Provenance
from zooalign.release.sources import source_of
from zooalign.release.subject import Subject
from zooalign.symmetry import Permuted
from zooalign.zoo.checkpoint import INDEX_NAME
from zooalign.zoo.files import new_directory
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.writer import write_model

__all__ = ["ApplyReport", "apply_permutation", "prove_parent", "stated_weights", "without_weights"]

FORMAT, VERSION = "zooalign.permutation-only", 1
_ROOM = 1_000_000


@dataclass(frozen=True)
class ApplyReport:
    """What was written; ``proved`` says by what it is known to be the aligned checkpoint."""

    output: str
    parent: str
    release: str
    files: tuple[str, ...]
    proved: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {**vars(self), "files": list(self.files)}


def without_weights(directory: str, output: str) -> Path:
    """Copy an aligned directory without its weights: card, configuration, spec, permutation.

    ``zooalign/permutation-only.json`` says which files of weights are made by
    :func:`apply_permutation`, with their SHA-256.

    Raises
    ------
    SpecError
        If it is no alignment made by zooalign.
    CheckpointError
        If the directory cannot be written; nothing is left behind.
    """
    own = LocalContents.of(Path(directory))
    with open_subject(_as_directory(directory)) as subject:
        _alignment(subject)
        weights = {path.name for path in subject.checkpoint.files if path.name != INDEX_NAME}
        kept = {e.name: own.path(e.name).read_bytes() for e in own.entries if e.name not in weights}
        stated = [
            {
                "name": name,
                "size": own.path(name).stat().st_size,
                "sha256": hash_file(own.path(name)),
            }
            for name in sorted(weights)
        ]
    marker = {"format": FORMAT, "version": VERSION, "weights": stated}
    kept[layout.PERMUTATION_ONLY] = layout.json_bytes(marker)
    with new_directory(output, needed=sum(map(len, kept.values()))) as folder:
        for name, content in kept.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return Path(output).absolute()


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
        The directory to write: the release's files, and the weights.

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
    with open_subject(_or_hub(release)) as subject:
        made = _alignment(subject)
        opened = open_model(parent, model=model, allow_pickle=allow_pickle)
        tensors = prove_parent(subject, made, opened, progress)
        assert opened.checkpoint is not None
        stated = stated_weights(subject)
        kept = {}
        for name in subject.names:
            weights = name.endswith(".safetensors") or name == INDEX_NAME
            if not weights and not name.startswith(".") and name != layout.PERMUTATION_ONLY:
                kept[name] = subject.contents.path(name).read_bytes()
        with new_directory(
            output, needed=opened.checkpoint.nbytes + _ROOM, overwrite=overwrite
        ) as folder:
            # One deeper, as the folder itself is locked while it is filled.
            inner = folder / ".made" / "out"
            inner.parent.mkdir()
            write_model(inner, tensors, extra_files=kept, layout_like=opened.checkpoint)
            for name, sha256 in stated.items():
                if not (inner / name).is_file() or hash_file(inner / name) != sha256:
                    raise CheckpointError(
                        f"{name}: what was made of '{parent}' is not the file that was published "
                        f"(SHA-256 {sha256[:16]}); the parent or the permutation is another"
                    )
            for path in sorted(inner.iterdir()):
                path.rename(folder / path.name)
            inner.rmdir()
            inner.parent.rmdir()
    files = tuple(entry.name for entry in LocalContents.of(Path(output)).entries)
    proved = f"the SHA-256 of every {'file of weights' if stated else 'tensor'}"
    return ApplyReport(
        output, opened.reference, subject.reference, files, proved, time.perf_counter() - start
    )


def _alignment(subject: Subject) -> Provenance:
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


def prove_parent(
    subject: Subject, made: Provenance, opened: Model, progress: Progress = silent
) -> Mapping[str, Tensor]:
    """The parent permuted as a release says, lazily, each tensor proved by its published digest.

    Raises
    ------
    SpecError, CheckpointError
        If the parent is not the recorded one, or a tensor is not the published one.
    """
    _require_parent(opened, made)
    assert opened.checkpoint is not None and subject.spec is not None
    permutation = subject.permutation(made.alignments[0].permutation)
    tensors = Permuted(subject.spec, permutation, opened.checkpoint)
    _prove(tensors, subject.json(layout.DIGESTS), progress)
    return tensors


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


def stated_weights(subject: Subject) -> dict[str, str]:
    """Names and SHA-256 of the weights that a permutation-only release stands for."""
    body = subject.json(layout.PERMUTATION_ONLY)
    if body is None:
        return {}
    try:
        if body["format"] != FORMAT or body["version"] != VERSION:
            raise ValueError("it is of another format or version")
        return {str(entry["name"]): str(entry["sha256"]) for entry in body["weights"]}
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"{layout.PERMUTATION_ONLY} is malformed: {error}") from error


def _prove(tensors: Mapping[str, Tensor], digests: Any, progress: Progress) -> None:
    """Compare every tensor with its published digest, before anything is written."""
    if not isinstance(digests, dict):
        raise SpecError(
            f"{layout.DIGESTS} is missing or malformed, so what comes out could not be checked"
        )
    names = list(tensors)
    for number, name in enumerate(names):
        progress("permute", number, len(names))
        if digests.get(name) != digest_of(tensors[name]):
            raise CheckpointError(
                f"{name}: the parent permuted is not the tensor that was published (SHA-256 "
                f"differs from that in {layout.DIGESTS})"
            )


def _as_directory(text: str) -> str:
    return text if text.startswith((".", "/")) else f"./{text}"


def _or_hub(text: str) -> str:
    return _as_directory(text) if Path(text).is_dir() else text
