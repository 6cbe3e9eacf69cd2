"""Recipes: merge, gate and publish by one file; a release's provenance is one."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from cli_calls import Call, in_process, listing
from documented_fields import documented
from everyday_nets import mlp, write_networks
from released_pairs import weights
from safetensors.torch import load_file, save_file
from served_hub import served_hub

import zooalign
from zooalign.errors import MergeError
from zooalign.merging.combine import METHODS, Combination, combined
from zooalign.recipes.recipe import RecipeError, read_recipe
from zooalign.release.settings import Naming
from zooalign.schemas import load_schema

pytestmark = pytest.mark.slow
MLP = "py:everyday_nets:mlp?input=6"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return in_process(capsys)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: three networks, the last one the first in another order of units."""
    write_networks(tmp_path)
    monkeypatch.chdir(tmp_path)
    state = load_file("mlp0.safetensors")
    spec = zooalign.extract_spec(mlp(), torch.zeros(2, 6))
    moved = spec.apply(spec.random(5), state)
    save_file({name: tensor.contiguous() for name, tensor in moved.items()}, "moved.safetensors")
    return tmp_path


PARAMETERS = {
    "linear": {"weight": 0.5},
    "slerp": {"t": [0.2, 0.6]},
    "task_arithmetic": {"weight": 0.4},
    "ties": {"weight": 0.4, "density": 0.5},
    "dare_ties": {"weight": 0.4, "density": 0.5},
}


def recipe(method: str, *models: str, **more: object) -> str:
    base = {} if method == "linear" else {"base_model": models[0]}
    entries = [{"model": model} for model in models]
    content = {"merge_method": method, "models": entries, "parameters": PARAMETERS[method]}
    Path("recipe.yaml").write_text(yaml.safe_dump({**content, **base, "architecture": MLP, **more}))
    return "recipe.yaml"


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_is_checked_and_made_again(call: Call, work: Path, method: str) -> None:
    """The gate recomputes every tensor from the models; the provenance gives the same bytes."""
    models = [f"mlp{n}.safetensors" for n in (0, 1)]
    if method not in ("linear", "slerp"):
        models.append("moved.safetensors")
    path = recipe(method, *models, gate={}, align="weight", dtype="float32")
    run = ("run", path, "-o", "out", "--allow-code")
    done = call(*run, "--format", "json")
    assert done.code == 0, done.out + done.err
    assert set(done.json) == documented("run")
    checked = done.json["check"]
    assert checked["ok"] and "parent.bytes" in checked["checks"]
    assert {finding["id"] for finding in checked["findings"]} == {"card.licence"}  # none stated
    assert len(done.json["merge"]["aligned"]) == len(models) - 1
    again = work / "again"
    again.mkdir()
    record = "out/zooalign/provenance.json"
    assert call("run", record, "-o", str(again / "out")).code == 2  # it names code
    assert call("run", record, "-o", str(again / "out"), "--allow-code").code == 0
    assert listing(again / "out") == listing(work / "out")
    for name in listing(work / "out"):
        if (work / "out" / name).is_file():
            assert (again / "out" / name).read_bytes() == (work / "out" / name).read_bytes(), name
    assert call("reproduce", "out", "--allow-code").code == 0


def test_with_align_units_correspond(call: Call) -> None:
    models = ("mlp0.safetensors", "moved.safetensors")
    assert call("run", recipe("linear", *models), "-o", "as_is", "--allow-code").code == 0
    aligned = recipe("linear", *models, align={"method": "weight", "options": {"starts": 2}})
    assert call("run", aligned, "-o", "aligned", "--allow-code").code == 0
    first = load_file("mlp0.safetensors")
    assert all(torch.allclose(weights("aligned")[n], first[n]) for n in first)
    assert not all(torch.allclose(weights("as_is")[n], first[n]) for n in first)


