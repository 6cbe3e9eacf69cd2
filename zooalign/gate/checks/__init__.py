"""The checks of the release gate, one file per family; plugins add theirs through a hook."""

from zooalign.gate.checks import (card, files, licence, loads, merge, parent, permutation, provenance, reordered, secrets, shards, spec, values, weights)
from zooalign.gate.findings import Check

__all__ = ["BUILT_IN"]

BUILT_IN: tuple[Check, ...] = (
    *files.CHECKS,
    *secrets.CHECKS,
    *shards.CHECKS,
    *weights.CHECKS,
    *values.CHECKS,
    *spec.CHECKS,
    *permutation.CHECKS,
    *provenance.CHECKS,
    *merge.CHECKS,
    *loads.CHECKS,
    *card.CHECKS,
    *licence.CHECKS,
    *parent.CHECKS,
    *reordered.CHECKS,
)
