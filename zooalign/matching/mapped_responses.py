"""How units of two networks respond together at places where maps of their class are known.

Cross-products at a place are added up over the data and the tensor is dropped. Weights are places
too: their samples are what stands along the other axes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from zooalign.errors import DataError, MergeError
from zooalign.graph.batches import Batch, read_batches
from zooalign.graph.execute import lockstep
from zooalign.matching.mapped_views import MappedView, mapped_activations, mapped_parameters
from zooalign.matching.statistics import Moments
from zooalign.symmetry.classes.derive import Classes, derive_classes
from zooalign.symmetry.classes.elements import SpecClasses
from zooalign.symmetry.classes.maps import BlockExponents
from zooalign.symmetry.extract import derive_spec
from zooalign.symmetry.groups import Group

__all__ = ["Responses", "of_activations", "of_weights"]


@dataclass(frozen=True, eq=False)
class Responses:
    """Cross-products at one place, and what maps do to the units there.

    ``target_gram`` and ``source_gram``, of shape (contexts, units, units), are those of a network
    with itself within a context; None of a group without linear maps. ``weights`` says that it is a
    place in the state dict.
    """

    exponents: BlockExponents
    moments: Moments
    target_gram: Tensor | None = None
    source_gram: Tensor | None = None
    weights: bool = False

    def __add__(self, other: "Responses") -> "Responses":
        grams = (
            (self.target_gram, other.target_gram),
            (self.source_gram, other.source_gram),
        )
        target, source = (None if a is None or b is None else a + b for a, b in grams)
        moments = self.moments + other.moments
        return replace(self, moments=moments, target_gram=target, source_gram=source)

    @property
    def similarity(self) -> Tensor:
        """Of every target unit to every source unit: the correlation, of weights the cosine."""
        if not self.weights:
            return self.moments.correlation()
        lengths = (self.moments.target_square.sqrt(), self.moments.source_square.sqrt())
        a, b = (torch.where(length > 0, length, torch.inf) for length in lengths)
        return self.moments.cross / torch.outer(a, b)

    @property
    def share(self) -> float:
        """One over the lengths of all responses of both networks."""
        lengths = self.moments.target_square.sum() * self.moments.source_square.sum()
        return float(lengths.clamp_min(torch.finfo(torch.float64).tiny).rsqrt())


def _responses(
    group: Group, mapped: MappedView, values: tuple[Tensor, Tensor], weights: bool
) -> Responses:
    target, source = (mapped.view.rows(value).double() for value in values)
    moments = Moments.of(target, source, mapped.view.weight)
    if not mapped.exponents.linear:
        return Responses(mapped.exponents, moments, weights=weights)
    blocks = [rows.reshape(group.copies, group.size, -1) for rows in (target, source)]
    mine, other = (rows @ rows.mT for rows in blocks)
    return Responses(mapped.exponents, moments, mine, other, weights)


def of_activations(
    classes: SpecClasses,
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    module: nn.Module,
    data: Iterable[Any],
) -> dict[str, list[Responses]]:
    """Per group the responses at all places of the graph, in one pass over the data.

    ``states`` are target and source, whose weights are one that have to be. Batches of another
    size than the first are left out.

    Raises
    ------
    DataError
        If there is no batch, or inputs are given by keyword.
    MergeError
        If the module has other symmetries on the data than the spec says.
    """
    batches = read_batches(data)
    first = next(batches)
    graph = _graph(classes, module, first)
    views = mapped_activations(graph)
    assert graph.derived is not None
    captured = graph.derived.traced.captured
    device = next(iter(states[0].values())).device
    by_place: dict[tuple[str, int], tuple[str, Responses]] = {}
    for batch in (first, *batches):
        if _form(batch) != _form(first):
            continue
        for node, values in lockstep(captured, states, batch.to(device).args):
            for number, mapped in enumerate(views.get(node.name, ())):
                group = classes.spec.by_id[mapped.view.group]
                seen = _responses(group, mapped, values, weights=False)
                key = (node.name, number)
                if key in by_place:
                    seen = by_place[key][1] + seen
                by_place[key] = (group.id, seen)
    by_group: dict[str, list[Responses]] = {}
    for name, responses in by_place.values():
        by_group.setdefault(name, []).append(responses)
    return by_group


def _form(batch: Batch) -> list[Any]:
    return [(x.shape, x.dtype) if isinstance(x, Tensor) else x for x in batch.args]


def _graph(classes: SpecClasses, module: nn.Module, batch: Batch) -> Classes:
    """What is known of the module on a batch, in the classes that were derived before."""
    if batch.kwargs:
        raise DataError("matching of classes takes positional inputs only, not keywords")
    spec = classes.spec
    derived = derive_spec(module, batch.args, allow_value_dependent=spec.value_dependent)
    if derived.spec.hash != spec.hash:
        raise MergeError(
            "with inputs like the data the module has other symmetries than the spec: extract the "
            "spec with inputs like the data"
        )
    known = derive_classes(derived)
    if known.derived is None:
        raise MergeError("the module's operators are not understood on the data")
    groups = {}
    for name, of in classes.classes.items():
        anew = known.groups[name]
        # The proof may have lowered a class, and a smaller one may be asked for.
        tables = [(of.linear, anew.linear), (of.scales, anew.scales), (of.signs, anew.signs)]
        differ = any(mine and mine != fresh for mine, fresh in tables)
        if differ:
            raise MergeError(
                f"with inputs like the data group '{name}' has another class than the spec says: "
                "extract the spec with inputs like the data"
            )
        groups[name] = of
    return Classes(groups, known.places, known.said, known.derived)


def of_weights(
    classes: SpecClasses,
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    groups: frozenset[str],
) -> dict[str, list[Responses]]:
    """Per group the responses in the state dict, the source's other groups being as the target's.

    Tensors whose numbers are one because they have to be are left out.
    """
    by_group: dict[str, list[Responses]] = {}
    for name, views in mapped_parameters(classes, groups).items():
        if name not in states[0] or name not in states[1]:
            continue
        values = (states[0][name], states[1][name])
        if not values[0].is_floating_point():
            continue
        for mapped in views:
            group = classes.spec.by_id[mapped.view.group]
            responses = _responses(group, mapped, values, weights=True)
            by_group.setdefault(group.id, []).append(responses)
    return by_group
