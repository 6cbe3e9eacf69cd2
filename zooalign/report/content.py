"""What a page shows, as values: their fields are those of the JSON that its scripts read.

Lists refer to each other by place (a group's members are places in ``parameters``), which keeps the
page of a large network small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "CheckPart",
    "Content",
    "FrozenPart",
    "GroupPart",
    "Kind",
    "LayerGraph",
    "NodePart",
    "ParameterPart",
    "ReasonPart",
    "Structure",
]

Kind = Literal["release", "connectivity", "curves", "spec"]


@dataclass(frozen=True)
class GroupPart:
    """A group of interchangeable units.

    Attributes
    ----------
    id, size, copies:
        As in the spec; ``copies`` independent permutations.
    over:
        Ids of the groups that it is nested in.
    family:
        The id with its numbers replaced: groups of repeated blocks have one family.
    members:
        (place in ``parameters``, axis) of each.
    left_out:
        Members that are not listed.
    moved:
        For each alignment, the share of units that change place.
    """

    id: str
    size: int
    copies: int
    over: tuple[str, ...]
    family: str
    members: tuple[tuple[int, int], ...]
    left_out: int
    moved: tuple[float, ...]


@dataclass(frozen=True)
class FrozenPart:
    """An axis, or a part of one, that does not move; ``reason`` is a place in ``reasons``."""

    axis: int
    reason: int
    operator: str
    detail: str
    part: bool
    inside: bool


@dataclass(frozen=True)
class ParameterPart:
    """A tensor of the state dict, with what of it is frozen."""

    name: str
    shape: tuple[int, ...]
    frozen: tuple[FrozenPart, ...]
    unused: bool


@dataclass(frozen=True)
class ReasonPart:
    """A kind of reason, what it means, and how many axes (or parts of them) in how many tensors.

    ``limit`` says that zooalign does not know better, and that it is no fact about the network.
    """

    kind: str
    meaning: str
    limit: bool
    axes: int
    tensors: int


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The permutation symmetries of an architecture.

    ``groups`` and ``parameters`` may be a part of the ``group_count`` and ``parameter_count``.
    """

    architecture: str
    hash: str
    log10_order: float
    proof: Mapping[str, Any] | None
    group_count: int
    parameter_count: int
    groups: tuple[GroupPart, ...]
    parameters: tuple[ParameterPart, ...]
    reasons: tuple[ReasonPart, ...]
    unknown_operators: Mapping[str, int]


@dataclass(frozen=True)
class NodePart:
    """An operator, an input or the output of the network.

    Attributes
    ----------
    kind:
        ``operator``, ``input`` or ``output``.
    name, label:
        The operator's name in ATen (``conv2d``), and its name in the graph (``conv2d_1``).
    layer:
        Path of the module that calls it.
    shape:
        Of its result, such as ``2x16x32x32``.
    inputs:
        Places of the nodes whose results it reads.
    parameters:
        Places in :attr:`Structure.parameters` of the tensors that it reads.
    groups:
        Places in :attr:`Structure.groups` of the groups whose units its result carries.
    fixes:
        The reasons for which it tells positions apart, in words.
    """

    kind: Literal["operator", "input", "output"]
    name: str
    label: str
    layer: str
    shape: str
    inputs: tuple[int, ...]
    parameters: tuple[int, ...]
    groups: tuple[int, ...]
    fixes: tuple[str, ...]


@dataclass(frozen=True)
class LayerGraph:
    """The dependency graph in topological order; ``node_count`` is that of the whole graph."""

    nodes: tuple[NodePart, ...]
    node_count: int


@dataclass(frozen=True)
class CheckPart:
    """A check of the gate: its id, and what holds if it finds nothing."""

    id: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that a page shows. What is None or empty has no section.

    Attributes
    ----------
    kind, title, reference:
        What the page is about.
    gate, checks:
        The gate's report as of ``zooalign check``, and the checks that it knows.
    provenance:
        The file's JSON.
    weight_files:
        Names of the files with weights.
    structure, graph:
        The symmetries, and the operators that they come from.
    curves:
        Barrier curves as in ``zooalign/barrier.json``.
    connectivity:
        The JSON of ``zooalign connectivity``.
    problems:
        What could not be shown, and why.
    left_out:
        What was left out as the page would become too large.
    version:
        Of zooalign.
    """

    kind: Kind
    title: str
    reference: str
    version: str
    gate: Mapping[str, Any] | None = None
    checks: tuple[CheckPart, ...] = ()
    provenance: Mapping[str, Any] | None = None
    structure: Structure | None = None
    graph: LayerGraph | None = None
    curves: tuple[Mapping[str, Any], ...] = ()
    connectivity: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
