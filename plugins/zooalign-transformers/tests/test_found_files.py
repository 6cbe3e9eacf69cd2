"""Files as they are found: names of older versions, other prefixes, tensors of other classes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from zooalign.errors import CheckpointError, ZooalignWarning
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

FILE = "model.safetensors"
State = Mapping[str, Tensor]
SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip


def pythia() -> Any:
    config = transformers.GPTNeoXConfig(**SIZES, max_position_embeddings=16)
    return transformers.GPTNeoXForCausalLM(config)


def as_pythia(state: State) -> dict[str, Tensor]:
    start = "gpt_neox.layers.0.attention."
    mask = torch.ones(1, 1, 16, 16, dtype=torch.bool).tril()
    old = {"bias": mask, "masked_bias": torch.tensor(-1e9), "rotary_emb.inv_freq": torch.ones(1)}
    return {**state, **{start + name: tensor for name, tensor in old.items()}}


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))


def as_llama_2(state: State) -> dict[str, Tensor]:
    return {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}


def t5() -> Any:
    config = transformers.T5Config(
        d_model=16, d_ff=24, d_kv=8, num_layers=1, num_heads=2, vocab_size=20
    )
    return transformers.T5ForConditionalGeneration(config)


def as_t5(state: State) -> dict[str, Tensor]:
    name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return {**state, name: torch.randn(32, 2)}


def gpt2() -> Any:
    config = transformers.GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=16, bos_token_id=1,
        eos_token_id=1,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def as_gpt2(state: State) -> dict[str, Tensor]:
    plain = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    return {**plain, "h.0.attn.bias": torch.ones(1, 1, 16, 16).tril()}


LAYOUTS: dict[str, tuple[Callable[[], Any], Callable[[State], dict[str, Tensor]]]] = {
    "pythia": (pythia, as_pythia),
    "llama-2": (llama, as_llama_2),
    "t5": (t5, as_t5),
    "gpt2": (gpt2, as_gpt2),
}


def saved(directory: Path, model: Any, change: Callable[[State], State]) -> str:
    model.save_pretrained(directory)
    changed = {n: t.contiguous() for n, t in change(load_file(directory / FILE)).items()}
    save_file(changed, directory / FILE, metadata={"format": "pt"})
    return str(directory)


def outputs(model: Any) -> Tensor:
    ids = torch.randint(2, 18, (2, 7), generator=torch.Generator().manual_seed(0))
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.double().eval()(ids, **decoder).logits


@pytest.mark.parametrize("layout", LAYOUTS)
def test_read_as_from_pretrained_does_and_written_as_found(tmp_path: Path, layout: str) -> None:
    make, change = LAYOUTS[layout]
    model = make()
    opened = open_model(saved(tmp_path / "a", model, change))
    state, checkpoint = opened.state_dict(), opened.checkpoint
    assert checkpoint is not None
    loaded, info = type(model).from_pretrained(tmp_path / "a", output_loading_info=True)
    assert not any(info.values())
    assert all(torch.equal(state[name], t) for name, t in loaded.state_dict().items())
    write_model(tmp_path / "b", dict(checkpoint), layout_like=checkpoint)
    one, other = load_file(tmp_path / "a" / FILE), load_file(tmp_path / "b" / FILE)
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_aligned_without_the_prefix_of_the_base_model(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        saved(tmp_path / name, gpt2(), as_gpt2)
    out = tmp_path / "out"
    report = align_models(
        str(tmp_path / "a"), str(tmp_path / "b"), str(out), AlignSettings(method="weight")
    )
    assert report.provenance.alignments[0].moved_fraction > 0
    source, moved = (
        outputs(transformers.GPT2LMHeadModel.from_pretrained(tmp_path / n)) for n in ("b", "out")
    )
    assert torch.allclose(moved, source, rtol=0, atol=1e-5 * float(source.abs().max()))


@pytest.mark.filterwarnings("ignore::zooalign.errors.ZooalignWarning")
def test_heads_of_another_class_are_kept_and_named(tmp_path: Path) -> None:
    config = transformers.BertConfig(**SIZES, max_position_embeddings=16)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        saved(tmp_path / name, transformers.BertForPreTraining(config), dict)
        path = tmp_path / name / "config.json"
        text = json.loads(path.read_text()) | {"architectures": ["BertForMaskedLM"]}
        path.write_text(json.dumps(text))
    a, b, out = (str(tmp_path / name) for name in ("a", "b", "out"))
    with pytest.warns(ZooalignWarning, match=r"4 tensors are not used by BertForMaskedLM: bert.po"):
        open_model(a)
    align_models(a, b, out, AlignSettings(method="weight"))
    before, after = load_file(tmp_path / "b" / FILE), load_file(tmp_path / "out" / FILE)
    assert list(after) == list(before)
    pooler = "bert.pooler.dense.weight"
    assert torch.equal(after[pooler], before[pooler])
    source = outputs(transformers.BertForMaskedLM.from_pretrained(b))
    moved = outputs(transformers.BertForMaskedLM.from_pretrained(out))
    assert torch.allclose(moved, source, rtol=0, atol=1e-5 * float(source.abs().max()))
    stale = [f for f in check(out, CheckRequest()).findings if f.id == "weights.unused"]
    heads = ("bert.pooler.dense", "cls.seq_relationship")
    found = {finding.parameter for finding in stale}
    assert {f"{head}.weight" for head in heads} <= found
    assert all(finding.severity == "warning" for finding in stale)


def test_a_model_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """What no class misses is not set aside: a checkpoint of another size, a head that is gone."""

    def without_norm(state: State) -> dict[str, Tensor]:
        rest = {name: tensor for name, tensor in state.items() if name != "model.norm.weight"}
        return {**rest, "model.other.weight": torch.ones(3)}

    saved(tmp_path / "a", llama(), without_norm)
    with pytest.raises(CheckpointError, match=r"1 missing: model.norm.weight; 1 unexpected: mod"):
        open_model(str(tmp_path / "a")).state_dict()


def test_a_buffer_that_may_be_missing_has_its_first_value(tmp_path: Path) -> None:
    config = transformers.PegasusConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, vocab_size=20,
        max_position_embeddings=16, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        forced_eos_token_id=None,
    )  # fmt: skip
    name = "final_logits_bias"
    saved(
        tmp_path / "a",
        transformers.PegasusForConditionalGeneration(config),
        lambda state: {n: t for n, t in state.items() if n != name},
    )
    opened = open_model(str(tmp_path / "a"))
    assert torch.equal(opened.state_dict()[name], torch.zeros(1, 20))
