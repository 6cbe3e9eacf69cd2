"""Relations between index sets in words: operators, layers and parameters by name."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod

import networkx as nx

from zooalign.symmetry.paths import Link

__all__ = ["label", "operator_name", "phrase"]

# (tensor, argument or "result", axis, factor of the axis or "")
_Place = tuple[str, str, int, str]

# ATen's names for the operands of a sum would not be understood.
_ARGUMENTS = {"self": "first operand", "other": "second operand"}


def operator_name(graph: nx.MultiDiGraph, node: str, stated: str = "") -> str:
    """Such as ``linear 'linear_1' in blocks.0.attn.proj``; ``stated`` where there is no node.

    The first call of an operator in a graph is named as the operator: the name is given once.
    """
    attributes = graph.nodes.get(node, {})
    if attributes.get("kind") != "operator" or not attributes["operator"]:
        return stated
    parts = attributes["operator"].split(".")
    name = parts[1] if len(parts) > 1 else parts[0]  # ``linear`` of ``aten.linear.default``
    layer = attributes["layer"]
    if attributes["label"] != name:
        name = f"{name} '{attributes['label']}'"
    return f"{name} in {layer}" if layer else name


def label(graph: nx.MultiDiGraph, index_set: str) -> str:
    """The best known name of an index set: a parameter's axis, else a tensor's, else its size."""
    places = [
        (tensor, edge)
        for tensor, _, edge in graph.in_edges(index_set, data=True)
        if edge["relation"] == "axis"
    ]
    if not places:
        return f"a set of {graph.nodes[index_set]['size']}"
    kinds = ("parameter", "input", "constant", "tensor")
    tensor, edge = min(places, key=lambda place: kinds.index(graph.nodes[place[0]]["kind"]))
    return _tensor_axis(graph, tensor, edge["axis"], _factor(edge))


def phrase(graph: nx.MultiDiGraph, links: Sequence[Link]) -> str:
    """What consecutive relations stated by one operator say together."""
    words: list[str] = []
    prefix = ""
    runs = [list(run) for _, run in groupby(links, key=lambda link: (link.kind, link.down))]
    for run, following in zip(runs, [*runs[1:], []], strict=True):
        kind, down, last = run[0].kind, run[0].down, run[-1]
        if kind == "equality":
            for link in run:
                both = _equal(graph, link)
                # A set without a name is described by what it is a part of.
                if not both and link is last and following and not following[0].down:
                    prefix = "one with "
                else:
                    words.append(both or f"one with {label(graph, link.target)}")
            continue
        if kind == "product" and down:
            words.append(_taken_apart(graph, run))
        elif kind != "restriction" and not down:
            part = "factor" if kind == "product" else "part"
            words.append(f"{prefix}a {part} of {label(graph, last.target)}")
        else:
            words.extend(_part(graph, link) for link in run)
        prefix = ""
    return ", ".join(words)


def _part(graph: nx.MultiDiGraph, link: Link) -> str:
    """A piece of a sum, or a restriction either way."""
    edge = graph.edges[link.edge]
    if link.kind == "sum":
        part = graph.nodes[link.target]["size"]
        return f"{_span(edge['offset'], part)} of {graph.nodes[link.source]['size']}"
    where = "one part of another axis"
    if "of" in edge:
        where = f"{_span(edge['first'], edge['count'])} of {edge['of']} along another axis"
    if link.down:
        return f"at {where}, where the order may be a different one"
    return f"a part of {label(graph, link.target)}, at {where}"


def _span(first: int, count: int) -> str:
    if first < 0:
        return f"{count} positions"
    return f"position {first}" if count == 1 else f"positions {first} to {first + count - 1}"


def _taken_apart(graph: nx.MultiDiGraph, links: Sequence[Link]) -> str:
    """``576 as 3 x [3] x 64``: the factors in the operator's result, with the one meant marked."""
    whole, chosen = links[0].source, links[-1].target
    operator = graph.edges[links[0].edge]["stated_by"]
    size = graph.nodes[whole]["size"]
    below = set(_written_out(graph, whole, inner=True))
    layouts = [_written_out(graph, whole)]
    for _, tensor, kind in graph.out_edges(operator, data="relation") if operator else ():
        if kind == "writes":
            layouts.insert(0, [s for s in _sets_of(graph, tensor) if s in below])
    for layout in layouts:
        sizes = [graph.nodes[s]["size"] for s in layout]
        if chosen in layout and prod(sizes) == size:
            marked = (
                f"[{n}]" if s == chosen else str(n) for s, n in zip(layout, sizes, strict=True)
            )
            return f"{size} as {' x '.join(marked)}"
    return f"{size} into factors, of which {graph.nodes[chosen]['size']}"


