"""Directories that ``save_pretrained`` wrote: aligned, loaded back by transformers, equal."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from hf_models import SENTENCES, bert, llama, tokenizer
from safetensors import safe_open
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.zoo.models import open_model


def keys(directory: Path) -> dict[str, torch.dtype]:
    found = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    return found


def test_a_classifier_with_its_tokenizer(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        bert(seed).save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    out = tmp_path / "out"
    report = align_models(
        str(tmp_path / "a"), str(tmp_path / "b"), str(out), AlignSettings(method="weight")
    )
    assert report.provenance.alignments[0].moved_fraction > 0
    # Everything that stands beside the weights is there, as it was.
    for path in (tmp_path / "b").iterdir():
        if not path.name.endswith(".safetensors"):
            assert (out / path.name).read_bytes() == path.read_bytes()
    source = transformers.pipeline("text-classification", str(tmp_path / "b"), top_k=None)
    moved = transformers.pipeline("text-classification", str(out), top_k=None)
    state, other = source.model.state_dict(), moved.model.state_dict()
    assert any(not torch.equal(state[name], other[name]) for name in state)
    for one, two in zip(source(SENTENCES), moved(SENTENCES), strict=True):
        assert [a["label"] for a in one] == [b["label"] for b in two]
        assert [a["score"] for a in one] == pytest.approx([b["score"] for b in two], abs=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_bfloat16_in_shards_tied_or_not(tmp_path: Path, tied: bool) -> None:
    for seed, name in enumerate("ab"):
        model = llama(seed, tie_word_embeddings=tied).bfloat16()
        model.save_pretrained(tmp_path / name, max_shard_size="4KB")
    out = tmp_path / "out"
    align_models(str(tmp_path / "a"), str(tmp_path / "b"), str(out), AlignSettings(method="weight"))
    assert len(list(out.glob("*.safetensors"))) > 1
    assert keys(out) == keys(tmp_path / "b")
    assert ("lm_head.weight" in keys(out)) != tied
    assert set(keys(out).values()) == {torch.bfloat16}
    source = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    moved = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert (moved.lm_head.weight is moved.model.embed_tokens.weight) == tied
    # Bit for bit: the same values in every tensor, in another order.
    for name, tensor in source.state_dict().items():
        other = moved.state_dict()[name]
        assert torch.equal(tensor.flatten().sort()[0], other.flatten().sort()[0])
    ids = torch.randint(2, 18, (2, 7))
    with torch.no_grad():
        one, two = source.double()(ids).logits, moved.double()(ids).logits
    assert torch.allclose(one, two, rtol=0, atol=1e-5 * float(one.abs().max()))
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == 1


def test_code_of_a_repo_is_not_run(tmp_path: Path) -> None:
    from zooalign.errors import ModelReferenceError

    config = {"model_type": "mine", "architectures": ["MyModel"], "auto_map": {"AutoModel": "my.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "my.py").write_text("raise SystemExit('this ran')")
    bert(0).save_pretrained(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes(
        (tmp_path / "other" / "model.safetensors").read_bytes()
    )
    with pytest.raises(ModelReferenceError, match="MyModel is code of the repo, which is not run"):
        open_model(str(tmp_path))
