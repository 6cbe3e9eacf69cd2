"""Run the operation of a release again, in a temporary folder, and compare the bytes."""

import contextlib
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch

from zooalign.errors import SpecError, ZooalignWarning
from zooalign.pipelines.align import AlignReport, align_models
from zooalign.pipelines.merge import MergeReport, merge_models
from zooalign.pipelines.same_files import Difference, Rounded, compare_files
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.provenance import Provenance
from zooalign.release.settings import AlignSettings, MergeSettings, ReproduceSettings
from zooalign.release.versions import versions

__all__ = ["ReproduceReport", "reproduce", "reproduce_opened", "run_recorded"]

_Kind = TypeVar("_Kind", AlignSettings, MergeSettings)
# A record may come from anybody.
_MOST_THREADS = 1024
_TITLE = re.compile(r"^# (?P<title>[^\s/\\.][^/\\\n]*)$", re.MULTILINE)


@dataclass(frozen=True)
class OtherVersion:
    """The version that a release records, and the one that is installed here."""

    recorded: str
    here: str


@dataclass(frozen=True, kw_only=True)
class ReproduceReport:
    """What a second run gave, as in the JSON of ``zooalign reproduce`` (``docs/cli.md``).

    ``same`` says whether every byte that the operation writes is the same. ``rounded`` are tensors
    of a refitted merge that differ within the recorded tolerance, as on another machine.
    ``compared`` are the files that both have; ``extra`` those of the release that the operation
    does not write.
    """

    reference: str
    operation: str
    same: bool
    differences: tuple[Difference, ...]
    rounded: tuple[Rounded, ...]
    compared: tuple[str, ...]
    extra: tuple[str, ...]
    versions: Mapping[str, OtherVersion]
    seconds: float

    @property
    def advice(self) -> str:
        """What to try where something differs."""
        if not self.versions:
            return "the release was changed after it was made, or its record is wrong"
        each = ", ".join(f"{n} {v.recorded} (here {v.here})" for n, v in self.versions.items())
        return f"it was written with other versions; install {each} and try again"


def reproduce(
    reference: str, settings: ReproduceSettings | None = None, *, progress: Progress = silent
) -> ReproduceReport:
    """Run a release's operation again and compare what it writes, file by file.

    Sources on a hub are taken at the recorded commit, local ones by the recorded path.

    Parameters
    ----------
    reference:
        A directory or repo with ``zooalign/provenance.json``.

    Raises
    ------
    SpecError
        If there is no valid provenance, or it asks for what is not allowed.
    ZooalignError
        If a source or the data is missing, or the operation fails.
    """
    with open_release(reference, files_only=True) as release:
        return reproduce_opened(release, settings, progress=progress)


def reproduce_opened(
    release: OpenedRelease,
    settings: ReproduceSettings | None = None,
    *,
    progress: Progress = silent,
) -> ReproduceReport:
    """As :func:`reproduce`, of a release that is open."""
    start = time.perf_counter()
    settings = settings or ReproduceSettings()
    problem = release.problem("provenance")
    if problem is not None:
        raise SpecError(f"{release.reference}: {layout.PROVENANCE} cannot be followed: {problem}")
    recorded = release.provenance
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / _title(release)
        root = settings.root
        place = contextlib.chdir(root) if root is not None else contextlib.nullcontext()
        with place, _threads_of(recorded), warnings.catch_warnings():
            warnings.simplefilter("ignore", ZooalignWarning)
            run_recorded(recorded, str(output), settings, progress)
        renamed = {s.pinned.removeprefix("hub:"): s.reference for s in recorded.sources}
        files = compare_files(release, output, renamed)
    here = versions()
    return ReproduceReport(
        reference=release.reference,
        operation=recorded.operation,
        same=not files.differences and not files.rounded,
        **vars(files),
        versions={
            name: OtherVersion(version, here.get(name, "none"))
            for name, version in recorded.versions.items()
            if here.get(name) != version
        },
        seconds=time.perf_counter() - start,
    )


@contextlib.contextmanager
def _threads_of(recorded: Provenance) -> Iterator[None]:
    """As many threads of PyTorch as a refit ran with, on which its bytes depend."""
    before = torch.get_num_threads()
    if recorded.refit is not None:
        torch.set_num_threads(min(max(1, recorded.refit.threads), _MOST_THREADS))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_recorded(
    recorded: Provenance, output: str, settings: ReproduceSettings, progress: Progress = silent
) -> AlignReport | MergeReport:
    """Do a recorded operation again, into ``output``.

    Raises
    ------
    SpecError
        If the record asks for what is not allowed.
    """
    _require_no_code(recorded, settings.allow_code)
    references = [source.pinned for source in recorded.sources]
    arguments: dict[str, Any] = {"command": recorded.command, "progress": progress}
    if recorded.operation == "align":
        again = _settings(recorded, AlignSettings, settings)
        return align_models(references[0], references[1], output, again, **arguments)
    merging = _settings(recorded, MergeSettings, settings)
    return merge_models(references, output, merging, **arguments)


def _settings(recorded: Provenance, kind: type[_Kind], settings: ReproduceSettings) -> _Kind:
    """The recorded settings; what an older record lacks has its default."""
    data = recorded.data
    fields = {
        # An older record does not say whether statistics were reset.
        "reset": recorded.statistics != "stale",
        "refit": "none",  # of an older record
        **{name: value for name, value in recorded.settings.items() if value is not None},
        "repair": recorded.statistics == "repaired",
        "method": recorded.method,
        "seed": recorded.seed,
        "weights": recorded.weights if recorded.combination is None else None,
        "data": None if data is None else data.reference,
        "loading": {} if data is None else {"batch_size": data.batch_size, "limit": data.limit},
    }
    fields["allow_pickle"] = settings.allow_pickle and bool(fields.get("allow_pickle"))
    fields["device"] = settings.device or fields.get("device", "cpu")
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise SpecError(f"{layout.PROVENANCE}: settings cannot be followed: {error}") from error


def _require_no_code(recorded: Provenance, allowed: bool) -> None:
    for text in _references(recorded):
        if text.startswith("py:") and not allowed:
            raise SpecError(
                f"the provenance names Python code to run ({text}); look at it, and allow it "
                "(--allow-code) if you trust it"
            )


def _references(recorded: Provenance) -> Iterator[str]:
    for source in recorded.sources:
        yield source.reference
    if recorded.data is not None:
        yield recorded.data.reference
    for name in ("model", "evaluate"):
        if recorded.settings.get(name):
            yield str(recorded.settings[name])
    measuring = recorded.settings.get("measuring")
    if isinstance(measuring, Mapping):
        yield from map(str, measuring.values())


def _title(release: OpenedRelease) -> str:
    """The name of the directory that the release was first written to: its card's title."""
    try:
        match = _TITLE.search(release.text(layout.CARD) or "")
    except SpecError:
        match = None
    return match["title"][:200] if match else "release"
