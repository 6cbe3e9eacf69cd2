"""Which of a directory's or repo's files hold the weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zooalign.errors import CheckpointError, ModelReferenceError
from zooalign.zoo.json_files import read_object
from zooalign.zoo.references import PICKLE_SUFFIXES

__all__ = [
    "CONFIG_NAME",
    "INDEX_NAME",
    "MODEL_FLAG",
    "PICKLE_FLAG",
    "PICKLE_INDEX_NAME",
    "WEIGHTS_NAME",
    "choose_weights",
    "index_in",
    "index_name",
    "is_index",
    "kept_config",
    "read_config",
]

CONFIG_NAME = "config.json"
# Of most libraries; an adapter may name another (``weights_name``).
WEIGHTS_NAME = "model.safetensors"
# An index of shards is named after the file that it takes the place of.
_INDEX_ENDING = ".index.json"
INDEX_NAME = WEIGHTS_NAME + _INDEX_ENDING
PICKLE_INDEX_NAME = "pytorch_model.bin" + _INDEX_ENDING
# How a message names what a user has: a flag of the command line, an argument in Python.
MODEL_FLAG = "--model REF, or model="
PICKLE_FLAG = "--allow-pickle, or allow_pickle=True"
_MAX_CONFIG = 50_000_000


def index_name(weights_name: str) -> str:
    """The index of shards that takes the place of one file of this name."""
    return weights_name + _INDEX_ENDING


def is_index(name: str) -> bool:
    """Whether a file of this name, at the top of a directory, is an index of shards."""
    return "/" not in name and name.endswith(".safetensors" + _INDEX_ENDING)


def index_in(names: Iterable[str]) -> str | None:
    """The index of shards among ``names``: that of ``model.safetensors`` before any other."""
    indexes = sorted(filter(is_index, names))
    return INDEX_NAME if INDEX_NAME in indexes else next(iter(indexes), None)


def choose_weights(
    names: Iterable[str],
    *,
    where: str,
    allow_pickle: bool,
    usual: Iterable[str] = (WEIGHTS_NAME,),
) -> str:
    """The name of the weights file (or index) among ``names``.

    One of the ``usual`` names, else the index of such, else the only other safetensors file,
    else, if allowed, ``pytorch_model.bin.index.json`` or the only pickle file.

    Raises
    ------
    CheckpointError
        There is none, or the choice is not clear.
    """
    names = list(names)
    top = sorted(name for name in names if "/" not in name)
    usual = tuple(usual)
    for name in (*usual, *map(index_name, usual)):
        if name in top:
            return name
    safe = [name for name in top if name.endswith(".safetensors")]
    if allow_pickle and not safe and PICKLE_INDEX_NAME in top:
        return PICKLE_INDEX_NAME
    pickles = [name for name in top if name.endswith(PICKLE_SUFFIXES)]
    candidates = safe or (pickles if allow_pickle else [])
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise CheckpointError(
            f"{where}: which of these holds the weights is not clear: {', '.join(candidates)}; "
            "name the file itself, with the model's architecture beside it"
        )
    if pickles:
        raise CheckpointError(
            f"{where}: has weights only as pickle ({', '.join(pickles)}), which is not read "
            f"unless you allow it ({PICKLE_FLAG})"
        )
    raise CheckpointError(
        f"{where}: has no weights ({usual[0]} or {index_name(usual[0])}){_hint(names)}"
    )


def _hint(names: Iterable[str]) -> str:
    """What weights of a kind that is not read need first."""
    for name in sorted(names):
        if name.endswith(".distcp"):
            return (
                f"; {name} is of a distributed checkpoint: make one file of it (python -m "
                "torch.distributed.checkpoint.format_utils dcp_to_torch DIRECTORY model.pth)"
            )
        if name.endswith(".gguf"):
            return f"; {name} is quantised for llama.cpp: give the model that it was made from"
    return ""


def kept_config(directory: Path | None) -> dict[str, bytes]:
    """The ``config.json`` of the directory a model came from, by name; empty without one."""
    if directory is None or not (directory / CONFIG_NAME).is_file():
        return {}
    return {CONFIG_NAME: (directory / CONFIG_NAME).read_bytes()}


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises
    ------
    ModelReferenceError
        It is missing or not a JSON object.
    """
    hint = f"; without a config.json the architecture has to be named ({MODEL_FLAG})"
    return read_object(path, _MAX_CONFIG, ModelReferenceError, hint=hint)
