"""timm as a plugin: models of its registry and directories or repos in its hub layout."""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from zooalign.errors import CheckpointError, ModelReferenceError
from zooalign.graph.axis_names import AxisNames
from zooalign.hooks.hookspecs import hookimpl
from zooalign.lazy import lazy_module
from zooalign.zoo.adapters import Architecture, BaseAdapter, LibraryAdapter, Reduction
from zooalign.zoo.json_files import flattened
from zooalign.zoo.layout import CONFIG_NAME, kept_config
from zooalign.zoo.references import Reference

if TYPE_CHECKING:
    import timm
    import torch
    from torch import Tensor, nn

    from zooalign.zoo import building, images
    from zooalign.zoo.images import Preprocess
else:
    timm = lazy_module("timm")
    torch = lazy_module("torch")
    building = lazy_module("zooalign.zoo.building")
    images = lazy_module("zooalign.zoo.images")

__all__ = ["TimmAdapter"]

# Arguments of timm.create_model that bring weights or files in; a reference names those itself.
_RESERVED = frozenset(
    {"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}
)
# Entries of a pretrained_cfg that say where its weights come from, or name the architecture again.
_WEIGHTS_ENTRIES = {"url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict"}
_DATA_ENTRIES = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
_NOT_WRITTEN = _WEIGHTS_ENTRIES | {"custom_load", "architecture", "label_offset", "tag"}
# Sides of images: most strides and windows of timm's models divide one of the first.
_SIDES = (64, 96, 128, 160, 192, 224, 256, 288, 384, 448, 512)
_LAYERS = 2  # of each stage: alternating blocks (shifted windows) come in pairs
_SEED = 0
_UNKNOWN_OPTION = re.compile(
    r"(?P<class>\w+)(\.__init__)?\(\) got an unexpected keyword argument '(?P<option>\w+)'"
)
# What most constructors of timm take, also by way of others.
_OPTIONS = ("num_classes", "in_chans", "img_size", "global_pool", "drop_rate", "drop_path_rate")
# Layers and widths are counted in thousands; constructors make lists of as many entries.
_LARGEST_NUMBER = 2**22
_MOST_INPUTS = 2**26


@hookimpl
def zooalign_library_adapters() -> list[LibraryAdapter]:
    return [TimmAdapter()]


class TimmAdapter(BaseAdapter):
    """Models of timm.

    An architecture's config is timm's ``config.json``; that of ``timm:NAME`` has only
    ``architecture`` and ``model_args``.
    """

    name = "timm"
    # As timm.models.load_state_dict, which takes averaged weights where there are some.
    states = ("state_dict_ema", "model_ema")

    def from_reference(self, reference: Reference) -> Architecture:
        options = reference.kwargs
        _require_known(reference.target.partition(".")[0], str(reference))
        if reserved := sorted(_RESERVED & set(options)):
            raise ModelReferenceError(
                f"'{reference}': {reserved[0]} is not an option of an architecture; trained "
                "weights are named by their hub repo, e.g. timm/resnet18.a1_in1k"
            )
        _require_sensible(options, str(reference))
        return Architecture(
            self.name, reference.target, {"architecture": reference.target, "model_args": options}
        )

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        name = config.get("architecture")
        if not isinstance(name, str):
            return None
        if "pretrained_cfg" not in config and not timm.is_model(name):
            return None
        _require_known(name, "config.json")
        split = dict(config)
        if "pretrained_cfg" not in split:  # the layout of timm before 0.8: one flat dict
            split = {"architecture": split.pop("architecture"), "pretrained_cfg": split}
        for part in ("pretrained_cfg", "model_args"):
            if not isinstance(split.get(part, {}), Mapping):
                raise ModelReferenceError(f"config.json: {part} must be an object")
        if reserved := sorted(_RESERVED & set(split.get("model_args", {}))):
            raise ModelReferenceError(
                f"config.json: model_args must not hold {', '.join(reserved)}"
            )
        _require_sensible(split.get("model_args", {}), "config.json: model_args")
        return Architecture(self.name, name, split)

    def create(self, architecture: Architecture) -> nn.Module:
        return _create(architecture)

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        shape = (batch_size, *_data_config(architecture)["input_size"])
        if torch.device(device).type == "meta":
            return (torch.empty(shape, device="meta"),)
        generator = torch.Generator().manual_seed(_SEED)
        return (torch.randn(shape, generator=generator).to(device),)

    def preprocess(self, architecture: Architecture) -> Preprocess:
        config = _data_config(architecture)
        # normalize=False ends timm's resizing and cropping with a uint8 tensor.
        spatial = timm.data.create_transform(**config, is_training=False, normalize=False)
        return images.Preprocess(
            spatial, config["input_size"][0], tuple(config["mean"]), tuple(config["std"])
        )

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        if kept := kept_config(source_dir):
            return kept
        whole = "pretrained_cfg" in architecture.config
        config = architecture.config if whole else _hub_config(architecture)
        return {CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode()}

    def load(self, directory: Path) -> nn.Module:
        try:
            module: nn.Module = timm.create_model(f"local-dir:{directory}", pretrained=True)
            return module.eval()
        except Exception as error:
            raise CheckpointError(
                f"timm {timm.__version__} does not load {directory}: {type(error).__name__}: "
                f"{error}"
            ) from error

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """The architecture without its tag, and the arguments of its constructor but dropout."""
        arguments = flattened(architecture.config.get("model_args", {}))
        kept = {name: value for name, value in arguments.items() if "drop" not in name}
        return {"architecture": architecture.name.partition(".")[0], **kept}

    def axis_names(self, architecture: Architecture, directory: Path | None) -> Sequence[AxisNames]:
        """The labels; timm writes their names as a list, or by number."""
        config = architecture.config
        stated = config.get("label_names") or config.get("labels") or {}
        count = config.get("num_classes", len(stated))
        if isinstance(stated, list):
            stated = {str(number): name for number, name in enumerate(stated)}
        if not isinstance(stated, Mapping) or not isinstance(count, int) or count < 1:
            return ()
        names = (stated.get(str(number)) for number in range(count))
        return (AxisNames("labels", tuple(None if n is None else str(n) for n in names)),)

    def token_tensors(self, module: nn.Module) -> Sequence[str]:
        return ()

    def preprocessing(
        self, architecture: Architecture, directory: Path | None
    ) -> Mapping[str, Any]:
        """What the configuration says of images: size, mean, deviation, cropping."""
        stated = architecture.config.get("pretrained_cfg", {})
        return {
            f"{CONFIG_NAME}: pretrained_cfg.{name}": stated[name]
            for name in _DATA_ENTRIES
            if name in stated
        }

    def renamed(
        self, architecture: Architecture, names: Sequence[tuple[AxisNames, AxisNames]]
    ) -> Architecture:
        config = dict(architecture.config)
        for _, new in names:
            config = _with_classes(config, len(new))
            config.pop("labels", None)
            config.pop("label_descriptions", None)
            if new.known:
                config["label_names"] = {
                    str(n): x for n, x in enumerate(new.names) if x is not None
                }
        return Architecture(architecture.library, architecture.name, config)

    def headless(self, architecture: Architecture) -> tuple[Architecture, str]:
        config = _with_classes(dict(architecture.config), 0)
        for field in ("label_names", "label_descriptions", "labels"):
            config.pop(field, None)
        return Architecture(architecture.library, architecture.name, config), ""

    def renamed_files(
        self,
        architecture: Architecture,
        files: Mapping[str, bytes],
        names: Sequence[tuple[AxisNames, AxisNames]],
        others: Sequence[Mapping[str, bytes]],
    ) -> dict[str, bytes]:
        return {**files, **self.config_files(architecture, None)}

    def names(self) -> Sequence[str]:
        """All architectures of timm's registry, without the deprecated names."""
        return tuple(timm.list_models())

    def family(self, name: str) -> str:
        """The module of timm that builds the model, such as ``resnet``."""
        return str(timm.models.model_entrypoint(name).__module__).rpartition(".")[2]

    def parameters(self, architecture: Architecture) -> int:
        module = _without_values(partial(_create, architecture))
        return sum(parameter.numel() for parameter in module.parameters())

    def reductions(self, architecture: Architecture, batch_size: int) -> Iterator[Reduction]:
        if "pretrained_cfg" not in architecture.config:
            whole = self.example_inputs(architecture, batch_size)
            yield from _reductions(architecture, whole, self.build(architecture))


def _with_classes(config: dict[str, Any], count: int) -> dict[str, Any]:
    """The configuration with another number of classes, wherever it is stated."""
    config["num_classes"] = count
    for part in ("pretrained_cfg", "model_args"):
        if "num_classes" in config.get(part, {}):
            config[part] = {**config[part], "num_classes": count}
    return config


def _require_known(name: str, where: str) -> None:
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3)
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise ModelReferenceError(
            f"{where}: timm {timm.__version__} has no architecture {name!r}{hint}"
        )


