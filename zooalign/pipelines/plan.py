"""What an alignment or a merge will read, hold and write, told before weights are read."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zooalign.errors import MergeError
from zooalign.graph.execute import live_bytes
from zooalign.graph.lazy_state import info_of
from zooalign.matching.solvers import solvers
from zooalign.matching.unit_views import activation_views, families
from zooalign.release.opening import EXAMPLE_ROWS, Family, open_family
from zooalign.release.settings import AlignSettings, MergeSettings
from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.derive import Derived

__all__ = ["Held", "Operation", "Plan", "activation_room", "bytes_in", "plan", "require_memory"]

Operation = Literal["align", "merge"]

# Python, torch, a library of models and the graph (docs/benchmarks/memory.md).
_LIBRARIES = 600_000_000
# Permuted tensors that weight matching keeps, and pieces that are widened.
_KEPT, _PIECES = 200_000_000, 20_000_000
# On one core, measured there: seconds of the libraries and of an operator in the trace, of a byte
# that is read, averaged and written, products a second, and of an assignment over its size cubed.
_SECONDS_OF_LIBRARIES, _OF_AN_OPERATOR, _OF_A_BYTE = 12.0, 6e-3, 8e-9
_PRODUCTS, _OF_AN_ASSIGNMENT = 4e10, 3e-11
# How often weight matching solves each family, on average, of unrelated models.
_SWEEPS = 2.5
_ACTIVATIONS = "activations of one batch"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Held:
    """A part of what is in memory at the time of the peak."""

    what: str
    bytes: int


@dataclass(frozen=True)
class Plan:
    """The JSON of ``zooalign plan`` (``docs/cli.md``)."""

    operation: Operation
    method: str
    reads: int
    writes: int
    free: int | None
    holds: int
    parts: tuple[Held, ...]
    memory: int | None
    seconds: float | None
    problems: tuple[str, ...]


def plan(
    operation: Operation,
    references: Sequence[str],
    settings: MergeSettings,
    output: str | None = None,
) -> Plan:
    """What an operation with these settings will take; no weights are read.

    Raises
    ------
    ZooalignError
        If the models cannot be opened, or are not of one architecture.
    MergeError
        If there are fewer than two models, or more for an alignment.
    """
    if len(references) < 2 or (operation == "align" and len(references) > 2):
        raise MergeError("an alignment takes two models, a merge two or more")
    family = open_family(references, settings, settings.naming)
    written = family.members[1 if operation == "align" else 0].checkpoint.nbytes
    parts = _parts(family, settings)
    holds = sum(part.bytes for part in parts)
    free = None if output is None else _free(output)
    memory = None if settings.memory is None else bytes_in(settings.memory)
    problems = [] if memory is None or holds <= memory else [_too_much(parts, memory)]
    if free is not None and written > free:
        problems.append(f"the disk of '{output}' has {_short(free)} free of {_short(written)}")
    return Plan(
        operation=operation,
        method=settings.method,
        reads=sum(member.checkpoint.nbytes for member in family.members),
        writes=written,
        free=free,
        holds=holds,
        parts=parts,
        memory=memory,
        seconds=_seconds(family, settings.method),
        problems=tuple(problems),
    )


def require_memory(family: Family, settings: AlignSettings) -> None:
    """Raise MergeError where more memory is needed than the settings allow."""
    if settings.memory is None:
        return
    parts, memory = _parts(family, settings), bytes_in(settings.memory)
    if sum(part.bytes for part in parts) > memory:
        raise MergeError(_too_much(parts, memory))


def activation_room(family: Family, settings: AlignSettings) -> int | None:
    """Bytes for activations of batches that run side by side; None for the default."""
    if settings.memory is None:
        return None
    others = [part.bytes for part in _parts(family, settings) if part.what != _ACTIVATIONS]
    return max(0, bytes_in(settings.memory) - sum(others))


def bytes_in(size: str) -> int:
    """``8GB`` as a number of bytes; MergeError for what is no size.

    Examples
    --------
    >>> bytes_in("1.5 GB")
    1500000000
    """
    parts = _SIZE.fullmatch(size.strip())
    if parts is None:
        raise MergeError(f"--memory is '{size}', which is no size; give one such as 8GB")
    return int(float(parts[1]) * _UNITS[parts[2].upper()])


def _parts(family: Family, settings: AlignSettings) -> tuple[Held, ...]:
    """What is in memory when most of it is, by the method."""
    infos = [info_of(m.checkpoint, name) for m in family.members for name in m.checkpoint]
    stored = max(info.nbytes for info in infos)
    widened = max(4 * info.numel for info in infos)
    parts = [Held("libraries and graph", _LIBRARIES), Held("pieces that are widened", _PIECES)]
    solver = solvers().get(settings.method)
    if solver is None:
        return (*parts, Held("a tensor of each model and their average", 3 * stored))
    # Directions of the largest matrix are compared after any match: three of it, in float32.
    tensors = Held("the largest tensor, widened", 3 * widened)
    if solver.reads_by_tensor and not solver.needs:
        similar = Held("similarities of the largest groups", _similarities(family.spec))
        return (*parts, max(tensors, similar, key=lambda part: part.bytes))
    if solver.reads_by_tensor:
        captured = family.derived.traced.captured
        rows = max(1, settings.loading.batch_size // EXAMPLE_ROWS)
        return (
            *parts,
            tensors,
            Held("statistics of units", _statistics(family.derived)),
            Held(_ACTIVATIONS, 2 * rows * live_bytes(captured)),
        )
    models = sum(4 * info.numel for info in infos)
    similar = Held("similarities of all groups", sum(_squares(family.spec).values()))
    return (*parts, tensors, Held("models in float32", models), similar)


def _squares(spec: PermutationSpec) -> dict[str, int]:
    """Bytes of a matrix in float64 that compares a group's units, by group."""
    return {group.id: 8 * (group.copies * group.size) ** 2 for group in spec.groups}


