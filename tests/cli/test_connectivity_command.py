"""The command: documented JSON, pictures, trainings, and nothing left behind."""

import json
import shutil
from pathlib import Path

from cli_calls import Call, listing
from released_pairs import Pairs
from test_commands import documented

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
    assert listing(out) == sorted(["connectivity.json", *body["plots"]])
    assert {Path(name).stem for name in body["plots"]} == {"barriers", "simplex"}
    assert json.loads((out / "connectivity.json").read_text())["pairs"] == body["pairs"]
    again = call(*arguments, "-o", str(out))
    assert again.code == 2 and "not empty" in again.err


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
    human = call(*arguments)
    assert human.code == 0 and "1-2, checkpoint" in human.out and "average of all" in human.out


def test_what_does_not_fit_is_refused(call: Call, pairs: Pairs, tmp_path: Path) -> None:
    def error(*arguments: str) -> str:
        done = call("connectivity", *arguments, "--data", pairs.data, "-o", str(tmp_path / "out"))
        assert done.code == 2
        return done.err

    assert "two models or more" in error(pairs.vit[0])
    assert "universe, mean, reference" in error(*pairs.vit, "--through", "all")
    (tmp_path / "one" / "step1").mkdir(parents=True)
    assert "holds 1 checkpoints" in error(str(tmp_path / "one"), str(tmp_path), "--trajectories")
    assert "not a directory" in error(str(tmp_path / "no"), str(tmp_path), "--trajectories")
    assert "--starts is for --method weight" in error(*pairs.vit, "--starts", "2")
    assert listing(tmp_path) == ["one", "one/step1"]
