"""Merges whose weights are refitted: what is recorded, checked and made again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from released_pairs import Pairs, edit_json, tamper, weights
from safetensors.torch import save_file

from zooalign.errors import DataError, MergeError
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.merge import merge_models
from zooalign.pipelines.reproduce import reproduce
from zooalign.pipelines.same_files import SameFiles, compare_files
from zooalign.release.layout import DIGESTS, PROVENANCE
from zooalign.release.opened import open_release
from zooalign.release.provenance import REFIT_TOLERANCE
from zooalign.release.settings import Loading, MergeSettings
from zooalign.zoo.writer import digest_of

pytestmark = pytest.mark.slow

HOW = {"method": "weight", "loading": Loading(batch_size=16)}
# Wide layers stay averaged: that is quick.
NARROW = {"ridge": 0.1, "memory": 500_000}


@pytest.fixture(scope="module")
def refitted(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refitted") / "out"
    settings = MergeSettings(
        refit="least-squares",
        refit_options=NARROW,
        data=f"{pairs.data}?slice=0:32",
        evaluate=f"{pairs.data}?slice=32:48",
        alphas=3,
        **HOW,
    )
    merge_models(pairs.resnet, str(out), settings)
    return out


@pytest.fixture
def copy(refitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(refitted, tmp_path / "copy"))


def record(folder: Path) -> dict:
    return json.loads((folder / PROVENANCE).read_text())


def findings(folder: Path, pairs: Pairs) -> dict[str, str]:
    report = check(str(folder), CheckRequest(parents=pairs.resnet))
    return {finding.id: finding.where for finding in report.findings}


def change(folder: Path, name: str, by: float) -> None:
    """Move a tensor by a share of its norm, with its digest: a change that nothing contradicts."""
    state = weights(folder)
    noise = torch.randn(state[name].shape, generator=torch.Generator().manual_seed(0))
    state[name] = state[name] + by * noise * state[name].norm() / noise.norm()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    edit_json(folder / DIGESTS, **{name: digest_of(state[name])})


def refitted_weight(folder: Path) -> str:
    return next(i["name"] for i in record(folder)["refit"]["layers"] if i["reason"] is None)


def test_what_is_recorded(refitted: Path, pairs: Pairs) -> None:
    made = record(refitted)
    refit = made["refit"]
    assert made["statistics"] == "reset" and made["settings"]["refit"] == "least-squares"
    assert refit["method"] == "least-squares" and refit["calibration_rows"] == 32
    assert refit["tolerance"] == REFIT_TOLERANCE and refit["threads"] == 1
    fitted = {i["name"] for i in refit["layers"] if i["reason"] is None}
    assert fitted and fitted <= set(made["recomputed"])
    averaged = [i for i in refit["layers"] if i["reason"] is not None]
    assert averaged and not {i["name"] for i in averaged} & set(made["recomputed"])
    assert findings(refitted, pairs) == {}
    card = (refitted / "README.md").read_text()
    assert "refitted to what the parents compute (least-squares" in card


def test_the_merge_stands_beside_its_parents(refitted: Path) -> None:
    benefit = record(refitted)["benefit"]
    assert benefit["data"].endswith("slice=32:48") and benefit["held_out"]
    assert len(benefit["parents"]) == 2 and benefit["merge"]["count"] == 16
    card = (refitted / "README.md").read_text()
    for score in (benefit["merge"], benefit["ensemble"], *benefit["parents"]):
        assert f"{score['accuracy']:.4f} | {score['loss']:.4f}" in card
    assert benefit["verdict"] in card


def test_the_same_bytes_again(refitted: Path) -> None:
    report = reproduce(str(refitted))
    assert report.same and not report.differences and not report.rounded


def compared(folder: Path, again: Path) -> SameFiles:
    with open_release(str(folder)) as release:
        return compare_files(release, again, {})


def test_rounding_is_told_from_another_result(copy: Path, refitted: Path) -> None:
    name = refitted_weight(copy)
    change(copy, name, REFIT_TOLERANCE / 10)
    files = compared(copy, refitted)
    assert not files.differences and [item.tensor for item in files.rounded] == [name]
    change(copy, name, REFIT_TOLERANCE * 10)
    assert compared(copy, refitted).differences[0].where == name


def test_a_record_cannot_widen_the_tolerance(copy: Path, refitted: Path) -> None:
    name = refitted_weight(copy)
    edit_json(copy / PROVENANCE, refit={**record(copy)["refit"], "tolerance": 10.0})
    change(copy, name, REFIT_TOLERANCE * 10)
    assert compared(copy, refitted).differences[0].where == name


def test_what_is_averaged_has_no_tolerance(copy: Path, refitted: Path) -> None:
    made = record(copy)
    name = next(i["name"] for i in made["refit"]["layers"] if i["reason"] is not None)
    change(copy, name, REFIT_TOLERANCE / 10)
    assert compared(copy, refitted).differences[0].where == name


def test_what_was_not_refitted_is_compared_with_the_parents(copy: Path, pairs: Pairs) -> None:
    made = record(copy)
    name = refitted_weight(copy)
    layers = [{**i, "reason": "tied"} if i["name"] == name else i for i in made["refit"]["layers"]]
    edit_json(copy / PROVENANCE, refit={**made["refit"], "layers": layers})
    assert findings(copy, pairs)["parent.bytes"] == name


def test_changed_bytes_are_noticed(copy: Path, pairs: Pairs) -> None:
    name = refitted_weight(copy)
    tamper(copy, name)
    assert name in findings(copy, pairs).values()


def test_the_average_in_place_of_what_was_refitted(
    copy: Path, pairs: Pairs, tmp_path: Path
) -> None:
    name = refitted_weight(copy)
    plain = merge_models(
        pairs.resnet, str(tmp_path / "plain"), MergeSettings(refit="none", data=pairs.data, **HOW)
    )
    state = weights(copy) | {name: weights(plain.output)[name]}
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    assert findings(copy, pairs)["statistics.recomputed"] == name


def test_what_it_refuses(pairs: Pairs, tmp_path: Path) -> None:
    def merge(**settings: object) -> None:
        merge_models(pairs.resnet, str(tmp_path / "x"), MergeSettings(**HOW, **settings))

    with pytest.raises(DataError, match="add --data"):
        merge(refit="least-squares")
    with pytest.raises(MergeError, match="not both"):
        merge(refit="features", repair=True, data=pairs.data)
    with pytest.raises(MergeError, match="leave reset on"):
        merge(refit="least-squares", reset=False, data=pairs.data)
    with pytest.raises(MergeError, match="no option 'rigde'; it has relu_rounds, ridge"):
        merge(refit_options={"rigde": 0.1}, data=pairs.data)
    with pytest.raises(MergeError, match="positions"):
        merge(refit_options={"positions": "many"}, data=pairs.data)
    with pytest.raises(MergeError, match="no refit 'sometimes'; there are auto"):
        merge(refit="sometimes", data=pairs.data)
    assert not (tmp_path / "x").exists()
