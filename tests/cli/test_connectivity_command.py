"""The command: documented JSON, pictures, trainings, and nothing left behind."""

import json
import shutil
from pathlib import Path

import pytest
from cli_calls import Call, listing
from documented_fields import documented
from released_pairs import Pairs

from zooalign.pipelines.connectivity_page import along

pytestmark = pytest.mark.slow

FEW = ("--alphas", "2", "--steps", "1", "--limit", "24", "--method", "weight")


def test_three_models(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    third = tmp_path / "third"
    shutil.copytree(pairs.resnet[0], third)
    out = tmp_path / "out"
    arguments = ["connectivity", *pairs.resnet, str(third), "--data", pairs.data, *FEW]
    done = call(*arguments, "-o", str(out), "--format", "json")
    assert done.code == 0, done.err
    body = done.json
    assert set(body) == documented("connectivity")
    assert set(body["summary"]) == {"as_is", "pairwise", "composed", "universe"}
    assert set(body["summary"]["universe"]["error"]["over_line"]) == {
        *("mean", "std", "min", "max", "count")
    }
    assert body["statistics_reset"] and body["trajectories"] is None
    assert len(body["pairs"]) == 12 and body["cycles"][0]["universe_moved"] == 0
    assert listing(out) == sorted(["connectivity.json", "connectivity.md", *body["plots"]])
    text = (out / "connectivity.md").read_text()
    mean = body["summary"]["universe"]["error"]["over_line"]["mean"]
    assert f"| one permutation each | error | {mean:.4f} ± " in text and "over 3 pairs" in text
    assert f"| 1-2-3 | {body['cycles'][0]['pairwise_moved']:.1%} | 0.0% |" in text
    assert {Path(name).stem for name in body["plots"]} == {"barriers", "simplex"}
    assert json.loads((out / "connectivity.json").read_text())["pairs"] == body["pairs"]
    again = call(*arguments, "-o", str(out))
    assert again.code == 2 and "not empty" in again.err
    (out / "connectivity.json").rename(tmp_path / "kept.json")
    odd = call(*arguments, "-o", str(out), "--overwrite")
    assert odd.code == 2 and "connectivity.json" in odd.err and (out / "barriers.svg").exists()
    (tmp_path / "kept.json").rename(out / "connectivity.json")
    (out / "old.txt").touch()
    anew = call(*arguments, "-o", str(out), "--overwrite")
    assert anew.code == 0 and (out / "connectivity.md").exists() and not (out / "old.txt").exists()


def test_trainings(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        for step, which in zip(("step9", "step10"), order, strict=True):
            shutil.copytree(pairs.vit[which], tmp_path / name / step)
    trainings = [str(tmp_path / name) for name in "ab"]
    out = tmp_path / "out"
    arguments = ["connectivity", *trainings, "--trajectories", "--data", pairs.data, *FEW]
    done = call(*arguments, "-o", str(out), "--format", "json")
    assert done.code == 0, done.err
    (found,) = done.json["trajectories"]
    assert set(found) == {"a", "b", "as_is", "own", "last", "stacked", "at_end"}
    assert len(found["own"]) == 2 and set(found["own"][0]) == {"loss", "error"}
    assert [Path(c).name for c in done.json["networks"][0]["checkpoints"]] == ["step9", "step10"]
    assert "trajectory.svg" in done.json["plots"] and "simplex.svg" not in done.json["plots"]
    last = done.json["trajectory_summary"]["last"][0]["error"]["over_line"]
    assert last["mean"] == found["last"][0]["error"]["over_line"] and last["count"] == 1
    assert (
        f"| step9 | {found['as_is'][0]['error']['over_line']:.4f} |"
        in (out / "connectivity.md").read_text()
    )
    human = call(*arguments)
    assert human.code == 0 and "step10" in human.out and "average of all" in human.out


def test_the_axis_along_a_training() -> None:
    names = ["a/step0.safetensors", "a/step20.safetensors", "a/step100.safetensors"]
    assert along(names) == ("step", [0.0, 20.0, 100.0], None)
    assert along(["run/checkpoint-500", "run/checkpoint-1000"])[:2] == (
        "checkpoint",
        [500.0, 1000.0],
    )
    assert along(["epoch=1-step=300", "epoch=2-step=600"]) == ("step", [300.0, 600.0], None)
    assert along(["first", "last"]) == ("checkpoint", [1.0, 2.0], {1.0: "1", 2.0: "2"})


def test_what_does_not_fit_is_refused(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    def error(*arguments: str) -> str:
        done = call("connectivity", *arguments, "--data", pairs.data, "-o", str(tmp_path / "out"))
        assert done.code == 2
        return done.err

    assert "two models or more" in error(pairs.vit[0])
    assert "universe, mean, reference" in error(*pairs.vit, "--through", "all")
    (tmp_path / "one" / "step1").mkdir(parents=True)
    assert "holds 1 checkpoints" in error(str(tmp_path / "one"), str(tmp_path), "--trajectories")
    assert "no such directory" in error(str(tmp_path / "no"), str(tmp_path), "--trajectories")
    assert "--starts is for --method auto, blend, frank-wolfe" in error(*pairs.vit, "--starts", "2")
    assert listing(tmp_path) == ["one", "one/step1"]
