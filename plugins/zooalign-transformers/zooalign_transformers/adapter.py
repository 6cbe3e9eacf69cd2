"""The library adapter: references, ``config.json``, modules, inputs and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.plugins import (
    Architecture,
    BaseAdapter,
    CheckpointError,
    DataError,
    ModelReferenceError,
    Reference,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from zooalign.plugins import AxisNames, Batches, Part, Preprocess, TensorInfo

    Measure = Callable[[Any, Any], Tensor]

__all__ = ["TransformersAdapter"]

_NAME = "transformers"


class TransformersAdapter(BaseAdapter):
    """An architecture's config has the model's ``class`` and its ``config`` with ``model_type``."""

    name = _NAME

    def from_reference(self, reference: Reference) -> Architecture:
        from zooalign_transformers import configurations, model_classes, small_configs

        where, model_type = str(reference), reference.target
        options = dict(reference.kwargs)
        task = options.pop("task", None)
        size = options.pop("size", None)
        if size not in (None, "small"):
            raise ModelReferenceError(f"'{where}': size={size!r}; there is size=small only")
        name = model_classes.class_for_task(model_type, task, where)
        fields = configurations.nested(model_type, options, where)
        config = {"model_type": model_type, **fields}
        if size == "small":
            config = small_configs.small_config(name, config, where)
        configurations.make_config(config, where)
        return Architecture(_NAME, model_type, {"class": name, "config": config})

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        model_type = config.get("model_type")
        if not isinstance(model_type, str) or "pretrained_cfg" in config:
            return None
        from zooalign_transformers import model_classes

        where = "config.json"
        named = config.get("architectures")
        if isinstance(named, list) and named and isinstance(named[0], str):
            if "auto_map" in config and not _is_own(model_type):
                raise ModelReferenceError(
                    f"{where}: {named[0]} is code of the repo, which is not run; there is no model "
                    f"type {model_type!r} in transformers itself"
                )
            name = str(model_classes.class_named(named[0], where).__name__)
        else:
            name = model_classes.class_for_task(model_type, None, where)
        kept = {k: v for k, v in config.items() if k not in ("auto_map", "quantization_config")}
        if "quantization_config" in config:
            fields = config["quantization_config"]
            method = fields.get("quant_method") if isinstance(fields, Mapping) else None
            raise ModelReferenceError(
                f"{where}: the weights are quantised ({method or 'by an unknown method'}), and "
                "units of packed weights cannot be moved: align the model that it was made from "
                "and quantise the result, or dequantise it first (model.dequantize(), then "
                "save_pretrained)"
            )
        return Architecture(_NAME, model_type, {"class": name, "config": kept})

    def stored_parts(
        self, architecture: Architecture, infos: Mapping[str, TensorInfo]
    ) -> Sequence[Part] | None:
        """Names and tensors that transformers changes as it loads a checkpoint, such as experts."""
        from zooalign_transformers.checkpoint_conversion import stored_parts

        return stored_parts(architecture, infos)

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """The fields that decide what is computed, defaults filled in, and the model's class."""
        from zooalign_transformers.configurations import computing_fields

        name, config = architecture.config["class"], architecture.config["config"]
        where = f"transformers:{architecture.name}"
        return {
            "architectures": name,
            "model_type": architecture.name,
            **computing_fields(name, config, where),
        }

    def create(self, architecture: Architecture) -> nn.Module:
        from zooalign_transformers.building import create

        return create(architecture)

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        from zooalign_transformers.building import inputs_for

        tensors, _ = inputs_for(architecture, batch_size)
        return tuple(x.to(device) for x in tensors.values())

    def open_data(
        self,
        architecture: Architecture,
        directory: Path | None,
        text: str,
        *,
        batch_size: int,
        limit: int | None,
    ) -> Batches | None:
        """Text, images and sound by the model's own tokenizer or processor."""
        from zooalign_transformers.data import open_own_data

        return open_own_data(architecture, directory, text, batch_size=batch_size, limit=limit)

    def scoring(self, architecture: Architecture) -> tuple[Measure, Measure] | None:
        """Of the tokens that count, for a language model."""
        from zooalign_transformers.scoring import scoring

        return scoring(architecture)

    def architecture_of(self, module: nn.Module) -> Architecture | None:
        """The architecture of one of transformers' own models in memory."""
        if not type(module).__module__.startswith("transformers."):
            return None
        from zooalign_transformers.trainer_inputs import known_architecture

        return known_architecture(module)

    def as_batch(
        self, architecture: Architecture, batch: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Any]:
        """Inputs by position and targets of what a collator makes."""
        from zooalign_transformers.trainer_inputs import as_batch

        return as_batch(architecture, batch)

    def preprocess(self, architecture: Architecture) -> Preprocess:
        """For arrays: those of floats and of tokens are taken as they are, pixels are refused."""
        from zooalign.plugins import Preprocess

        def refuse(image: Any) -> Tensor:
            raise DataError(
                f"transformers:{architecture.name}: pixels in an array are not preprocessed; give "
                "a folder of images, which goes through the model's processor, or floats"
            )

        return Preprocess(refuse)

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        from zooalign_transformers.config_files import config_files

        return config_files(architecture, source_dir)

    def files_beside(self, names: Sequence[str]) -> list[str]:
        """Which of a hub repo's files :meth:`config_files` carries along."""
        from zooalign_transformers.config_files import files_beside

        return files_beside(names)

    def load(self, directory: Path) -> nn.Module:
        import transformers

        from zooalign_transformers.building import positional_like

        try:
            config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            architecture = self.recognise(config, [])
            if architecture is None:
                raise ValueError("its config.json names no model type")
            model_class = getattr(transformers, architecture.config["class"])
            model = model_class.from_pretrained(
                directory, local_files_only=True, use_safetensors=True
            )
        except Exception as error:
            raise CheckpointError(
                f"transformers {transformers.__version__} does not load {directory}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return positional_like(architecture, model).eval()

    def axis_names(self, architecture: Architecture, directory: Path | None) -> Sequence[AxisNames]:
        """The labels of a classifier and the tokens of the tokenizer's files."""
        from zooalign_transformers.names import axis_names

        return axis_names(architecture, directory)

    def token_tensors(self, module: nn.Module) -> Sequence[str]:
        from zooalign_transformers.names import token_tensors

        return token_tensors(module)

    def preprocessing(
        self, architecture: Architecture, directory: Path | None
    ) -> Mapping[str, Any]:
        """What the files of the processor and of the tokenizer say, the chat template too."""
        from zooalign_transformers.names import preprocessing

        return preprocessing(directory)

    def renamed(
        self, architecture: Architecture, names: Sequence[tuple[AxisNames, AxisNames]]
    ) -> Architecture:
        from zooalign_transformers.names import renamed

        return renamed(architecture, names)

    def headless(self, architecture: Architecture) -> tuple[Architecture, str]:
        from zooalign_transformers.names import headless

        return headless(architecture)

    def renamed_files(
        self,
        architecture: Architecture,
        files: Mapping[str, bytes],
        names: Sequence[tuple[AxisNames, AxisNames]],
        others: Sequence[Mapping[str, bytes]],
    ) -> dict[str, bytes]:
        from zooalign_transformers.names import renamed_files

        return renamed_files(architecture, files, names, others)

    def names(self) -> Sequence[str]:
        """Every model type that ``AutoModel`` knows, made small."""
        from zooalign_transformers.model_classes import model_types

        return tuple(f"{model_type}?size=small" for model_type in sorted(model_types()))

    def family(self, name: str) -> str:
        """The model type: each has code of its own."""
        return name.partition("?")[0]

    def modality(self, name: str) -> str:
        """What the model class of a type says that it takes: ``text``, ``image and text``, ..."""
        from zooalign_transformers.model_classes import modalities

        return modalities(self.family(name))


def _is_own(model_type: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
