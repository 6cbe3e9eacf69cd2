"""The files of a released directory, and writing it whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from torch import Tensor

from zooalign.graph.lazy_state import LazyState, LazyTensors, info_of
from zooalign.progress import Progress, stage
from zooalign.release import layout
from zooalign.release.card import make_card
from zooalign.release.curves import MeasuredCurve, curves_to_dict, render_plot
from zooalign.release.opening import FamilyMember
from zooalign.release.provenance import Provenance
from zooalign.release.results import Report
from zooalign.symmetry import Element, Permutation, PermutationSpec
from zooalign.symmetry.classes.element_file import moved_to_dict
from zooalign.symmetry.spec_file import to_json
from zooalign.zoo import crash_recovery
from zooalign.zoo.files import check_room, check_target
from zooalign.zoo.writer import write_model

__all__ = ["Release", "WrittenReport", "counted", "require_output", "require_room", "write_release"]


@dataclass(frozen=True)
class Release:
    """Everything of a released directory but the weights.

    ``like`` is the member whose files, key names and dtypes the output keeps; ``config_files`` are
    to stand in place of its own, where it is of another configuration.
    """

    like: FamilyMember
    spec: PermutationSpec
    permutations: Mapping[str, Permutation | Element]
    provenance: Provenance
    curves: Sequence[MeasuredCurve]
    config_files: Mapping[str, bytes] | None = None


@dataclass(frozen=True)
class WrittenReport(Report):
    """An operation that wrote a release, and the provenance that it recorded.

    With ``dry_run`` all was done but the writing.
    """

    output: str
    groups: int
    provenance: Provenance
    seconds: float
    dry_run: bool = False


def write_release(
    output: str,
    release: Release,
    tensors: Mapping[str, Tensor],
    *,
    overwrite: bool,
    progress: Progress,
) -> Path:
    """Write the directory. Each tensor is read once, and never two at a time.

    Raises
    ------
    CheckpointError
        If the directory cannot be written; nothing is left behind.
    """
    checkpoint = release.like.checkpoint
    config = release.config_files
    if config is None:
        config = release.like.stored.config_files()
    extra = {
        layout.SPEC: to_json(release.spec).encode(),
        layout.PROVENANCE: layout.json_bytes(release.provenance),
    }
    for name, permutation in release.permutations.items():
        extra[name] = layout.json_bytes(moved_to_dict(permutation))
    plot = None
    if release.curves:
        extra[layout.BARRIER] = layout.json_bytes(curves_to_dict(release.curves))
        plot = render_plot(release.curves)
    if plot is not None:
        extra[layout.PLOT] = plot
    extra[layout.CARD] = make_card(
        release.provenance,
        title=Path(output).name,
        library=release.like.model.adapter.name,
        curves=release.curves,
        plot=None if plot is None else layout.PLOT,
        spec=release.spec,
    ).encode()

    def files(digests: Mapping[str, str]) -> dict[str, bytes]:
        ordered = {name: digests[name] for name in checkpoint}
        return {**extra, layout.DIGESTS: layout.json_bytes(ordered)}

    return write_model(
        output,
        counted(tensors, checkpoint, stage(progress, "write")),
        config_files={k: v for k, v in config.items() if k not in (*extra, layout.DIGESTS)},
        extra_files=files,
        layout_like=checkpoint,
        weights_name=release.like.model.weights_name,
        overwrite=overwrite,
    )


def counted(
    tensors: Mapping[str, Tensor], like: LazyState, progress: Callable[[int, int], None]
) -> LazyTensors:
    """``tensors`` of the names in ``like``, in its order, that report each read as progress."""
    reads = count(1)

    def read(name: str) -> Tensor:
        progress(next(reads), len(like))
        return tensors[name]

    return LazyTensors({name: info_of(tensors, name) for name in like}, read)


def require_output(output: str, *, overwrite: bool) -> None:
    """Refuse at once what writing would refuse after minutes of work.

    Raises
    ------
    CheckpointError
        If ``output`` is a file, a directory that is not empty and not to be overwritten, or a
        directory that is not a model's.
    """
    path = Path(output)
    crash_recovery.recover(path)  # what a killed run left must not count as a free place
    check_target(path, overwrite)


def require_room(output: str, weights: LazyState, *, dry_run: bool) -> None:
    """Refuse at once, before weights are read, where the disk has no room for as many.

    Raises
    ------
    CheckpointError
        Fewer bytes are free than the weights have.
    """
    if not dry_run:
        check_room(Path(output), weights.nbytes)
