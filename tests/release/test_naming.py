"""Classifiers whose labels differ are merged by label, by their backbones, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from zooalign.errors import MergeError, ZooalignWarning
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.reproduce import reproduce
from zooalign.release.settings import AlignSettings, MergeSettings, Naming
from zooalign.zoo.checkpoint import open_checkpoint
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

VIT = "timm:test_vit?img_size=32&depth=1&num_classes={}"
CARD = {"README.md": b"---\nlicense: mit\n---\n"}


def saved(
    folder: Path,
    seed: int,
    labels: list[str] | None,
    state: dict[str, Tensor] | None = None,
    count: int = 3,
) -> str:
    """A classifier of small images in a directory, with names of its classes."""
    model = open_model(VIT.format(len(labels) if labels else count))
    config = json.loads(model.config_files()["config.json"])
    if labels is not None:
        config["label_names"] = labels
    files = {"config.json": json.dumps(config).encode(), **CARD}
    write_model(folder, state or model.state_dict(seed), config_files=files)
    return str(folder)


def weights(folder: str) -> dict[str, Tensor]:
    return dict(open_checkpoint(Path(folder) / "model.safetensors"))


def by_weight(**more: object) -> MergeSettings:
    return MergeSettings(method="weight", **more)  # type: ignore[arg-type]


def test_classes_are_averaged_by_label(tmp_path: Path) -> None:
    """The other model is the first one with its classes in another order: nothing may change."""
    a = saved(tmp_path / "a", 0, ["cat", "dog", "owl"])
    first = weights(a)
    order = [2, 0, 1]
    turned = {n: t[order].clone() if n.startswith("head.") else t for n, t in first.items()}
    b = saved(tmp_path / "b", 0, ["owl", "cat", "dog"], turned)
    out = str(tmp_path / "out")
    with pytest.warns(ZooalignWarning, match="taken by its labels: 3 rows"):
        record = merge_models([a, b], out, by_weight()).provenance
    assert any("by its labels" in note for note in record.warnings)
    assert [(n.source, n.tensors) for n in record.names] == [(1, ("head.weight", "head.bias"))]
    for name, tensor in weights(out).items():
        torch.testing.assert_close(tensor, first[name], msg=name)
    assert [f.severity for f in check(out, CheckRequest(parents=(a, b))).findings] == ["note"]

    # Without names the rows are averaged place by place, and the classes are mixed.
    unnamed = saved(tmp_path / "unnamed", 0, None, turned)
    merge_models([a, unnamed], str(tmp_path / "mixed"), by_weight())
    mixed = weights(str(tmp_path / "mixed"))["head.weight"]
    assert not torch.allclose(mixed, first["head.weight"], atol=1e-2)


def test_other_labels_are_refused_or_their_classifier_is_left_out(tmp_path: Path) -> None:
    a = saved(tmp_path / "a", 0, ["cat", "dog", "owl"])
    b = saved(tmp_path / "b", 1, ["cat", "dog", "eel", "fox"])
    out, first = str(tmp_path / "out"), weights(a)
    with pytest.raises(MergeError, match=r"only it has 'eel', 'fox'; it lacks 'owl'.*--head first"):
        merge_models([a, b], out, by_weight())
    assert not Path(out).exists()
    with pytest.raises(MergeError, match="--head is 'second'; there are first, none"):
        merge_models([a, b], out, by_weight(naming=Naming(head="second")))
    data = str(tmp_path / "data.npz")
    np.savez(data, x=np.zeros((4, 3, 32, 32), np.float32), y=np.zeros(4, int))
    said = pytest.warns(ZooalignWarning, match="'cat', 'dog', 'eel', 'fox' are not used")
    with said, pytest.raises(MergeError, match="--evaluate runs every model on the same data"):
        merge_models([a, b], out, by_weight(naming=Naming(head="first"), evaluate=data))

    with said:
        merge_models([a, b], out, by_weight(naming=Naming(head="first")))
    merged = weights(out)
    assert torch.equal(merged["head.weight"], first["head.weight"])
    assert not torch.equal(merged["blocks.0.mlp.fc1.weight"], first["blocks.0.mlp.fc1.weight"])
    assert reproduce(out).same

    headless = str(tmp_path / "headless")
    merge_models([a, b], headless, by_weight(naming=Naming(head="none")))
    assert "head.weight" not in weights(headless)
    assert check(headless, CheckRequest(parents=(a, b))).ok
    features = timm.create_model(f"local-dir:{headless}", pretrained=True).eval()
    assert features(torch.zeros(1, 3, 32, 32)).shape == (1, 64)

    aligned = str(tmp_path / "aligned")  # keeps its own classifier
    with said:
        align_models(a, b, aligned, AlignSettings(method="weight"))
    assert weights(aligned)["head.weight"].shape == (4, 64)
    assert check(aligned, CheckRequest(parents=(a, b))).ok


def test_other_preprocessing_is_named(tmp_path: Path) -> None:
    a, b = (saved(tmp_path / name, seed, None) for seed, name in enumerate("ab"))
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    out = str(tmp_path / "out")
    with pytest.warns(ZooalignWarning, match=r"pretrained_cfg.mean \(\[0"):
        merge_models([a, b], out, by_weight())
    (finding,) = check(out, CheckRequest(parents=(a, b))).findings
    assert finding.id == "meaning.preprocessing" and "[0.1, 0.2, 0.3]" in finding.message
