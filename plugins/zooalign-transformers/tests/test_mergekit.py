"""mergekit's configurations run as they are, and give mergekit's own tensors.

mergekit is no dependency: ``pip install mergekit`` where this is to be run.
"""

import re
from pathlib import Path

import pytest
import torch
import yaml
import zooalign
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from zooalign.cli import main
from zooalign.merging.combine import _seed_of

pytest.importorskip("mergekit")
LAYERS = 3
CONFIG = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}

LINEAR = """
models:
  - model: ./a
    parameters: {weight: [0.2, 0.8]}
  - model: ./b
    parameters:
      weight:
        - {filter: mlp, value: 0.3}
        - {value: 1.0}
merge_method: linear
dtype: float32
"""
SLERP = """
models: [{model: ./a}, {model: ./b}]
base_model: ./a
merge_method: slerp
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 1]}
    - {filter: mlp, value: [1, 0.2]}
    - {value: 0.4}
dtype: float32
"""
TASK_ARITHMETIC = """
models:
  - {model: ./a, parameters: {weight: 0.6}}
  - {model: ./b, parameters: {weight: 0.7}}
base_model: ./base
merge_method: task_arithmetic
parameters: {lambda: 0.8}
dtype: float32
"""
TIES = """
models:
  - model: ./base
  - {model: ./a, parameters: {weight: 0.6, density: 0.5}}
  - {model: ./b, parameters: {weight: [0.3, 0.7], density: [1, 0.7, 0.1]}}
base_model: ./base
merge_method: ties
parameters: {normalize: true, int8_mask: true}
dtype: float32
"""
DARE_TIES = """
models:
  - {model: ./a, parameters: {weight: 0.6, density: 0.53}}
  - {model: ./b, parameters: {weight: 0.4, density: 0.6}}
base_model: ./base
merge_method: dare_ties
dtype: float32
"""
# Outside of layers the first slice counts for the embedding, the last one for norm and head.
SLICES = """
slices:
  - sources:
      - {model: ./a, layer_range: [0, 2]}
      - model: ./b
        layer_range: [0, 2]
        parameters: {weight: [{filter: mlp, value: 0.9}]}
  - sources:
      - model: ./a
        layer_range: [2, 3]
        parameters: {weight: [{filter: mlp, value: [0.1, 0.4]}]}
      - {model: ./b, layer_range: [2, 3]}
merge_method: linear
parameters: {weight: [0.2, 0.7]}
dtype: float32
"""
MODULES = """
modules:
  default:
    models:
      - {model: ./a, parameters: {weight: 0.6}}
      - {model: ./b, parameters: {weight: 0.7}}
base_model: ./base
merge_method: task_arithmetic
parameters: {lambda: 0.8}
dtype: float32
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, two fine-tunes of it, and the second in another order of units."""
    place = tmp_path_factory.mktemp("llamas")
    torch.manual_seed(9)
    base = LlamaForCausalLM(LlamaConfig(**CONFIG))
    for seed, name in enumerate(("base", "a", "b")):
        model = LlamaForCausalLM(LlamaConfig(**CONFIG))
        model.load_state_dict(base.state_dict())
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += (0.005 if seed else 0.0) * noise
        model.save_pretrained(place / name)
    return place


@pytest.fixture(autouse=True)
def work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run(config: str, out: str) -> dict[str, Tensor]:
    Path("recipe.yaml").write_text(config)
    assert main(["run", "recipe.yaml", "-o", out, "--overwrite", "-q"], standalone_mode=False) == 0
    return load_file(f"{out}/model.safetensors")


def run_mergekit(config: str, out: str) -> dict[str, Tensor]:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    parsed = MergeConfiguration.model_validate(yaml.safe_load(config))
    run_merge(parsed, out, MergeOptions(copy_tokenizer=False, quiet=True, random_seed=0))
    return load_file(f"{out}/model.safetensors")


@pytest.mark.parametrize(
    "config",
    [LINEAR, SLERP, TASK_ARITHMETIC, TIES, SLICES, MODULES],
    ids=["linear", "slerp", "task_arithmetic", "ties", "slices", "modules"],
)
def test_the_same_tensors(config: str) -> None:
    ours, theirs = run(config, "ours"), run_mergekit(config, "theirs")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=5e-7, msg=name)


def test_dare_with_the_same_draws() -> None:
    """Draws depend on mergekit's order of work, so its method is given ours, tensor by tensor."""
    from mergekit.merge_methods.base import TensorGroup
    from mergekit.merge_methods.registry import get

    ours = run(DARE_TIES, "ours")
    parents = [load_file(f"{name}/model.safetensors") for name in ("base", "a", "b")]
    method = get("dare_ties")
    parameters = {"weight": {1: 0.6, 2: 0.4}, "density": {1: 0.53, 2: 0.6}}
    shared = {"int8_mask": False, "normalize": False, "rescale": True, "lambda": 1.0}
    for name, tensor in ours.items():
        torch.manual_seed(_seed_of(0, name))
        group = TensorGroup.from_tensors([parent[name] for parent in parents], base_index=0)
        theirs = method.merge_group(group, **parameters, **shared)
        torch.testing.assert_close(tensor, theirs, rtol=0, atol=5e-7, msg=name)


@pytest.mark.parametrize("config", [LINEAR, SLERP, TIES], ids=["linear", "slerp", "ties"])
def test_aligned_first(config: str, folder: Path) -> None:
    """A model whose units were shuffled is merged as the one it was."""
    from zooalign.pipelines.spec import spec_for

    spec = spec_for("./b").derived.spec
    state = load_file("b/model.safetensors")
    shuffled = folder / "shuffled"
    shuffled.mkdir(exist_ok=True)
    (shuffled / "config.json").write_bytes((folder / "b/config.json").read_bytes())
    moved = spec.apply(spec.random(1), state)
    save_file({n: t.contiguous() for n, t in moved.items()}, shuffled / "model.safetensors")
    assert isinstance(spec, zooalign.PermutationSpec) and not torch.equal(
        moved["model.layers.0.mlp.up_proj.weight"], state["model.layers.0.mlp.up_proj.weight"]
    )
    aligned = run(re.sub(r"\./b\b", "./shuffled", config) + "align: weight\n", "aligned")
    for name, tensor in run_mergekit(config, "theirs").items():
        torch.testing.assert_close(aligned[name], tensor, rtol=0, atol=1e-6, msg=name)
