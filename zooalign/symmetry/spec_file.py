"""Specs and permutations as versioned JSON; ``docs/spec.md`` describes the formats."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from zooalign.errors import SpecError
from zooalign.symmetry.classes.group_class import ClassesRecord
from zooalign.symmetry.classes.levels import Level
from zooalign.symmetry.groups import Group, Member, Size
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import FORMAT, VERSION, VERSION_WITH_CLASSES, PermutationSpec

__all__ = [
    "VERSION_OF_ELEMENT",
    "from_dict",
    "from_json",
    "permutation_from_dict",
    "permutation_to_dict",
    "to_dict",
    "to_json",
]

T = TypeVar("T")

PERMUTATION_FORMAT = "zooalign.permutation"
#: Of a permutation with maps of units beside it (:mod:`zooalign.symmetry.classes.element_file`).
VERSION_OF_ELEMENT = 2

# Positions are held as arrays: a file must not ask for more memory than a tensor's axes can.
_MOST_POSITIONS = 2**26


def to_dict(spec: PermutationSpec) -> dict[str, Any]:
    """The spec as plain lists, dicts, strings and numbers (``hash`` not included)."""
    return {
        "format": FORMAT,
        "version": _version(spec),
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
        "proof": None if spec.proof is None else msgspec.to_builtins(spec.proof),
        "contract": None if spec.contract is None else msgspec.to_builtins(spec.contract),
        "classes": None if spec.classes is None else msgspec.to_builtins(spec.classes),
    }


def _version(spec: PermutationSpec) -> int:
    return VERSION if spec.classes is None else VERSION_WITH_CLASSES


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
    versions = (VERSION, VERSION_WITH_CLASSES)
    _check_format(body, FORMAT, "a permutation spec", where, versions)
    spec = from_dict(body, where)
    if body["version"] != _version(spec):
        have = "no 'classes'" if spec.classes is None else "'classes'"
        raise SpecError(f"{where} has version {body['version']} and {have}, which do not fit")
    if body.get("hash") != spec.hash:
        raise SpecError(f"{where}: its hash is not that of its content; it was changed or cut")
    return spec


def from_dict(body: Mapping[str, Any], where: str = "the spec") -> PermutationSpec:
    """A spec from plain values, as :func:`to_dict` gives them."""
    spec = _converted(body, PermutationSpec, where)
    _validate(spec, where)
    if spec.classes is not None:
        _validate_classes(spec, spec.classes, where)
    return spec


def _check_format(
    body: Any, expected: str, what: str, where: str, versions: Sequence[int] = (VERSION,)
) -> None:
    if not isinstance(body, Mapping) or body.get("format") != expected:
        raise SpecError(f"{where} is not {what} (its 'format' is not '{expected}')")
    if body.get("version") not in versions:
        read = " and ".join(map(str, versions))
        raise SpecError(
            f"{where} has version {body.get('version')!r}; this zooalign reads version {read}"
        )


def _converted(value: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
        raise SpecError(f"{where} is malformed: {error}") from error


def _validate(spec: PermutationSpec, where: str) -> None:
    """Sizes, names and positions fit each other, so that applying is a bijection."""
    known = dict(spec.fixed_sets)
    names = [*spec.fixed_sets, *(group.id for group in spec.groups)]
    if len(set(names)) != len(names):
        raise SpecError(f"{where}: two groups have one id")
    for group in spec.groups:
        if not group.members or not group.size or len(set(group.over)) != len(group.over):
            raise SpecError(
                f"{where}: group '{group.id}' has no members, or is nested twice over one group"
            )
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


def _validate_classes(spec: PermutationSpec, classes: ClassesRecord, where: str) -> None:
    """One class for each group, with an exponent for each block."""
    if [of.group for of in classes.groups] != [group.id for group in spec.groups]:
        raise SpecError(f"{where}: its classes are not those of its groups, in their order")
    for group, of in zip(spec.groups, classes.groups, strict=True):
        at = f"{where}: the class of group '{group.id}'"
        form = [len(member.blocks) for member in group.members]
        linear = () if of.linear is None else (of.linear,)
        tables = (*linear, *of.scales, *of.signs, *(weight.scale for weight in of.absorbed))
        if any([len(row) for row in table] != form for table in tables):
            raise SpecError(f"{at} has not one exponent for each block of each member")
        if (of.level > Level.MONOMIAL) != (of.linear is not None):
            raise SpecError(f"{at} is '{of.name}', which does not fit its exponents")
        if any(abs(e) > 1 for table in linear for row in table for e in row):
            raise SpecError(f"{at}: a linear map has the exponents 1, -1 and 0")
        places = {spec.tied.get(m.parameter, m.parameter) for m in group.members}
        if any(spec.tied.get(a.parameter, a.parameter) not in places for a in of.absorbed):
            raise SpecError(f"{at}: a weight that is to be one is no place of the group")


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
    """Read a permutation and check that it is a member of the spec's group.

    Raises
    ------
    SpecError
        If it is malformed, belongs to another spec, or is not a bijection.
    """
    _refuse_element(body, where)
    _check_format(body, PERMUTATION_FORMAT, "a permutation", where)
    file = _converted(body, _PermutationFile, where)
    spec.check_hash(file.spec_hash)
    indices = {}
    for name, units in file.indices.items():
        group = spec.by_id.get(name)
        kind: Any = Size
        for _ in range(1 if group is None else len(group.contexts) + 1):
            kind = list[kind]
        try:
            indices[name] = np.array(_converted(units, kind, f"{where}: group '{name}'"))
        except ValueError as error:  # lists of different lengths
            raise SpecError(f"{where}: group '{name}' is not one table of unit numbers") from error
    permutation = Permutation(file.spec_hash, indices)
    spec.check(permutation)
    return permutation


def _refuse_element(body: Any, where: str) -> None:
    """Of an element the permutation alone is a part that computes something else."""
    known = isinstance(body, Mapping) and body.get("format") == PERMUTATION_FORMAT
    if known and body.get("version") == VERSION_OF_ELEMENT:
        raise SpecError(
            f"{where} does more than permute (symmetries '{body.get('symmetries')}'): signs, "
            "scales or linear maps are part of it, which cannot be followed here. Align with "
            "--symmetries permutations for it"
        )


class _PermutationFile(msgspec.Struct):
    spec_hash: str
    indices: dict[str, list[Any]]
