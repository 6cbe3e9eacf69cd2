"""Orders of symmetry groups worked out on paper, and the way to compare them."""

from math import lgamma, log

from zooalign.pipelines.spec import SpecReport, verify_model
from zooalign.release.settings import VerifySettings
from zooalign.symmetry import Verification

__all__ = ["L", "proven"]


def L(n: int) -> float:
    """``log10(n!)``."""
    return lgamma(n + 1) / log(10)


def proven(reference: str) -> tuple[SpecReport, Verification]:
    """The spec of a reference, proved: rounding only, nothing unknown."""
    # Some read their masks and grids: the small inputs of the adapter are such as are usual.
    report, found = verify_model(reference, VerifySettings(allow_value_dependent=True))
    assert found.verdict == "proved", (reference, found)
    assert found.max_relative_error < 2e-6, found
    assert found.operators > 0, found
    assert not report.derived.spec.unknown_operators
    return report, found
