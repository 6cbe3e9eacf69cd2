"""torchvision as a plugin: the models of its registry, with files of weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zooalign.errors import DataError, ModelReferenceError
from zooalign.hooks.hookspecs import hookimpl
from zooalign.lazy import lazy_module
from zooalign.zoo.adapters import Architecture, LibraryAdapter
from zooalign.zoo.registry_adapter import RegistryAdapter

if TYPE_CHECKING:
    import torchvision
    from torch import nn

    from zooalign.zoo import images
    from zooalign.zoo.images import Preprocess
else:
    torchvision = lazy_module("torchvision")
    images = lazy_module("zooalign.zoo.images")

__all__ = ["TorchvisionAdapter"]

# Segmentation and optical flow take pictures of any size.
_SIDES = {"segmentation": 64, "optical_flow": 128}
_FRAMES = 16
_QUANTISED = "quantized_"


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    return [TorchvisionAdapter()]


class TorchvisionAdapter(RegistryAdapter):
    """Models for classification, segmentation, video and optical flow by their builders."""

    name = "torchvision"
    reserved = frozenset({"weights", "weights_backbone", "progress", "quantize"})

    def names(self) -> Sequence[str]:
        """All models of torchvision's registry."""
        return tuple(torchvision.models.list_models())

    def require(self, name: str, where: str) -> None:
        super().require(name, where)
        if name.startswith(_QUANTISED):
            raise ModelReferenceError(
                f"{where}: quantised models have no permutation spec; take "
                f"{name.removeprefix(_QUANTISED)}"
            )
        if _kind(name) == "detection":
            raise ModelReferenceError(
                f"{where}: detection models take a list of pictures and choose boxes by their "
                "values, which no trace holds; derive the spec of a part in Python: "
                "zooalign.derive_spec(model.backbone, inputs)"
            )

    def make(self, name: str, options: Mapping[str, Any]) -> nn.Module:
        builder = torchvision.models.get_model_builder(name)
        takes = inspect.signature(builder).parameters
        nothing = {key: None for key in ("weights", "weights_backbone") if key in takes}
        module: nn.Module = builder(**nothing, **options)
        return module

    def input_shapes(self, name: str, options: Mapping[str, Any]) -> Sequence[tuple[int, ...]]:
        kind = _kind(name)
        if kind in _SIDES:
            height = width = _SIDES[kind]
        elif isinstance(size := options.get("image_size"), int):
            height = width = size
        else:
            height, *_, width = [*_preset(name).crop_size] * 2
        frames = (_FRAMES,) if kind == "video" else ()
        return [(3, *frames, height, width)] * (2 if kind == "optical_flow" else 1)

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

    def family(self, name: str) -> str:
        """The module of torchvision that builds the model, such as ``resnet``."""
        return _module_of(name).rpartition(".")[2]


def _module_of(name: str) -> str:
    return str(torchvision.models.get_model_builder(name).__module__)


def _kind(name: str) -> str:
    """The part of ``torchvision.models`` that a builder stands in: ``video``, ``resnet``, ..."""
    return _module_of(name).split(".")[2]


def _preset(name: str) -> Any:
    """How pictures were prepared for the newest weights of a builder."""
    weights = torchvision.models.get_model_weights(name)
    return list(weights)[-1].transforms()