def test_a_refit(call: Call, work: Path) -> None:
    """As of merge, recorded, and made again; it needs data, and a plain average."""
    models = ("mlp0.safetensors", "mlp1.safetensors")
    refit = {"method": "least-squares", "options": {"ridge": 0.1}}
    data = "py:everyday_nets:classes"
    keys = {"align": "weight", "refit": refit}
    refused = call("run", recipe("linear", *models, **keys), "-o", "out", "--allow-code")
    assert refused.code == 2 and "needs data: add the key data" in refused.err
    path = recipe("linear", *models, **keys, data=data)
    assert call("run", path, "-o", "out", "--allow-code").code == 0
    record = json.loads(Path("out/zooalign/provenance.json").read_text())
    assert record["settings"]["refit"] == "least-squares" and record["settings"]["refit_options"]
    assert any(layer["ridge"] == 0.1 for layer in record["refit"]["layers"])
    merge = ("merge", *models, "--model", MLP, "--method", "weight", "--data", data)
    merged = call(*merge, "-o", "plain", "--refit", "least-squares", "--refit-set", "ridge=0.1")
    assert merged.code == 0, merged.err
    for name, tensor in weights("plain").items():
        assert torch.allclose(weights("out")[name], tensor, rtol=1e-4, atol=1e-5), name
    assert call("reproduce", "out", "--allow-code").code == 0
    per_layer = recipe(
        "linear", *models, data=data, refit="auto", parameters={"weight": [0.2, 0.8]}
    )
    assert "one number as the weight" in call("run", per_layer, "-o", "x", "--allow-code").err


