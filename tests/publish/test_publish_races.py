"""Publishing beside others: races, interruptions, private repos, both storage protocols."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_calls import RUN
from forked import LIBRARIES, Forked, fork
from huggingface_hub import HfApi
from released_pairs import Pairs
from served_hub import served_hub

from zooalign.errors import CheckpointError, HubError, SpecError
from zooalign.pipelines.align import align_models
from zooalign.pipelines.merge import merge_models
from zooalign.publish import publish as publishing
from zooalign.publish import upload as uploading
from zooalign.publish.publish import publish
from zooalign.release.contents import list_files
from zooalign.release.settings import AlignSettings, MergeSettings, PublishSettings
from zooalign.testing import Drop, Fault, LoopbackHub, Reply, Slow
from zooalign.zoo.models import open_model
from zooalign.zoo.writer import write_model

pytestmark = pytest.mark.slow

PART = 50_000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with served_hub(monkeypatch, tmp_path / "cache", xet=True, part_size=PART) as hub:
        yield hub


@pytest.fixture(scope="module")
def released(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "out"
    align_models(
        *pairs.vit, str(out), AlignSettings(method="weight", evaluate=pairs.data, alphas=3)
    )
    return out


@pytest.fixture(scope="module")
def sharded(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in several files; the gate is not asked about it."""
    model = open_model(str(released))
    return write_model(
        tmp_path_factory.mktemp("sharded") / "out",
        model.state_dict(),
        config_files=model.config_files(),
        max_shard_size=200_000,
    )


def commits(hub: LoopbackHub, repo: str) -> list[str]:
    found = HfApi(endpoint=hub.endpoint, token=hub.token).list_repo_commits(repo)
    return [commit.title for commit in found]


def uploads(hub: LoopbackHub) -> list[str]:
    return [r.path for r in hub.requests if r.path.startswith(("/lfs/put/", "/lfs/part/"))]


