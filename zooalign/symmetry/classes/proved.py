"""Derived classes with their proof: what an operator refutes is lowered to permutations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from zooalign.kinds import Symmetries
from zooalign.symmetry.classes.derive import Classes, derive_classes
from zooalign.symmetry.classes.group_class import ClassesRecord, GroupClass, Lowering
from zooalign.symmetry.classes.proof import prove_classes
from zooalign.symmetry.contract import ProofRecord
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.drawn_inputs import drawn_inputs
from zooalign.symmetry.proof import Fault, Proof
from zooalign.symmetry.proved import costs_less_than_the_trace
from zooalign.symmetry.trial import DrawnState

__all__ = ["with_classes"]

_MEMBERS = 2


def with_classes(
    module: nn.Module,
    derived: Derived,
    example_inputs: Sequence[Any],
    symmetries: Symmetries,
    *,
    prove: bool | None = None,
) -> Derived:
    """The derived spec with the classes of its groups, as far as ``symmetries`` go.

    ``prove`` is as for :func:`~zooalign.symmetry.extract_spec`: what an operator refutes is lowered
    to permutations, with the operator's name.
    """
    if symmetries == "permutations":
        return derived
    classes = derive_classes(derived).within(symmetries)
    record = None
    if costs_less_than_the_trace(derived) if prove is None else prove:
        classes, proof = _proved(module, derived, classes, example_inputs)
        if proof.verdict != "refuted":
            record = ProofRecord(proof.verdict, proof.why, proof.operators, proof.members)
    groups = tuple(classes.groups[group.id] for group in derived.spec.groups)
    known = ClassesRecord(symmetries, groups, record)
    return replace(derived, spec=replace(derived.spec, classes=known))


def _proved(
    module: nn.Module, derived: Derived, classes: Classes, example_inputs: Sequence[Any]
) -> tuple[Classes, Proof]:
    """What is left of the classes, and its proof: each round lowers one group at least."""
    while True:
        with torch.device("cpu"):  # with values, also where the caller builds modules on meta
            inputs = drawn_inputs(derived.traced.captured, example_inputs, 0, torch.float64)
            state = DrawnState(module, 0)
            proof = prove_classes(derived, classes, state, inputs, members=_MEMBERS)
        if proof.verdict != "refuted":
            return classes, proof
        groups = dict(classes.groups)
        for fault in proof.faults:
            names = [fault.group] if fault.group in groups else list(groups)
            groups |= {name: _lowered(groups[name], fault) for name in names}
        classes = replace(classes, groups=groups)


def _lowered(of: GroupClass, fault: Fault) -> GroupClass:
    why = Lowering("refuted by the proof", f"{fault.operator} '{fault.node}'", str(fault))
    return GroupClass(of.group, "permutations", lowered=(why,))
