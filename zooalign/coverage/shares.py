"""How much of a network its groups move: shares of hidden units and of parameters."""

from collections.abc import Iterable
from math import prod

import numpy as np

from zooalign.symmetry.converse import POSITIONAL, FrozenSet
from zooalign.symmetry.groups import Group, Member
from zooalign.symmetry.spec import PermutationSpec

__all__ = ["free_parameters", "hidden_units"]

# Kinds of reasons that hold positions, tokens and rows of tables rather than units.
_NO_UNITS = POSITIONAL | {"position", "index"}


def hidden_units(spec: PermutationSpec, frozen: Iterable[FrozenSet]) -> tuple[int, int]:
    """(free, all) hidden units.

    A set of units counts once, wherever it stands; a group that is nested in others counts once
    for each context, a frozen set once for each block of the axis it stands in. Positions,
    tokens and rows of tables are not units.
    """
    free = sum(group.size * group.copies for group in spec.groups if group.size > 1)
    held = sum(s.group.size * _blocks(s.group) for s in frozen if s.cause.kind not in _NO_UNITS)
    return free, free + held


def _blocks(group: Group) -> int:
    return min(_positions(member) // group.size for member in group.members)


def _positions(member: Member) -> int:
    return sum(
        block.count * prod(n for n, _ in block.repeat) * prod(o.count for o in block.over)
        for block in member.blocks
    )


def free_parameters(spec: PermutationSpec) -> tuple[int, int]:
    """(touched, all) elements of parameters: touched ones stand in a unit of a group."""
    buffers, touched, total = set(spec.buffers), 0, 0
    for name, shape in spec.shapes.items():
        if name in buffers or name in spec.tied:
            continue
        total += prod(shape)
        touched += prod(shape) - _untouched(spec, name, shape)
    return touched, total


def _untouched(spec: PermutationSpec, name: str, shape: tuple[int, ...]) -> int:
    members = [(g, m) for g, m in spec.by_parameter.get(name, ()) if g.size > 1]
    left = np.ones((1,) * len(shape), dtype=bool)
    for group, member in members:
        mask = np.ones(prod(shape[a] for a in member.axes), dtype=bool)
        mask[member.positions(group).reshape(-1)] = False
        whole = [n if a in member.axes else 1 for a, n in enumerate(shape)]
        left = left & mask.reshape(whole)
    along = [n for n, have in zip(shape, left.shape, strict=True) if have == 1]
    return int(left.sum()) * prod(along)
