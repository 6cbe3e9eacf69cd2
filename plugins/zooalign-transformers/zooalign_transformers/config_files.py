"""The files beside the weights that ``from_pretrained`` and ``pipeline`` read."""

import json
from collections.abc import Iterable
from pathlib import Path

from zooalign.plugins import Architecture

from zooalign_transformers.configurations import make_config

__all__ = ["config_files", "files_beside"]

# What transformers, tokenizers and sentence-transformers write beside weights; nothing that runs.
_CARRIED = {
    "1_Pooling/config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "merges.txt",
    "modules.json",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
}
_LARGEST = 100_000_000


def files_beside(names: Iterable[str]) -> list[str]:
    """Which of a repo's files are carried along."""
    return sorted(_CARRIED & set(names))


def config_files(architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
    """``config.json``, and the source's generation, tokenizer and processor files unchanged."""
    if source_dir is None or not (source_dir / "config.json").is_file():
        config = make_config(architecture.config["config"], f"transformers:{architecture.name}")
        config.architectures = [architecture.config["class"]]
        return {"config.json": (json.dumps(config.to_diff_dict(), indent=2) + "\n").encode()}
    files = {"config.json": (source_dir / "config.json").read_bytes()}
    for name in sorted(_CARRIED):
        path = source_dir / name
        if path.is_file() and path.stat().st_size <= _LARGEST:
            files[name] = path.read_bytes()
    return files
