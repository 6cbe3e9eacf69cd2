"""Specs and permutations as versioned JSON; ``docs/spec.md`` describes the formats."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from zooalign.errors import SpecError
from zooalign.symmetry.groups import Block, Frozen, Group, Member, Over
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import FORMAT, VERSION, PermutationSpec

__all__ = [
    "from_dict",
    "from_json",
    "permutation_from_dict",
    "permutation_to_dict",
    "to_dict",
    "to_json",
]

PERMUTATION_FORMAT = "zooalign.permutation"

# Positions are held as arrays: a file must not ask for more memory than a tensor's axes can.
_MOST_POSITIONS = 2**26


def to_dict(spec: PermutationSpec) -> dict[str, Any]:
    """The spec as plain lists, dicts, strings and numbers (``hash`` not included)."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "architecture": spec.architecture,
        "log10_order": spec.log10_order,
        "shapes": {name: list(shape) for name, shape in spec.shapes.items()},
        "fixed_sets": dict(spec.fixed_sets),
        "groups": [group.to_dict() for group in spec.groups],
        "frozen": [entry.to_dict() for entry in spec.frozen],
        "unused": list(spec.unused),
        "unknown_operators": dict(spec.unknown_operators),
        "buffers": list(spec.buffers),
        "tied": dict(spec.tied),
    }


def to_json(spec: PermutationSpec) -> str:
    """The spec file's text."""
    body = to_dict(spec)
    body["hash"] = spec.hash
    return json.dumps(body, indent=1) + "\n"


