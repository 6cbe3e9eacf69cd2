"""torchvision as a plugin: the models of its registry, with files of weights.

torchvision has no layout of a directory. What is written holds a ``config.json`` with the name of
the builder and its arguments, and is loaded by building the model and loading its state dict.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import CheckpointError, DataError, ModelReferenceError
from zooalign.hooks.hookspecs import hookimpl
from zooalign.lazy import lazy_module
from zooalign.zoo.adapters import Architecture, BaseAdapter, LibraryAdapter, Reduction
from zooalign.zoo.layout import CONFIG_NAME, WEIGHTS_NAME, kept_config
from zooalign.zoo.references import Reference

if TYPE_CHECKING:
    import torch
    import torchvision
    from torch import Tensor, nn

    from zooalign.zoo import checkpoint, images
    from zooalign.zoo.images import Preprocess
else:
    torch = lazy_module("torch")
    torchvision = lazy_module("torchvision")
    checkpoint = lazy_module("zooalign.zoo.checkpoint")
    images = lazy_module("zooalign.zoo.images")

__all__ = ["TorchvisionAdapter"]

_MARK = "torchvision_model"
_ARGUMENTS = "model_args"
# Arguments of builders that bring weights in; a reference names those itself.
_RESERVED = frozenset({"weights", "weights_backbone", "progress", "quantize"})
# Segmentation and optical flow take pictures of any size.
_SIDES = {"segmentation": 64, "optical_flow": 128}
_FRAMES = 16
_SEED = 0


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    return [TorchvisionAdapter()]


class TorchvisionAdapter(BaseAdapter):
    """An architecture's config has the arguments of its builder."""

    name = "torchvision"

    def from_reference(self, reference: Reference) -> Architecture:
        _builder(reference.target, f"'{reference}'")
        if reserved := sorted(_RESERVED & set(reference.kwargs)):
            raise ModelReferenceError(
                f"'{reference}': {reserved[0]} is not an option of an architecture; trained "
                "weights are named by their file (--model gives the architecture)"
            )
        return Architecture(self.name, reference.target, dict(reference.kwargs))

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        name, arguments = config.get(_MARK), config.get(_ARGUMENTS, {})
        if not isinstance(name, str):
            return None
        _builder(name, CONFIG_NAME)
        if not isinstance(arguments, Mapping) or _RESERVED & set(arguments):
            raise ModelReferenceError(
                f"{CONFIG_NAME}: {_ARGUMENTS} must be an object without "
                f"{', '.join(sorted(_RESERVED))}"
            )
        return Architecture(self.name, name, dict(arguments))

    def create(self, architecture: Architecture) -> nn.Module:
        builder = _builder(architecture.name, f"torchvision:{architecture.name}")
        takes = inspect.signature(builder).parameters
        nothing = {name: None for name in ("weights", "weights_backbone") if name in takes}
        try:
            module: nn.Module = builder(**nothing, **architecture.config)
            return module
        except Exception as error:
            raise ModelReferenceError(
                f"torchvision {torchvision.__version__} cannot build {architecture.name!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        kind, (height, width) = _kind(architecture.name), _side(architecture)
        frames = (_FRAMES,) if kind == "video" else ()
        shape = (batch_size, 3, *frames, height, width)
        generator = torch.Generator().manual_seed(_SEED)
        pictures = 2 if kind == "optical_flow" else 1
        return tuple(torch.randn(shape, generator=generator).to(device) for _ in range(pictures))

    def preprocess(self, architecture: Architecture) -> Preprocess:
        """As the newest weights that torchvision has for the builder were evaluated."""
        preset, transforms = _preset(architecture.name), torchvision.transforms
        if _kind(architecture.name) in ("video", "optical_flow"):
            raise DataError(
                f"torchvision:{architecture.name}: takes more than one picture at a time; give "
                "float arrays, or py:module:callable as data"
            )
        steps = [transforms.Resize(preset.resize_size, interpolation=preset.interpolation)]
        if crop := getattr(preset, "crop_size", None):
            steps.append(transforms.CenterCrop(crop))
        spatial = transforms.Compose([*steps, transforms.PILToTensor()])
        return images.Preprocess(spatial, 3, tuple(preset.mean), tuple(preset.std))

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """The builder and its arguments but those of dropout."""
        kept = {name: value for name, value in architecture.config.items() if "drop" not in name}
        return {_MARK: architecture.name, **kept}

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        config = {_MARK: architecture.name, _ARGUMENTS: dict(architecture.config)}
        own = kept_config(source_dir)
        if own and _MARK in json.loads(own[CONFIG_NAME]):
            return own
        return {CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode()}

    def load(self, directory: Path) -> nn.Module:
        try:
            config = json.loads((directory / CONFIG_NAME).read_text(encoding="utf-8"))
            architecture = self.recognise(config, [])
            if architecture is None:
                raise ValueError(f"its {CONFIG_NAME} names no model of torchvision")
            module = self.create(architecture)
            module.load_state_dict(dict(checkpoint.open_checkpoint(directory / WEIGHTS_NAME)))
            return module.eval()
        except Exception as error:
            raise CheckpointError(
                f"torchvision {torchvision.__version__} does not load {directory}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def names(self) -> Sequence[str]:
        """All models of torchvision's registry but the quantised ones."""
        return tuple(
            name for name in torchvision.models.list_models() if not name.startswith("quantized_")
        )

    def family(self, name: str) -> str:
        """The module of torchvision that builds the model, such as ``resnet``."""
        return _module_of(name).rpartition(".")[2]

    def parameters(self, architecture: Architecture) -> int:
        return sum(parameter.numel() for parameter in self.build(architecture).parameters())

    def reductions(self, architecture: Architecture, batch_size: int) -> Iterator[Reduction]:
        """Smaller pictures, where a model takes any size."""
        whole = self.example_inputs(architecture, batch_size)
        for side in (32, 64, 96, 128):
            if side < min(whole[0].shape[-2:]):
                smaller = tuple(x[..., :side, :side].contiguous() for x in whole)
                yield Reduction(f"input of {side} x {side}", architecture, smaller)


def _builder(name: str, where: str) -> Any:
    known = torchvision.models.list_models()
    if name not in known:
        close = get_close_matches(name, known, n=3)
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise ModelReferenceError(
            f"{where}: torchvision {torchvision.__version__} has no model {name!r}{hint}"
        )
    if name.startswith("quantized_"):
        raise ModelReferenceError(
            f"{where}: quantised models have no permutation spec; take {name[len('quantized_') :]}"
        )
    if _kind(name) == "detection":
        raise ModelReferenceError(
            f"{where}: detection models take a list of pictures and choose boxes by their values, "
            "which no trace holds; derive the spec of a part in Python: "
            "zooalign.derive_spec(model.backbone, inputs)"
        )
    return torchvision.models.get_model_builder(name)


def _module_of(name: str) -> str:
    return str(torchvision.models.get_model_builder(name).__module__)


def _kind(name: str) -> str:
    """The part of ``torchvision.models`` that a builder stands in: ``video``, ``resnet``, ..."""
    return _module_of(name).split(".")[2]


def _preset(name: str) -> Any:
    weights = torchvision.models.get_model_weights(name)
    return list(weights)[-1].transforms()


def _side(architecture: Architecture) -> tuple[int, int]:
    """Height and width of a picture: as the newest weights take it, or of ``image_size``."""
    kind = _kind(architecture.name)
    if kind in _SIDES:
        return (_SIDES[kind], _SIDES[kind])
    if isinstance(size := architecture.config.get("image_size"), int):
        return (size, size)
    crop = list(_preset(architecture.name).crop_size)
    return (crop[0], crop[-1])
