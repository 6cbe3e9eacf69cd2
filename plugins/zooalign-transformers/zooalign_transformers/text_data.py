"""Text as data: files and data sets through the model's own tokenizer, without padding.

Padding would be counted among a unit's responses. So there is none: by default texts are joined
and cut into rows of one length, each with the special tokens the tokenizer puts around a text.
Where each text has to be a row (``pack=false``, or labels), a batch holds rows of one length, cut
to a multiple of :data:`STEP` tokens.

Targets are those of the model's class: the next tokens of a causal language model, hidden tokens
of a masked one, the second half of each row for an encoder-decoder, labels of a classifier.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from zooalign.plugins import (
    Architecture,
    Batches,
    DataBatch,
    DataError,
    DataReference,
    Dataset,
    open_dataset,
)

from zooalign_transformers.building import inputs_for
from zooalign_transformers.configurations import make_config
from zooalign_transformers.processors import own_processor
from zooalign_transformers.quiet import quiet
from zooalign_transformers.scoring import IGNORED, kind_of

__all__ = ["LENGTH", "STEP", "SUFFIXES", "open_text"]

SUFFIXES = (".txt", ".text", ".tokens", ".md", ".jsonl")
LENGTH = 128
STEP = 8
_HIDDEN = 0.15  # of the tokens, for a masked language model
_PIECE = 50_000  # characters tokenised at a time
_FILLED = {"input_ids", "attention_mask", "token_type_ids", "decoder_input_ids"}


@dataclass(frozen=True)
class _Reader:
    """A file or a data set, and how it becomes rows."""

    text: str
    path: Path
    dataset: Dataset | None
    tokenizer: Any
    architecture: Architecture
    length: int
    field: str
    label: str | None
    pack: bool
    start: int
    stop: int | None

    @property
    def is_one_text(self) -> bool:
        """Whether it is a plain file, and not one text for each line or row."""
        return self.dataset is None and self.path.suffix.lower() != ".jsonl"


def open_text(
    architecture: Architecture,
    directory: Path | None,
    reference: DataReference,
    *,
    batch_size: int,
    limit: int | None,
) -> Batches:
    """Open a text file, or a data set with a column of texts, for a model.

    Parameters
    ----------
    directory:
        Of the model, with its tokenizer's files; None if it has none.
    reference:
        The file or data set, with the options ``length`` (tokens a row), ``pack``, ``field`` and
        ``label`` of JSON lines and data sets, ``tokenizer`` (a directory) and ``slice``.

    Raises
    ------
    DataError
        There is no tokenizer, the model takes more than text, or the file is not what it should be.
    """
    of_dataset = reference.path.startswith("datasets:")
    which = ("config", "revision", "split") if of_dataset else ()
    reference.require_options("field", "label", "length", "pack", "slice", "tokenizer", *which)
    text, options = reference.text, reference.options
    names, _ = inputs_for(architecture, 2)
    missing = [name for name in names if name not in _FILLED]
    if missing or "input_ids" not in names:
        raise DataError(
            f"{text!r}: transformers:{architecture.name} takes {', '.join(missing or names)}, "
            "which text does not give; use py:module:callable"
        )
    label = options.get("label")
    pack = bool(options.get("pack", label is None))
    if pack and label is not None:
        raise DataError(f"{text!r}: rows with labels are not joined; leave out pack or label")
    start, stop = reference.rows(limit)
    dataset = (
        open_dataset(reference.text, reference.path, reference.options) if of_dataset else None
    )
    field = str(options.get("field", "text"))
    if dataset is not None and "field" not in options and "text" not in dataset.kinds:
        field = dataset.first_of("text") or field
    reader = _Reader(
        text=text,
        path=Path(reference.path),
        dataset=dataset,
        tokenizer=own_processor("AutoTokenizer", "tokenizer", reference, directory),
        architecture=architecture,
        length=_length(text, options.get("length"), architecture),
        field=field,
        label=None if label is None else str(label),
        pack=pack,
        start=start,
        stop=stop,
    )
    make = _packed(reader, batch_size) if pack else _single(reader, batch_size)
    return Batches(text, None, kind_of(architecture) is not None or label is not None, make)


def _length(text: str, given: Any, architecture: Architecture) -> int:
    config = make_config(architecture.config["config"], f"transformers:{architecture.name}")
    try:
        most = getattr(config.get_text_config(), "max_position_embeddings", None)
    except ValueError:  # several text parts
        most = None
    most = most if isinstance(most, int) and most > 0 else LENGTH
    if given is None:
        return min(LENGTH, most)
    if not isinstance(given, int) or not STEP <= given <= max(most, LENGTH):
        raise DataError(f"{text!r}: length={given!r}; give {STEP} to {max(most, LENGTH)} tokens")
    return given


def _documents(reader: _Reader) -> Iterator[tuple[str, Any]]:
    """Texts with their labels; a plain file is one text in pieces that end with a line."""
    if reader.dataset is not None:
        yield from _rows_of(reader, reader.dataset)
        return
    try:
        with reader.path.open(encoding="utf-8") as file:
            if reader.is_one_text:
                yield from ((piece, None) for piece in _pieces(file, reader.pack))
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _entry(reader, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{reader.path}: cannot be read as UTF-8 text: {error}") from error


def _rows_of(reader: _Reader, dataset: Dataset) -> Iterator[tuple[str, Any]]:
    texts = dataset.column(dataset.named("field", reader.field))
    if reader.label is None:
        labels: Sequence[Any] = [None] * len(dataset)
    else:
        labels = dataset.column(dataset.named("label", reader.label))
    for number, (content, label) in enumerate(zip(texts, labels, strict=True)):
        yield _checked(reader, f"{reader.text}, row {number}", content, label)


def _pieces(lines: Any, joined: bool) -> Iterator[str]:
    held = ""
    for line in lines:
        if not joined:
            if line.strip():
                yield line.strip()
            continue
        held += line
        if len(held) >= _PIECE:
            yield held
            held = ""
    if held.strip():
        yield held


def _entry(reader: _Reader, number: int, line: str) -> tuple[str, Any]:
    where = f"{reader.path}, line {number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {error}") from error
    content = value.get(reader.field) if isinstance(value, dict) else None
    label = value.get(reader.label) if isinstance(value, dict) and reader.label else None
    return _checked(reader, where, content, label)


def _checked(reader: _Reader, where: str, content: Any, label: Any) -> tuple[str, Any]:
    if not isinstance(content, str):
        raise DataError(f"{where}: has no text {reader.field!r}; name another with field=NAME")
    if reader.label is not None and (isinstance(label, bool) or not isinstance(label, int)):
        raise DataError(f"{where}: {reader.label!r} is {label!r}, and a label is a whole number")
    return content, label


def _ids(reader: _Reader, content: str, **options: Any) -> list[int]:
    with quiet():
        ids = reader.tokenizer(content, return_attention_mask=False, **options)["input_ids"]
    return list(ids)


def _packed(reader: _Reader, batch_size: int) -> Callable[[], Iterator[DataBatch]]:
    around = _ids(reader, "")  # the special tokens of an empty text
    inner = reader.length - len(around)
    half = _before(reader, around)
    between = [] if reader.is_one_text else _separator(reader.tokenizer)

    def rows() -> Iterator[list[int]]:
        held: list[int] = []
        for content, _ in _documents(reader):
            held += _ids(reader, content, add_special_tokens=False) + between
            while len(held) >= inner:
                yield [*around[:half], *held[:inner], *around[half:]]
                held = held[inner:]

    def make() -> Iterator[DataBatch]:
        yield from _batches(reader, rows(), batch_size)

    return make


def _before(reader: _Reader, around: Sequence[int]) -> int:
    """How many of the special tokens stand before a text."""
    if not around:
        return 0
    letter = _ids(reader, "a", add_special_tokens=False)
    ids = _ids(reader, "a")
    places = [n for n in range(len(ids)) if ids[n : n + len(letter)] == letter]
    return min(places[0], len(around)) if places else len(around)


def _separator(tokenizer: Any) -> list[int]:
    tokens = [tokenizer.eos_token_id, tokenizer.sep_token_id]
    return [next((x for x in tokens if isinstance(x, int)), 0)] if any(tokens) else []


def _batches(reader: _Reader, rows: Iterator[list[int]], size: int) -> Iterator[DataBatch]:
    held: list[list[int]] = []
    count = 0
    for number, row in enumerate(rows):
        if number < reader.start:
            continue
        if reader.stop is not None and number >= reader.stop:
            break
        held.append(row)
        count += 1
        if len(held) == size:
            yield _batch(reader, torch.tensor(held), None)
            held = []
    if held:
        yield _batch(reader, torch.tensor(held), None)
    if not count:
        raise DataError(
            f"{reader.text!r}: no row of {reader.length} tokens is left of it; give more text, or "
            "shorter rows with length="
        )


def _single(reader: _Reader, size: int) -> Callable[[], Iterator[DataBatch]]:
    def make() -> Iterator[DataBatch]:
        apart: dict[int, list[tuple[list[int], Any]]] = defaultdict(list)
        for number, (content, label) in enumerate(_documents(reader)):
            if number < reader.start:
                continue
            if reader.stop is not None and number >= reader.stop:
                break
            row = _ids(reader, content, truncation=True, max_length=reader.length)
            whole = len(row) - len(row) % STEP
            if whole:
                row = _ids(reader, content, truncation=True, max_length=whole)
                apart[len(row)].append((row, label))
        if not apart:
            raise DataError(f"{reader.text!r}: no text of {STEP} tokens or more is in it")
        # The most frequent length first: what wants batches of one shape takes those.
        for rows in sorted(apart.values(), key=len, reverse=True):
            for low in range(0, len(rows), size):
                part = rows[low : low + size]
                labels = None if reader.label is None else torch.tensor([x for _, x in part])
                yield _batch(reader, torch.tensor([row for row, _ in part]), labels)

    return make


def _batch(reader: _Reader, ids: Tensor, labels: Tensor | None) -> DataBatch:
    kind = kind_of(reader.architecture)
    targets = labels
    inputs = {"input_ids": ids}
    if labels is None and kind == "causal":
        targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], IGNORED)], 1)
    elif labels is None and kind == "masked":
        inputs["input_ids"], targets = _hidden(reader, ids)
    names, _ = inputs_for(reader.architecture, 2)
    if "decoder_input_ids" in names:
        half = ids.shape[1] // 2
        inputs["input_ids"], answer = ids[:, :half], ids[:, half:]
        inputs["decoder_input_ids"] = torch.cat([_first(reader, answer), answer[:, :-1]], 1)
        targets = answer if labels is None and kind is not None else labels
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    return tuple(inputs[name] for name in names), targets


def _first(reader: _Reader, answer: Tensor) -> Tensor:
    config = make_config(reader.architecture.config["config"], "the configuration")
    start = getattr(config, "decoder_start_token_id", None)
    return torch.full_like(answer[:, :1], start if isinstance(start, int) else 0)


def _hidden(reader: _Reader, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Some tokens, the same each time, replaced by the tokenizer's mask."""
    mask = reader.tokenizer.mask_token_id
    if mask is None:
        raise DataError(f"{reader.text!r}: the tokenizer has no mask token for a masked model")
    generator = torch.Generator().manual_seed(int(ids.sum()))
    chosen = torch.rand(ids.shape, generator=generator) < _HIDDEN
    for special in set(reader.tokenizer.all_special_ids):
        chosen &= ids != special
    return ids.masked_fill(chosen, mask), ids.masked_fill(~chosen, IGNORED)
