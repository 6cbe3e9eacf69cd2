"""The tokens of a vocabulary, from the files of a tokenizer, and these files for another one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zooalign.plugins import AxisNames, CheckpointError, refuse_pointer

from zooalign_transformers.sentencepiece_model import pieces_of

__all__ = ["TOKENIZER", "other_vocabulary", "read_json", "token_names", "with_ids"]

TOKENIZER = "tokenizer.json"
_WORDS, _TABLE, _ADDED = "vocab.txt", "vocab.json", "added_tokens.json"
_SETTINGS = "tokenizer_config.json"
# Beside tokenizer.json these say the same again, and would say it of the old vocabulary.
_OLDER = {
    *(_WORDS, _TABLE, _ADDED, "merges.txt", "spiece.model", "spm.model"),
    *("tokenizer.model", "sentencepiece.bpe.model"),
}
_LARGEST = 100_000_000

Files = Mapping[str, bytes]


def token_names(directory: Path | None, size: int) -> AxisNames:
    """The token of each of ``size`` rows of embeddings, None for those that no token uses."""
    tokens = {} if directory is None else _tokens(directory)
    return AxisNames("tokens", tuple(tokens.get(row) for row in range(size)))


def _tokens(directory: Path) -> dict[int, str]:
    """Tokens by id; none where no file is there that says them."""
    whole = read_json(directory / TOKENIZER)
    if isinstance(whole, dict):
        return {number: token for token, number in _vocabulary_of(whole).items()}
    words = directory / _WORDS
    if words.is_file() and words.stat().st_size <= _LARGEST:
        lines = words.read_text(encoding="utf-8", errors="replace").split("\n")
        return {n: line.rstrip("\r") for n, line in enumerate(lines) if line.rstrip("\r")}
    table = pieces_of(directory)
    for name in (_TABLE, _ADDED):
        content = read_json(directory / name)
        if isinstance(content, dict):
            table |= {n: token for token, n in content.items() if isinstance(n, int)}
    return table


def read_json(path: Path) -> Any:
    """What a JSON file says, None where it is absent, huge or malformed.

    Raises
    ------
    CheckpointError
        It is a Git LFS pointer.
    """
    refuse_pointer(path, CheckpointError)
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _vocabulary_of(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Ids by token of a ``tokenizer.json``, those added behind the model's among them."""
    added = tokenizer.get("added_tokens")
    table = _model_vocabulary(tokenizer)
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            table[str(entry.get("content"))] = entry["id"]
    return table


def _model_vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        return {token: n for token, n in vocabulary.items() if isinstance(n, int)}
    if isinstance(vocabulary, list):  # pieces with their scores
        return {str(piece[0]): n for n, piece in enumerate(vocabulary)}
    return {}


def with_ids(value: Any, old: AxisNames, new: AxisNames) -> Any:
    """JSON in which the numbers of tokens (``bos_token_id``) are those of another vocabulary.

    A token that this lacks is left out.
    """
    places = _places(new)

    def moved(number: Any) -> Any:
        if isinstance(number, bool) or not isinstance(number, int):
            return number
        known = 0 <= number < len(old) and old.names[number] is not None
        return places.get(old.names[number]) if known else number

    def changed(key: str, item: Any) -> Any:
        if not key.endswith("_token_id"):
            return with_ids(item, old, new)
        if isinstance(item, list):
            return [n for n in map(moved, item) if n is not None]
        return moved(item)

    if isinstance(value, dict):
        return {key: changed(key, item) for key, item in value.items()}
    return value


def _places(names: AxisNames) -> dict[str | None, int]:
    return {name: n for n, name in reversed(list(enumerate(names.names))) if name is not None}


def other_vocabulary(files: Files, new: AxisNames, others: Sequence[Files]) -> dict[str, bytes]:
    """A tokenizer's files for a vocabulary of its own tokens and of ``others``'.

    Merges of pairs, scores of pieces and what is added around a text come along, the first's first.

    Raises
    ------
    CheckpointError
        There is no file that can be changed, the tokenizers are of different kinds, or a token
        that is put around every text is not in the vocabulary.
    """
    kept = {name: content for name, content in files.items() if name not in _OLDER}
    if TOKENIZER in files:
        tokenizers = [json.loads(each[TOKENIZER]) for each in (files, *others) if TOKENIZER in each]
        if len(tokenizers) <= len(others) and any(_WORDS in each for each in others):
            raise CheckpointError(
                f"a {TOKENIZER} and a {_WORDS} are not joined: save both tokenizers as {TOKENIZER}"
            )
        kept[TOKENIZER] = _written(_joined(tokenizers, new))
    elif _WORDS in files:
        if None in new.names:
            raise CheckpointError(f"{_WORDS}: rows between its tokens have none")
        kept[_WORDS] = "".join(f"{name}\n" for name in new.names).encode()
    else:
        raise CheckpointError(
            f"the tokenizer of the first model is written for another vocabulary from {TOKENIZER} "
            f"or {_WORDS}, and neither is there; keep its own (--tokens first)"
        )
    if _SETTINGS in kept:
        kept[_SETTINGS] = _written(_settings(json.loads(kept[_SETTINGS]), new))
    return kept


