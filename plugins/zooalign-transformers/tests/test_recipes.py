"""The recipes of the pages, with models of ``from_pretrained`` and a collator's batches."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zooalign
from hf_models import SENTENCES, tokenizer
from torch.utils.data import DataLoader
from zooalign.errors import ZooalignWarning

ROOT = Path(__file__).parents[3]
PAGES = {
    "README.md": r"zooalign\.barrier\(model, other",
    "docs/experiments/soup.md": r"zooalign\.merge\(\s*first",
    "plugins/zooalign-transformers/README.md": r"zooalign\.merge\(\s*first",
}


def recipe(page: str, calls: str) -> str:
    """The one Python block of a page that has the call."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (block,) = [block for block in blocks if re.search(calls, block)]
    return block


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three GPT-2 as they are loaded, and batches as ``Trainer`` makes them."""
    words = tokenizer()
    config = transformers.GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=len(words), n_positions=16,
        bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        directory = tmp_path_factory.mktemp(f"model{seed}")
        transformers.GPT2LMHeadModel(config).save_pretrained(directory)
        models.append(transformers.AutoModelForCausalLM.from_pretrained(directory))
    first, second, third = models
    collate = transformers.DataCollatorForLanguageModeling(words, mlm=False)
    rows = [words(text, truncation=True, max_length=6) for text in SENTENCES * 4]
    length = min(len(row["input_ids"]) for row in rows)
    cut = [{"input_ids": row["input_ids"][:length]} for row in rows]
    loader = DataLoader(cut, batch_size=4, collate_fn=collate)
    return {
        "first": first, "second": second, "third": third, "batches": list(loader),
        "model": second, "other": first, "loader": loader,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::zooalign.errors.ZooalignWarning")
@pytest.mark.parametrize("page", PAGES)
def test_it_runs_as_printed(page: str, given: dict[str, Any]) -> None:
    names = dict(given) | {"zooalign": zooalign}
    exec(recipe(page, PAGES[page]), names)
    merged = names["merged"].state_dict
    assert merged.keys() == given["first"].state_dict().keys()
    ids = torch.tensor([[2, 3, 4, 5]])
    with torch.no_grad():
        assert torch.isfinite(given["model"](input_ids=ids).logits).all()


def test_barriers_are_of_the_models_own_loss(given: dict[str, Any]) -> None:
    """The ends of the line have the loss that transformers computes of the labels."""
    first, second, batches = (given[name] for name in ("first", "second", "batches"))
    curve = zooalign.barrier(first, second, data=batches, alphas=2)
    with torch.no_grad():
        losses = [float(second(**batch).loss) for batch in batches]
    assert curve.train.loss[-1] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_padding_is_warned_of_and_an_opened_model_is_taken(
    given: dict[str, Any], tmp_path: Path
) -> None:
    from zooalign.zoo.models import open_model

    given["third"].save_pretrained(tmp_path)
    batch = dict(given["batches"][0])
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    batch["attention_mask"][0, -1] = 0
    with pytest.warns(ZooalignWarning, match="padding"):
        aligned = zooalign.align(
            open_model(str(tmp_path)), to=given["first"], data=[batch], method="activation"
        )
    assert aligned.match.moved_fraction > 0
