"""The checks of the release gate, one file per family; plugins add theirs through a hook."""

from zooalign.release.checks import card, files, parent, permutation, provenance, spec, weights
from zooalign.release.findings import Check

__all__ = ["BUILT_IN"]

BUILT_IN: tuple[Check, ...] = (
    *files.CHECKS,
    *weights.CHECKS,
    *spec.CHECKS,
    *permutation.CHECKS,
    *provenance.CHECKS,
    *card.CHECKS,
    *parent.CHECKS,
)
