"""Which class of transformers a task or a config names. No code of a repo is imported."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from zooalign.plugins import ModelReferenceError

__all__ = ["class_for_task", "class_named", "config_class", "modalities", "model_types", "tasks"]

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@lru_cache(maxsize=1)
def model_types() -> tuple[str, ...]:
    """The model types that ``AutoModel`` knows."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return tuple(MODEL_MAPPING_NAMES)


@lru_cache(maxsize=1)
def tasks() -> dict[str, str]:
    """The auto classes by task: ``causal-lm`` is ``AutoModelForCausalLM``."""
    from transformers.models.auto import modeling_auto

    names = [n for n in dir(modeling_auto) if n.startswith("AutoModelFor")]
    return {_kebab(name.removeprefix("AutoModelFor")): name for name in names}


def _kebab(name: str) -> str:
    """``Seq2SeqLM`` is ``seq2seq-lm``, ``CTC`` is ``ctc``."""
    name = name.replace("Seq2Seq", "Seq2seq")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def config_class(model_type: str, where: str) -> Any:
    """The configuration class of a model type.

    Raises
    ------
    ModelReferenceError
        Transformers has none of that name.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        close = get_close_matches(model_type, list(CONFIG_MAPPING.keys()), n=3)
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise ModelReferenceError(
            f"{where}: transformers {transformers.__version__} has no model type "
            f"{model_type!r}{hint}"
        )
    return _mapped(CONFIG_MAPPING, model_type, where)


def class_for_task(model_type: str, task: str | None, where: str) -> str:
    """The name of the model class for a task, or of the base model without one.

    Raises
    ------
    ModelReferenceError
        There is no such task, or the model type has no class for it.
    """
    from transformers.models.auto import modeling_auto

    if task is None:
        mapping = modeling_auto.MODEL_MAPPING
    else:
        if task not in tasks():
            close = get_close_matches(task, tasks(), n=3) or sorted(tasks())
            raise ModelReferenceError(f"{where}: no task {task!r}; try {', '.join(close)}")
        mapping = getattr(modeling_auto, tasks()[task])._model_mapping
    wanted = config_class(model_type, where)
    if wanted not in mapping:
        # Of several names for one configuration class, the mapping knows the last.
        named = mapping._model_mapping.get(model_type)
        if named is not None:
            return str(named if isinstance(named, str) else named[0])
        able = [name for name in tasks() if _serves(name, wanted)]
        raise ModelReferenceError(
            f"{where}: {model_type} has no model for task {task or 'none (a base model)'}; "
            f"it has {', '.join(able) or 'none at all'}"
        )
    model_class = _mapped(mapping, wanted, where)
    model_class = model_class[0] if isinstance(model_class, (list, tuple)) else model_class
    return str(model_class.__name__)


def _serves(task: str, wanted: Any) -> bool:
    from transformers.models.auto import modeling_auto

    return wanted in getattr(modeling_auto, tasks()[task])._model_mapping


def _mapped(mapping: Mapping[Any, Any], key: Any, where: str) -> Any:
    try:
        return mapping[key]
    except Exception as error:  # an optional library that is not installed
        what = re.sub(r" from '[^']*'", "", str(error))  # where a module's file is
        raise ModelReferenceError(f"{where}: {type(error).__name__}: {what}") from error


def class_named(name: str, where: str) -> Any:
    """The model class of transformers with this name.

    Raises
    ------
    ModelReferenceError
        Transformers has no model class of that name.
    """
    import transformers

    model_class = getattr(transformers, name, None) if _CLASS.fullmatch(name) else None
    missing = getattr(model_class, "_backends", None)
    if isinstance(model_class, type) and missing:
        raise ModelReferenceError(
            f"{where}: {name} needs {', '.join(map(str, missing))}; install what is missing of "
            "these"
        )
    if not isinstance(model_class, type) or not issubclass(
        model_class, transformers.PreTrainedModel
    ):
        raise ModelReferenceError(
            f"{where}: transformers {transformers.__version__} has no model class {name!r}; code "
            "that comes with a repo is not run"
        )
    return model_class


def modalities(model_type: str) -> str:
    """What the base model of a type takes, in its class's own words; ``unknown`` where it fails."""
    try:
        name = class_for_task(model_type, None, model_type)
        kinds = class_named(name, model_type).input_modalities
    except Exception:  # an optional library that is not installed, or no base model
        return "unknown"
    words = [kinds] if isinstance(kinds, str) else sorted(kinds)
    return " and ".join(words)
