"""The dependency graph of a traced network as a networkx graph that a person can ask.

Every node has ``kind`` and ``label``; all attributes are plain strings, whole numbers and truth
values, so that the graph can be written as GraphML. Nodes by kind, with their further attributes:

===========  =============================  ================================================
kind         node id                        attributes
===========  =============================  ================================================
operator     ``operator:linear_1``          ``operator`` (ATen name), ``layer`` (module path)
tensor       ``tensor:linear_1``            ``shape`` (``1x197x576``)
parameter    ``parameter:head.weight``      ``shape``, ``trainable``, ``used``
input        ``input:x``                    ``shape``
constant     ``constant:mask``              ``shape``
output       ``output``
index_set    ``set:17``                     ``size``, ``same_as`` (id of the set that stands for
                                            all that are equal to this one), ``fixed`` (reason,
                                            empty where free)
===========  =============================  ================================================

The i-th result of an operator with several is ``tensor:unbind#i``. Edges by ``relation``:

- ``reads``: tensor, parameter, input or constant -> operator (``argument``) or output;
- ``writes``: operator -> tensor (``result``);
- ``axis``: tensor, parameter, input or constant -> index set (``axis``, and ``place``, ``places``:
  which factor of the axis it is);
- ``tied``: parameter -> the parameter that is the same tensor;
- ``equality``, ``product`` (whole -> factor), ``sum`` (whole -> piece, from ``offset`` on) and
  ``restriction`` (set -> the same set where another set has one of the ``count`` indices from
  ``first`` on, of ``of``; -1 where that cannot be said any more), each with the ``operator`` that
  stated it and, where that is a node, ``stated_by``;
- ``fixed``: index set -> the node that tells its positions apart (``cause_kind``, ``operator``,
  ``detail``).
"""

import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
from torch import fx

from zooalign.errors import ZooalignError
from zooalign.graph.arguments import named_arguments
from zooalign.graph.build import Traced
from zooalign.graph.index_sets import Cause, Relation
from zooalign.graph.operator import Tensor

__all__ = ["RELATIONS", "dependency_graph", "set_node", "write_graph"]

#: Relations between index sets.
RELATIONS = ("equality", "product", "sum", "restriction")

# An operator as relations and causes name it: "aten.linear.default 'linear_1'".
_QUOTED = re.compile(r"'([^']*)'$")


def set_node(atom: int) -> str:
    """The node of an index set."""
    return f"set:{atom}"


def dependency_graph(traced: Traced) -> nx.MultiDiGraph:
    """Operators, tensors, parameters and index sets of a network, and how they are related.

    The graph of a solved network (:func:`zooalign.symmetry.derive.derive`) holds the consequences
    of all relations too.

    Examples
    --------
    >>> import torch
    >>> from zooalign.symmetry import derive_spec
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> graph = dependency_graph(derive_spec(mlp, (torch.zeros(1, 4),)).traced)
    >>> sorted(graph.successors("parameter:2.bias"))
    ['operator:linear_1', 'set:5']
    >>> graph.nodes["set:5"]["fixed"]
    "output, at the network's output"
    """
    builder = _Builder(traced)
    builder.index_sets()
    builder.nodes()
    builder.unused()
    builder.relations()
    builder.causes()
    return builder.graph