def test_multipart_lfs(hub: LoopbackHub, released: Path) -> None:
    report = publish(str(released), "tester/m")
    weights = released / "model.safetensors"
    assert len([p for p in uploads(hub) if "/part/" in p]) == -(-weights.stat().st_size // PART)
    assert hub.read("tester/m", "model.safetensors") == weights.read_bytes()
    assert report.verified and commits(hub, "tester/m") == [
        "Publish with zooalign",
        "initial commit",
    ]


def test_a_commit_during_the_check_is_a_race(
    hub: LoopbackHub, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("tester/m", {"notes.txt": b"old"})
    real = publishing.check

    def slow_check(*args: object, **kwargs: object) -> object:
        hub.add_repo("tester/m", {"README.md": b"theirs"}, title="Theirs")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(publishing, "check", slow_check)
    with pytest.raises(HubError, match="somebody committed to it meanwhile, and nothing was"):
        publish(str(released), "tester/m")
    assert commits(hub, "tester/m") == ["Theirs", "Add files", "initial commit"]
    assert hub.read("tester/m", "README.md") == b"theirs"


def test_a_repo_that_somebody_makes_meanwhile(
    hub: LoopbackHub, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when it was looked up: what is in it now, nobody has looked at."""
    real = publishing.check

    def slow_check(*args: object, **kwargs: object) -> object:
        hub.add_repo("tester/new", {"README.md": b"theirs"})
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(publishing, "check", slow_check)
    with pytest.raises(HubError, match="somebody made it meanwhile, and nothing was published"):
        publish(str(released), "tester/new")
    assert hub.read("tester/new", "README.md") == b"theirs" and uploads(hub) == []


def test_the_head_that_was_looked_at(hub: LoopbackHub, released: Path) -> None:
    first = hub.add_repo("tester/m", {"notes.txt": b"one"})
    second = hub.add_repo("tester/m", {"notes.txt": b"two"})
    for wrong in (first, first[:10], second[:5]):
        with pytest.raises(HubError, match=f"its head is {second}, not {wrong}"):
            publish(str(released), "tester/m", PublishSettings(parent_commit=wrong))
    with pytest.raises(HubError, match="its head is missing"):
        publish(str(released), "tester/new", PublishSettings(parent_commit=first))
    assert len(commits(hub, "tester/m")) == 3
    assert publish(str(released), "tester/m", PublishSettings(parent_commit=second[:10])).verified


def test_private_repos(hub: LoopbackHub, released: Path) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    publish(str(released), "tester/secret", PublishSettings(private=True))
    assert api.model_info("tester/secret").private
    assert publish(str(released), "tester/secret", PublishSettings(private=True)).verified
    api.create_repo("tester/open")
    with pytest.raises(HubError, match=r"tester/open is public, and a private repo was asked"):
        publish(str(released), "tester/open", PublishSettings(private=True))
    assert hub.files("tester/open") == [".gitattributes"]


def test_an_upload_that_was_interrupted_goes_on(hub: LoopbackHub, sharded: Path) -> None:
    files = {file.path: file for file in list_files(sharded)}
    large = [file for name, file in files.items() if name.endswith(".safetensors")]
    assert len(large) > 2
    hub.inject(Fault(Reply(403), path=f"^/lfs/.*{large[1].sha256}", times=None))
    with pytest.raises(HubError):
        publish(str(sharded), "tester/m", PublishSettings(force=True))
    assert hub.files("tester/m") == [".gitattributes"], "half a release is none"
    hub.clear_faults()
    hub.clear_requests()
    assert publish(str(sharded), "tester/m", PublishSettings(force=True)).verified
    assert uploads(hub) and all(large[1].sha256 in path for path in uploads(hub))


def test_an_answer_that_got_lost(hub: LoopbackHub, released: Path) -> None:
    """The commit was made: another run finds it, and makes no second one."""
    hub.inject(Fault(Drop(handled=True), path="/commit/main$"))
    with pytest.raises(HubError, match="broke off"):
        publish(str(released), "tester/m")
    report = publish(str(released), "tester/m")
    assert report.verified and len(commits(hub, "tester/m")) == 2


def test_a_file_that_changes_while_it_is_checked(
    hub: LoopbackHub, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list_files(released)
    changed = [
        file if file.path != "config.json" else type(file)(file.path, file.size, "0" * 64)
        for file in files
    ]
    monkeypatch.setattr(publishing, "list_files", lambda folder: tuple(changed))
    with pytest.raises(CheckpointError, match=r"config\.json: has changed since it was checked"):
        publish(str(released), "tester/m")
    assert uploads(hub) == [] and uploading.__doc__


@pytest.mark.parametrize("xet", [False, True])
def test_the_command_by_both_protocols(hub: LoopbackHub, released: Path, xet: bool) -> None:
    done = command(hub, released, xet=xet).wait()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verified"]
    assert (
        hub.read("tester/m", "model.safetensors") == (released / "model.safetensors").read_bytes()
    )
    assert any("xet-write-token" in r.path for r in hub.requests) == xet
    assert bool(uploads(hub)) != xet
    assert hub.token not in done.stdout + done.stderr


def test_killed_while_it_uploads(hub: LoopbackHub, sharded: Path) -> None:
    hub.inject(Fault(Slow(60), path="^/lfs/complete/"))
    child = command(hub, sharded, xet=False)
    until = time.monotonic() + 60
    while not hub.requests or not any("/lfs/complete/" in r.path for r in hub.requests):
        assert time.monotonic() < until, child.stdout
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait().returncode == -signal.SIGKILL
    assert hub.files("tester/m") == [".gitattributes"]
    hub.clear_faults()
    report = publish(str(sharded), "tester/m", PublishSettings(force=True))
    assert report.verified and len(commits(hub, "tester/m")) == 2


def command(hub: LoopbackHub, directory: Path, *, xet: bool) -> Forked:
    words = ["publish", str(directory), "--to", "tester/m", "--force", "--format", "json"]
    return fork(RUN, *words, cwd=directory.parent, env=hub.env(xet=xet), imports=LIBRARIES)


def test_the_permutation_alone(hub: LoopbackHub, released: Path, pairs: Pairs) -> None:
    report = publish(str(released), "tester/permutation", PublishSettings(permutation_only=True))
    names = [file.path for file in report.files]
    assert names == [
        "README.md",
        "zooalign/barrier.json",
        "zooalign/barrier.svg",
        "zooalign/digests.json",
        "zooalign/permutation.json",
        "zooalign/provenance.json",
        "zooalign/spec.json",
    ]
    assert report.verified and uploads(hub) == []
    for name in names[1:]:
        assert hub.read("tester/permutation", name) == (released / name).read_bytes()
    card = hub.read("tester/permutation", "README.md").decode()
    assert f"zooalign apply {pairs.vit[1]} tester/permutation -o aligned" in card
    assert "holds no weights" in card and "| structure | groups |" in card
    assert "over the line" in card and "base_model_relation" not in card


def test_only_an_alignment_is_a_permutation(
    hub: LoopbackHub, pairs: Pairs, released: Path, tmp_path: Path
) -> None:
    merge_models(list(pairs.vit), str(tmp_path / "merge"), MergeSettings(method="weight"))
    with pytest.raises(SpecError, match="made by 'merge', which is more than a permutation"):
        publish(str(tmp_path / "merge"), "tester/m", PublishSettings(permutation_only=True))
    with pytest.raises(CheckpointError, match=r"zooalign/provenance\.json: cannot be read"):
        publish(pairs.vit[0], "tester/m", PublishSettings(permutation_only=True, force=True))
    assert not any(r.method != "GET" for r in hub.requests)


def test_groups_are_in_the_card(released: Path) -> None:
    card = (released / "README.md").read_text()
    assert "groups of units are permuted" in card and "| S_64 |" in card
