"""Models and batches as a training script has them, as zooalign takes them."""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from zooalign.plugins import (
    Architecture,
    DataError,
    MergeError,
    ModelReferenceError,
    ZooalignWarning,
    build_on_meta,
    open_model,
)

from zooalign_transformers.building import inputs_for, transformers_model
from zooalign_transformers.configurations import make_config
from zooalign_transformers.data import open_own_data
from zooalign_transformers.model_classes import class_named
from zooalign_transformers.scoring import IGNORED, kind_of

__all__ = ["architecture_of", "as_batch", "known_architecture", "positional_batches", "tensors_of"]


def architecture_of(model: nn.Module) -> Architecture:
    """The architecture of a model in memory.

    Raises
    ------
    ModelReferenceError
        If its class is not one of transformers' own (a wrapper, an adapter, code of a repo).
    """
    config: Any = getattr(model, "config", None)
    name = class_named(type(model).__name__, type(model).__module__).__name__
    fields = json.loads(config.to_json_string())
    for key in ("architectures", "auto_map", "transformers_version"):
        fields.pop(key, None)
    return Architecture("transformers", config.model_type, {"class": name, "config": fields})


def known_architecture(model: nn.Module) -> Architecture | None:
    """:func:`architecture_of`; None for a model whose tensors are not those of its configuration.

    Layers that were exchanged or adapters that were added make it another.
    """
    if getattr(model, "config", None) is None:
        return None
    try:
        architecture = architecture_of(model)
    except ModelReferenceError:
        return None
    built = build_on_meta(lambda: transformers_model(architecture)).state_dict()
    given = model.state_dict()
    same = built.keys() == given.keys() and all(built[n].shape == given[n].shape for n in built)
    return architecture if same else None


def tensors_of(
    reference: nn.Module | str, architecture: Architecture
) -> tuple[Mapping[str, Tensor], Path | None]:
    """A model's tensors, and the directory of its tokenizer's files if it was named.

    Raises
    ------
    MergeError
        If it is of another class than ``architecture``.
    ModelReferenceError, CheckpointError, HubError
        If it cannot be opened.
    """
    if isinstance(reference, str):
        model = open_model(reference)
        other, directory = model.architecture, model.directory
        if other.config["class"] == architecture.config["class"]:
            model.config_files()  # of a hub repo, its tokenizer is fetched
            return dict(model.state_dict()), directory
    else:
        other = architecture_of(reference)
        if other.config["class"] == architecture.config["class"]:
            return {n: t.detach() for n, t in reference.state_dict().items()}, None
    raise MergeError(
        f"the reference is a {other.config['class']}, and the model in training a "
        f"{architecture.config['class']}: give one of the same class"
    )


def positional_batches(
    data: Iterable[Any] | str, architecture: Architecture, directory: Path | None, size: int
) -> list[Any]:
    """Pairs of positional inputs and targets, in memory.

    ``data`` is the name of a file (``size`` rows a batch; ``directory`` has the tokenizer), or
    batches: such pairs already, or mappings as a collator makes them, whose ``labels`` are the
    targets (of a causal language model: one token on, as its own loss has them).

    Raises
    ------
    DataError
        If there is no batch, or one lacks an input of the model.
    """
    if isinstance(data, str):
        opened = open_own_data(architecture, directory, data, batch_size=size, limit=None)
        if opened is None:
            raise DataError(f"{data!r}: give a text file, a folder of images or sound, or batches")
        return list(opened)
    batches = [as_batch(architecture, b) if isinstance(b, Mapping) else b for b in data]
    if not batches:
        raise DataError("there is no batch in the data to align on")
    return batches


def as_batch(architecture: Architecture, batch: Mapping[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Positional inputs and targets of a batch as a collator makes it.

    Raises
    ------
    DataError
        If it lacks an input of the model.
    """
    names = tuple(inputs_for(architecture, 2)[0])
    given = dict(batch)
    labels = given.pop("labels", None)
    if "attention_mask" in names and "attention_mask" not in given and "input_ids" in given:
        given["attention_mask"] = torch.ones_like(given["input_ids"])
    missing = [name for name in names if name not in given]
    if missing and "token_type_ids" in missing and "input_ids" in given:
        given["token_type_ids"] = torch.zeros_like(given["input_ids"])
        missing.remove("token_type_ids")
    if missing == ["decoder_input_ids"] and labels is not None:
        given["decoder_input_ids"] = _shifted(architecture, torch.as_tensor(labels))
        missing = []
    mask = given.get("attention_mask")
    if mask is not None and not bool(torch.as_tensor(mask).bool().all()):
        warnings.warn(
            "batches have padding, which is counted among the units' responses: rows of one "
            "length match better",
            ZooalignWarning,
            stacklevel=2,
        )
    if missing:
        raise DataError(
            f"a batch has {', '.join(batch)}, and {architecture.config['class']} is traced with "
            f"{', '.join(names)}: {missing[0]} is missing"
        )
    targets = None if labels is None else torch.as_tensor(labels)
    if targets is not None and kind_of(architecture) == "causal":
        # The model's own loss compares each answer with the token behind it.
        targets = torch.cat([targets[:, 1:], torch.full_like(targets[:, :1], IGNORED)], 1)
    return tuple(given[name] for name in names), targets


def _shifted(architecture: Architecture, labels: Tensor) -> Tensor:
    """What a decoder reads where only labels are given: these, one on, behind its first token."""
    config = make_config(architecture.config["config"], f"transformers:{architecture.name}")
    text = config.get_text_config(decoder=True)
    start, pad = (
        next((n for c in (config, text) if isinstance(n := getattr(c, name, None), int)), None)
        for name in ("decoder_start_token_id", "pad_token_id")
    )
    if start is None or pad is None:
        raise DataError(
            "a batch has no decoder_input_ids, and the configuration has no "
            f"{'decoder_start_token_id' if start is None else 'pad_token_id'} to make them of the "
            "labels: give the collator the model (DataCollatorForSeq2Seq(tokenizer, model))"
        )
    shifted = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], 1)
    return shifted.masked_fill(shifted == IGNORED, pad)
