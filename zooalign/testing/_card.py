"""Model cards: the YAML block at the top of a README, read and checked as the Hub does."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["metadata", "validate"]

_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_MOST_ALIASES = 10
_TEXT = (
    "library_name",
    "license_link",
    "license_name",
    "pipeline_tag",
    "base_model_relation",
    "thumbnail",
)
_TEXTS = ("tags", "datasets", "metrics", "language", "license", "base_model", "new_version")


def validate(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a README's YAML block.

    Checked: that it parses, is a mapping, and that the fields the Hub knows have the right type.
    Not checked: the Hub's lists of known licences, languages and tasks.
    """
    block = _FRONT.match(content)
    if block is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        value = _load(block.group(1))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [f"YAML parse error: {error}"], []
    if value is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(value, dict):
        return ["the YAML metadata must be a mapping"], []
    errors = [
        f'"{key}" must be a string'
        for key in _TEXT
        if value.get(key) is not None and not isinstance(value[key], str)
    ]
    errors += [
        f'"{key}" must be a string or a list of strings'
        for key in _TEXTS
        if value.get(key) is not None and not _is_text_or_list(value[key])
    ]
    if "tags" in value and isinstance(value["tags"], str):
        errors.append('"tags" must be an array')
    if "model-index" in value:
        errors += _model_index(value["model-index"])
    if value.get("license") == "other" and not value.get("license_name"):
        errors.append('"license_name" is required when "license" is "other"')
    return errors, []


def metadata(content: str) -> dict[str, Any]:
    """The YAML block as a dictionary; empty when there is none or it is not valid."""
    block = _FRONT.match(content)
    if block is None:
        return {}
    try:
        value = _load(block.group(1))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return _plain(value) if isinstance(value, dict) else {}


def _load(text: str) -> Any:
    """The block's value; with many aliases it could be as large as one likes."""
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    if sum(isinstance(event, yaml.events.AliasEvent) for event in events) > _MOST_ALIASES:
        raise yaml.YAMLError("too many aliases")
    return yaml.safe_load(text)


def _is_text_or_list(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str) for item in items)


def _model_index(value: object) -> list[str]:
    if not isinstance(value, list):
        return ['"model-index" must be an array']
    errors = []
    for number, model in enumerate(value):
        where = f'"model-index[{number}]'
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            errors.append(f'{where}.name" is required')
            continue
        results = model.get("results")
        if not isinstance(results, list):
            errors.append(f'{where}.results" must be an array')
            continue
        for index, result in enumerate(results):
            for key in ("task", "metrics"):
                if not isinstance(result, dict) or key not in result:
                    errors.append(f'{where}.results[{index}].{key}" is required')
    return errors


def _plain(value: Any) -> Any:
    # YAML has dates and other values that JSON has not.
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
