"""Deliberately wrong specs, and the converse: transpositions of units that a spec holds frozen."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from msgspec import structs
from torch import Tensor, nn

from zooalign.symmetry import (
    Block,
    Derived,
    Group,
    Member,
    Permutation,
    PermutationSpec,
    derive_spec,
    verify,
)
from zooalign.symmetry.derive import members_of

__all__ = ["caught", "frozen_classes", "mutants", "transposition"]


def caught(
    module: nn.Module,
    wrong: PermutationSpec,
    inputs: tuple[Tensor, ...],
    seeds: int = 20,
    derived: Derived | None = None,
) -> bool:
    """Whether verification refutes a spec, with one of some seeds."""
    derived = derived or derive_spec(module, inputs)
    verdicts = (
        verify(module, wrong, inputs, seed=seed, derived=derived).verdict for seed in range(seeds)
    )
    return "refuted" in verdicts


def mutants(spec: PermutationSpec, *, freed: bool = True) -> Iterator[tuple[str, PermutationSpec]]:
    """Specs with one thing wrong, each with a name. None of them is a group of symmetries."""
    for number, group in enumerate(spec.groups):
        if len(group.members) > 1:
            for place in range(len(group.members)):
                kept = group.members[:place] + group.members[place + 1 :]
                yield (
                    f"{group.id} without {group.members[place].parameter}",
                    _with(spec, number, members=kept),
                )
        if len(group.members) > 1 and group.size > 2:
            for place, member in enumerate(group.members):
                turned = structs.replace(member, blocks=tuple(_turned(group, member)))
                members = (*group.members[:place], turned, *group.members[place + 1 :])
                yield (
                    f"{group.id} turned at {member.parameter}",
                    _with(spec, number, members=members),
                )
        if group.over and group.size > 1 and group.copies > 1:
            yield f"{group.id} flat", _flattened(spec, number)
    for entry in spec.frozen if freed else ():
        size = spec.shapes[entry.parameter][entry.axis]
        if entry.positions is None and not entry.partial and size > 1:
            free = Member(entry.parameter, entry.axis, (entry.axis,), (Block(0, size, 0, 1),))
            added = Group(f"{entry.parameter}:{entry.axis}!", size, (free,))
            yield (
                f"{entry.parameter}:{entry.axis} freed",
                replace(spec, groups=(*spec.groups, added)),
            )


def _with(spec: PermutationSpec, number: int, **changes: object) -> PermutationSpec:
    groups = list(spec.groups)
    groups[number] = structs.replace(groups[number], **changes)
    return replace(spec, groups=tuple(groups))


def _turned(group: Group, member: Member) -> Iterator[Block]:
    """Unit i where unit i + 1 stood."""
    for block in member.blocks:
        for i in range(block.count):
            yield structs.replace(
                block,
                first=(block.first + i + 1) % group.size,
                count=1,
                offset=block.offset + i * block.stride,
            )


def _flattened(spec: PermutationSpec, number: int) -> PermutationSpec:
    """The units of all contexts of a nested group as one flat set."""
    group = spec.groups[number]
    members = []
    for member in group.members:
        blocks: list[Block] = []
        for block in member.blocks:
            for place in np.ndindex(*(o.count for o in block.over)):
                context = [o.first + i for o, i in zip(block.over, place, strict=True)]
                flat = int(np.ravel_multi_index(context, group.contexts))
                offset = sum(o.stride * i for o, i in zip(block.over, place, strict=True))
                blocks.append(
                    structs.replace(
                        block,
                        first=flat * group.size + block.first,
                        offset=block.offset + int(offset),
                        over=(),
                    )
                )
        members.append(structs.replace(member, blocks=tuple(blocks)))
    whole = structs.replace(
        group, size=group.size * group.copies, members=tuple(members), over=(), contexts=()
    )
    groups = (*spec.groups[:number], whole, *spec.groups[number + 1 :])
    # Groups nested in this one would not know their contexts any more.
    return replace(spec, groups=tuple(g for g in groups if group.id not in g.over))


def frozen_classes(derived: Derived) -> Iterator[PermutationSpec]:
    """Per set that is frozen and stands in the state dict, a spec in which it alone is free."""
    solution, by_axes = derived.solution, {}
    for number, axes in enumerate(derived.traced.sets.tensors):
        by_axes[id(axes)] = number
    free = tuple(replace(c, fixed=False, over=()) for c in solution.classes)
    opened = replace(solution, classes=free)
    captured = derived.traced.captured
    members: dict[int, list[Member]] = {}
    for node, name in captured.parameters.items():
        tensor = derived.traced.values.get(node)
        if tensor is None:
            continue
        boxes = [b for b in solution.boxes if b.tensor == by_axes[id(tensor.axes)]]
        for number, member in members_of(opened, name, captured.shapes[name], boxes):
            members.setdefault(number, []).append(member)
    for number, found in members.items():
        cls = solution.classes[number]
        if cls.fixed and cls.size > 1:
            group = Group(f"class {number}", cls.size, tuple(found))
            yield replace(derived.spec, groups=(group,), fixed_sets={})


def transposition(spec: PermutationSpec, first: int, second: int) -> Permutation:
    """Two units of the only group change places."""
    (group,) = spec.groups
    index = np.arange(group.size)
    index[[first, second]] = second, first
    return Permutation(spec.hash, {group.id: index})
