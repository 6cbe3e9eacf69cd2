"""timm's registry as a list: names, families, sizes, and ways to run a model at less cost."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import timm
import torch
from timm.models import model_entrypoint
from torch import Tensor, nn

from zooalign.zoo import building
from zooalign.zoo.adapters import Architecture, Reduction

__all__ = ["family", "names", "parameters", "reductions", "without_values"]

# Sides of images: most strides and windows of timm's models divide one of the first.
_SIDES = (64, 96, 128, 160, 192, 224, 256, 288, 384, 448, 512)
_LAYERS = 2  # of each stage: alternating blocks (shifted windows) come in pairs


def names() -> Sequence[str]:
    """All architectures of timm's registry, without the deprecated names."""
    return tuple(timm.list_models())


def family(name: str) -> str:
    """The module of timm that makes the model, such as ``resnet``."""
    return str(model_entrypoint(name).__module__).rpartition(".")[2]


def parameters(make: Callable[[], nn.Module]) -> int:
    """Number of parameters of ``make()``."""
    return sum(parameter.numel() for parameter in without_values(make).parameters())


def without_values(make: Callable[[], nn.Module]) -> nn.Module:
    """``make()`` with everything on meta, for what needs no value, not even of buffers."""
    try:
        with torch.device("meta"):
            return make()
    except Exception:  # a few constructors compute with values
        return building.build_on_meta(make)


def reductions(
    architecture: Architecture, whole: Sequence[Tensor], module: nn.Module
) -> Iterator[Reduction]:
    """Smaller images for the same model, then a model for smaller images, then fewer layers."""
    (image,) = whole
    sides = [side for side in _SIDES if side < min(image.shape[2:])]
    for side in sides:
        yield Reduction(f"input of {side} x {side}", architecture, _image(image, side))
    for side in sides:
        yield Reduction(f"img_size={side}", _with(architecture, img_size=side), _image(image, side))
    fewer = _fewer_layers(module)
    if fewer:
        shallow = _with(architecture, **fewer)
        how = ", ".join(f"{key}={value}" for key, value in fewer.items())
        for side in sides:
            yield Reduction(f"{how}, input of {side} x {side}", shallow, _image(image, side))
        for side in sides:
            small = _with(shallow, img_size=side)
            yield Reduction(f"{how}, img_size={side}", small, _image(image, side))
        yield Reduction(how, shallow, tuple(whole))


def _with(architecture: Architecture, **options: Any) -> Architecture:
    config: Mapping[str, Any] = architecture.config
    return Architecture(
        architecture.library,
        architecture.name,
        {**config, "model_args": {**config.get("model_args", {}), **options}},
    )


def _image(image: Tensor, side: int) -> tuple[Tensor, ...]:
    return (image[..., :side, :side].contiguous(),)


def _fewer_layers(module: nn.Module) -> dict[str, Any]:
    """Options that make the model's class build fewer layers, if it has such options."""
    options = _options(module)
    if "depth" in options:
        return {"depth": _LAYERS}
    if _counts(options.get("stages")):  # Hiera names its numbers of layers so
        return {"stages": [_LAYERS] * len(options["stages"])}
    stages = getattr(module, "stages", None) or getattr(module, "layers", None)
    for name in ("depths", "layers"):
        if name in options and isinstance(stages, (nn.Sequential, nn.ModuleList)):
            return {name: [_LAYERS] * len(stages)}
    return {}


def _options(module: nn.Module) -> dict[str, Any]:
    """Names and defaults of the options of a model's class, and of its configuration's fields.

    A class that takes its configuration as ``cfg`` and any other options beside it reads those in
    place of fields.
    """
    given = inspect.signature(type(module)).parameters
    options = {name: option.default for name, option in given.items()}
    kind = given["cfg"].annotation if "cfg" in given and "kwargs" in given else None
    for one in (kind, *get_args(kind)):
        if is_dataclass(one):
            options |= {field.name: field.default for field in fields(one)}
    return options


def _counts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(number, int) for number in value)
