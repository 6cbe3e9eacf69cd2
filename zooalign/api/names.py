"""Models in memory whose rows stand for labels and tokens, in the order of the first one's."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from zooalign.api.arguments import ModelLike, Network, State
from zooalign.graph.axis_names import Kind
from zooalign.graph.wrappers import unwrapped
from zooalign.merging.named_rows import InOrder
from zooalign.merging.naming import changes_between, placed, sources_of, warn_of_changes
from zooalign.symmetry import derive_spec
from zooalign.zoo.adapters import ModulesInMemory, NamedAxes
from zooalign.zoo.libraries import library_adapters
from zooalign.zoo.models import Model
from zooalign.zoo.names import Names, names_of

__all__ = ["ALL_KINDS", "tensors_by_name"]

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


def _names(model: ModelLike) -> Names:
    if isinstance(model, Model):
        return names_of(model)
    if isinstance(model, Mapping):
        return {}
    for adapter in library_adapters():
        if isinstance(adapter, ModulesInMemory) and isinstance(adapter, NamedAxes):
            architecture = adapter.architecture_of(unwrapped(model))
            if architecture is not None:
                names = adapter.axis_names(architecture, None)
                return {axis.kind: axis for axis in names if axis.kind == "labels"}
    return {}
