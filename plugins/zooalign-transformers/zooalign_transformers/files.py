"""The files beside the weights that ``from_pretrained`` and ``pipeline`` read."""

import json
from pathlib import Path

from zooalign.zoo.adapters import Architecture

from zooalign_transformers.configuring import make_config

__all__ = ["config_files"]

# What transformers and tokenizers write; nothing that runs, and no weights.
_CARRIED = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
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
)
_LARGEST = 100_000_000


def config_files(architecture: Architecture, source_dir: Path | None) -> dict[str, bytes]:
    """``config.json``, and from the source generation, tokenizer and processor files as they are."""
    if source_dir is None or not (source_dir / "config.json").is_file():
        config = make_config(architecture.config["config"], f"transformers:{architecture.name}")
        config.architectures = [architecture.config["class"]]
        return {"config.json": (json.dumps(config.to_diff_dict(), indent=2) + "\n").encode()}
    found = {"config.json": (source_dir / "config.json").read_bytes()}
    for name in _CARRIED:
        path = source_dir / name
        if path.is_file() and path.stat().st_size <= _LARGEST:
            found[name] = path.read_bytes()
    return found
