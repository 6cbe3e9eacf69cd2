"""The demo in this process, with next to no training. Its full run is a command of the README."""

import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from zooalign.cli import main
from zooalign.cli.demo import _lines
from zooalign.demo import DemoReport, DemoSettings, digits, run_demo, training
from zooalign.errors import CheckpointError, ZooalignError, ZooalignWarning
from zooalign.release.results import plain

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

TINY = DemoSettings(epochs=1, calibration=128, alphas=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "made" / "out"


@pytest.fixture(scope="module")
def report(folder: Path) -> DemoReport:
    before = Path.cwd()
    # After one epoch the running statistics of the networks lag behind, which is said.
    with pytest.warns(ZooalignWarning, match="running statistics fit this data badly"):
        found = run_demo(str(folder), dataclasses.replace(TINY, seed=1))
    assert Path.cwd() == before
    return found


def test_everything_is_proved(report: DemoReport) -> None:
    assert report.ok
    assert report.spec.max_relative_error <= report.spec.tolerance
    assert report.check.ok
    assert not report.check.findings
    assert not report.check.skipped
    assert report.published.verified
    assert report.published.same_bytes
    assert report.downloaded.max_relative_error == 0
    assert report.downloaded.accuracy == pytest.approx(report.merged.accuracy)
    assert report.merged.statistics == "reset"
    assert report.align.moved_fraction > 0.5
    assert report.align.objective_after > report.align.objective_before


def test_folder(report: DemoReport, folder: Path) -> None:
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "barrier.png",
        "barrier.svg",
        "demo.json",
        "digits-test.npz",
        "digits-train.npz",
        "downloaded",
        "merged",
        "seed-a",
        "seed-b",
    }
    assert (folder / "barrier.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "barrier.svg").read_text().count("<svg") == 1
    with np.load(folder / "digits-test.npz") as test, np.load(folder / "digits-train.npz") as train:
        assert test["x"].shape == (450, 8, 8)
        assert len(test["x"]) + len(train["x"]) == 1797
    for path in (folder / "merged").rglob("*"):
        if path.is_file():
            assert str(folder.parent).encode() not in path.read_bytes(), path


def test_json(report: DemoReport, folder: Path) -> None:
    found = json.loads((folder / "demo.json").read_text())
    assert found == json.loads(json.dumps(plain(report)))
    documented = Path(__file__).parent.parent / "docs" / "cli.md"
    section = documented.read_text().split("## `zooalign demo`")[1].split("\n## ")[0]
    assert [name for name in found if f"`{name}`" not in section] == []
    assert found["output"] == str(folder)
    assert set(found["before"]["barrier"]["error"]) == {"over_line", "over_mean"}


def test_lines(report: DemoReport) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    for line in _lines(report, dry_run=False):
        console.print(line)
    assert "same bytes, same function" in shown.getvalue()
    assert "FAILED" not in shown.getvalue()


def test_training_follows_the_seed() -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        images = torch.randn(128, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(128) % 10
        networks = [training.make_network(seed), training.make_network(seed + 1)]
        with training.one_thread():
            training.train(
                networks, (seed, seed + 1), images, labels, epochs=1, progress=lambda a, b: None
            )
        assert not any(network.training for network in networks)
        return networks[1].state_dict()

    first, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        run_demo(str(tmp_path / "out"), TINY, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_a_full_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        run_demo(str(tmp_path), TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_default_output_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zooalign.demo.run import _free

    monkeypatch.chdir(tmp_path)
    assert _free("demo") == "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").touch()
    assert _free("demo") == "demo-3"


def test_missing_extras_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ZooalignError, match=r"pip install scikit-learn$"):
        digits.require_extras()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--format", "json"], standalone_mode=False) == 2
    shown = capsys.readouterr()
    assert "pip install scikit-learn matplotlib" in json.loads(shown.out)["error"]["message"]