def _require_sensible(value: Any, where: str) -> None:
    """Refuse numbers that no architecture has, anywhere in the arguments of a constructor."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _require_sensible(item, f"{where}: {key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _require_sensible(item, where)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST_NUMBER:
        raise ModelReferenceError(f"{where} is {value}, which is not a size of a network")


def _create(architecture: Architecture) -> nn.Module:
    config = architecture.config
    module: nn.Module
    try:
        if "pretrained_cfg" not in config:
            module = timm.create_model(config["architecture"], **config.get("model_args", {}))
            return module
        # timm reads its config from a directory only, and its reader knows every past layout.
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "config.json").write_text(json.dumps(config))
            module = timm.create_model(f"local-dir:{directory}", pretrained=False)
            return module
    except Exception as error:
        raise ModelReferenceError(
            f"timm {timm.__version__} cannot build {architecture.name!r}: "
            f"{type(error).__name__}: {error}{_near_option(architecture.name, str(error))}"
        ) from error


def _near_option(name: str, message: str) -> str:
    """The option that one the constructor does not know was probably meant to be."""
    unknown = _UNKNOWN_OPTION.search(message)
    if unknown is None:
        return ""
    module = sys.modules[timm.models.model_entrypoint(name.partition(".")[0]).__module__]
    constructor = getattr(module, unknown["class"], None)
    known = {*_OPTIONS, *(inspect.signature(constructor).parameters if constructor else ())}
    close = get_close_matches(unknown["option"], known, n=1)
    return f"; did you mean {close[0]}=?" if close else ""


def _data_config(architecture: Architecture) -> dict[str, Any]:
    """timm's data config of an architecture; building the module for it is done once."""
    return dict(_cached_data_config(architecture.name, json.dumps(architecture.config)))


