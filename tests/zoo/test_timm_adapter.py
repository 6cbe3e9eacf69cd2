"""timm's side: references, hub configs, sizes, preprocessing, and timm's own loader."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image

from zooalign.errors import CheckpointError, ModelReferenceError
from zooalign.zoo.adapters import LibraryAdapter
from zooalign.zoo.references import parse_reference
from zooalign.zoo.timm_adapter import TimmAdapter
from zooalign.zoo.writer import write_model

adapter = TimmAdapter()


def architecture(text: str):
    return adapter.from_reference(parse_reference(text))


def test_is_an_adapter() -> None:
    assert isinstance(adapter, LibraryAdapter)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("timm:test_resnet?num_classes=10", (3, 160, 160)),
        ("timm:test_vit?num_classes=10&img_size=96&in_chans=1", (1, 96, 96)),
        ("timm:test_convnext?in_chans=2", (2, 160, 160)),
        ("timm:test_vit2?img_size=[64,96]", (3, 64, 96)),
    ],
)
def test_written_directories_are_loaded_by_timm(
    tmp_path: Path, text: str, shape: tuple[int, ...]
) -> None:
    found = architecture(text)
    module = adapter.build_initialised(found, seed=1)
    out = write_model(
        tmp_path / "out", module.state_dict(), config_files=adapter.config_files(found, None)
    )
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    (inputs,) = adapter.example_inputs(found, 2)
    assert inputs.shape == (2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(loaded(inputs), module(inputs))
        torch.testing.assert_close(adapter.load(out)(inputs), module(inputs))
    config = json.loads((out / "config.json").read_text())
    again = adapter.recognise(config, ["config.json", "model.safetensors"])
    assert again is not None
    assert adapter.example_inputs(again, 1)[0].shape[1:] == shape
    built = adapter.build(again)
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in module.state_dict().items()
    }
    assert adapter.config_files(again, out)["config.json"] == (out / "config.json").read_bytes()
    rewritten = json.loads(adapter.config_files(again, None)["config.json"])
    assert rewritten == config


def test_a_directory_written_by_timm_itself(tmp_path: Path) -> None:
    module = timm.create_model("test_vit", num_classes=5, img_size=64).eval()
    timm.models.save_for_hf(module, str(tmp_path), safe_serialization=True)
    found = adapter.recognise(json.loads((tmp_path / "config.json").read_text()), [])
    assert found is not None and found.name == "test_vit"
    same = adapter.build_with_weights(found, module.state_dict())
    (inputs,) = adapter.example_inputs(found, 1)
    assert inputs.shape == (1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(same(inputs), module(inputs))


def test_the_flat_config_of_old_repos() -> None:
    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "input_size": [3, 64, 64],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    }
    found = adapter.recognise(config, [])
    assert found is not None
    assert adapter.build(found).num_classes == 7
    assert adapter.example_inputs(found, 1)[0].shape == (1, 3, 64, 64)
    assert adapter.preprocess(found).mean == (0.5, 0.5, 0.5)


def test_other_configs_are_not_claimed() -> None:
    assert adapter.recognise({"architectures": ["BertModel"]}, []) is None
    assert adapter.recognise({"architecture": "my_own_net"}, []) is None
    assert adapter.recognise({"architecture": 3, "pretrained_cfg": {}}, []) is None


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "resnet9000", "pretrained_cfg": {}}, "no architecture 'resnet9000'"),
        ({"architecture": "test_vit", "pretrained_cfg": 3}, "pretrained_cfg must be an object"),
        (
            {"architecture": "test_vit", "pretrained_cfg": {}, "model_args": []},
            "model_args must be an object",
        ),
        (
            {"architecture": "test_vit", "pretrained_cfg": {}, "model_args": {"pretrained": True}},
            "must not hold pretrained",
        ),
    ],
)
def test_hostile_configs(config: dict, says: str) -> None:
    with pytest.raises(ModelReferenceError, match=says):
        adapter.recognise(config, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timm:resnet1", "no architecture 'resnet1'; similar: resnet1"),
        ("timm:test_vit?pretrained=true", "trained weights are named by their hub repo"),
        ("timm:test_vit?checkpoint_path=x", "checkpoint_path is not an option"),
    ],
)
def test_refused_references(text: str, says: str) -> None:
    with pytest.raises(ModelReferenceError, match=says):
        architecture(text)


def test_an_option_that_timm_does_not_know() -> None:
    with pytest.raises(ModelReferenceError, match=r"cannot build 'test_vit': TypeError.*colour"):
        adapter.build(architecture("timm:test_vit?colour=red"))


def test_example_inputs_are_seeded_and_may_be_meta() -> None:
    found = architecture("timm:test_vit")
    assert torch.equal(adapter.example_inputs(found, 2)[0], adapter.example_inputs(found, 2)[0])
    assert adapter.example_inputs(found, 2, "meta")[0].is_meta


def test_preprocessing_is_timms() -> None:
    found = architecture("timm:test_resnet.r160_in1k")
    module = timm.create_model("test_resnet.r160_in1k")
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(module), is_training=False
    )
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected = transform(Image.fromarray(pixels))
    preprocess = adapter.preprocess(found)
    torch.testing.assert_close(preprocess(pixels), expected)
    torch.testing.assert_close(preprocess(Image.fromarray(pixels)), expected)


def test_preprocessing_for_one_channel() -> None:
    preprocess = adapter.preprocess(architecture("timm:test_vit?in_chans=1&img_size=32"))
    found = preprocess(np.full((40, 40), 255, dtype=np.uint8))
    assert found.shape == (1, 32, 32)
    torch.testing.assert_close(
        found, torch.full((1, 32, 32), (1 - preprocess.mean[0]) / preprocess.std[0])
    )


def test_loading_what_timm_cannot(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not load"):
        adapter.load(tmp_path)
