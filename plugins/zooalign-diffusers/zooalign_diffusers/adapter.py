"""The library adapter: references, ``config.json``, modules, inputs and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.plugins import (
    Architecture,
    BaseAdapter,
    CheckpointError,
    DataError,
    ModelReferenceError,
    Reference,
    flattened,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from zooalign.plugins import Batches, Part, Preprocess, TensorInfo

    Measure = Callable[[Any, Any], Tensor]

__all__ = ["DiffusersAdapter"]

_NAME = "diffusers"
_CONFIG_NAME = "config.json"


class DiffusersAdapter(BaseAdapter):
    """An architecture's name is its model class; its config has the fields of ``config.json``."""

    name = _NAME
    weights_name = "diffusion_pytorch_model.safetensors"

    def from_reference(self, reference: Reference) -> Architecture:
        from zooalign_diffusers import model_classes

        where, name = str(reference), reference.target
        model_class = model_classes.class_named(name, where)
        options = dict(reference.kwargs)
        size = options.pop("size", None)
        if size not in (None, "small"):
            raise ModelReferenceError(f"'{where}': size={size!r}; there is size=small only")
        known = model_classes.options_of(model_class)
        for option in options:
            if option not in known:
                close = get_close_matches(option, known, n=3)
                hint = f"; similar: {', '.join(close)}" if close else ""
                raise ModelReferenceError(f"'{where}': {name} has no field {option!r}{hint}")
        small = dict(model_classes.entry_named(name, where).small) if size else {}
        return Architecture(_NAME, name, json.loads(json.dumps({**small, **options})))

    def recognise(self, config: Mapping[str, Any], files: Sequence[str]) -> Architecture | None:
        name = config.get("_class_name")
        if not isinstance(name, str) or "_diffusers_version" not in config:
            return None
        from zooalign_diffusers import model_classes

        if "quantization_config" in config:
            raise ModelReferenceError(
                f"{_CONFIG_NAME}: quantised weights have no permutation spec; take the "
                "checkpoint that they were made of"
            )
        model_classes.class_named(name, _CONFIG_NAME)
        kept = {key: value for key, value in config.items() if not key.startswith("_")}
        return Architecture(_NAME, name, kept)

    def stored_parts(
        self, architecture: Architecture, infos: Mapping[str, TensorInfo]
    ) -> Sequence[Part] | None:
        """Tensors of a file in the layout of the program that the model comes from."""
        from zooalign_diffusers.single_file import stored_parts

        return stored_parts(architecture, infos)

    def keeps_layout(self, architecture: Architecture, names: Iterable[str]) -> bool:
        """Whether a file with tensors of these names is loaded by ``from_single_file``."""
        from zooalign_diffusers.single_file import in_original_layout

        return in_original_layout(architecture, names)

    def create(self, architecture: Architecture) -> nn.Module:
        from zooalign_diffusers.building import create

        return create(architecture)

    def example_inputs(
        self, architecture: Architecture, batch_size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        from zooalign_diffusers.building import inputs_for

        tensors, _ = inputs_for(architecture, batch_size)
        return tuple(tensor.to(device) for tensor in tensors.values())

    def preprocess(self, architecture: Architecture) -> Preprocess:
        """For arrays: those of floats are taken as they are, pixels are refused."""
        from zooalign.plugins import Preprocess

        def refuse(image: Any) -> Tensor:
            raise DataError(
                f"diffusers:{architecture.name}: pixels in an array are not preprocessed; give a "
                "folder of pictures, or floats as the model takes them"
            )

        return Preprocess(refuse)

    def open_data(
        self,
        architecture: Architecture,
        directory: Path | None,
        text: str,
        *,
        batch_size: int,
        limit: int | None,
    ) -> Batches | None:
        """A folder of pictures, with noise for a denoiser; None for arrays."""
        from zooalign.plugins import DataReference

        reference = DataReference.parse(text)
        if not Path(reference.path).is_dir():
            return None
        from zooalign_diffusers.denoising import open_pictures

        return open_pictures(architecture, directory, reference, batch_size=batch_size, limit=limit)

    def scoring(self, architecture: Architecture) -> tuple[Measure, None]:
        """Mean squared error of what was predicted."""
        from zooalign_diffusers.denoising import scoring

        return scoring(architecture)

    def computing_fields(self, architecture: Architecture) -> Mapping[str, Any]:
        """The class, and the fields of its constructor but those of dropout and of pictures."""
        from zooalign_diffusers import model_classes

        model_class = model_classes.class_named(architecture.name, _NAME)
        fields = flattened(model_classes.complete(model_class, architecture.config))
        kept = {name: value for name, value in fields.items() if "dropout" not in name}
        return {"_class_name": architecture.name, **kept}

    def config_files(self, architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
        if source_dir is not None and (source_dir / _CONFIG_NAME).is_file():
            return {_CONFIG_NAME: (source_dir / _CONFIG_NAME).read_bytes()}
        from zooalign_diffusers.building import config_json

        return {_CONFIG_NAME: config_json(architecture)}

    def load(self, directory: Path) -> nn.Module:
        import diffusers

        from zooalign_diffusers import model_classes
        from zooalign_diffusers.building import positional_like
        from zooalign_diffusers.single_file import single_file_in

        try:
            config = json.loads((directory / _CONFIG_NAME).read_text(encoding="utf-8"))
            architecture = self.recognise(config, [])
            if architecture is None:
                raise ValueError("its config.json names no model class")
            model_class = model_classes.class_named(architecture.name, _CONFIG_NAME)
            with model_classes.quiet():
                if (original := single_file_in(directory, architecture)) is not None:
                    model = model_class.from_single_file(
                        str(original), config=str(directory), local_files_only=True
                    )
                else:
                    model = model_class.from_pretrained(
                        directory, local_files_only=True, use_safetensors=True
                    )
        except Exception as error:
            raise CheckpointError(
                f"diffusers {diffusers.__version__} does not load {directory}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return positional_like(architecture, model).eval()

    def names(self) -> Sequence[str]:
        """Every model class of diffusers, made small."""
        from zooalign_diffusers.model_classes import class_names

        return tuple(f"{name}?size=small" for name in class_names())

    def family(self, name: str) -> str:
        """The model class: each has code of its own."""
        return name.partition("?")[0]
