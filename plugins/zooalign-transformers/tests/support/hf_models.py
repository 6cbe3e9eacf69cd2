"""Small models and a tokenizer that tests write to directories."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

__all__ = ["SENTENCES", "WORDS", "bert", "llama", "tokenizer", "written"]

WORDS = "the a cat dog sat ran on under mat tree red blue old new big small".split()  # noqa: SIM905
SENTENCES = ["the old cat sat on a mat", "a big red dog ran under the tree"]


def tokenizer(*, around: bool = False) -> Any:
    """A word a token; with ``around``, [CLS] before and [SEP] behind every text."""
    special = ["[PAD]", "[UNK]"] + (["[CLS]", "[SEP]", "[MASK]"] if around else [])
    table = {word: number for number, word in enumerate([*special, *WORDS])}
    plain = Tokenizer(models.WordLevel(table, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if around:
        ends = [("[CLS]", table["[CLS]"]), ("[SEP]", table["[SEP]"])]
        plain.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        named |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **named)


def bert(seed: int, kind: str = "BertForSequenceClassification", **fields: Any) -> Any:
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=32, num_labels=3, **fields,
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def llama(seed: int, **fields: Any) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=18, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=24, max_position_embeddings=32, pad_token_id=0,
        bos_token_id=1, eos_token_id=1, **fields,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def written(model: Any, directory: Path, *, around: bool = False) -> Path:
    """The model and its tokenizer in a directory."""
    model.save_pretrained(directory)
    tokenizer(around=around).save_pretrained(directory)
    return directory
