"""The dependency graph of a network for a page: operators, without the tensors between them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import networkx as nx

from zooalign.graph.dependency import dependency_graph, set_node
from zooalign.report.content import LayerGraph, NodePart, Structure
from zooalign.report.limits import MOST_NODES
from zooalign.symmetry import Derived

__all__ = ["layer_graph"]

_KINDS = ("operator", "input", "output")
# At most so many reasons of one operator are shown.
_MOST_FIXES = 6


def layer_graph(derived: Derived, structure: Structure) -> tuple[LayerGraph, tuple[str, ...]]:
    """The operators of a network, and what was left out.

    The parameters and groups of its nodes are places in ``structure``, which is of the same
    network.
    """
    graph = dependency_graph(derived.traced)
    ids = [node for node, kind in graph.nodes(data="kind") if kind in _KINDS]
    count = len(ids)
    ids = [node for node in _in_order(graph, ids) if node in graph][:MOST_NODES]
    source = _Nodes(graph, derived, structure, {node: n for n, node in enumerate(ids)})
    left_out: tuple[str, ...] = ()
    if count > len(ids):
        left_out = (f"{count - len(ids)} of {count} operators: the first ones are shown",)
    return LayerGraph(tuple(source.node(node) for node in ids), count), left_out


def _in_order(graph: nx.MultiDiGraph, ids: list[str]) -> list[str]:
    """Inputs, then operators as they run, then the output."""
    rank = {"input": 0, "operator": 1, "output": 2}
    return sorted(ids, key=lambda node: rank[graph.nodes[node]["kind"]])


class _Nodes:
    """What the nodes of a page are read from."""

    def __init__(
        self,
        graph: nx.MultiDiGraph,
        derived: Derived,
        structure: Structure,
        number_of: Mapping[str, int],
    ) -> None:
        self.graph, self.number_of = graph, number_of
        self.parameter_of = {part.name: n for n, part in enumerate(structure.parameters)}
        self.carried = _carried(derived, structure)
        self.fixes: dict[str, dict[str, None]] = defaultdict(dict)
        for _, by, edge in graph.edges(data=True):
            if edge["relation"] == "fixed":
                detail = f" ({edge['detail']})" if edge["detail"] else ""
                self.fixes[by][edge["cause_kind"] + detail] = None

    def node(self, node: str) -> NodePart:
        attributes = self.graph.nodes[node]
        inputs: dict[int, None] = {}
        parameters: dict[int, None] = {}
        for read, _, edge in self.graph.in_edges(node, data=True):
            if edge["relation"] != "reads":
                continue
            name = read.removeprefix("parameter:")
            if name in self.parameter_of and read.startswith("parameter:"):
                parameters[self.parameter_of[name]] = None
            writers = [read, *(w for w, _ in self.graph.in_edges(read))]
            inputs |= {self.number_of[w]: None for w in writers if w in self.number_of}
        results = self._results(node)
        groups = {group: None for result in results for group in self._groups(result)}
        kind = attributes["kind"]
        return NodePart(
            kind=kind,
            name=_short(attributes.get("operator", "")) or kind,
            label=attributes["label"],
            layer=attributes.get("layer", ""),
            shape=str(self.graph.nodes[results[0]].get("shape", "")) if results else "",
            inputs=tuple(inputs),
            parameters=tuple(parameters),
            groups=tuple(groups),
            fixes=tuple(self.fixes[node])[:_MOST_FIXES],
        )

    def _results(self, node: str) -> list[str]:
        if self.graph.nodes[node]["kind"] == "input":
            return [node]
        edges: Any = self.graph.out_edges(node, "relation")
        return [tensor for _, tensor, relation in edges if relation == "writes"]

    def _groups(self, tensor: str) -> list[int]:
        groups: dict[int, None] = {}
        for _, index_set, edge in self.graph.out_edges(tensor, data=True):
            if edge["relation"] == "axis":
                groups |= dict.fromkeys(self.carried.get(index_set, ()))
        return list(groups)


def _short(operator: str) -> str:
    """``conv2d`` of ``aten.conv2d.default``."""
    parts = operator.split(".")
    return parts[1] if len(parts) > 1 else operator


def _carried(derived: Derived, structure: Structure) -> dict[str, tuple[int, ...]]:
    """For each index set, as a node of the dependency graph, the groups whose units it holds."""
    sets, solution = derived.traced.sets, derived.solution
    holds: dict[int, dict[int, None]] = defaultdict(dict)
    for number, group in enumerate(structure.groups):
        if group.id in derived.class_of:
            unit_class = solution.classes[derived.class_of[group.id]]
            for alternative in unit_class.alternatives:
                for atom in alternative:
                    holds[sets.find(atom)][number] = None
    wholes: dict[int, set[int]] = defaultdict(set)
    for relation in sets.relations:
        whole, part = sets.find(relation.left), sets.find(relation.right)
        if relation.kind == "restriction":
            whole, part = part, whole
        wholes[part].add(whole)
    waiting = list(holds)
    while waiting:  # what holds a part holds its units
        part = waiting.pop()
        for whole in wholes[part]:
            if holds[part].keys() - holds[whole].keys():
                holds[whole] |= holds[part]
                waiting.append(whole)
    return {
        set_node(atom): tuple(holds[sets.find(atom)])
        for atom in range(len(sets.sizes))
        if holds.get(sets.find(atom))
    }
