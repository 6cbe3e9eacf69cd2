"""An adapter for a library that builds its models by name: most of it, ready to be inherited.

Such a library often has no layout of a directory. What is written then holds a ``config.json`` with
the model's name and options, and is loaded by building the model and loading its state dict.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import CheckpointError, ModelReferenceError, ZooalignError
from zooalign.lazy import lazy_module
from zooalign.zoo.adapters import Architecture, BaseAdapter, Reduction
from zooalign.zoo.layout import CONFIG_NAME, kept_config
from zooalign.zoo.references import Reference

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from zooalign.zoo import checkpoint, images
    from zooalign.zoo.images import Preprocess
else:
    torch = lazy_module("torch")
    checkpoint = lazy_module("zooalign.zoo.checkpoint")
    images = lazy_module("zooalign.zoo.images")

__all__ = ["RegistryAdapter"]

_OPTIONS = "model_args"
_SEED = 0


class RegistryAdapter(BaseAdapter):
    """A library that has a list of names and a function from a name and options to a module.

    A subclass sets ``name`` and implements :meth:`names`, :meth:`make` and :meth:`input_shapes`.
    An architecture's config is the options of the reference.
    """

    name: str
    # Options that bring in weights: a reference names those itself.
    reserved: frozenset[str] = frozenset()

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Every model that the library can build."""

    @abstractmethod
    def make(self, name: str, options: Mapping[str, Any]) -> nn.Module:
        """The model, as the library builds it without trained weights."""

    @abstractmethod
    def input_shapes(self, name: str, options: Mapping[str, Any]) -> Sequence[tuple[int, ...]]:
        """The sizes of each input, without the batch."""

    def require(self, name: str, where: str) -> None:
        """Refuse a model that there is not, or that has no spec, with a ModelReferenceError."""
        known = self.names()
        if name not in known:
            close = get_close_matches(name, known, n=3)
            hint = f"; similar: {', '.join(close)}" if close else ""
            raise ModelReferenceError(f"{where}: {self.name} has no model {name!r}{hint}")

    def from_reference(self, reference: Reference) -> Architecture:
        """The architecture that ``NAME:...?options`` names."""
        self.require(reference.target, f"'{reference}'")
        if reserved := sorted(self.reserved & set(reference.kwargs)):
            raise ModelReferenceError(
                f"'{reference}': {reserved[0]} is not an option of an architecture; trained "
                "weights are named by their file (--model gives the architecture)"
            )
        return Architecture(self.name, reference.target, dict(reference.kwargs))

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        """The architecture in a ``config.json`` that :meth:`config_files` wrote."""
        name, options = config.get(self._mark), config.get(_OPTIONS, {})
        if not isinstance(name, str):
            return None
        self.require(name, CONFIG_NAME)
        if not isinstance(options, Mapping) or self.reserved & set(options):
            raise ModelReferenceError(
                f"{CONFIG_NAME}: {_OPTIONS} must be an object of the model's options"
            )
        return Architecture(self.name, name, dict(options))

    @property
    def _mark(self) -> str:
        return f"{self.name}_model"

    def create(self, architecture: Architecture) -> nn.Module:
        """The module, constructed as its library does it."""
        try:
            return self.make(architecture.name, architecture.config)
        except ZooalignError:
            raise
        except Exception as error:
            raise ModelReferenceError(
                f"{self.name} cannot build {architecture.name!r}: {type(error).__name__}: {error}"
            ) from error

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Normally distributed inputs under a fixed seed."""
        generator = torch.Generator().manual_seed(_SEED)
        return tuple(
            torch.randn((batch_size, *shape), generator=generator).to(device)
            for shape in self.input_shapes(architecture.name, architecture.config)
        )

    def preprocess(self, architecture: Architecture) -> Preprocess:
        """Pixels scaled to [0, 1], pictures resized to the size of the first input."""
        shape = self.input_shapes(architecture.name, architecture.config)[0]
        if len(shape) != 3:
            return images.to_unit_range()
        return images.to_unit_range(shape[0], (shape[1], shape[2]))

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """The model's name and its options but those of dropout."""
        kept = {name: value for name, value in architecture.config.items() if "drop" not in name}
        return {self._mark: architecture.name, **kept}

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        """The source's ``config.json`` where it is one of this library, else a new one."""
        own = kept_config(source_dir)
        if own and self._mark in json.loads(own[CONFIG_NAME]):
            return own
        config = {self._mark: architecture.name, _OPTIONS: dict(architecture.config)}
        return {CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode()}

    def load(self, directory: Path) -> nn.Module:
        """The model in ``directory`` in eval mode: built, then its state dict loaded."""
        try:
            config = json.loads((directory / CONFIG_NAME).read_text(encoding="utf-8"))
            architecture = self.recognise(config, [])
            if architecture is None:
                raise ValueError(f"its {CONFIG_NAME} names no model of {self.name}")
            module = self.create(architecture)
            module.load_state_dict(dict(checkpoint.open_checkpoint(directory / self.weights_name)))
            return module.eval()
        except Exception as error:
            raise CheckpointError(
                f"{self.name} does not load {directory}: {type(error).__name__}: {error}"
            ) from error

    def family(self, name: str) -> str:
        """A short name of the group of architectures that share their code."""
        return name

    def reductions(self, architecture: Architecture, batch_size: int) -> Iterator[Reduction]:
        """Smaller pictures for the same model; some may turn out not to fit."""
        whole = self.example_inputs(architecture, batch_size)
        if any(x.ndim < 4 for x in whole):
            return
        for side in (32, 64, 96, 128):
            if side < min(whole[0].shape[-2:]):
                smaller = tuple(x[..., :side, :side].contiguous() for x in whole)
                yield Reduction(f"input of {side} x {side}", architecture, smaller)