def from_json(text: str, where: str = "the spec") -> PermutationSpec:
    """Read a spec file's text, checking everything in it.

    Raises
    ------
    SpecError
        If it is not JSON, not a spec of a known version, inconsistent, or its hash is not that
        of its content.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where} is not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise SpecError(f"{where} is not a permutation spec (its 'format' is not '{FORMAT}')")
    if body.get("version") != VERSION:
        raise SpecError(
            f"{where} has version {body.get('version')!r}; this zooalign reads version {VERSION}"
        )
    spec = from_dict(body, where)
    if body.get("hash") != spec.hash:
        raise SpecError(f"{where}: its hash is not that of its content; it was changed or cut")
    return spec


def from_dict(body: Mapping[str, Any], where: str = "the spec") -> PermutationSpec:
    """A spec from plain values, as :func:`to_dict` gives them."""
    try:
        for name in ("groups", "frozen", "unused", "buffers"):
            if not isinstance(body.get(name, []), list):
                raise TypeError(f"'{name}' is no list")
        spec = PermutationSpec(
            shapes={str(k): tuple(_whole(n) for n in v) for k, v in body["shapes"].items()},
            groups=tuple(_group(g) for g in body["groups"]),
            fixed_sets={str(k): _whole(n) for k, n in body["fixed_sets"].items()},
            frozen=tuple(_frozen(f) for f in body.get("frozen", ())),
            unused=tuple(str(n) for n in body.get("unused", ())),
            unknown_operators={
                str(k): _whole(n) for k, n in body.get("unknown_operators", {}).items()
            },
            tied={str(k): str(v) for k, v in body.get("tied", {}).items()},
            buffers=tuple(str(n) for n in body.get("buffers", ())),
            architecture=str(body.get("architecture", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(f"{where} is malformed: {type(error).__name__}: {error}") from error
    _validate(spec, where)
    return spec


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**48:
        raise ValueError(f"{value!r} is not a whole number of sensible size")
    return value


def _group(g: Mapping[str, Any]) -> Group:
    return Group(
        id=str(g["id"]),
        size=_whole(g["size"]),
        over=tuple(str(o) for o in g["over"]),
        contexts=tuple(_whole(n) for n in g["contexts"]),
        members=tuple(
            Member(
                parameter=str(m["parameter"]),
                axis=_whole(m["axis"]),
                axes=tuple(_whole(a) for a in m["axes"]),
                blocks=tuple(_block(b) for b in m["positions"]),
            )
            for m in g["members"]
        ),
    )


def _block(b: Mapping[str, Any]) -> Block:
    return Block(
        first=_whole(b["first"]),
        count=_whole(b["count"]),
        offset=_whole(b["offset"]),
        stride=_whole(b["stride"]),
        over=tuple(
            Over(_whole(o["stride"]), _whole(o["first"]), _whole(o["count"])) for o in b["over"]
        ),
        repeat=tuple((_whole(n), _whole(s)) for n, s in b["repeat"]),
    )


def _frozen(f: Mapping[str, Any]) -> Frozen:
    positions = f["positions"]
    ranges = None if positions is None else tuple((_whole(a), _whole(b)) for a, b in positions)
    return Frozen(
        str(f["parameter"]),
        _whole(f["axis"]),
        str(f["kind"]),
        str(f["operator"]),
        str(f.get("detail", "")),
        ranges,
        bool(f["partial"]),
    )


def _validate(spec: PermutationSpec, where: str) -> None:
    """Sizes, names and positions fit each other, so that applying is a bijection."""
    known = dict(spec.fixed_sets)
    names = [*spec.fixed_sets, *(group.id for group in spec.groups)]
    if len(set(names)) != len(names):
        raise SpecError(f"{where}: two groups have one id")
    for group in spec.groups:
        if not group.members or not group.size or len(set(group.over)) != len(group.over):
            raise SpecError(f"{where}: group '{group.id}' stands nowhere, or twice in one other")
        sizes = tuple(known.get(name, -1) for name in group.over)
        if sizes != group.contexts:
            raise SpecError(
                f"{where}: group '{group.id}' has contexts {group.contexts}, the groups it is "
                f"nested over have sizes {sizes} (-1: not listed before it)"
            )
        known[group.id] = group.size
        for member in group.members:
            at = f"{where}: group '{group.id}' at '{member.parameter}' axis {member.axis}"
            shape = spec.shapes.get(member.parameter)
            if shape is None:
                raise SpecError(f"{at}: no such tensor in 'shapes'")
            if member.axis not in member.axes or list(member.axes) != sorted(set(member.axes)):
                raise SpecError(f"{at}: axes {member.axes} are not in order or lack the axis")
            if member.axes[-1] >= len(shape):
                raise SpecError(f"{at}: the tensor has only {len(shape)} axes")
            _check_blocks(group, member, math.prod(shape[a] for a in member.axes), at)
            positions = member.positions(group).reshape(-1)
            if np.unique(positions).size != positions.size:
                raise SpecError(f"{at}: positions repeat")


def _check_blocks(group: Group, member: Member, extent: int, at: str) -> None:
    """Bounds before anything is allocated from them."""
    if extent > _MOST_POSITIONS or group.size * group.copies > extent:
        raise SpecError(f"{at}: {group.copies} x {group.size} units in {extent} positions")
    left = extent
    for block in member.blocks:
        counts = [(block.count, block.stride), *((o.count, o.stride) for o in block.over)]
        counts.extend(block.repeat)
        volume = math.prod(count for count, _ in counts)
        left -= volume
        if not volume > 0 or left < 0:
            raise SpecError(f"{at}: a block of {volume} positions in {extent}")
        if block.offset + sum((count - 1) * stride for count, stride in counts) >= extent:
            raise SpecError(f"{at}: positions lie outside 0 to {extent}")
        if block.first + block.count > group.size or len(block.over) != len(group.over):
            raise SpecError(f"{at}: a block does not fit the group's size or nesting")
        for over, size in zip(block.over, group.contexts, strict=True):
            if over.first + over.count > size:
                raise SpecError(f"{at}: a block reaches over the group it is nested in")


def permutation_to_dict(permutation: Permutation) -> dict[str, Any]:
    """A permutation as plain values: per group nested lists of unit numbers."""
    return {
        "format": PERMUTATION_FORMAT,
        "version": VERSION,
        "spec_hash": permutation.spec_hash,
        "indices": {name: index.tolist() for name, index in permutation.indices.items()},
    }


def permutation_from_dict(
    body: Any, spec: PermutationSpec, where: str = "the permutation"
) -> Permutation:
    """Read a permutation and check that it is one of the spec's group.

    Raises
    ------
    SpecError
        If it is malformed, belongs to another spec, or is no bijection.
    """
    if not isinstance(body, Mapping) or body.get("format") != PERMUTATION_FORMAT:
        raise SpecError(
            f"{where} is not a permutation (its 'format' is not '{PERMUTATION_FORMAT}')"
        )
    if body.get("version") != VERSION:
        raise SpecError(f"{where} has version {body.get('version')!r}, {VERSION} is known")
    try:
        indices = {str(k): _numbers(v) for k, v in body["indices"].items()}
        spec_hash = str(body["spec_hash"])
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise SpecError(f"{where} is malformed: {type(error).__name__}: {error}") from error
    permutation = Permutation(spec_hash, indices)
    spec.check(permutation)
    return permutation


def _numbers(value: Any) -> np.ndarray:
    """Nested lists of whole numbers; numpy alone would take true for 1."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, list):
            raise TypeError(f"{part!r} where a list of unit numbers belongs")
        if part and isinstance(part[0], list):
            waiting.extend(part)
        elif wrong := [n for n in part if type(n) is not int]:
            raise ValueError(f"{wrong[0]!r} is not a whole number")
    found = np.asarray(value)
    if found.dtype.kind not in "iu":
        raise ValueError(f"values of {found.dtype} are no unit numbers")
    return found