def _similarities(spec: PermutationSpec) -> int:
    """Those of a family, their costs, and a product in float32."""
    squares = _squares(spec)
    of_families = [[squares[name] for name in family] for family in families(spec)]
    return _KEPT + max((sum(one) + 3 * max(one) // 2 for one in of_families), default=0)


def _statistics(derived: Derived) -> int:
    """Similarities of groups between their first and last place, and moments at one place."""
    squares, views = _squares(derived.spec), activation_views(derived)
    order = [node.name for node in derived.traced.captured.graph.nodes if node.name in views]
    groups = [{place.group for place in views[name]} for name in order]
    live: set[str] = set()
    most = 0
    for number, at in enumerate(groups):
        live |= at
        moments = 4 * max(squares[group] for group in at)
        most = max(most, moments + sum(squares[group] for group in live))
        live -= live.difference(*groups[number + 1 :]) if groups[number + 1 :] else live
    return most


def _seconds(family: Family, method: str) -> float | None:
    """About how long it takes on one core; None of methods that run the models."""
    nodes = len(family.derived.traced.captured.graph.nodes)
    size = sum(member.checkpoint.nbytes for member in family.members)
    seconds = _SECONDS_OF_LIBRARIES + nodes * _OF_AN_OPERATOR + size * _OF_A_BYTE
    if method == "none":
        return round(seconds, 1)
    if method != "weight":
        return None
    spec = family.spec
    units = {group.id: group.copies * group.size for group in spec.groups}
    numbers = {name: info_of(family.members[0].state, name).numel for name in spec.by_parameter}
    products = sum(
        2 * units[group.id] * numbers[name]
        for name, members in spec.by_parameter.items()
        for group, _ in members
    )
    assignments = sum(group.copies * group.size**3 for group in spec.groups) * _OF_AN_ASSIGNMENT
    return round(seconds + _SWEEPS * products / _PRODUCTS + 2 * assignments, 1)


def _too_much(parts: Sequence[Held], memory: int) -> str:
    needed = sum(part.bytes for part in parts)
    most = max(parts, key=lambda part: part.bytes)
    return (
        f"{_short(needed)} of memory are needed, of which {_short(most.bytes)} for {most.what}, "
        f"and {_short(memory)} are allowed (--memory): allow more, or match by the weights alone "
        "(--method weight), which holds less"
    )


def _free(output: str) -> int:
    path = Path(output).absolute()
    return shutil.disk_usage(next(parent for parent in path.parents if parent.exists())).free


def _short(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
