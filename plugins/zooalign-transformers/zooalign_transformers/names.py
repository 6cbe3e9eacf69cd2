"""What rows stand for: labels of a classifier and tokens of a vocabulary; and what inputs are."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from zooalign.plugins import Architecture, AxisNames, ModelReferenceError, flattened

from zooalign_transformers.configurations import make_config
from zooalign_transformers.model_classes import class_for_task, class_named
from zooalign_transformers.vocabulary import (
    TOKENIZER,
    other_vocabulary,
    read_json,
    token_names,
    with_ids,
)

__all__ = ["axis_names", "headless", "preprocessing", "renamed", "renamed_files", "token_tensors"]

# What transformers calls a label that has no name.
_NO_NAME = re.compile(r"LABEL_\d+")
# Classes whose outputs have an axis of labels.
_CLASSIFIERS = ("Classification", "SemanticSegmentation")
_PROCESSORS = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_OF_TEXT = (
    *("chat_template", "do_lower_case", "strip_accents", "tokenize_chinese_chars"),
    *("add_prefix_space", "add_bos_token", "add_eos_token", "legacy"),
)
_STEPS = ("normalizer", "pre_tokenizer")

Pairs = Sequence[tuple[AxisNames, AxisNames]]


def axis_names(architecture: Architecture, directory: Path | None) -> list[AxisNames]:
    """The labels and the tokens that an architecture has."""
    config = _config(architecture)
    names = []
    if any(word in architecture.config["class"] for word in _CLASSIFIERS):
        names.append(_labels(config))
    size = getattr(config.get_text_config(), "vocab_size", None)
    if isinstance(size, int) and size > 0:
        names.append(token_names(directory, size))
    return names


def _config(architecture: Architecture) -> Any:
    return make_config(architecture.config["config"], f"transformers:{architecture.name}")


def _labels(config: Any) -> AxisNames:
    labels = [str(config.id2label.get(number)) for number in range(config.num_labels)]
    if all(_NO_NAME.fullmatch(label) for label in labels):
        return AxisNames("labels", (None,) * len(labels))
    return AxisNames("labels", tuple(labels))


def token_tensors(module: nn.Module) -> list[str]:
    """The embeddings of inputs and the layer of outputs, where the model says which they are."""
    weights = set()
    for get in ("get_input_embeddings", "get_output_embeddings"):
        try:
            layer = getattr(module, get)()
        except (AttributeError, NotImplementedError):
            continue
        weights.add(id(getattr(layer, "weight", None)))
    return [
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if id(parameter) in weights
    ]


def renamed(architecture: Architecture, names: Pairs) -> Architecture:
    """The architecture with other labels and tokens in its configuration."""
    config = dict(architecture.config["config"])
    for old, new in names:
        if new.kind == "labels":
            labels = [name or f"LABEL_{n}" for n, name in enumerate(new.names)]
            config["id2label"] = {str(n): label for n, label in enumerate(labels)}
            config["label2id"] = {label: n for n, label in enumerate(labels)}
            config.pop("num_labels", None)
        else:
            config = _resized(with_ids(config, old, new), len(old), len(new))
    return Architecture(
        architecture.library, architecture.name, {**architecture.config, "config": config}
    )


def _resized(config: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """The configuration with another ``vocab_size``, wherever it stands."""
    parts = {key: value for key, value in config.items() if isinstance(value, dict)}
    inner = [key for key, part in parts.items() if part.get("vocab_size") == old]
    if inner and config.get("vocab_size", old) == old and "vocab_size" not in config:
        return {**config, **{key: {**parts[key], "vocab_size": new} for key in inner}}
    return {**config, "vocab_size": new}


def headless(architecture: Architecture) -> tuple[Architecture, str]:
    """The base model of a classifier, and the prefix of its tensors in it.

    Raises
    ------
    ModelReferenceError
        It has no classifier, or no base model.
    """
    name, where = architecture.config["class"], f"transformers:{architecture.name}"
    base = class_for_task(architecture.name, None, where)
    prefix = str(class_named(name, where).base_model_prefix)
    if name == base or not prefix:
        raise ModelReferenceError(f"{where}: {name} has no classifier to leave out (--head none)")
    labels = ("id2label", "label2id", "num_labels", "problem_type")
    config = {k: v for k, v in architecture.config["config"].items() if k not in labels}
    config["architectures"] = [base]
    return Architecture(
        architecture.library, architecture.name, {"class": base, "config": config}
    ), f"{prefix}."


def renamed_files(
    architecture: Architecture,
    files: Mapping[str, bytes],
    names: Pairs,
    others: Sequence[Mapping[str, bytes]],
) -> dict[str, bytes]:
    """The files of a model for other labels, tokens, or no classifier."""
    written = dict(files)
    for old, new in names:
        if new.kind == "tokens" and old.names != new.names:
            written = other_vocabulary(written, new, others)
            if "generation_config.json" in written:
                generation = json.loads(written["generation_config.json"])
                written["generation_config.json"] = _json(with_ids(generation, old, new))
    config = {**architecture.config["config"], "architectures": [architecture.config["class"]]}
    return {**written, "config.json": _json(config)}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def preprocessing(directory: Path | None) -> dict[str, Any]:
    """How a processor and a tokenizer make inputs, by file and field."""
    return {} if directory is None else dict(_preprocessing(directory))


def _preprocessing(directory: Path) -> Iterator[tuple[str, Any]]:
    for name in _PROCESSORS:
        content = read_json(directory / name)
        for key, value in flattened(content).items() if isinstance(content, dict) else ():
            if not key.endswith(("_type", "_class", "_keys")):
                yield f"{name}: {key}", value
    settings = read_json(directory / "tokenizer_config.json")
    if isinstance(settings, dict):
        yield from ((f"tokenizer_config.json: {k}", settings[k]) for k in _OF_TEXT if k in settings)
    for name in _TEMPLATES:
        if (directory / name).is_file():
            text = (directory / name).read_text(encoding="utf-8", errors="replace")
            yield f"{name}: template", text
    tokenizer = read_json(directory / TOKENIZER)
    if isinstance(tokenizer, dict):
        yield from ((f"{TOKENIZER}: {step}", tokenizer.get(step)) for step in _STEPS)
