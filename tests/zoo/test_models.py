"""Models by reference: registry, directory, file."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from zooalign.errors import CheckpointError, HubError, ModelReferenceError
from zooalign.zoo.layout import INDEX_NAME
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

TEXT = "timm:test_resnet?num_classes=3"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    model = open_model(TEXT)
    return write_model(
        tmp_path / "model", model.state_dict(seed=5), config_files=model.config_files()
    )


def test_registry() -> None:
    model = open_model(TEXT)
    assert model.reference == TEXT
    assert model.checkpoint is None and model.directory is None
    assert model.source == {"kind": "timm", "reference": TEXT}
    assert model.architecture.to_json() == {
        "library": "timm",
        "name": "test_resnet",
        "config": {"architecture": "test_resnet", "model_args": {"num_classes": 3}},
    }
    (inputs,) = model.example_inputs(2)
    one, two, other = (model.module(seed=seed)(inputs) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == (2, 3)
    state = model.state_dict(seed=1)
    assert torch.equal(state["fc.weight"], model.module(seed=1).fc.weight)
    with pytest.raises(ModelReferenceError, match="is an architecture itself"):
        open_model(TEXT, model=TEXT)


def test_directory(directory: Path) -> None:
    model = open_model(str(directory))
    module = model.module()
    (inputs,) = model.example_inputs(2)
    with torch.no_grad():
        expected = open_model(TEXT).module(seed=5)(inputs)
        torch.testing.assert_close(module(inputs), expected)
        loaded = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
        torch.testing.assert_close(loaded(inputs), expected)
    assert list(model.state_dict()) == list(module.state_dict())
    assert not module.training
    assert json.loads(json.dumps(model.source)) == model.source
    [file] = model.source["files"]
    assert file["name"] == "model.safetensors"
    assert file["size"] == (directory / "model.safetensors").stat().st_size
    assert model.source["path"] == str(directory)
    assert model.module(dtype=torch.bfloat16).fc.weight.dtype == torch.bfloat16


def test_statistics_that_a_module_updates_stay_out_of_the_checkpoint(directory: Path) -> None:
    model = open_model(str(directory))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    module = model.module().train()
    module(*model.example_inputs(4))
    assert not torch.equal(module.bn1.running_mean, before["bn1.running_mean"])
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    assert torch.equal(
        open_model(str(directory)).module().bn1.running_mean, before["bn1.running_mean"]
    )


def test_sharded_and_half_precision(tmp_path: Path) -> None:
    source = open_model("timm:test_vit?num_classes=3")
    tensors = {key: t.bfloat16() for key, t in source.state_dict().items()}
    write_model(tmp_path / "a", tensors, config_files=source.config_files(), max_shard_size=100_000)
    model = open_model(str(tmp_path / "a"))
    assert len(model.source["files"]) > 2
    assert model.source["files"][-1]["name"] == INDEX_NAME
    module = model.module()
    assert all(t.dtype == torch.bfloat16 for t in module.state_dict().values())
    write_model(
        tmp_path / "b",
        model.state_dict(),
        config_files=model.config_files(),
        layout_like=model.checkpoint,
    )
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()


def test_bare_file(directory: Path) -> None:
    path = str(directory / "model.safetensors")
    with pytest.raises(ModelReferenceError, match="name its architecture too"):
        open_model(path)
    for other in (TEXT, str(directory)):
        model = open_model(path, model=other)
        assert torch.equal(model.module().fc.weight, open_model(TEXT).module(seed=5).fc.weight)
    with pytest.raises(ModelReferenceError, match="names no architecture"):
        open_model(path, model=path)


def test_pickle_only_by_name(tmp_path: Path) -> None:
    model = open_model(TEXT)
    torch.save(dict(model.state_dict(seed=2)), tmp_path / "best.pth")
    with pytest.raises(ModelReferenceError, match="pickle file, which is not read unless"):
        open_model(str(tmp_path / "best.pth"), model=TEXT)
    opened = open_model(str(tmp_path / "best.pth"), model=TEXT, allow_pickle=True)
    assert torch.equal(opened.module().fc.weight, model.module(seed=2).fc.weight)
    (tmp_path / "config.json").write_bytes(model.config_files()["config.json"])
    with pytest.raises(CheckpointError, match=r"only as pickle \(best\.pth\)"):
        open_model(str(tmp_path))
    assert open_model(str(tmp_path), allow_pickle=True).state_dict().keys()


def test_a_checkpoint_of_another_architecture(directory: Path) -> None:
    model = open_model(str(directory), model="timm:test_vit")
    with pytest.raises(
        CheckpointError, match=r"does not fit VisionTransformer: \d+ missing: .*unexpected"
    ):
        model.state_dict()
    other = open_model(str(directory), model="timm:test_resnet?num_classes=4")
    with pytest.raises(CheckpointError, match=r"fc\.weight \(3, 96\) instead of \(4, 96\)"):
        other.module()


def test_directories_that_are_no_models(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(ModelReferenceError, match="no such directory"):
        open_model(str(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CheckpointError, match="has no weights"):
        open_model(str(empty))
    for name in ("a", "b"):
        save_file({"x": torch.ones(1)}, empty / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"not clear: a\.safetensors, b\.safetensors"):
        open_model(str(empty))
    (directory / "config.json").unlink()
    with pytest.raises(ModelReferenceError, match=r"config\.json: cannot be read"):
        open_model(str(directory))
    for content, says in [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"architectures": ["BertModel"]}', r"no library knows .*\(asked: timm, py\b"),
    ]:
        (directory / "config.json").write_text(content)
        with pytest.raises(ModelReferenceError, match=says):
            open_model(str(directory))


def test_revisions_are_for_repos(directory: Path) -> None:
    with pytest.raises(ModelReferenceError, match="is not a hub repo and has no revision"):
        open_model(str(directory), revision="main")
    with pytest.raises(ModelReferenceError, match="names another revision than 'b'"):
        open_model("x/y@a", revision="b")


def test_an_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"x/y: http://127\.0\.0\.1:9 cannot be reached"):
        open_model("x/y", cache_dir=tmp_path)
