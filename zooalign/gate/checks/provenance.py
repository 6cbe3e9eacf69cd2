"""The provenance: present, complete, and in agreement with the other files."""

import re
from collections.abc import Iterator

from zooalign.gate.findings import Finding, check_of
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease

__all__ = ["CHECKS"]

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@check_of("provenance.present", "the provenance is there and complete")
def present(subject: OpenedRelease) -> Iterator[Finding]:
    """``zooalign/provenance.json`` is missing, malformed, or lacks a field: where the weights come
    from is not recorded.

    Fix: make the release with ``zooalign align`` or ``zooalign merge``.
    """
    problem = subject.provenance_problem
    if problem is None and subject.provenance is None:
        problem = "is missing: where the weights come from is not recorded"
    if problem is not None:
        yield Finding(
            "provenance.present",
            "error",
            layout.PROVENANCE,
            problem,
            "make the release with `zooalign align` or `zooalign merge`",
        )


@check_of("provenance.consistent", "the provenance agrees with the spec", "spec", "provenance")
def consistent(subject: OpenedRelease) -> Iterator[Finding]:
    """The record names another spec, another order of its group, not one alignment per aligned
    source, or a source without a repo, commit or file.

    Fix: make the release again; do not edit its files by hand.
    """
    made, spec = subject.provenance, subject.spec
    assert made is not None and spec is not None
    if made.spec_hash != spec.hash:
        yield _odd("spec_hash", f"is {made.spec_hash[:12]}, the spec file's is {spec.hash[:12]}")
    if abs(made.log10_order - spec.log10_order) > 1e-6 * max(1.0, spec.log10_order):
        yield _odd("log10_order", f"is {made.log10_order}, the spec's is {spec.log10_order}")
    if sorted(a.source for a in made.alignments) != list(range(1, len(made.sources))):
        yield _odd("alignments", "are not one per source but the first")
    for source in made.sources:
        if source.kind == "hub" and not (source.repo and source.commit):
            yield _odd("sources", f"{source.reference}: its repo or commit is not recorded")
        if not source.files:
            yield _odd("sources", f"{source.reference}: no file of weights is recorded")


@check_of(
    "provenance.complete",
    "the provenance is enough to make the release again",
    "provenance",
    parameters={"require_hub": False},
)
def complete(subject: OpenedRelease) -> Iterator[Finding]:
    """A commit is no full hash, a file has no SHA-256, the data has no digest, the versions are
    not recorded, or the recorded command is of another operation. With ``require_hub`` a source
    that is on no hub is one too: nobody else can get it.

    Fix: make the release again with this version of zooalign.
    """
    made = subject.provenance
    assert made is not None
    for source in made.sources:
        if source.commit is not None and not _COMMIT.fullmatch(source.commit):
            yield _lacking("sources", f"{source.reference}: {source.commit!r} is no full commit")
        for file in source.files:
            if not _SHA256.fullmatch(file.sha256):
                yield _lacking("sources", f"{source.reference}: {file.name} has no SHA-256")
        hubless = source.kind != "hub" and not source.ancestors
        if hubless and subject.setting("provenance.complete", "require_hub"):
            yield _lacking("sources", f"{source.reference} is on no hub, where others could get it")
    data = made.data
    if data is not None and data.digest is None and not data.reference.startswith("py:"):
        yield _lacking("data", f"{data.reference} has no digest")
    if made.method == "activation" and data is None:
        yield _lacking("data", "activation matching runs on data, and none is recorded")
    for name in ("zooalign", "torch", "python"):
        if not made.versions.get(name):
            yield _lacking("versions", f"the version of {name} is not recorded")
    if made.command is not None and made.operation not in made.command.split()[:4]:
        yield _lacking("command", f"is of no {made.operation}: {made.command}")


@check_of(
    "provenance.reproduces", "making the release again gives the same bytes", "provenance", "rerun"
)
def reproduces(subject: OpenedRelease) -> Iterator[Finding]:
    """The operation, run again from the provenance in a temporary folder, gives another file or
    tensor. It runs with ``--reproduce`` only, and takes as long as the operation did.

    Fix: install the recorded versions and try again; if it still differs, the release was changed
    after it was made, or its record is wrong.
    """
    from zooalign.pipelines.reproduce import reproduce_opened

    report = reproduce_opened(subject)
    for difference in report.differences:
        yield Finding(
            "provenance.reproduces",
            "error",
            difference.where,
            difference.message,
            report.advice,
            file=difference.file,
        )


def _lacking(field: str, message: str) -> Finding:
    return Finding(
        "provenance.complete",
        "error",
        f"{layout.PROVENANCE}: {field}",
        message,
        "make the release again with this version of zooalign",
    )


def _odd(field: str, message: str) -> Finding:
    return Finding(
        "provenance.consistent",
        "error",
        f"{layout.PROVENANCE}: {field}",
        message,
        "make the release again; do not edit its files by hand",
    )


CHECKS = (present, consistent, complete, reproduces)
