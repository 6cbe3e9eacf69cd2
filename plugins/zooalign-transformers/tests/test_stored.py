"""Experts that a checkpoint has one by one: read, aligned, written, checked under their names."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from zooalign.errors import CheckpointError
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.pipelines.merge import merge_models
from zooalign.release.opening import derive_for
from zooalign.release.settings import AlignSettings, MergeSettings
from zooalign.zoo.converted_checkpoint import ConvertedCheckpoint
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

from zooalign_transformers.building import transformers_model

SIZES = {
    "vocab_size": 18, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "num_experts_per_tok": 2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip


def mixtral(seed: int, **fields: Any) -> Any:
    torch.manual_seed(seed)
    config = transformers.MixtralConfig(
        **SIZES, intermediate_size=24, num_local_experts=4, **fields
    )
    return transformers.MixtralForCausalLM(config).eval()


def qwen(seed: int) -> Any:
    torch.manual_seed(seed)
    config = transformers.Qwen2MoeConfig(
        **SIZES, intermediate_size=24, moe_intermediate_size=12, num_experts=4,
        shared_expert_intermediate_size=20, decoder_sparse_step=1,
    )  # fmt: skip
    return transformers.Qwen2MoeForCausalLM(config).eval()


MODELS = {
    "mixtral": (mixtral, "model.layers.0.block_sparse_moe.experts.1.w1.weight"),
    "qwen2_moe": (qwen, "model.layers.0.mlp.experts.1.gate_proj.weight"),
}
FILE = "model.safetensors"


def saved(model: Any, directory: Path) -> str:
    model.save_pretrained(directory)
    return str(directory)


def logits(directory: Path | str) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    ids = torch.randint(2, 18, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids).logits


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_aligned_under_the_stored_names(tmp_path: Path, kind: str) -> None:
    make, expert = MODELS[kind]
    a, b = (saved(make(seed), tmp_path / name) for seed, name in enumerate("ab"))
    before = load_file(tmp_path / "b" / FILE)
    assert expert in before
    opened = open_model(b)
    assert isinstance(opened.checkpoint, ConvertedCheckpoint)
    fused = opened.checkpoint["model.layers.0.mlp.experts.gate_up_proj"]
    assert torch.equal(fused[1, : len(before[expert])], before[expert])

    out = tmp_path / "out"
    report = align_models(a, b, str(out), AlignSettings(method="weight"))
    record = report.provenance.alignments[0]
    assert record.max_relative_error < record.tolerance
    after = load_file(out / FILE)
    assert list(after) == list(before)
    for name, tensor in before.items():
        assert after[name].shape == tensor.shape
        if ".experts." not in name:  # an expert's values may be another's now
            assert torch.equal(after[name].flatten().sort()[0], tensor.flatten().sort()[0])
    assert not torch.equal(after[expert], before[expert])
    found = logits(out)
    assert torch.allclose(found, logits(b), rtol=0, atol=1e-5 * float(found.abs().max()))
    errors = [
        f
        for f in check(
            str(out),
            CheckRequest(
                parents=(
                    a,
                    b,
                )
            ),
        ).findings
        if f.severity == "error"
    ]
    assert errors == []


@pytest.mark.slow
def test_a_planted_order_of_experts_is_found_and_undone(tmp_path: Path) -> None:
    a = saved(mixtral(0), tmp_path / "a")
    opened = open_model(a)
    spec = derive_for(opened, opened.build()).spec
    assert opened.checkpoint is not None
    write_model(
        tmp_path / "b",
        spec.apply(spec.random(2), dict(opened.checkpoint)),
        config_files=opened.config_files(),
        layout_like=opened.checkpoint,
    )
    before, planted = load_file(tmp_path / "a" / FILE), load_file(tmp_path / "b" / FILE)
    gate = "model.layers.0.block_sparse_moe.gate.weight"
    assert not torch.equal(before[gate], planted[gate])
    align_models(
        a,
        str(tmp_path / "b"),
        str(tmp_path / "out"),
        AlignSettings(method="weight", options={"starts": 3}),
    )
    back = load_file(tmp_path / "out" / FILE)
    assert all(torch.equal(back[name], before[name]) for name in before)


def test_merged_in_bfloat16_and_in_shards(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        mixtral(seed).bfloat16().save_pretrained(tmp_path / name, max_shard_size="20KB")
    assert (tmp_path / "a" / "model.safetensors.index.json").is_file()
    merge_models(
        [str(tmp_path / "a"), str(tmp_path / "b")],
        str(tmp_path / "out"),
        MergeSettings(method="weight"),
    )
    shards = sorted(path.name for path in (tmp_path / "a").glob("*.safetensors"))
    assert len(shards) > 1
    for shard in shards:
        one, merged = load_file(tmp_path / "a" / shard), load_file(tmp_path / "out" / shard)
        assert one.keys() == merged.keys()
        assert all(tensor.dtype == torch.bfloat16 for tensor in merged.values())
    assert torch.isfinite(logits(tmp_path / "out")).all()


@pytest.mark.slow
def test_experts_that_left_their_router(tmp_path: Path) -> None:
    """A hand-made release in which two experts changed places and the router's rows did not."""
    a, b = (saved(mixtral(seed), tmp_path / name) for seed, name in enumerate("ab"))
    out = tmp_path / "out"
    align_models(a, b, str(out), AlignSettings(method="weight"))
    state = load_file(out / FILE)
    start = "model.layers.0.block_sparse_moe.experts"
    for part in ("w1", "w2", "w3"):
        one, other = f"{start}.0.{part}.weight", f"{start}.1.{part}.weight"
        state[one], state[other] = state[other].clone(), state[one].clone()
    save_file(state, out / FILE, metadata={"format": "pt"})
    found = [
        f
        for f in check(
            str(out),
            CheckRequest(
                parents=(
                    a,
                    b,
                )
            ),
        ).findings
        if f.severity == "error"
    ]
    named = {f.parameter for f in found if f.id == "parent.bytes"}
    fused = "model.layers.0.mlp.experts"
    assert named == {f"{fused}.gate_up_proj", f"{fused}.down_proj"}
    assert "parent.function" in {f.id for f in found}


