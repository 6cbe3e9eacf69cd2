"""Carry a LoRA adapter over to an aligned model."""

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from zooalign.errors import SpecError, ZooalignWarning
from zooalign.pipelines.assemble import require_output
from zooalign.release import layout
from zooalign.release.lora import Adapter, carry, read_adapter, write_adapter
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.provenance import noted_warnings
from zooalign.release.settings import LoraSettings
from zooalign.release.sources import Source
from zooalign.zoo.references import parse_reference

__all__ = ["LoraReport", "carry_adapter"]

_BASE = "base_model_name_or_path"


@dataclass(frozen=True)
class LoraReport:
    """What was written, as in the JSON of ``zooalign lora`` (``docs/cli.md``).

    ``base`` is what the adapter's configuration named, None where it named nothing; ``aligned`` is
    what it names now. ``moved`` are how many of the ``tensors`` have another order.
    """

    output: str
    adapter: str
    base: str | None
    aligned: str
    tensors: int
    moved: int
    warnings: tuple[str, ...]
    seconds: float
    dry_run: bool = False


def carry_adapter(
    adapter: str, aligned: str, output: str, settings: LoraSettings | None = None
) -> LoraReport:
    """Permute an adapter of a model for the aligned model, and write it as peft does.

    Parameters
    ----------
    adapter:
        The directory of an adapter that was trained on the model that ``zooalign align`` moved.
    aligned:
        The directory or repo that it wrote. The adapter's configuration names it as its base.
    output:
        The directory to write.

    Raises
    ------
    SpecError
        If ``aligned`` is no alignment.
    CheckpointError, MergeError
        As :func:`zooalign.release.lora.carry`, and if the directory cannot be written.

    Warns
    -----
    ZooalignWarning
        If the adapter's configuration names another base than the model that was aligned.
    """
    start = time.perf_counter()
    settings = settings or LoraSettings()
    require_output(output, overwrite=settings.overwrite)
    trained = read_adapter(adapter)
    base = trained.config.get(_BASE)
    with noted_warnings() as notes, open_release(aligned, files_only=True) as release:
        _require_alignment(release, aligned)
        source = release.provenance.sources[1]
        if base is not None and not _same_model(str(base), source):
            warnings.warn(
                f"{adapter}: was trained on '{base}' by its configuration, and {aligned} is "
                f"'{source.reference}' aligned: on another base it computes something else",
                ZooalignWarning,
                stacklevel=2,
            )
        permutation = release.permutation(layout.permutation_name(None))
        carried = carry(trained, release.spec, permutation)
        warned = notes()
    named = {_BASE: aligned} | ({"revision": None} if "revision" in trained.config else {})
    carried = replace(carried, config={**carried.config, **named})
    if not settings.dry_run:
        write_adapter(carried, output, like=adapter, overwrite=settings.overwrite)
    return LoraReport(
        output,
        adapter,
        None if base is None else str(base),
        aligned,
        len(carried.tensors),
        _moved(trained, carried),
        warned,
        time.perf_counter() - start,
        settings.dry_run,
    )


def _require_alignment(release: OpenedRelease, aligned: str) -> None:
    problem = release.problem("spec") or release.problem("provenance")
    if problem is None and release.provenance.operation != "align":
        problem = "is a merge, whose units are of several models"
    if problem is not None:
        raise SpecError(f"--aligned {aligned}: {problem}; give what `zooalign align` wrote")


def _same_model(base: str, source: Source) -> bool:
    """Whether a base as peft names it (a path or a repo) is the source of an alignment."""
    if source.repo is not None:
        return base == str(source.repo)
    recorded = parse_reference(source.reference).target
    return Path(base).resolve() == Path(recorded).resolve()


def _moved(trained: Adapter, carried: Adapter) -> int:
    before, after = trained.tensors, carried.tensors
    return sum(not before[name].equal(after[name]) for name in before)
