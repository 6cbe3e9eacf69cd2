"""Models in memory by what their libraries know: configurations, labels and tokens."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from zooalign.api.arguments import ModelLike, Network, State
from zooalign.errors import MergeError
from zooalign.graph.axis_names import Kind
from zooalign.graph.wrappers import unwrapped
from zooalign.merging.named_rows import InOrder
from zooalign.merging.naming import changes_between, placed, sources_of, warn_of_changes
from zooalign.symmetry import derive_spec
from zooalign.zoo.adapters import Architecture, LibraryAdapter, ModulesInMemory, NamedAxes
from zooalign.zoo.configurations import Configured, differing_fields
from zooalign.zoo.libraries import library_adapters
from zooalign.zoo.models import Model
from zooalign.zoo.names import Names, names_of

__all__ = ["ALL_KINDS", "require_one_configuration", "tensors_by_name"]

ALL_KINDS: tuple[Kind, ...] = ("labels", "tokens")

_ADVICE: Mapping[Kind, str] = {
    "labels": "save the models and merge the directories without one of the classifiers or both "
    "(zooalign merge --head first, or none)",
    "tokens": "save the models with their tokenizers and merge the directories (zooalign merge "
    "--tokens union, intersection or first)",
}


def tensors_by_name(
    models: Sequence[ModelLike],
    states: Sequence[State],
    network: Network,
    inputs: Sequence[object],
    accepted: Collection[Kind] = (),
) -> list[Mapping[str, Tensor]]:
    """The tensors of models, their rows in the order of the first one's labels and tokens.

    Names are known of opened models, and the labels of modules whose library says them. Of the
    ``accepted`` kinds a model may have others: rows that it lacks are zero.

    Raises
    ------
    MergeError
        Labels or tokens are not the same.

    Warns
    -----
    ZooalignWarning
        If rows come to other places.
    """
    tensors: list[Mapping[str, Tensor]] = [state.tensors for state in states]
    adapter, names = network.adapter, [_names(model) for model in models]
    if adapter is None or not names[0]:
        return tensors
    changes = [
        changes_between(own, names[0], (f"model {n}", "model 0"), accepted, _ADVICE)
        for n, own in enumerate(names)
    ]
    if not any(changes):
        return tensors
    derived = derive_spec(network.module, inputs, allow_value_dependent=True, prove=False)
    for number, each in enumerate(changes):
        in_place = placed(each, adapter, network.module, derived)
        warn_of_changes(f"model {number}", in_place)
        if in_place:
            tensors[number] = InOrder(tensors[number], sources_of(in_place))
    return tensors


def require_one_configuration(models: Sequence[ModelLike], module: ModelLike | None) -> None:
    """Refuse models that compute something else than the first, though their shapes are equal.

    With a ``module`` all are of the architecture that it names, and nothing is compared.

    Raises
    ------
    MergeError
        Their configurations, where a library knows them, differ in a field that decides what is
        computed.
    """
    known = [_known(model) for model in models] if module is None else [None]
    first, *others = known
    if first is None:
        return
    for number, other in enumerate(others, start=1):
        differing = {} if other is None else differing_fields(first, other)
        if differing:
            told = ", ".join(f"{name} ({a}, {b})" for name, (a, b) in differing.items())
            raise MergeError(
                f"model 0 and model {number} differ in {told}: everything would run in the "
                "configuration of model 0, and the other computes something else. If that is "
                "meant, pass module=; zooalign barrier scores saved models each in its own"
            )


@dataclass(frozen=True)
class _InMemory:
    """A module that a library made, with its configuration."""

    adapter: LibraryAdapter
    architecture: Architecture


def _known(model: ModelLike) -> Configured | None:
    if isinstance(model, Model):
        return model
    if isinstance(model, Mapping):
        return None
    for adapter in library_adapters():
        if isinstance(adapter, ModulesInMemory):
            architecture = adapter.architecture_of(unwrapped(model))
            if architecture is not None:
                return _InMemory(adapter, architecture)
    return None


def _names(model: ModelLike) -> Names:
    if isinstance(model, Model):
        return names_of(model)
    known = _known(model)
    if known is None or not isinstance(known.adapter, NamedAxes):
        return {}
    names = known.adapter.axis_names(known.architecture, None)
    return {axis.kind: axis for axis in names if axis.kind == "labels"}