@lru_cache(maxsize=32)
def _cached_data_config(name: str, config: str) -> dict[str, Any]:
    make = partial(_create, Architecture(TimmAdapter.name, name, json.loads(config)))
    return _resolve_data_config(_without_values(make), json.loads(config))


def _resolve_data_config(module: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """timm's data config of ``module``, at the size and channels it was built with.

    Older versions of timm answer with the pretrained weights' size and channels whatever
    ``img_size`` and ``in_chans`` were given.
    """
    resolved = timm.data.resolve_model_data_config(module)
    channels, *size = resolved["input_size"]
    img_size = config.get("model_args", {}).get("img_size")
    if img_size is not None:
        size = [img_size, img_size] if isinstance(img_size, int) else list(img_size)
    elif getattr(getattr(module, "patch_embed", None), "img_size", None) is not None:
        size = list(module.patch_embed.img_size)  # type: ignore[union-attr, arg-type]
    channels = config.get("model_args", {}).get("in_chans", getattr(module, "in_chans", channels))
    for key in ("mean", "std"):
        values = resolved[key]
        if not isinstance(values, list | tuple) or not values or not all(map(_is_finite, values)):
            raise ModelReferenceError(f"{key} of the images is {values!r}, not a list of numbers")
        values = tuple(values)
        if len(values) not in (1, channels):
            values = (sum(values) / len(values),)
        resolved[key] = values * (channels if len(values) == 1 else 1)
    shape = (channels, *size)
    if not all(isinstance(n, int) and n > 0 for n in shape) or math.prod(shape) > _MOST_INPUTS:
        raise ModelReferenceError(
            f"an input of size {shape} (channels, height, width) is not an image"
        )
    return {**resolved, "input_size": shape}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _hub_config(architecture: Architecture) -> dict[str, Any]:
    """A ``config.json`` for an architecture of the registry."""
    module = building.build_on_meta(partial(_create, architecture))
    pretrained = {
        key: value
        for key, value in module.pretrained_cfg.items()  # type: ignore[union-attr, operator]
        if value is not None and key not in _NOT_WRITTEN
    }
    data = _resolve_data_config(module, architecture.config)
    pretrained |= {key: data[key] for key in _DATA_ENTRIES}
    if pretrained.get("fixed_input_size"):
        pretrained.pop("test_input_size", None)
    pretrained["num_classes"] = module.num_classes
    return {
        "architecture": architecture.name.partition(".")[0],
        "num_classes": module.num_classes,
        "num_features": module.num_features,
        "model_args": architecture.config.get("model_args", {}),
        "pretrained_cfg": pretrained,
    }


def _without_values(make: Callable[[], nn.Module]) -> nn.Module:
    """``make()`` with everything on meta, for what needs no value, not even of buffers."""
    try:
        with torch.device("meta"):
            return make()
    except Exception:  # a few constructors compute with values
        return building.build_on_meta(make)


def _reductions(
    architecture: Architecture, whole: Sequence[Tensor], module: nn.Module
) -> Iterator[Reduction]:
    """Smaller images for the same model, then a model for smaller images, then fewer layers."""
    (image,) = whole
    sides = [side for side in _SIDES if side < min(image.shape[2:])]
    variants = [("", architecture)]
    if fewer := _fewer_layers(module):
        how = ", ".join(f"{key}={value}" for key, value in fewer.items())
        variants.append((how, _with_args(architecture, **fewer)))
    for how, variant in variants:
        lead = f"{how}, " if how else ""
        for side in sides:
            yield Reduction(f"{lead}input of {side} x {side}", variant, _crop(image, side))
        for side in sides:
            resized = _with_args(variant, img_size=side)
            yield Reduction(f"{lead}img_size={side}", resized, _crop(image, side))
        if how:
            yield Reduction(how, variant, tuple(whole))


def _with_args(architecture: Architecture, **options: Any) -> Architecture:
    arguments = {**architecture.config.get("model_args", {}), **options}
    return replace(architecture, config={**architecture.config, "model_args": arguments})


def _crop(image: Tensor, side: int) -> tuple[Tensor, ...]:
    return (image[..., :side, :side].contiguous(),)


def _fewer_layers(module: nn.Module) -> dict[str, Any]:
    """Options that make the model's class build fewer layers, if it has such options."""
    options = _options(module)
    if "depth" in options:
        return {"depth": _LAYERS}
    counts = options.get("stages")  # Hiera names its numbers of layers so
    if isinstance(counts, tuple) and all(isinstance(count, int) for count in counts):
        return {"stages": [_LAYERS] * len(counts)}
    stages = getattr(module, "stages", None) or getattr(module, "layers", None)
    for name in ("depths", "layers"):
        if name in options and isinstance(stages, (torch.nn.Sequential, torch.nn.ModuleList)):
            return {name: [_LAYERS] * len(stages)}
    return {}


def _options(module: nn.Module) -> dict[str, Any]:
    """Names and defaults of the options of a model's class, and of its configuration's fields.

    A class that takes its configuration as ``cfg`` and any other options beside it reads those in
    place of fields.
    """
    parameters = inspect.signature(type(module)).parameters
    options = {name: parameter.default for name, parameter in parameters.items()}
    takes_config = "cfg" in parameters and "kwargs" in parameters
    kind = parameters["cfg"].annotation if takes_config else None
    for candidate in (kind, *get_args(kind)):
        if is_dataclass(candidate):
            options |= {field.name: field.default for field in fields(candidate)}
    return options
