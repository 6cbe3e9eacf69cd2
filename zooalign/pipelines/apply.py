"""Permutation-only releases: a few kilobytes that turn the parent into the aligned checkpoint."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zooalign.errors import CheckpointError, SpecError
from zooalign.graph.lazy_state import StateView
from zooalign.pipelines.assemble import counted, require_output, require_room
from zooalign.progress import Progress, silent, stage
from zooalign.release import layout
from zooalign.release.card import make_card
from zooalign.release.contents import LocalContents
from zooalign.release.curves import curves_from_json
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.provenance import Provenance
from zooalign.release.settings import ApplySettings
from zooalign.release.sources import source_of
from zooalign.zoo.layout import is_index
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.writer import digest_of, write_model

__all__ = ["ApplyReport", "apply_permutation", "prove_parent"]


@dataclass(frozen=True)
class ApplyReport:
    """What was written, as in the JSON of ``zooalign apply`` (``docs/cli.md``).

    ``tensors`` is how many were compared with their published SHA-256. With ``dry_run`` they were
    compared, and nothing was written: there are no ``files``.
    """

    output: str
    parent: str
    release: str
    files: tuple[str, ...]
    tensors: int
    seconds: float
    dry_run: bool = False


def apply_permutation(
    parent: str,
    permutation: str,
    output: str,
    settings: ApplySettings | None = None,
    *,
    progress: Progress = silent,
) -> ApplyReport:
    """Permute ``parent`` as the release ``permutation`` says and write the aligned checkpoint.

    Parameters
    ----------
    parent:
        The model that was aligned; its files must be the recorded ones, by SHA-256.
    permutation:
        A directory or repo with a spec, a permutation and a provenance; it needs no weights, and
        if it has some they are not read.
    output:
        The directory to write, as ``zooalign align`` wrote it: the release's files, the weights,
        and what the release lacks of configuration and card.

    Raises
    ------
    SpecError
        If the release is not an alignment, or spec and permutation do not fit the parent.
    CheckpointError
        If the parent is not the recorded one, or a tensor is not the published one; nothing is
        left behind.
    """
    start = time.perf_counter()
    settings = settings or ApplySettings()
    require_output(output, overwrite=settings.overwrite)
    with open_release(_or_hub(permutation), files_only=True) as release:
        provenance = _alignment(release)
        model = open_model(parent, model=settings.model, allow_pickle=settings.allow_pickle)
        if model.checkpoint is not None:
            require_room(output, model.checkpoint, dry_run=settings.dry_run)
        tensors, published = _permuted(release, provenance, model)
        assert model.checkpoint is not None
        kept = _files(release, provenance, model, Path(output).name)
        config = {n: c for n, c in model.config_files().items() if n not in kept}

        def proved(digests: Mapping[str, str]) -> Mapping[str, bytes]:
            for name, digest in digests.items():
                _require_published(name, digest, published)
            return kept

        permuted = counted(tensors, model.checkpoint, stage(progress, "permute"))
        files: tuple[str, ...] = ()
        if settings.dry_run:
            proved({name: digest_of(permuted[name]) for name in permuted})
        else:
            write_model(
                output,
                permuted,
                config_files=config,
                extra_files=proved,
                layout_like=model.checkpoint,
                weights_name=model.weights_name,
                overwrite=settings.overwrite,
            )
            files = tuple(entry.name for entry in LocalContents.of(Path(output)).entries)
    return ApplyReport(
        output,
        model.reference,
        release.reference,
        files,
        len(model.checkpoint),
        time.perf_counter() - start,
        settings.dry_run,
    )


def _files(
    release: OpenedRelease, provenance: Provenance, model: Model, title: str
) -> dict[str, bytes]:
    """The release's files but for weights; where it has none, with the card of one that has."""
    files = {
        name: release.contents.path(name).read_bytes()
        for name in release.names
        if not name.startswith(".") and not name.endswith(".safetensors") and not is_index(name)
    }
    if release.permutation_only:
        files[layout.CARD] = make_card(
            provenance,
            title=title,
            library=model.adapter.name,
            curves=curves_from_json(release.text(layout.BARRIER)),
            plot=layout.PLOT if layout.PLOT in files else None,
            spec=release.spec,
        ).encode()
    return files


def _alignment(release: OpenedRelease) -> Provenance:
    problem = release.problem("provenance") or release.problem("spec")
    if problem is not None:
        raise SpecError(f"{release.reference} is not a release of a permutation: {problem}")
    provenance = release.provenance
    if provenance.operation != "align" or len(provenance.alignments) != 1:
        raise SpecError(
            f"{release.reference} is a {provenance.operation}; only an alignment is one parent "
            "permuted"
        )
    return provenance


def prove_parent(
    release: OpenedRelease, provenance: Provenance, parent: Model
) -> Mapping[str, Tensor]:
    """The parent permuted as a release says, lazily, each tensor proved by its published digest.

    Raises
    ------
    SpecError, CheckpointError
        If the parent is not the recorded one, or a tensor is not the published one.
    """
    tensors, published = _permuted(release, provenance, parent)
    for name in tensors:
        _require_published(name, digest_of(tensors[name]), published)
    return tensors


def _permuted(
    release: OpenedRelease, provenance: Provenance, parent: Model
) -> tuple[StateView, Mapping[str, Any]]:
    """The recorded parent permuted or mapped, lazily, and the digests of what comes out."""
    _require_parent(parent, provenance)
    assert parent.checkpoint is not None
    tensors = release.applied(provenance.alignments[0].permutation, parent.checkpoint)
    published = release.json(layout.DIGESTS)
    if not isinstance(published, dict):
        raise SpecError(
            f"{layout.DIGESTS} is missing or malformed, so what comes out could not be checked"
        )
    return tensors, published


def _require_parent(parent: Model, provenance: Provenance) -> None:
    if parent.checkpoint is None:
        raise CheckpointError(f"'{parent.reference}' has no weights to permute")
    recorded = provenance.sources[provenance.alignments[0].source]
    expected = {file.sha256 for file in recorded.files}
    if {file.sha256 for file in source_of(parent, "source").files} != expected:
        at = f" at {recorded.commit}" if recorded.commit else ""
        raise CheckpointError(
            f"'{parent.reference}' is not the parent that was aligned, {recorded.reference}{at}: "
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
