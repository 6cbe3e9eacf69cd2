"""The provenance: present, complete, and in agreement with the other files."""

from collections.abc import Iterator

from zooalign.release import layout
from zooalign.release.findings import Finding, check_of
from zooalign.release.subject import Subject

__all__ = ["CHECKS"]


@check_of("provenance.present", "the provenance is there and complete")
def present(subject: Subject) -> Iterator[Finding]:
    """Every field is required."""
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
def consistent(subject: Subject) -> Iterator[Finding]:
    """Spec hash and order, and one alignment per aligned source."""
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


@check_of("statistics.stale", "running statistics belong to the weights", "provenance")
def stale(subject: Subject) -> Iterator[Finding]:
    """A merge without calibration data leaves them as the average of the parents'."""
    assert subject.provenance is not None
    if subject.provenance.stale_statistics:
        yield Finding(
            "statistics.stale",
            "error",
            layout.PROVENANCE,
            "running statistics are the average of the parents' and do not fit the weights",
            "merge again with calibration data (--data)",
        )


def _odd(field: str, message: str) -> Finding:
    return Finding(
        "provenance.consistent",
        "error",
        f"{layout.PROVENANCE}: {field}",
        message,
        "make the release again; do not edit its files by hand",
    )


CHECKS = (present, consistent, stale)