def test_embeddings_that_are_tied_wrongly(tmp_path: Path) -> None:
    saved(mixtral(0, tie_word_embeddings=True), tmp_path / "a")
    state = load_file(tmp_path / "a" / FILE)
    assert "lm_head.weight" not in state
    assert "lm_head.weight" in open_model(str(tmp_path / "a")).state_dict()
    state["lm_head.weight"] = state["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(state, tmp_path / "a" / FILE, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"tied, but stored with different values.*lm_head"):
        open_model(str(tmp_path / "a")).state_dict()


def test_pieces_that_do_not_fit_each_other(tmp_path: Path) -> None:
    saved(mixtral(0), tmp_path / "a")
    path = tmp_path / "a" / FILE
    whole = load_file(path)
    start = "model.layers.0.block_sparse_moe.experts"

    def refused(changed: dict[str, torch.Tensor], message: str) -> None:
        save_file(changed, path, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=message):
            open_model(str(tmp_path / "a")).state_dict()

    gone = {k: v for k, v in whole.items() if k != f"{start}.2.w3.weight"}
    refused(gone, r"gate_up_proj' is stored in 7 pieces")
    short = whole | {f"{start}.2.w1.weight": whole[f"{start}.2.w1.weight"][1:].contiguous()}
    refused(short, r"gate_up_proj' is stored in 8 pieces .* do not fit each other")
    half = whole | {f"{start}.2.w2.weight": whole[f"{start}.2.w2.weight"].half()}
    refused(half, r"down_proj' are stored in different dtypes")
    moved = {k.replace("experts.3.", "experts.7."): v for k, v in whole.items()}
    refused(moved, r"not those that transformers stores it in: look at '.*experts.(3|7)")
    fewer = {k: v for k, v in whole.items() if "layers.0.block_sparse_moe.experts.3." not in k}
    refused(fewer, r"gate_up_proj \(3, 48, 16\) instead of \(4, 48, 16\)")


def test_names_of_older_versions_are_kept(tmp_path: Path) -> None:
    """LayerNorm once had a gamma and a beta; what is written has them again."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=24, hidden_size=16, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    for name in "ab":
        transformers.BertModel(config).save_pretrained(tmp_path / name)
        state = {
            k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): v
            for k, v in load_file(tmp_path / name / FILE).items()
        }
        state["embeddings.position_ids"] = torch.arange(32)[None]  # computed by now
        save_file(state, tmp_path / name / FILE, metadata={"format": "pt"})
    a, b, out = (str(tmp_path / name) for name in ("a", "b", "o"))
    align_models(a, b, out, AlignSettings(method="weight"))
    after = load_file(tmp_path / "o" / FILE)
    assert list(after) == list(load_file(tmp_path / "b" / FILE))
    assert torch.equal(after["embeddings.position_ids"], torch.arange(32)[None])
    assert [
        f
        for f in check(
            out,
            CheckRequest(
                parents=(
                    a,
                    b,
                )
            ),
        ).findings
        if f.severity == "error"
    ] == []


TYPES = [
    "olmoe",
    "phimoe",
    "granitemoe",
    "deepseek_v3",
    "jamba",
    "ernie4_5_moe",
    "llava",
    "vit",
    "detr",
]


@pytest.mark.parametrize("kind", TYPES)
def test_what_transformers_saves_is_read_and_written_again(tmp_path: Path, kind: str) -> None:
    """Experts, towers with another prefix, projections cut in three: bit for bit, both ways."""
    model = transformers_model(open_model(f"transformers:{kind}?size=small").architecture)
    opened = open_model(saved(model, tmp_path / "a"))
    checkpoint, state = opened.checkpoint, opened.state_dict()
    assert isinstance(checkpoint, ConvertedCheckpoint)
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    whole = {name: checkpoint[name] for name in checkpoint}
    write_model(tmp_path / "b", whole, layout_like=checkpoint)
    one, other = load_file(tmp_path / "a" / FILE), load_file(tmp_path / "b" / FILE)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
