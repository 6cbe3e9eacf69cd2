"""An adapter trained on one model, carried over to the order of another."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hf_models import bert, llama
from safetensors.torch import load_file, save_file
from torch import Tensor
from zooalign.cli import main
from zooalign.errors import CheckpointError, SpecError, ZooalignWarning
from zooalign.pipelines.align import align_models
from zooalign.pipelines.lora import carry_adapter
from zooalign.release import lora
from zooalign.release.opening import derive_for
from zooalign.release.settings import AlignSettings
from zooalign.symmetry import PermutationSpec
from zooalign.symmetry.spec_file import permutation_from_dict
from zooalign.zoo.models import open_model

RANK = 3


def gpt2(seed: int) -> Any:
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=18, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=1,
        eos_token_id=1,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def adapter(directory: Path, model: Any, targets: list[str], **fields: Any) -> Path:
    """As peft writes it: one pair of matrices for each module whose name ends like a target."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if not any(name.endswith(target) for target in targets):
            continue
        weight = module.weight
        inputs, outputs = weight.shape[1], weight.shape[0]
        if fields.get("fan_in_fan_out"):
            inputs, outputs = outputs, inputs
        key = f"base_model.model.{name}"
        if isinstance(module, torch.nn.Embedding):
            pair = {"lora_embedding_A": (RANK, outputs), "lora_embedding_B": (inputs, RANK)}
        else:
            pair = {"lora_A.weight": (RANK, inputs), "lora_B.weight": (outputs, RANK)}
        for part, shape in pair.items():
            tensors[f"{key}.{part}"] = torch.randn(shape, generator=generator)
    assert tensors
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "target_modules": targets, **fields}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


def spec_of(model: Any, directory: Path) -> PermutationSpec:
    model.save_pretrained(directory)
    opened = open_model(str(directory))
    return derive_for(opened, opened.build()).spec


