"""The pieces of a SentencePiece model, in the order of their numbers.

The file is a protocol buffer (``sentencepiece_model.proto``): field 1 is a piece, repeated, whose
field 1 is its text. Neither sentencepiece nor protobuf is among what transformers needs.
"""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["pieces_of"]

# Files of tokenizers whose tokens are the pieces by number. XLM-RoBERTa's and mBART's
# (sentencepiece.bpe.model) number some otherwise, and so do Pegasus' tokens.
_FILES = ("tokenizer.model", "spiece.model")
_LARGEST = 100_000_000
_VARINT, _EIGHT, _TEXT, _FOUR = 0, 1, 2, 5


def pieces_of(directory: Path) -> dict[int, str]:
    """Pieces by number; none where there is no such file, or it is of another kind."""
    config = directory / "config.json"
    if config.is_file() and b'"pegasus' in config.read_bytes():
        return {}
    for name in _FILES:
        path = directory / name
        if not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        try:
            content = memoryview(path.read_bytes())
            texts = [_text(piece) for number, piece in _fields(content) if number == 1]
        except ValueError:  # also of text that is not UTF-8
            continue
        return {n: text for n, text in enumerate(texts) if text is not None}
    return {}


def _text(piece: memoryview) -> str | None:
    return next((bytes(text).decode() for number, text in _fields(piece) if number == 1), None)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of the fields that have a length; ValueError for no such message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _TEXT:
            length, at = _varint(message, at)
        else:
            length = {_EIGHT: 8, _FOUR: 4}.get(kind, -1)
        if length < 0 or at + length > len(message):
            raise ValueError("no field of a protocol buffer")
        if kind == _TEXT:
            yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("no number of a protocol buffer")
