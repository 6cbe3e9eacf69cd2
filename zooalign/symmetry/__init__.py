"""From a graph's index sets to permutation specs: derive, apply, verify, explain."""

from zooalign.symmetry.classes.derive import derive_classes
from zooalign.symmetry.classes.elements import Element, Mapped, SpecClasses
from zooalign.symmetry.classes.group_class import GroupClass
from zooalign.symmetry.derive import Derived
from zooalign.symmetry.extract import derive_spec, extract_spec
from zooalign.symmetry.groups import Block, Frozen, Group, Member, Over
from zooalign.symmetry.permutation import Permutation
from zooalign.symmetry.spec import PermutationSpec, Permuted
from zooalign.symmetry.verify import Verification, verify

__all__ = [
    "Block",
    "Derived",
    "Element",
    "Frozen",
    "Group",
    "GroupClass",
    "Mapped",
    "Member",
    "Over",
    "Permutation",
    "PermutationSpec",
    "Permuted",
    "SpecClasses",
    "Verification",
    "derive_classes",
    "derive_spec",
    "extract_spec",
    "verify",
]