CASES = [
    (llama, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj"], {}),
    (llama, ["embed_tokens", "lm_head"], {"use_rslora": True}),
    (gpt2, ["c_attn", "c_fc", "c_proj"], {"fan_in_fan_out": True}),
    (bert, ["query", "value", "output.dense"], {"alpha_pattern": {"query": 2}}),
]


@pytest.mark.parametrize(
    ("make", "targets", "fields"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_merging_and_permuting_commute(
    tmp_path: Path, make: Any, targets: list[str], fields: dict[str, Any]
) -> None:
    model = make(0)
    spec = spec_of(model, tmp_path / "model")
    state = {name: model.state_dict()[name].double() for name in spec.shapes}
    trained = lora.read_adapter(adapter(tmp_path / "adapter", model, targets, **fields))
    permutation = spec.random(1)
    carried = lora.carry(trained, spec, permutation)
    one = lora.merged(carried, spec.apply(permutation, state))
    two = spec.apply(permutation, lora.merged(trained, state))
    changed = 0
    for name in two:
        assert torch.allclose(one[name], two[name], rtol=0, atol=1e-12), name
        changed += not torch.equal(two[name], spec.apply(permutation, state)[name])
    assert changed >= len(targets)
    # An adapter that stays in the old order is another one.
    stale = lora.merged(trained, spec.apply(permutation, state))
    assert any(not torch.allclose(stale[name], two[name], atol=1e-3) for name in two)


def test_from_an_aligned_directory(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        llama(seed).save_pretrained(tmp_path / name)
    out = tmp_path / "aligned"
    align_models(str(tmp_path / "a"), str(tmp_path / "b"), str(out), AlignSettings(method="weight"))
    trained = adapter(tmp_path / "adapter", llama(1), ["q_proj", "up_proj", "down_proj"])
    carry_adapter(str(trained), str(out), str(tmp_path / "carried"))
    ids = torch.randint(2, 18, (2, 7), generator=torch.Generator().manual_seed(0))
    logits = []
    for base, own in ((tmp_path / "b", trained), (out, tmp_path / "carried")):
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        weights = dict(model.state_dict())
        model.load_state_dict(lora.merged(lora.read_adapter(own), weights))
        with torch.no_grad():
            logits.append(model.double()(ids).logits)
    assert torch.allclose(*logits, rtol=0, atol=1e-5)
    before = load_file(trained / "adapter_model.safetensors")
    after = load_file(tmp_path / "carried" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_what_is_refused(tmp_path: Path) -> None:
    model = llama(0)
    spec = spec_of(model, tmp_path / "model")
    with pytest.raises(CheckpointError, match="no adapter with adapter_config"):
        lora.read_adapter(tmp_path)
    with pytest.raises(CheckpointError, match="peft_type is 'IA3'"):
        lora.read_adapter(adapter(tmp_path / "ia3", model, ["q_proj"], peft_type="IA3"))
    other = lora.read_adapter(adapter(tmp_path / "other", bert(0), ["query"]))
    with pytest.raises(CheckpointError, match=r"query\.lora_A\.weight' of the adapter belongs to"):
        lora.carry(other, spec, spec.random(0))
    good = lora.read_adapter(adapter(tmp_path / "good", model, ["q_proj"]))
    wide = {name: torch.cat([x, x], 1) for name, x in good.tensors.items()}
    with pytest.raises(CheckpointError, match=r"does not fit .model\.layers\.0\.self_attn\.q_proj"):
        lora.carry(lora.Adapter(good.config, wide), spec, spec.random(0))


def test_an_adapter_that_peft_made_serves_the_aligned_model(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed (the test extra)")
    for seed, name in enumerate("ab"):
        llama(seed).save_pretrained(tmp_path / name)
    out = tmp_path / "aligned"
    align_models(str(tmp_path / "a"), str(tmp_path / "b"), str(out), AlignSettings(method="weight"))
    torch.manual_seed(5)
    wanted = peft.LoraConfig(
        r=RANK, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False,
        rank_pattern={"down_proj": 5}, use_rslora=True, trainable_token_indices=[3, 7],
    )  # fmt: skip
    source = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    trained = peft.get_peft_model(source, wanted).eval()
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if "trainable_tokens" in name:
                parameter.add_(torch.randn(parameter.shape))
    trained.save_pretrained(tmp_path / "adapter")
    carry_adapter(str(tmp_path / "adapter"), str(out), str(tmp_path / "carried"))
    # By itself: the carried configuration names the aligned model.
    served = peft.AutoPeftModelForCausalLM.from_pretrained(str(tmp_path / "carried")).eval()
    ids = torch.randint(2, 18, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, two = trained(ids).logits, served(ids).logits
        alone = transformers.AutoModelForCausalLM.from_pretrained(out)(ids).logits
    assert torch.allclose(one, two, rtol=0, atol=1e-5)
    assert float((one - alone).abs().max()) > 1e-2  # the adapter does something

    # What peft merges into the aligned model is the merged model, aligned.
    opened = open_model(str(tmp_path / "b"))
    spec = derive_for(opened, opened.build()).spec
    body = json.loads((out / "zooalign" / "permutation.json").read_text())
    permutation = permutation_from_dict(body, spec, "permutation.json")
    merged = {n: t for n, t in trained.merge_and_unload().state_dict().items() if n in spec.shapes}
    unloaded = served.merge_and_unload().state_dict()
    for name, tensor in spec.apply(permutation, merged).items():
        assert torch.allclose(unloaded[name], tensor, rtol=0, atol=1e-6), name


def test_more_tokens_than_the_model_has(tmp_path: Path) -> None:
    """Rows of tokens stay, columns follow; another width is an error."""
    model = llama(0)
    spec = spec_of(model, tmp_path / "model")
    permutation = spec.random(1)
    names = {
        "lm_head.weight": "lm_head.weight",
        "lm_head.modules_to_save.default.weight": "lm_head.weight",
        "model.embed_tokens.weight": "model.embed_tokens.weight",
        "model.embed_tokens.token_adapter.trainable_tokens_delta": "model.embed_tokens.weight",
    }
    state = model.state_dict()
    wide = {k: torch.cat([state[name], state[name][:3]]) for k, name in names.items()}
    trained = lora.Adapter({}, {f"base_model.model.{k}": t for k, t in wide.items()})
    carried = lora.carry(trained, spec, permutation).tensors
    expected = spec.apply(permutation, state)
    for key, name in names.items():
        moved = carried[f"base_model.model.{key}"]
        assert torch.equal(moved, torch.cat([expected[name], expected[name][:3]])), key
    narrow = {"base_model.model.lm_head.weight": torch.zeros(18, 15)}
    with pytest.raises(CheckpointError, match=r"axes \[0\] alone may have another size"):
        lora.carry(lora.Adapter({}, narrow), spec, permutation)


def test_the_base_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        llama(seed).save_pretrained(tmp_path / name)
    align_models("./a", "./b", "aligned", AlignSettings(method="weight"))
    right = {"base_model_name_or_path": "./b", "revision": "main"}
    adapter(tmp_path / "right", llama(1), ["q_proj"], **right)
    adapter(tmp_path / "other", llama(1), ["q_proj"], base_model_name_or_path="./a")
    assert not carry_adapter("right", "./aligned", "one").warnings
    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("./aligned", None)
    with pytest.warns(ZooalignWarning, match=r"was trained on './a' .* is './b' aligned"):
        carry_adapter("other", "./aligned", "two")
    with pytest.raises(SpecError, match=r"--aligned ./a: .*give what `zooalign align` wrote"):
        carry_adapter("right", "./a", "three")
    words = ["lora", "other", "--aligned", "./aligned", "-o", "four", "--format", "json"]
    assert main(words, standalone_mode=False) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["base"], result["aligned"]) == ("./a", "./aligned")
    assert result["tensors"] == 4 >= result["moved"] > 0 and len(result["warnings"]) == 1
    assert main(["lora", "a", "--aligned", "./aligned", "-o", "no"], standalone_mode=False) == 2
    assert "it has no adapter_config.json" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
