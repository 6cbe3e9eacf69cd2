"""Which of a directory's or repo's files hold the weights."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zooalign.errors import CheckpointError, ModelReferenceError
from zooalign.zoo.checkpoint import INDEX_NAME, WEIGHTS_NAME
from zooalign.zoo.references import PICKLE_SUFFIXES

__all__ = ["CONFIG_NAME", "choose_weights", "read_config"]

CONFIG_NAME = "config.json"
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
    found = safe or (pickles if allow_pickle else [])
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{where}: which of these holds the weights is not clear: {', '.join(found)}; name "
            "the file itself, with the model's architecture beside it"
        )
    if pickles:
        raise CheckpointError(
            f"{where}: has weights only as pickle ({', '.join(pickles)}), which is not read "
            "unless you allow it by name (allow_pickle)"
        )
    raise CheckpointError(f"{where}: has no weights ({WEIGHTS_NAME} or {INDEX_NAME})")


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises
    ------
    ModelReferenceError
        It is missing or no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise ModelReferenceError(f"{path}: a config over {_MAX_CONFIG} bytes is not read")
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelReferenceError(
            f"{path}: cannot be read: {error.strerror or error}; without a config.json the "
            "architecture has to be named (model)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelReferenceError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ModelReferenceError(f"{path}: not a JSON object")
    return config
