"""Small language models for the experiments on text: bytes, one training loop, saved directories.

What was trained is kept in the folder that ``ZOOALIGN_EXPERIMENTS`` names, each as a directory that
``from_pretrained`` and the commands of zooalign take, with its tokenizer: a token is a byte.
"""

import hashlib
import math
import os
import shutil
import tempfile
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from zooalign.release.calibration import open_for
from zooalign.release.settings import Loading
from zooalign.zoo.models import Model

ROOT = Path(__file__).parents[2]
LENGTH = 64  # tokens a row
WIDTH, LAYERS, HEADS = 128, 2, 4
BATCH = 32


@dataclass(frozen=True)
class Text:
    """How a model is trained: ``kind`` is ``gpt2`` or ``llama``; ``start`` what it goes on from.

    ``file`` of the text folder, its bytes from ``low`` to before ``high`` as shares of the whole.
    AdamW, the rate warmed up over a tenth of the steps and then falling to zero along a cosine.
    """

    kind: str
    seed: int
    file: str = "wiki.test.tokens"
    high: float = 1.0
    steps: int = 800
    rate: float = 2e-3
    start: "Text | None" = None


def text_file(name: str) -> Path:
    """A file of the text folder of ``ZOOALIGN_DATA`` (default: beside the project)."""
    folder = Path(os.environ.get("ZOOALIGN_DATA", ROOT.parent / "shared" / "data")) / "text"
    if not (folder / name).is_file():
        raise SystemExit(f"no {name} in {folder}: set ZOOALIGN_DATA")
    return folder / name


def tokenizer() -> Any:
    """A byte a token, without special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=plain)


def build(kind: str, seed: int) -> Any:
    """A model before training: GPT-2 with tied embeddings, or Llama with two key heads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "gpt2":
            return transformers.GPT2LMHeadModel(
                transformers.GPT2Config(
                    vocab_size=256, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
                    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None,
                    eos_token_id=None,
                )
            )  # fmt: skip
        return transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=256, hidden_size=WIDTH, intermediate_size=3 * WIDTH,
                num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                num_key_value_heads=HEADS // 2, max_position_embeddings=LENGTH,
                bos_token_id=None, eos_token_id=None,
            )
        )  # fmt: skip


@cache
def tokens(name: str, high: float) -> Tensor:
    """The tokens of a file's first share, int64."""
    text = text_file(name).read_bytes()
    text = text[: round(len(text) * high)]
    return torch.tensor(tokenizer()(text.decode("utf-8", "ignore"))["input_ids"])


def fit(model: Any, recipe: Text) -> None:
    """Train in place, on rows drawn at random places of the text."""
    data = tokens(recipe.file, recipe.high)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.1, fused=True)
    warm = recipe.steps // 10
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(
                (step + 1) / warm,
                (1 + math.cos(math.pi * (step - warm) / (recipe.steps - warm))) / 2,
            )
            if step < recipe.steps
            else 0.0
        ),
    )
    model.train()
    for step in range(recipe.steps):
        places = torch.randint(len(data) - LENGTH, (BATCH, 1), generator=generator)
        rows = data[places + torch.arange(LENGTH)]
        loss = model(rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"{recipe.kind} {recipe.seed} {step} {float(loss.detach()):.3f}", flush=True)
    model.eval()


def trained(recipe: Text) -> Path:
    """The directory of a recipe's model, trained now or before."""
    folder = Path(
        os.environ.get("ZOOALIGN_EXPERIMENTS")
        or Path(tempfile.gettempdir()) / "zooalign-experiments"
    )
    folder.mkdir(parents=True, exist_ok=True)
    known = repr((astuple(recipe), LENGTH, WIDTH, LAYERS, HEADS, BATCH))
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    path = folder / f"{recipe.kind}-{recipe.seed}-{digest}"
    if path.is_dir():
        return path
    model = build(recipe.kind, recipe.seed)
    if recipe.start is not None:
        model = type(model).from_pretrained(trained(recipe.start))
    fit(model, recipe)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    model.save_pretrained(aside)
    tokenizer().save_pretrained(aside)
    try:
        aside.rename(path)
    except OSError:  # another run was faster
        shutil.rmtree(aside)
    return path


def rows(model: Model, name: str, first: int, count: int) -> list[Any]:
    """Rows of a text by the model's own tokenizer, as the commands read them, in batches."""
    text = f"{text_file(name)}?length={LENGTH}&slice={first}:{first + count}"
    return list(open_for(model, text, Loading(batch_size=64)))


def unigram(name: str) -> float:
    """Entropy of a file's bytes, in nats: the loss of a model that knows how often each comes."""
    counts = torch.bincount(tokens(name, 1.0), minlength=256).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log()).sum())


if __name__ == "__main__":
    import sys

    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        kind, _, seed = argument.partition(":")
        print(trained(Text(kind, int(seed))))
