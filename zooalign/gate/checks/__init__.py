"""The checks of the release gate, one file per family; plugins add theirs through a hook."""

from zooalign.gate.checks import (
    card,
    executable,
    files,
    licence,
    loads,
    meaning,
    merge,
    parent,
    permutation,
    permutation_only,
    provenance,
    secrets,
    shards,
    spec,
    values,
    weights,
)
from zooalign.gate.findings import Check
from zooalign.hooks.manager import items_of

__all__ = ["BUILT_IN", "all_checks", "check_problem"]

# The checks of a family are the functions in its file that are decorated with ``@check``.
BUILT_IN: tuple[Check, ...] = tuple(
    item
    for family in (
        *(executable, files, secrets, shards, weights, values, spec, permutation),
        *(permutation_only, provenance, merge, loads, card, licence, parent, meaning),
    )
    for item in vars(family).values()
    if isinstance(item, Check)
)


def all_checks() -> tuple[Check, ...]:
    """The built-in checks, then those of plugins; PluginError if one gives something else."""
    return (*BUILT_IN, *(check for _, check in items_of("zooalign_checks", check_problem)))


def check_problem(item: object) -> str | None:
    """Why an item of the hook is not a check with an id of its own; None if it is one."""
    if not isinstance(item, Check):
        return f"{item!r} is not a zooalign.gate.findings.Check"
    if item.id in {known.id for known in BUILT_IN}:
        return f"a check with the id {item.id!r} is built in"
    return None
