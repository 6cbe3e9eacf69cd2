"""Data of a model by its own tokenizer or processor: text, images, sound."""

import re
from pathlib import Path
from typing import Any

from zooalign.plugins import Architecture, Batches, DataError, options_to_json, parse_query

__all__ = ["open_own_data"]

_SLICE = re.compile(r"(\d*):(\d*)")


def open_own_data(
    architecture: Architecture,
    directory: Path | None,
    text: str,
    *,
    batch_size: int,
    limit: int | None,
) -> Batches | None:
    """What ``text`` names as batches of the model's inputs; None for data that needs no processor.

    Raises
    ------
    DataError
        The file is malformed, or what reads it is missing.
    """
    from zooalign_transformers import media, text_data

    if text.startswith("py:"):
        return None
    plain, mark, query = text.partition("?")
    if Path(text).exists() or not mark:
        plain, query = text, ""
    path = Path(plain)
    options: dict[str, Any] = {}
    if query:
        options = options_to_json(parse_query(query, of=text, error=DataError))
    if path.suffix.lower() in text_data.SUFFIXES:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        bounds = _checked(text, options, text_data.OPTIONS)
        return text_data.open_text(
            architecture, directory, text, path, options, bounds,
            batch_size=batch_size, limit=limit,
        )  # fmt: skip
    if path.is_dir():
        bounds = _checked(text, options, media.OPTIONS)
        return media.open_media(
            architecture, directory, text, path, options, bounds,
            batch_size=batch_size, limit=limit,
        )  # fmt: skip
    return None


def _checked(text: str, options: dict[str, Any], known: set[str]) -> tuple[int, int | None]:
    unknown = sorted(set(options) - known)
    if unknown:
        raise DataError(
            f"{text!r}: unknown option {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )
    match = _SLICE.fullmatch(str(options.get("slice", ":")))
    if not match:
        raise DataError(f"{text!r}: slice={options['slice']!r}; write slice=START:STOP")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and stop <= start:
        raise DataError(f"{text!r}: slice={options['slice']} is empty")
    return start, stop
