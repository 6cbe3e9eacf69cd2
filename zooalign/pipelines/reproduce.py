"""Make a release again from its provenance, in a temporary folder, and compare the bytes."""

import contextlib
import re
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zooalign.errors import SpecError, ZooalignWarning
from zooalign.pipelines.align import align_models
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.same_files import Difference, compare_files
from zooalign.progress import Progress, silent
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease, open_release
from zooalign.release.provenance import Provenance, versions
from zooalign.release.settings import Loading

__all__ = ["ReproduceReport", "reproduce", "reproduce_opened"]

_TITLE = re.compile(r"^# (?P<title>[^\s/\\.][^/\\\n]*)$", re.MULTILINE)


@dataclass(frozen=True)
class ReproduceReport:
    """What a second run gave.

    ``compared`` are the files that both have; ``extra`` those of the release that the operation
    does not make. ``versions`` maps what runs here in another version to (recorded, here).
    """

    reference: str
    operation: str
    differences: tuple[Difference, ...]
    compared: tuple[str, ...]
    extra: tuple[str, ...]
    versions: dict[str, tuple[str, str]]
    seconds: float

    @property
    def same(self) -> bool:
        """Whether every byte that the operation makes is the same."""
        return not self.differences

    @property
    def advice(self) -> str:
        """What to try where something differs."""
        if not self.versions:
            return "the release was changed after it was made, or its record is wrong"
        each = ", ".join(f"{n} {old} (here {new})" for n, (old, new) in self.versions.items())
        return f"it was made with other versions; install {each} and try again"

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON (``docs/cli.md``)."""
        return {
            "reference": self.reference,
            "operation": self.operation,
            "same": self.same,
            "differences": [dict(vars(found)) for found in self.differences],
            "compared": list(self.compared),
            "extra": list(self.extra),
            "versions": {n: {"recorded": a, "here": b} for n, (a, b) in self.versions.items()},
            "seconds": self.seconds,
        }


def reproduce(
    reference: str,
    *,
    root: str | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> ReproduceReport:
    """Run a release's operation again and compare what it writes, file by file.

    Sources on a hub are taken at the recorded commit, local ones by the recorded path.

    Parameters
    ----------
    reference:
        A directory or repo with ``zooalign/provenance.json``.
    root:
        The folder that recorded relative paths start from; default: the working directory. The
        working directory of the process is changed while it runs.
    allow_code:
        Follow ``py:`` references of the record, which run the Python code that they name.
    allow_pickle:
        Read pickled weights, where the recorded run did.
    device:
        Run elsewhere than recorded.

    Raises
    ------
    SpecError
        If there is no valid provenance, or it asks for what is not allowed.
    ZooalignError
        If a source or the data is missing, or the operation fails.
    """
    with open_release(reference) as subject:
        return reproduce_opened(
            subject,
            root=root,
            allow_code=allow_code,
            allow_pickle=allow_pickle,
            device=device,
            progress=progress,
        )


def reproduce_opened(
    subject: OpenedRelease,
    *,
    root: str | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> ReproduceReport:
    """As :func:`reproduce`, of a release that is open."""
    start = time.perf_counter()
    made = subject.provenance
    if made is None:
        problem = subject.provenance_problem or "it is missing"
        raise SpecError(f"{subject.reference}: {layout.PROVENANCE} cannot be followed: {problem}")
    _require_no_code(made, allow_code)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / _title(subject)
        place = contextlib.chdir(root) if root is not None else contextlib.nullcontext()
        with place, warnings.catch_warnings():
            warnings.simplefilter("ignore", ZooalignWarning)
            _run(made, str(output), allow_pickle, device, progress)
        renamed = {s.pinned.removeprefix("hub:"): s.reference for s in made.sources}
        found = compare_files(subject, output, renamed)
    here = versions()
    changed = {
        name: (value, here.get(name, "none"))
        for name, value in made.versions.items()
        if here.get(name) != value
    }
    return ReproduceReport(
        subject.reference,
        made.operation,
        found.differences,
        found.compared,
        found.extra,
        changed,
        time.perf_counter() - start,
    )


def _run(
    made: Provenance, output: str, allow_pickle: bool, device: str | None, progress: Progress
) -> None:
    kept = made.settings
    data = made.data
    common: dict[str, Any] = {
        "model": kept.get("model"),
        "method": made.method,
        "data": None if data is None else data.reference,
        "evaluate": kept.get("evaluate"),
        "alphas": kept.get("alphas", 25),
        "seed": made.seed,
        "device": device or kept.get("device") or "cpu",
        "loading": Loading() if data is None else Loading(data.batch_size, data.limit),
        "options": dict(kept.get("options") or {}),
        "allow_pickle": allow_pickle and bool(kept.get("allow_pickle")),
        "command": made.command,
        "progress": progress,
    }
    references = [source.pinned for source in made.sources]
    if made.operation == "align":
        align_models(references[0], references[1], output, **common)
        return
    merge_models(
        references,
        output,
        weights=made.weights,
        reset=bool(kept.get("reset", made.statistics != "stale")),
        repair=made.statistics == "repaired",
        through=kept.get("through", "reference"),
        **common,
    )


def _require_no_code(made: Provenance, allowed: bool) -> None:
    for text in _references(made):
        if text.startswith("py:") and not allowed:
            raise SpecError(
                f"the provenance names Python code to run ({text}); look at it, and allow it "
                "(--allow-code) if you trust it"
            )


def _references(made: Provenance) -> Iterator[str]:
    for source in made.sources:
        yield source.reference
    if made.data is not None:
        yield made.data.reference
    for name in ("model", "evaluate"):
        if made.settings.get(name):
            yield str(made.settings[name])


def _title(subject: OpenedRelease) -> str:
    """The name of the directory that the release was first written to: its card's title."""
    try:
        found = _TITLE.search(subject.text(layout.CARD) or "")
    except SpecError:
        found = None
    return found["title"][:200] if found else "release"