def write_graph(graph: nx.MultiDiGraph, path: Path | str) -> None:
    """Write the graph as GraphML (for Gephi, yEd, networkx, igraph), whole or not at all.

    Raises
    ------
    ZooalignError
        If the name does not end in ``.graphml`` or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".graphml":
        raise ZooalignError(
            f"{path}: a graph is written as GraphML; name a file that ends in .graphml"
        )
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        with partial.open("xb") as file:
            nx.write_graphml(graph, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ZooalignError(
            f"{path}: the graph cannot be written: {error.strerror or error}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


class _Builder:
    """The graph while it grows."""

    def __init__(self, traced: Traced) -> None:
        self.traced, self.sets, self.captured = traced, traced.sets, traced.captured
        self.graph = nx.MultiDiGraph()
        self.graph_nodes = {node.name: node for node in self.captured.graph.nodes}
        self.of: dict[str, str] = {}  # name in the captured graph -> node
        self.filled: Counter[int] = Counter()  # how much of a sum its pieces hold so far
        self.parts = {
            (restricted, self.sets.find(atom)): (on, low, high)
            for (atom, on, low, high), restricted in self.sets.restrictions.items()
        }

    def index_sets(self) -> None:
        for atom, size in enumerate(self.sets.sizes):
            fixed = self.sets.fixed(atom)
            self.graph.add_node(
                set_node(atom),
                kind="index_set",
                label=f"set of {size}",
                size=size,
                same_as=set_node(self.sets.find(atom)),
                fixed="" if fixed is None else str(fixed),
            )

    def nodes(self) -> None:
        for name, value in self.traced.values.items():
            node = self.graph_nodes[name]
            if node.op == "placeholder":
                self._placeholder(name, value)
            elif not _is_getitem(node) and any(True for _ in _results(value)):
                self._operator(node, value)
        self.graph.add_node("output", kind="output", label="the network's output")
        for node in self.captured.graph.nodes:
            if node.op == "output":
                for source in node.all_input_nodes:
                    for tensor in self._tensors(source):
                        self.graph.add_edge(tensor, "output", relation="reads", argument="output")

    def unused(self) -> None:
        """Parameters no output depends on, and names of tensors that have another name too."""
        for name, shape in self.captured.shapes.items():
            if f"parameter:{name}" not in self.graph:
                self._parameter(name, shape, used=name not in self.traced.unused)
        for name, first in self.captured.tied.items():
            self.graph.add_edge(f"parameter:{name}", f"parameter:{first}", relation="tied")

    def relations(self) -> None:
        stated: set[Relation] = set()
        for relation in self.sets.relations:
            if relation.kind == "sum" or relation not in stated:
                stated.add(relation)
                self._relation(relation)

    def causes(self) -> None:
        for atom, cause in self.sets.causes.items():
            self.graph.add_edge(
                set_node(atom),
                self._culprit(cause),
                relation="fixed",
                cause_kind=cause.kind,
                operator=cause.operator,
                detail=cause.detail,
            )

    # ------------------------------------------------------------------ nodes of the network

    def _placeholder(self, name: str, value: Tensor | None) -> None:
        if value is None:
            return
        if name in self.captured.parameters:
            target = self.captured.parameters[name]
            self.of[name] = self._parameter(target, value.shape, used=True)
        else:
            kind = "constant" if name in self.captured.constants else "input"
            self.of[name] = f"{kind}:{name}"
            self.graph.add_node(self.of[name], kind=kind, label=name, shape=_shape(value.shape))
        self._axes(self.of[name], value)

    def _parameter(self, name: str, shape: tuple[int, ...], *, used: bool) -> str:
        self.graph.add_node(
            f"parameter:{name}",
            kind="parameter",
            label=name,
            shape=_shape(shape),
            trainable=name in self.captured.trainable,
            used=used,
        )
        return f"parameter:{name}"

    def _operator(self, node: fx.Node, value: Any) -> None:
        operator = f"operator:{node.name}"
        self.of[node.name] = operator
        self.graph.add_node(
            operator,
            kind="operator",
            label=node.name,
            operator=str(node.target),
            layer=_layer(node),
        )
        for argument, source in _arguments(node):
            for tensor in self._tensors(source):
                self.graph.add_edge(tensor, operator, relation="reads", argument=argument)
        several = isinstance(value, (list, tuple))
        for number, result in _results(value):
            tensor_node = f"tensor:{node.name}#{number}" if several else f"tensor:{node.name}"
            self.graph.add_node(
                tensor_node, kind="tensor", label=tensor_node[7:], shape=_shape(result.shape)
            )
            self.graph.add_edge(operator, tensor_node, relation="writes", result=number)
            self._axes(tensor_node, result)

    def _axes(self, tensor: str, value: Tensor) -> None:
        for number, axis in enumerate(value.axes):
            for place, atom in enumerate(axis):
                self.graph.add_edge(
                    tensor,
                    set_node(atom),
                    relation="axis",
                    axis=number,
                    place=place,
                    places=len(axis),
                )

    def _tensors(self, source: fx.Node) -> list[str]:
        """The nodes of what a node of the captured graph stands for."""
        if source.op == "placeholder":
            return [self.of[source.name]] if source.name in self.of else []
        if _is_getitem(source):
            producer = source.all_input_nodes[0]
            results = self._tensors(producer)
            if not isinstance(self.traced.values.get(producer.name), (list, tuple)):
                return results
            return [t for t in results if t.endswith(f"#{source.args[1]}")]
        operator = self.of.get(source.name)
        edges = () if operator is None else self.graph.out_edges(operator, "relation")
        return [tensor for _, tensor, relation in edges if relation == "writes"]

    # ------------------------------------------------------------------ relations

    def _relation(self, relation: Relation) -> None:
        left, right = relation.left, relation.right
        extra: dict[str, int] = {}
        if relation.kind == "restriction":
            left, right = right, left  # from the set to its part
            part = self.parts.get((right, self.sets.find(left)))
            if part is not None:
                on, low, high = part
                extra = {"first": low, "count": high - low, "of": self.sets.sizes[on]}
        elif relation.kind == "sum":
            # The pieces of a sum are stated in order, all at once.
            extra = {"offset": self.filled[left] % self.sets.sizes[left]}
            self.filled[left] += self.sets.sizes[right]
        self.graph.add_edge(
            set_node(left),
            set_node(right),
            relation=relation.kind,
            operator=relation.operator,
            stated_by=self._named(relation.operator) or "",
            **extra,
        )

    def _culprit(self, cause: Cause) -> str:
        if cause.kind == "output":
            return "output"
        culprit = self._named(cause.operator)
        if culprit is None:  # a cause that no node stated
            culprit = f"operator:{cause.operator}"
            self.graph.add_node(
                culprit, kind="operator", label=cause.operator, operator="", layer=""
            )
        return culprit

    def _named(self, operator: str) -> str | None:
        """The node that a text such as ``aten.add.Tensor 'add_1'`` speaks of."""
        quoted = _QUOTED.search(operator)
        if quoted is None:
            return None
        parameter = f"parameter:{quoted[1]}"
        return self.of.get(quoted[1], parameter if parameter in self.graph else None)


def _is_getitem(node: fx.Node) -> bool:
    return str(node.target) == "<built-in function getitem>"


def _results(value: Any) -> Iterator[tuple[int, Tensor]]:
    for number, result in enumerate(value if isinstance(value, (list, tuple)) else [value]):
        if isinstance(result, Tensor):
            yield number, result


def _arguments(node: fx.Node) -> Iterator[tuple[str, fx.Node]]:
    """(name in the operator's schema, node) of every argument that is a node."""
    for name, value in named_arguments(node, node.args, node.kwargs).items():
        if isinstance(value, fx.Node):
            yield name, value
        elif isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                if isinstance(item, fx.Node):
                    yield f"{name}[{number}]", item


def _layer(node: fx.Node) -> str:
    """The path of the module whose forward calls the operator, empty for the whole network."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
