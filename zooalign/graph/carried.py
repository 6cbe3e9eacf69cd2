"""What a call carries over to the next one, among all that it writes.

A module may keep what it computes from its parameters alone (a table of biases, a folded weight):
that is a cache, and the next call would compute the same. What depends on inputs, or on what an
earlier call left, is state.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import fx

from zooalign.graph.concrete import Recording, reached

__all__ = ["is_state", "without_caches"]


def is_state(place: str, written: Collection[str], stored: Collection[str]) -> bool:
    """Whether a call writes to the place of a constant, or beside it in its list or object.

    Examples
    --------
    >>> is_state("memory.0", ["memory.1"], []), is_state("scale", ["mean"], ["mean"])
    (True, False)
    """
    if place in written:
        return True
    return place.rpartition(".")[0] in _owners(written, stored)


def _owners(written: Collection[str], stored: Collection[str]) -> set[str]:
    return {name.rpartition(".")[0] for name in written if name not in stored}


def without_caches(recording: Recording, stored: Mapping[str, object]) -> Recording:
    """The recording without what it assigns that depends on parameters and constants alone."""
    assigned = [name for name in recording.written if name not in stored]
    if not assigned:
        return recording
    written = recording.written
    state = {
        name for name, (place, _) in recording.held.items() if is_state(place, written, stored)
    }
    state |= {name for name, target in recording.parameters.items() if target in written}
    state |= set(recording.inputs)
    graph = recording.graph
    depends = reached(graph, [node for node in graph.nodes if node.name in state])
    (output,) = (node for node in graph.nodes if node.op == "output")
    values = output.args[0]
    count = len(values) - len(written)
    kept = {
        name: value
        for name, value in zip(written, values[count:], strict=True)
        if name in stored or not isinstance(value, fx.Node) or value in depends
    }
    output.args = ((*values[:count], *kept.values()),)
    return replace(recording, written=tuple(kept))