def test_to_a_hub(call: Call, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recipe(
        "linear",
        *("mlp0.safetensors", "mlp1.safetensors"),
        output="out",
        data="py:everyday_nets:classes",
        evaluate="py:everyday_nets:classes?seed=1",
        alphas=3,
        publish={"to": "tester/mlp"},
    )
    refused = call("run", path)
    assert refused.code == 2 and "--allow-code" in refused.err and not (work / "out").exists()
    with served_hub(monkeypatch, work / "cache") as hub:
        dry = call("run", path, "--allow-code", "--dry-run")
        assert dry.code == 0 and not (work / "out").exists(), dry.err
        done = call("run", path, "--allow-code", "--format", "json")
        assert done.code == 0 and done.json["published"]["verified"], done.err
        assert "model.safetensors" in hub.files("tester/mlp", done.json["published"]["commit"])
    assert done.json["merge"]["score"]["measures"] == ["cross-entropy", "accuracy"]
    record = json.loads(Path("out/zooalign/provenance.json").read_text())
    assert record["command"] == "zooalign run recipe.yaml --allow-code --format json"


GOOD = """merge_method: ties
base_model: ./base
models:
  - model: ./a
    parameters:
      weight: 0.5
parameters:
  density: 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("merge_method: ties", "merge_method: tise", 1, "there are linear"),
        ("base_model: ./base", "base_mdel: ./base", 2, "did you mean base_model?"),
        ("  - model: ./a", "  - modle: ./a", 4, "did you mean model?"),
        ("      weight: 0.5", "      wieght: 0.5", 6, "no parameter 'wieght'"),
        ("      weight: 0.5", "      weight: yes", 6, "weight is True, and takes a number"),
        ("      weight: 0.5", "      weight: .nan", 6, "weight is nan, and takes a number"),
        ("      weight: 0.5", "      weight: [", 8, "not YAML"),
        ("parameters:\n  density: 0.5", "alphas: many", 7, "alphas: Expected `int`"),
        ("parameters:\n  density: 0.5", "align:\n  methd: x", 8, "did you mean method?"),
        ("parameters:\n  density: 0.5", "slices: [1]", 7, r"slices\.0: Expected"),
        ("parameters:\n  density: 0.5", "slices: [{sources: []}]", 7, "give one of models"),
        ("parameters:\n  density: 0.5", "tokenizer_source: ./a", 7, "union, intersection and base"),
        ("parameters:\n  density: 0.5", "tokenizer: {sorce: base}", 7, "did you mean source?"),
        ("parameters:\n  density: 0.5", "seed: 1\nseed: 2", 8, "there twice"),
        ("parameters:\n  density: 0.5", "refit: auto", 7, "it takes merge_method linear"),
        ("parameters:\n  density: 0.5", "refit:\n  options: {stps: 3}", 8, "no option 'stps'"),
        ("parameters:\n  density: 0.5", "refit: {methd: auto}", 7, "did you mean method?"),
        ("parameters:\n  density: 0.5", "refit: least", 7, "Invalid enum value 'least'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, line: int, says: str) -> None:
    path = Path("bad.yaml")
    path.write_text(GOOD)
    assert read_recipe(path).references == ["./base", "./a"]
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(RecipeError, match=says) as caught:
        read_recipe(path)
    assert f":{line}:" in str(caught.value) or f"line {line}" in str(caught.value)


def test_the_tokens_and_the_classifier_to_keep() -> None:
    path = Path("names.yaml")
    for text, naming in (
        ("tokenizer_source: base", Naming("first")),
        ("tokenizer: {source: union}\nhead: none", Naming("union", "none")),
        ("", Naming()),
    ):
        path.write_text(GOOD + text)
        assert read_recipe(path).settings.naming == naming


SLICES = """merge_method: slerp
base_model: ./a
slices:
  - sources:
      - {model: ./a, layer_range: [0, 2]}
      - {model: ./b, layer_range: [0, 2]}
  - sources:
      - {model: ./a, layer_range: [2, 3]}
      - {model: ./b, layer_range: [2, 3]}
    parameters: {t: 0.25}
parameters:
  t: [0, 0.5]
"""


def test_slices_in_place() -> None:
    """Models are those of the slices, and parameters of a slice count before the recipe's."""
    Path("slices.yaml").write_text(SLICES)
    recipe = read_recipe(Path("slices.yaml"))
    assert recipe.references == ["./a", "./b"]
    how = Combination.from_json(recipe.combination.to_json())
    assert how == recipe.combination and [part.layers for part in how.slices] == [2, 1]
    states = [{f"layers.{n}.w": torch.tensor([x, 1 - x]) for n in range(3)} for x in (0.0, 1.0)]
    merged = combined(states, how)
    whole = [dataclasses.replace(how, slices=(), shared={"t": t}) for t in (0, 0.5, 0.25)]
    for n, same in enumerate(whole):
        assert torch.equal(merged[f"layers.{n}.w"], combined(states, same)[f"layers.{n}.w"])
    with pytest.raises(MergeError, match="3 layers together, and 'layers' has 4"):
        combined([{**state, "layers.3.w": torch.ones(2)} for state in states], how)
    outside = combined([{**state, "norm": torch.ones(2)} for state in states], how)
    with pytest.raises(MergeError, match="'norm' is in no layer"):
        outside["norm"]
    inside = SLICES.replace("slices:", "modules:\n  default:\n   slices:").replace(
        "\n  -", "\n    -"
    )
    indented = inside.replace("\n      -", "\n        -").replace("\n    param", "\n      param")
    Path("modules.yaml").write_text(indented)
    assert read_recipe(Path("modules.yaml")).combination == how


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("[2, 3]}\n    param", "[2, 4]}\n    param", 9, "ends at 4, and the first one at 3"),
        ("./a, layer_range: [2, 3]", "./a, layer_range: [1, 3]", 8, "none is left out or taken"),
        ("./b, layer_range: [2, 3]", "./c, layer_range: [2, 3]", 7, "the same models"),
        ("    parameters: {t", "    residual_weight: 1\n    parameters: {t", 10, "residual"),
        ("    parameters: {t", "    base_model: ./b\n    parameters: {t", 10, "the base of all"),
        ("layer_range: [0, 2]}", "layr_range: [0, 2]}", 5, "did you mean layer_range?"),
        ("slices:", "modules: {x: {}}\nslices:", 3, "not 2 of them"),
    ],
)
def test_slices_that_cannot_be_run(old: str, new: str, line: int, says: str) -> None:
    path = Path("bad.yaml")
    path.write_text(SLICES.replace(old, new, 1))
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert says in str(caught.value), str(caught.value)
    if "not 2 of them" not in says:
        assert str(caught.value).startswith(f"bad.yaml:{line}: "), str(caught.value)


def test_the_dtype_of_the_output_is_the_one_to_write(call: Call, work: Path) -> None:
    models = ["mlp0.safetensors", "mlp1.safetensors"]
    path = recipe("linear", *models, dtype="float32", out_dtype="bfloat16", gate={})
    done = call("run", path, "-o", "out", "--allow-code", "--format", "json")
    assert done.code == 0 and done.json["check"]["ok"], done.err
    assert {t.dtype for t in load_file(work / "out/model.safetensors").values()} == {torch.bfloat16}
    path = recipe("linear", *models, dtype="int4")
    done = call("run", path, "-o", "other", "--allow-code")
    assert done.code == 2 and f"{path}:" in done.err and "dtype" in done.err


def test_the_schema_is_that_of_the_reader() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(load_schema("recipe.file"))
    validator.validate(yaml.safe_load(GOOD))
    for wrong in ("base_mdel: x", "alphas: many", "models: []\ngate: 3"):
        assert list(validator.iter_errors(yaml.safe_load(f"{GOOD}{wrong}\n"))), wrong


def test_a_record_of_another_way_is_refused(work: Path) -> None:
    with pytest.raises(MergeError):
        read_recipe(work / "none.yaml")
