"""LoRA adapters in peft's format, carried from one model's order of units to another's.

An adapter adds ``scale * B @ A`` to a weight. Where a permutation moves the weight's inputs and
outputs, the columns of A and the rows of B move with them; the rank in between is the adapter's
own, of whatever size. So an adapter that was trained on ``source`` serves the aligned ``source``,
and with it lives in the order of the model that was aligned to. peft itself is not needed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from zooalign.errors import CheckpointError, MergeError
from zooalign.symmetry import Permutation, PermutationSpec
from zooalign.symmetry.apply import gathered
from zooalign.text import first_line
from zooalign.zoo.files import new_directory
from zooalign.zoo.json_files import read_object

__all__ = ["Adapter", "carry", "merged", "read_adapter", "write_adapter"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_KEY = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector)(?:\.(?P<kind>weight|bias))?"
)
# Rows of an embedding that were trained alone.
_TOKENS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_(?:delta|original)(?:\..+)?")
_SAVED = re.compile(r"\.modules_to_save(?:\.\w+)?(?=\.)")
_LARGEST_CONFIG = 10_000_000
# Beside the weights, and carried along as they are.
_BESIDE = ("README.md",)


@dataclass(frozen=True)
class Adapter:
    """``config`` is the content of ``adapter_config.json``; ``tensors`` by peft's own names."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_adapter(directory: Path | str) -> Adapter:
    """Read an adapter that peft saved.

    Raises
    ------
    CheckpointError
        A file is missing or malformed, or it is no LoRA adapter.
    """
    directory = Path(directory)
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise CheckpointError(
                f"{directory}: no adapter with {CONFIG} and {WEIGHTS}: it has no {name}; give the "
                "directory that peft's save_pretrained wrote"
            )
    config = read_object(directory / CONFIG, _LARGEST_CONFIG, CheckpointError)
    try:
        with safe_open(directory / WEIGHTS, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except Exception as error:  # of the library, in several kinds
        raise CheckpointError(
            f"{directory / WEIGHTS}: cannot be read as safetensors: {first_line(error)}"
        ) from error
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{directory}: its peft_type is {kind!r}; LORA is read")
    if config.get("target_parameters"):
        raise CheckpointError(f"{directory}: adapters of fused parameters are not read")
    return Adapter(config, tensors)


def carry(adapter: Adapter, spec: PermutationSpec, permutation: Permutation) -> Adapter:
    """The adapter for the model that ``permutation`` makes of the one it was trained on.

    Parameters
    ----------
    spec, permutation:
        Of the model (not of the adapter): what ``zooalign align`` found and wrote.

    Raises
    ------
    CheckpointError
        If a tensor belongs to no parameter of the model, or has another shape.
    MergeError
        If a permutation mixes the two axes of a weight, so that no low rank is kept.
    """
    moved = {}
    for name, tensor in adapter.tensors.items():
        key = _KEY.fullmatch(name.removeprefix(_PREFIX))
        if key is None:  # a whole parameter (a bias, or one of modules_to_save), or rows of one
            moved[name] = _whole(spec, permutation, name, tensor)
            continue
        parameter = _known(spec, f"{key['module']}.weight", name)
        index = _axis_index(adapter, spec, permutation, parameter, key)
        if index is None:
            moved[name] = tensor
            continue
        axis = _axis(key, tensor)
        if tensor.shape[axis] != index.size:
            raise CheckpointError(
                f"'{name}' has shape {tuple(tensor.shape)}, which does not fit '{parameter}' of "
                f"shape {spec.shapes[parameter]}"
            )
        moved[name] = tensor.index_select(axis, torch.from_numpy(index))
    return Adapter(dict(adapter.config), moved)


def _whole(spec: PermutationSpec, permutation: Permutation, name: str, tensor: Tensor) -> Tensor:
    """A parameter that the adapter replaces. Where no unit moves it may be of another size.

    So it is for embeddings and heads with more tokens than the model's.
    """
    plain = _SAVED.sub("", name.removeprefix(_PREFIX))
    tokens = _TOKENS.fullmatch(plain)
    parameter = _known(spec, f"{tokens['module']}.weight" if tokens else plain, name)
    shape = spec.shapes[parameter]
    for axes, index in spec.sources(permutation, parameter):
        still = [a for a in range(len(shape)) if a not in axes]
        if len(shape) != tensor.ndim or any(shape[a] != tensor.shape[a] for a in axes):
            raise CheckpointError(
                f"'{name}' has shape {tuple(tensor.shape)}, which does not fit '{parameter}' of "
                f"shape {shape}: axes {still} alone may have another size"
            )
        tensor = gathered(tensor, axes, index)
    return tensor


def _known(spec: PermutationSpec, parameter: str, key: str) -> str:
    """A name of the model's state dict; a base model's names lack the prefix of one with a head."""
    if parameter in spec.shapes:
        return parameter
    ends = [name for name in spec.shapes if name.endswith(f".{parameter}")]
    starts = [name for name in spec.shapes if parameter.endswith(f".{name}")]
    if len(ends) == 1 or (not ends and len(starts) == 1):
        return (ends or starts)[0]
    raise CheckpointError(
        f"'{key}' of the adapter belongs to '{parameter}', and the model has no such parameter: it "
        "was trained on another architecture"
    )


def _inputs_first(adapter: Adapter, shape: tuple[int, ...], key: re.Match[str]) -> bool:
    """Whether a weight has its inputs on the first axis, as GPT-2's Conv1D and embeddings do."""
    if key["part"].startswith("lora_embedding"):
        return True
    return bool(adapter.config.get("fan_in_fan_out")) and len(shape) == 2


def _axis_index(
    adapter: Adapter,
    spec: PermutationSpec,
    permutation: Permutation,
    parameter: str,
    key: re.Match[str],
) -> np.ndarray | None:
    """Where the positions of the adapter's axis come from; None where they stay."""
    first = _inputs_first(adapter, spec.shapes[parameter], key)
    reads = key["part"].endswith("_A")
    wanted = (0 if first else 1) if reads else (1 if first else 0)
    for axes, index in spec.sources(permutation, parameter):
        if wanted not in axes:
            continue
        if len(axes) > 1:
            raise MergeError(
                f"'{parameter}': the permutation moves entries over axes {axes} together, and a "
                "product of low rank cannot follow"
            )
        return index
    return None


def _axis(key: re.Match[str], tensor: Tensor) -> int:
    """The axis of an adapter's tensor that lies along the weight's inputs or outputs."""
    if key["part"].endswith("_A"):
        return 1
    if key["part"] == "lora_magnitude_vector":
        return max(range(tensor.ndim), key=lambda axis: tensor.shape[axis])
    return 0


def merged(adapter: Adapter, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model with the adapter added in, as peft's ``merge_and_unload`` makes it.

    Raises
    ------
    CheckpointError
        If the adapter does not fit, or does more than add a product (DoRA).
    """
    result = dict(state)
    modules = {}
    for name in adapter.tensors:
        match = _KEY.fullmatch(name.removeprefix(_PREFIX))
        if match is None:
            result[name.removeprefix(_PREFIX)] = adapter.tensors[name]
        elif match["part"] in ("lora_magnitude_vector",) or match["kind"] == "bias":
            raise CheckpointError(f"'{name}': only products of two matrices are merged")
        else:
            modules[match["module"]] = match["part"].startswith("lora_embedding")
    for module, embedding in modules.items():
        key = f"{module}.weight"
        if key not in result:
            raise CheckpointError(f"the model has no '{key}', which the adapter changes")
        result[key] = result[key] + _product(adapter, module, embedding, result[key])
    return result


def _product(adapter: Adapter, module: str, embedding: bool, weight: Tensor) -> Tensor:
    part, end = ("lora_embedding_", "") if embedding else ("lora_", ".weight")
    a = adapter.tensors[f"{_PREFIX}{module}.{part}A{end}"].double()
    b = adapter.tensors[f"{_PREFIX}{module}.{part}B{end}"].double()
    scale = _scale(adapter.config, module, a.shape[0])
    product = scale * (b.flatten(1) @ a.flatten(1))
    inputs_first = embedding or (adapter.config.get("fan_in_fan_out") and weight.ndim == 2)
    return (product.T if inputs_first else product).reshape(weight.shape).to(weight.dtype)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = config.get("lora_alpha", rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def write_adapter(
    adapter: Adapter,
    output: Path | str,
    *,
    like: Path | str | None = None,
    overwrite: bool = False,
) -> None:
    """Write an adapter as peft does; the directory appears whole or not at all.

    ``like`` is the adapter's directory before, whose README is carried along.

    Raises
    ------
    CheckpointError
        If the directory is not empty or cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in adapter.tensors.items()}
    needed = sum(tensor.nbytes for tensor in tensors.values()) + 1_000_000
    with new_directory(output, needed=needed, overwrite=overwrite) as directory:
        (directory / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        text = json.dumps(dict(adapter.config), indent=2, sort_keys=True) + "\n"
        (directory / CONFIG).write_text(text, encoding="utf-8")
        for name in _BESIDE if like is not None else ():
            source = Path(like or "") / name
            if source.is_file():
                (directory / name).write_bytes(source.read_bytes())
