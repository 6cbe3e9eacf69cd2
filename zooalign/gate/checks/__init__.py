"""The checks of the release gate, one file per family; plugins add theirs through a hook."""

from zooalign.gate.checks import (
    card,
    files,
    licence,
    loads,
    merge,
    parent,
    permutation,
    provenance,
    reordered,
    secrets,
    shards,
    spec,
    values,
    weights,
)
from zooalign.gate.findings import Check
from zooalign.hooks.manager import items_of

__all__ = ["BUILT_IN", "all_checks", "check_problem"]

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


def all_checks() -> tuple[Check, ...]:
    """The built-in checks, then those of plugins.

    Raises
    ------
    PluginError
        If a plugin gives something else than checks.
    """
    return (*BUILT_IN, *(check for _, check in items_of("zooalign_checks", check_problem)))


def check_problem(item: object) -> str | None:
    """What keeps an item of the hook from being a check with an id of its own."""
    if not isinstance(item, Check):
        return f"{item!r} is not a zooalign.gate.findings.Check"
    if item.id in {known.id for known in BUILT_IN}:
        return f"a check with the id {item.id!r} is built in"
    return None
