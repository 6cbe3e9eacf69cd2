"""What an alignment or a merge will take is told, and refused where it is too much."""

from pathlib import Path

import pytest
from cli_calls import in_process
from everyday_nets import write_networks

from zooalign.errors import MergeError
from zooalign.pipelines.align import align_models
from zooalign.pipelines.plan import Plan, bytes_in, plan
from zooalign.release.settings import AlignSettings, MergeSettings

MODEL = "py:everyday_nets:mlp?input=6"
DATA = "py:everyday_nets:classes"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder)
    return str(folder / "mlp0.safetensors"), str(folder / "mlp1.safetensors")


def _plan(pair: tuple[str, str], method: str, memory: str | None = None) -> Plan:
    chosen = MergeSettings(model=MODEL, method=method, memory=memory)
    return plan("align", pair, chosen)


@pytest.mark.parametrize(
    ("size", "count"), [("4GB", 4 * 10**9), ("1.5 g", 1_500_000_000), ("300", 300), ("2TB", 2e12)]
)
def test_sizes(size: str, count: int) -> None:
    assert bytes_in(size) == count


@pytest.mark.parametrize("size", ["", "many", "-1GB", "1.2.3GB", "GB"])
def test_what_is_no_size_is_said(size: str) -> None:
    with pytest.raises(MergeError, match="--memory is"):
        bytes_in(size)


@pytest.mark.parametrize("method", ["none", "weight", "activation", "auto"])
def test_a_plan_counts_bytes_and_adds_up(pair: tuple[str, str], method: str) -> None:
    planned = _plan(pair, method)
    weights = 4 * (6 * 12 + 12 + 12 * 3 + 3)
    assert planned.reads == 2 * weights and planned.writes == weights
    assert planned.holds == sum(part.bytes for part in planned.parts) > weights
    assert (planned.seconds is None) == (method in ("activation", "auto"))
    assert planned.problems == ()


def test_too_little_memory_is_refused_with_what_is_needed(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    needed = _plan(pair, "weight").holds
    (problem,) = _plan(pair, "weight", memory="1MB").problems
    assert f"{needed / 1e9:.2f} GB of memory are needed" in problem
    settings = AlignSettings(model=MODEL, method="weight", memory="1MB")
    with pytest.raises(MergeError, match=r"--memory"):
        align_models(*pair, str(tmp_path / "out"), settings)
    assert not (tmp_path / "out").exists()


def test_enough_memory_changes_nothing(pair: tuple[str, str], tmp_path: Path) -> None:
    reports = [
        align_models(
            *(*pair, str(tmp_path / str(memory))),
            AlignSettings(model=MODEL, method="activation", data=DATA, memory=memory),
        )
        for memory in (None, "4GB")
    ]
    one, other = (report.provenance.alignments[0] for report in reports)
    assert one == other


def test_the_command_ends_with_1_where_something_is_too_small(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    call = in_process(capsys)
    words = ["plan", "merge", *pair, "--model", MODEL, "--method", "weight"]
    assert call(*words).code == 0
    done = call(*words, "--memory", "1MB", "--format", "json")
    assert done.code == 1 and done.json["memory"] == 1_000_000 and len(done.json["problems"]) == 1
