"""Heads that only training reads, in aligned and merged releases: `check` names them."""

from pathlib import Path

import pytest

from zooalign.errors import ZooalignWarning
from zooalign.gate.check import check
from zooalign.pipelines.align import align_models
from zooalign.pipelines.merge import merge_models
from zooalign.release.settings import AlignSettings, CheckRequest, MergeSettings
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

NET = "py:sample_models.small:Auxiliary?input=4"


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    folders = [tmp_path / f"net{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        model = open_model(NET)
        write_model(folder, dict(model.state_dict(seed)), config_files=model.config_files())
    return [str(folder) for folder in folders]


def test_a_head_of_training_is_found_beside_units_that_moved(
    models: list[str], tmp_path: Path
) -> None:
    by_weight, out = {"model": NET, "method": "weight"}, [str(tmp_path / name) for name in "abc"]
    with pytest.warns(ZooalignWarning, match="'aux.weight' take part in training only"):
        align_models(*models, out[0], AlignSettings(**by_weight))
    with pytest.warns(ZooalignWarning, match="'aux.weight' take part in training only"):
        merge_models(models, out[1], MergeSettings(**by_weight))
    merge_models(models, out[2], MergeSettings(model=NET, method="none"))
    asked = CheckRequest(model=NET, headers_only=True)
    for folder, named in zip(out, (["aux.weight"], ["aux.weight"], []), strict=True):
        report = check(folder, asked)
        assert "weights.training" in report.checks
        assert [f.where for f in report.findings if f.id == "weights.training"] == named