def _written(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _joined(tokenizers: Sequence[dict[str, Any]], new: AxisNames) -> dict[str, Any]:
    first, places = tokenizers[0], _places(new)
    kinds = {str(each.get("model", {}).get("type")) for each in tokenizers}
    if len(kinds) > 1:
        raise CheckpointError(
            f"{TOKENIZER}: tokenizers of different kinds ({', '.join(sorted(kinds))}) have no "
            "vocabulary in common; keep the first one's (--tokens first)"
        )
    added: dict[str, Any] = {}
    for each in tokenizers:
        for entry in each.get("added_tokens") or ():
            if entry["content"] in places:
                placed = {**entry, "id": places[entry["content"]]}
                added.setdefault(entry["content"], placed)
    model = dict(first["model"])
    inside = {token for each in tokenizers for token in _model_vocabulary(each)} & places.keys()
    if isinstance(model.get("vocab"), list):
        model |= _pieces(tokenizers, places, inside)
    else:
        ordered = sorted(inside, key=lambda token: places[token])
        model["vocab"] = {token: places[token] for token in ordered}
    if "merges" in model:
        model["merges"] = list(_merges(tokenizers, inside))
    return {
        **first,
        "added_tokens": sorted(added.values(), key=lambda entry: entry["id"]),
        "post_processor": _around(first.get("post_processor"), places),
        "model": model,
    }


def _pieces(
    tokenizers: Sequence[dict[str, Any]], places: Mapping[str | None, int], inside: set[str]
) -> dict[str, Any]:
    """Pieces with their scores; their place is their number."""
    scores: dict[str, Any] = {}
    for each in tokenizers:
        for piece, score in each["model"]["vocab"]:
            scores.setdefault(piece, score)
    ordered = sorted(inside, key=lambda piece: places[piece])
    if [places[piece] for piece in ordered] != list(range(len(ordered))):
        raise CheckpointError(
            f"{TOKENIZER}: pieces are numbered without gaps, and added tokens stand between them; "
            "keep the first one's vocabulary (--tokens first)"
        )
    unknown = tokenizers[0]["model"].get("unk_id")
    name = None if unknown is None else tokenizers[0]["model"]["vocab"][unknown][0]
    return {"vocab": [[p, scores[p]] for p in ordered], "unk_id": places.get(name)}


def _merges(tokenizers: Sequence[dict[str, Any]], inside: set[str]) -> Iterator[Any]:
    """Pairs that become one token, all of which are in the vocabulary; each once."""
    seen: set[tuple[str, str]] = set()
    for each in tokenizers:
        for merge in each["model"].get("merges") or ():
            left, _, right = (
                merge.partition(" ") if isinstance(merge, str) else (*merge[:1], "", *merge[1:])
            )
            if (left, right) not in seen and {left, right, left + right} <= inside:
                seen.add((left, right))
                yield merge


def _around(processor: Any, places: Mapping[str | None, int]) -> Any:
    """A post-processor with the numbers of the tokens that it puts around a text."""
    if isinstance(processor, list):
        return [_around(item, places) for item in processor]
    if not isinstance(processor, dict):
        return processor
    changed = {key: _around(value, places) for key, value in processor.items()}
    for key in ("sep", "cls"):
        if isinstance(processor.get(key), list):
            token = processor[key][0]
            changed[key] = [token, _place(token, places)]
    if isinstance(processor.get("ids"), list) and isinstance(processor.get("tokens"), list):
        changed["ids"] = [_place(token, places) for token in processor["tokens"]]
    return changed


def _place(token: str, places: Mapping[str | None, int]) -> int:
    if token not in places:
        raise CheckpointError(
            f"{TOKENIZER}: '{token}' is put around every text, and not all models have it; keep "
            "the first one's vocabulary (--tokens first)"
        )
    return places[token]


def _settings(settings: dict[str, Any], new: AxisNames) -> dict[str, Any]:
    """The settings, whose added tokens stand under their numbers."""
    places = _places(new)
    decoder = settings.get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        return settings
    placed = {
        str(places[entry["content"]]): entry
        for entry in decoder.values()
        if isinstance(entry, dict) and entry.get("content") in places
    }
    return {**settings, "added_tokens_decoder": placed}
