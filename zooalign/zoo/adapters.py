"""What a plugin provides for a model library so that zooalign can use its models."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from zooalign.lazy import lazy_module
from zooalign.zoo.references import Reference

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from zooalign.graph.axis_names import AxisNames
    from zooalign.zoo import building
    from zooalign.zoo.data import Batches
    from zooalign.zoo.images import Preprocess
else:
    building = lazy_module("zooalign.zoo.building")

__all__ = [
    "Architecture",
    "BaseAdapter",
    "Catalogue",
    "LibraryAdapter",
    "ModulesInMemory",
    "NamedAxes",
    "OwnData",
    "Reduction",
]


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build a model again, without its weights.

    ``config`` is JSON and belongs to the library's adapter; it is copied on the way in.
    """

    library: str
    name: str
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", copy.deepcopy(dict(self.config)))

    def to_json(self) -> dict[str, Any]:
        """A new JSON-able dict: ``library``, ``name``, ``config``."""
        return asdict(self)


@runtime_checkable
class LibraryAdapter(Protocol):
    """A library's side: from a reference or a config file to modules, inputs and files.

    An adapter keeps no state. :class:`BaseAdapter` has the ``build`` methods for one that can
    construct a module.
    """

    @property
    def name(self) -> str:
        """The library's name, the part before the colon of a reference."""
        ...

    def from_reference(self, reference: Reference) -> Architecture:
        """The architecture that ``NAME:...?options`` names; ModelReferenceError if it is none."""
        ...

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        """The architecture in a repo's ``config.json``, or None if another library's.

        ``files`` are the names beside it. The config is untrusted: nothing it names is imported.
        """
        ...

    def build(self, architecture: Architecture) -> nn.Module:
        """The module in eval mode, parameters on the meta device, buffers with their values."""
        ...

    def build_initialised(self, architecture: Architecture, seed: int) -> nn.Module:
        """The module in eval mode on the CPU, initialised by its library under ``seed``."""
        ...

    def build_with_weights(
        self,
        architecture: Architecture,
        state_dict: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> nn.Module:
        """The module in eval mode with exactly these tensors; ties are kept."""
        ...

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Seeded random inputs of the right sizes, batch first; ``device`` may be meta."""
        ...

    def preprocess(self, architecture: Architecture) -> Preprocess:
        """From an image to the model's input (C, H, W), as the model's config says."""
        ...

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        """Files to put beside the weights so that :meth:`load` works, by name.

        ``source_dir`` is the directory the model came from, whose files are kept as they are.
        """
        ...

    def load(self, directory: Path) -> nn.Module:
        """The model in ``directory`` as its library loads it, in eval mode."""
        ...


@dataclass(frozen=True)
class Reduction:
    """The same kind of computation at less cost, to run it where the whole is too large.

    ``how`` says in a few words what is smaller; ``inputs`` are example inputs of
    ``architecture``, which is the original one where only the inputs are smaller.
    """

    how: str
    architecture: Architecture
    inputs: tuple[Tensor, ...]


@runtime_checkable
class Catalogue(Protocol):
    """An optional part of an adapter: the list of its library's architectures.

    An adapter with these methods can be swept by ``zooalign coverage``. It may also have
    ``modality(name)``, a word for what an architecture takes: the table counts by it.
    """

    def names(self) -> Sequence[str]:
        """Every architecture of the library, as behind the colon of a reference (with options)."""
        ...

    def family(self, name: str) -> str:
        """A short name of the group of architectures that share their code."""
        ...

    def parameters(self, architecture: Architecture) -> int:
        """Number of parameters, by the cheapest way; used to choose the smallest of a family."""
        ...

    def reductions(self, architecture: Architecture, batch_size: int) -> Iterator[Reduction]:
        """Ways to run an architecture at less cost, best first; some may turn out not to run."""
        ...


@runtime_checkable
class OwnData(Protocol):
    """An optional part of an adapter: data by a model's own tokenizer or processor."""

    def open_data(
        self,
        architecture: Architecture,
        directory: Path | None,
        text: str,
        *,
        batch_size: int,
        limit: int | None,
    ) -> Batches | None:
        """The data that ``text`` names, as inputs of the model; None to have it opened as usual.

        ``directory`` is where the model's files lie, None where it has none.
        """
        ...

    def scoring(
        self, architecture: Architecture
    ) -> tuple[Callable[[Any, Any], Tensor], Callable[[Any, Any], Tensor] | None] | None:
        """Loss and metric for the model's outputs and that data's targets; None for the usual.

        None in place of the metric: there is none besides the loss.
        """
        ...


@runtime_checkable
class ModulesInMemory(Protocol):
    """An optional part of an adapter: its library's models as a training script has them."""

    def architecture_of(self, module: nn.Module) -> Architecture | None:
        """The architecture of a module in memory; None if it is not one of the library's own."""
        ...

    def as_batch(
        self, architecture: Architecture, batch: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Any]:
        """Positional inputs and targets of a batch as a collator makes it.

        Raises
        ------
        DataError
            If it lacks an input of the model.
        """
        ...


@runtime_checkable
class NamedAxes(Protocol):
    """An optional part of an adapter: what rows of heads and embeddings stand for, and inputs are.

    ``directory`` is where the model's files lie, None where it has none.
    """

    def axis_names(self, architecture: Architecture, directory: Path | None) -> Sequence[AxisNames]:
        """The labels of a classifier and the tokens of a vocabulary, at most one of each kind.

        Where nothing is known of the names, all of them are None.
        """
        ...

    def token_tensors(self, module: nn.Module) -> Sequence[str]:
        """State-dict names of the tensors whose first axis is the vocabulary's."""
        ...

    def preprocessing(
        self, architecture: Architecture, directory: Path | None
    ) -> Mapping[str, Any]:
        """How inputs are made from images, sound or text: values by ``file: field``."""
        ...

    def renamed(
        self, architecture: Architecture, names: Sequence[tuple[AxisNames, AxisNames]]
    ) -> Architecture:
        """The architecture with other names, and as many positions: pairs of old and new."""
        ...

    def headless(self, architecture: Architecture) -> tuple[Architecture, str]:
        """The architecture without its classifier, and what its tensors' names begin with in it.

        Raises
        ------
        ModelReferenceError
            There is none.
        """
        ...

    def renamed_files(
        self,
        architecture: Architecture,
        files: Mapping[str, bytes],
        names: Sequence[tuple[AxisNames, AxisNames]],
        others: Sequence[Mapping[str, bytes]],
    ) -> dict[str, bytes]:
        """``files`` of a model for an architecture that was made of its own by the above.

        ``others`` are the files of the models whose names were added.

        Raises
        ------
        CheckpointError
            A file cannot be changed so.
        """
        ...


class BaseAdapter(ABC):
    """What a :class:`LibraryAdapter` may inherit: the three builds, and two parts of a catalogue.

    ``weights_name`` is what the library calls the file of weights in a directory that it loads.
    """

    weights_name = "model.safetensors"

    @abstractmethod
    def create(self, architecture: Architecture) -> nn.Module:
        """The module, constructed as its library does it: no weights loaded, in any mode."""

    def build(self, architecture: Architecture) -> nn.Module:
        """The module in eval mode, parameters on the meta device, buffers with their values."""
        return building.build_on_meta(lambda: self.create(architecture))

    def build_initialised(self, architecture: Architecture, seed: int) -> nn.Module:
        """The module in eval mode on the CPU, initialised by its library under ``seed``."""
        return building.build_initialised(lambda: self.create(architecture), seed)

    def build_with_weights(
        self,
        architecture: Architecture,
        state_dict: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> nn.Module:
        """The module in eval mode with exactly these tensors; ties are kept.

        Raises
        ------
        CheckpointError
            A key is missing or unexpected, or a shape differs.
        """
        return building.assign_state_dict(self.build(architecture), state_dict, device, dtype)

    def parameters(self, architecture: Architecture) -> int:
        """Number of parameters of the model built on the meta device."""
        return sum(parameter.numel() for parameter in self.build(architecture).parameters())

    def reductions(self, architecture: Architecture, batch_size: int) -> Iterator[Reduction]:
        """No ways to run it at less cost."""
        return iter(())
