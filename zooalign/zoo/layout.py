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
    "WEIGHTS_NAME",
    "choose_weights",
    "kept_config",
    "read_config",
]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
# How a message names what a user has: a flag of the command line, an argument in Python.
MODEL_FLAG = "--model REF, or model="
PICKLE_FLAG = "--allow-pickle, or allow_pickle=True"
_MAX_CONFIG = 50_000_000


def choose_weights(names: Iterable[str], *, where: str, allow_pickle: bool) -> str:
    """The name of the weights file (or index) among ``names``.

    ``model.safetensors``, else ``model.safetensors.index.json``, else the only other safetensors
    file, else, if allowed, the only pickle file.

    Raises
    ------
    CheckpointError
        There is none, or the choice is not clear.
    """
    top = sorted(name for name in names if "/" not in name)
    if WEIGHTS_NAME in top:
        return WEIGHTS_NAME
    if INDEX_NAME in top:
        return INDEX_NAME
    safe = [name for name in top if name.endswith(".safetensors")]
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
    raise CheckpointError(f"{where}: has no weights ({WEIGHTS_NAME} or {INDEX_NAME})")


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
