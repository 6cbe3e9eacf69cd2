"""The provenance: present, complete, and in agreement with the other files."""

import re
from collections.abc import Iterator

from zooalign.gate.findings import Problem, check
from zooalign.pipelines.reproduce import reproduce_opened
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@check(
    "provenance.present",
    "the provenance is present and complete",
    fix="make the release with `zooalign align` or `zooalign merge`",
)
def present(release: OpenedRelease) -> Iterator[Problem]:
    """``zooalign/provenance.json`` is missing, malformed, or lacks a field, so it is not recorded
    where the weights come from.
    """
    problem = release.problem("provenance")
    if layout.PROVENANCE not in release.names:
        problem = "is missing: where the weights come from is not recorded"
    if problem is not None:
        yield Problem(layout.PROVENANCE, problem)


@check(
    "provenance.consistent",
    "the provenance agrees with the spec",
    *("spec", "provenance"),
    fix="make the release again; do not edit its files by hand",
)
def consistent(release: OpenedRelease) -> Iterator[Problem]:
    """The provenance names another spec or another order of its group, does not have exactly one
    alignment per aligned source, or has a source without repo, commit or files.
    """
    provenance, spec = release.provenance, release.spec
    stated, order = provenance.log10_order, spec.log10_order
    if provenance.spec_hash != spec.hash:
        yield _in_field(
            "spec_hash", f"is {provenance.spec_hash[:12]}, the spec file's is {spec.hash[:12]}"
        )
    if abs(stated - order) > 1e-6 * max(1.0, order):
        yield _in_field("log10_order", f"is {stated}, the spec's is {order}")
    if sorted(a.source for a in provenance.alignments) != [*range(1, len(provenance.sources))]:
        yield _in_field("alignments", "are not one for each source after the first")
    for source in provenance.sources:
        if source.kind == "hub" and not (source.repo and source.commit):
            yield _in_field("sources", f"{source.reference}: its repo or commit is not recorded")
        if not source.files:
            yield _in_field("sources", f"{source.reference}: no file of weights is recorded")


@check(
    "provenance.complete",
    "the provenance holds what is needed to reproduce the release",
    "provenance",
    fix="make the release again with this version of zooalign",
)
def complete(release: OpenedRelease, require_hub: bool = False) -> Iterator[Problem]:
    """A commit is not a full hash, a file has no SHA-256, the data has no digest, a version is not
    recorded, or the recorded command is that of another operation. With ``require_hub`` every
    source must be on a hub, as nobody else can get the others.
    """
    provenance = release.provenance
    for source in provenance.sources:
        if source.commit is not None and not _COMMIT.fullmatch(source.commit):
            yield _in_field(
                "sources", f"{source.reference}: {source.commit!r} is not a full commit"
            )
        for file in source.files:
            if not _SHA256.fullmatch(file.sha256):
                yield _in_field("sources", f"{source.reference}: {file.name} has no SHA-256")
        if require_hub and source.kind != "hub" and not source.ancestors:
            yield _in_field(
                "sources", f"{source.reference} is not on a hub, so others cannot get it"
            )
    data = provenance.data
    if data is not None and data.digest is None and not data.reference.startswith("py:"):
        yield _in_field("data", f"{data.reference} has no digest")
    if provenance.method == "activation" and data is None:
        yield _in_field("data", "activation matching needs data, and none is recorded")
    for name in ("zooalign", "torch", "python"):
        if not provenance.versions.get(name):
            yield _in_field("versions", f"the version of {name} is not recorded")
    command = provenance.command
    # A recipe is run by a command of its own.
    possible = {provenance.operation, "run"}
    if command is not None and possible.isdisjoint(command.split()[:4]):
        yield _in_field("command", f"is not the command of this {provenance.operation}: {command}")


@check(
    "provenance.reproduces",
    "repeating the recorded operation gives the same bytes",
    *("provenance", "rerun"),
    fix="install the recorded versions and try again; if it still differs, the release was changed "
    "after it was made, or its record is wrong",
)
def reproduces(release: OpenedRelease) -> Iterator[Problem]:
    """The recorded operation is repeated in a temporary folder and gives another file or tensor.
    This runs only with ``--reproduce``, and takes as long as the operation did.
    """
    report = reproduce_opened(release)
    for difference in report.differences:
        yield Problem(difference.where, difference.message, report.advice, file=difference.file)


def _in_field(field: str, message: str) -> Problem:
    return Problem(f"{layout.PROVENANCE}: {field}", message)
