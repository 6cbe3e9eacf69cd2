"""The recorded spec: against the one derived from the architecture, and its proof."""

from collections.abc import Iterator

from zooalign.gate.findings import Problem, check
from zooalign.release import layout
from zooalign.release.opened import OpenedRelease


@check(
    "spec.present",
    "the permutation spec is present and valid",
    fix="make the release again, or write it with: zooalign spec DIR -o DIR/zooalign/spec.json",
)
def present(release: OpenedRelease) -> Iterator[Problem]:
    """``zooalign/spec.json`` is missing or invalid. Reading it checks sizes, positions and its own
    hash.
    """
    problem = release.problem("spec")
    if layout.SPEC not in release.names:
        problem = "is missing"
    if problem is not None:
        yield Problem(layout.SPEC, problem)


@check(
    "spec.hash",
    "the spec is the one derived from the architecture",
    *("spec", "weights"),
    fix="make the release again: the configuration was changed, or the libraries differ from those "
    "in the provenance",
)
def matches(release: OpenedRelease) -> Iterator[Problem]:
    """The spec is derived again, on this machine, from the architecture in the configuration, and
    its hash is not that of the recorded spec. ``permutation.coverage`` names the parameters.
    """
    recorded, derived = release.spec, release.derived_spec
    if derived.hash != recorded.hash:
        yield Problem(
            layout.SPEC,
            f"has hash {recorded.hash[:12]}, the architecture gives {derived.hash[:12]} "
            f"({len(recorded.groups)} and {len(derived.groups)} groups)",
        )


@check(
    "spec.proved",
    "the spec was proved operator by operator",
    "spec",
    severity="warning",
    fix="prove it with: zooalign verify DIR",
)
def proved(release: OpenedRelease) -> Iterator[Problem]:
    """The recorded spec was derived and never proved (a note: the proof costs more than the trace,
    or an older version wrote it), or its proof did not come to an end: an operator could not be
    checked. The spec is still the one that the rules derive.
    """
    proof = release.spec.proof
    if proof is None:
        yield Problem(layout.SPEC, "was never proved", severity="note")
    elif proof.verdict != "proved":
        yield Problem(layout.SPEC, f"is {proof}")
