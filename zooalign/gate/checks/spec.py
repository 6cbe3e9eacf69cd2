"""The recorded spec against the one derived anew from the architecture."""

from collections.abc import Iterator

from zooalign.gate.findings import Finding, check_of
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease

__all__ = ["CHECKS"]


@check_of("spec.present", "the permutation spec is there and valid")
def present(subject: OpenedRelease) -> Iterator[Finding]:
    """``zooalign/spec.json`` is missing or no valid spec. Reading it checks sizes, positions and
    its own hash.

    Fix: make the release again, or write the file with ``zooalign spec``.
    """
    if subject.spec_problem is not None:
        yield Finding(
            "spec.present", "error", layout.SPEC, subject.spec_problem, "make the release again"
        )
    elif subject.spec is None:
        yield Finding(
            "spec.present",
            "error",
            layout.SPEC,
            "is missing",
            "write it with: zooalign spec DIR -o DIR/zooalign/spec.json",
        )


@check_of("spec.hash", "the spec is the architecture's", "spec", "weights")
def matches(subject: OpenedRelease) -> Iterator[Finding]:
    """The spec's hash is not that of the spec derived anew, here and now, from the architecture
    that the configuration gives.

    Fix: the configuration was changed, or the libraries differ from those in the provenance;
    make the release again. ``permutation.coverage`` names the parameters.
    """
    assert subject.spec is not None
    derived = subject.derived_spec
    if derived.hash != subject.spec.hash:
        yield Finding(
            "spec.hash",
            "error",
            layout.SPEC,
            f"has hash {subject.spec.hash[:12]}, the architecture gives {derived.hash[:12]} "
            f"({len(subject.spec.groups)} and {len(derived.groups)} groups)",
            "the configuration was changed, or the libraries differ from those in the provenance",
        )


CHECKS = (present, matches)