def _written_out(graph: nx.MultiDiGraph, whole: str, *, inner: bool = False) -> list[str]:
    """The factors of a set that have none themselves; with ``inner`` all, itself too."""
    edges = graph.out_edges(whole, data="relation")
    factors = [factor for _, factor, kind in edges if kind == "product"]
    if not factors:
        return [whole]
    below = [f for factor in factors for f in _written_out(graph, factor, inner=inner)]
    return [whole, *below] if inner else below


def _sets_of(graph: nx.MultiDiGraph, tensor: str) -> list[str]:
    axes = [
        (e["axis"], e["place"], s)
        for _, s, e in graph.out_edges(tensor, data=True)
        if e["relation"] == "axis"
    ]
    return [s for _, _, s in sorted(axes)]


def _equal(graph: nx.MultiDiGraph, link: Link) -> str:
    """Both sides by the arguments of the operator in which they stand, if that is known."""
    operator = graph.edges[link.edge]["stated_by"]
    left = _places(graph, operator, link.source)
    right = [p for p in _places(graph, operator, link.target) if p not in left[:1]]
    return f"{_place(graph, left[0])} is {_place(graph, right[0])}" if left and right else ""


def _places(graph: nx.MultiDiGraph, operator: str, index_set: str) -> list[_Place]:
    """Where an operator meets an index set: exactly this one first, then its equals."""
    same = graph.nodes[index_set]["same_as"]
    exact: list[_Place] = []
    equal: list[_Place] = []
    for tensor, name in _operands(graph, operator):
        for _, other, edge in graph.out_edges(tensor, data=True):
            if edge["relation"] != "axis":
                continue
            place = (tensor, name, edge["axis"], _factor(edge))
            if other == index_set:
                exact.append(place)
            elif graph.nodes[other]["same_as"] == same:
                equal.append(place)
    # Which of several equal sets is meant is known only where there is no choice.
    return exact or (equal if len(equal) <= 2 else [])


def _operands(graph: nx.MultiDiGraph, operator: str) -> Iterator[tuple[str, str]]:
    if operator not in graph:
        return
    for tensor, _, edge in graph.in_edges(operator, data=True):
        if edge["relation"] == "reads":
            yield tensor, edge["argument"]
    for _, tensor, edge in graph.out_edges(operator, data=True):
        if edge["relation"] == "writes":
            yield tensor, "result"


def _place(graph: nx.MultiDiGraph, place: _Place) -> str:
    tensor, argument, axis, factor = place
    if graph.nodes[tensor]["kind"] == "parameter":
        return _tensor_axis(graph, tensor, axis, factor)
    return f"{_ARGUMENTS.get(argument, argument)} axis {axis}{factor}"


def _tensor_axis(graph: nx.MultiDiGraph, tensor: str, axis: int, factor: str) -> str:
    attributes = graph.nodes[tensor]
    name = f"`{attributes['label']}`"
    if attributes["kind"] == "tensor":
        name = f"the result of '{attributes['label']}',"
    elif attributes["kind"] != "parameter":
        name = f"the {attributes['kind']} {name},"
    return f"{name} axis {axis}{factor}"


def _factor(edge: dict[str, int]) -> str:
    return f" (factor {edge['place'] + 1} of {edge['places']})" if edge["places"] > 1 else ""
