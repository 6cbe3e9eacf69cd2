"""The recorded permutations."""

from collections.abc import Iterator

from zooalign.errors import SpecError
from zooalign.release.findings import Finding, check_of
from zooalign.release.subject import Subject

__all__ = ["CHECKS"]


@check_of(
    "permutation.valid", "every recorded permutation is one of the spec", "spec", "provenance"
)
def valid(subject: Subject) -> Iterator[Finding]:
    """Present, a bijection per group and context, and of this spec."""
    assert subject.provenance is not None
    for alignment in subject.provenance.alignments:
        try:
            subject.permutation(alignment.permutation)
        except SpecError as error:
            yield Finding(
                "permutation.valid",
                "error",
                alignment.permutation,
                str(error),
                "make the release again",
            )


CHECKS = (valid,)
