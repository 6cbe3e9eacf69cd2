"""Publishing to a loopback hub over real HTTP, and what can go wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, RepoCard, snapshot_download
from released_pairs import Pairs, tamper, weights
from served_hub import served_hub

from zooalign.errors import CheckpointError, HubError, ModelReferenceError
from zooalign.gate.check import CheckRequest, check
from zooalign.pipelines.align import align_models
from zooalign.publish.publish import FaultyReleaseError, publish
from zooalign.release.settings import AlignSettings, PublishSettings
from zooalign.testing import Corrupt, Drop, Fault, LoopbackHub, Reply


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        yield hub


def add_parents(hub: LoopbackHub, pairs: Pairs) -> None:
    for name, path in zip("ab", pairs.vit, strict=True):
        files = {file.name: file for file in Path(path).iterdir()}
        card = b"---\nlicense: mit\n---\n"
        hub.add_repo(f"zoo/{name}", {**files, "README.md": card})


@pytest.fixture(scope="module")
def released(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    (out / ".DS_Store").write_text("hidden")
    return out


def test_the_whole_round(hub: LoopbackHub, pairs: Pairs, tmp_path: Path) -> None:
    """Hub to directory to hub, as a commit, to another machine, checked against the parent."""
    add_parents(hub, pairs)
    out = tmp_path / "out"
    align_models("zoo/a", "zoo/b@main", str(out), AlignSettings(method="weight"))
    made = json.loads((out / "zooalign/provenance.json").read_text())
    commits = {
        repo: HfApi(endpoint=hub.endpoint).model_info(repo).sha for repo in ("zoo/a", "zoo/b")
    }
    assert {s["repo"]: s["commit"] for s in made["sources"]} == commits
    report = publish(str(out), "tester/aligned")
    assert report.verified and report.pull_request is None
    assert hub.files("tester/aligned", report.commit or "") == sorted(
        [".gitattributes", *(file.path for file in report.files)]
    )
    card = RepoCard(hub.read("tester/aligned", "README.md").decode()).data.to_dict()
    assert card["base_model"] == ["zoo/a", "zoo/b"] and card["license"] == "mit"
    assert card["base_model_relation"] == "finetune"
    gate = check(
        "tester/aligned",
        CheckRequest(
            parents=(
                "zoo/b",
                "zoo/a",
            )
        ),
    )
    assert gate.findings == () and gate.skipped == ()
    down = snapshot_download(
        "tester/aligned",
        local_dir=tmp_path / "down",
        endpoint=hub.endpoint,
        token=hub.token,
    )
    assert check(down, CheckRequest(parents=("zoo/b",))).findings == ()
    ours, theirs = weights(out), weights(down)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # Published once more, nothing changes and no commit is made.
    assert publish(str(out), "tester/aligned").commit == report.commit


@pytest.mark.slow
def test_as_a_pull_request_to_a_repo_of_others(hub: LoopbackHub, released: Path) -> None:
    main = hub.add_repo("other/model", {"notes.txt": b"theirs"})
    report = publish(str(released), "other/model", PublishSettings(pull_request=True))
    assert report.verified and (report.pull_request or "").endswith("/discussions/1")
    assert HfApi(endpoint=hub.endpoint).model_info("other/model").sha == main
    assert "model.safetensors" in hub.files("other/model", "refs/pr/1")
    assert check("other/model@refs/pr/1").ok


def test_a_dry_run_asks_the_hub_nothing(hub: LoopbackHub, released: Path) -> None:
    report = publish(str(released), "tester/x", PublishSettings(dry_run=True))
    assert hub.requests == () and report.commit is None and not report.verified
    assert [f.path for f in report.files] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "zooalign/digests.json",
        "zooalign/permutation.json",
        "zooalign/provenance.json",
        "zooalign/spec.json",
    ]
    sizes = {f.path: f.size for f in report.files}
    assert sizes["config.json"] == (released / "config.json").stat().st_size


@pytest.mark.slow
def test_a_faulty_directory_is_refused_unless_forced(
    hub: LoopbackHub, pairs: Pairs, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    tamper(out, "head.bias")
    with pytest.raises(FaultyReleaseError, match=r"weights.digests at head\.bias") as caught:
        publish(str(out), "tester/x")
    assert {r.method for r in hub.requests} == {"GET"} and caught.value.report.files
    assert publish(str(out), "tester/x", PublishSettings(force=True)).verified


@pytest.mark.slow
def test_what_the_hub_refuses(hub: LoopbackHub, released: Path, monkeypatch) -> None:
    with pytest.raises(HubError, match="forbids"):
        publish(str(released), "other/new")
    hub.add_repo("tester/old", {"pytorch_model.bin": b"x"})
    with pytest.raises(HubError, match=r"pytorch_model\.bin.*would be mixed"):
        publish(str(released), "tester/old")
    hub.inject(Fault(Reply(412, "stale"), path="/commit/"))
    with pytest.raises(HubError, match="meanwhile"):
        publish(str(released), "tester/x")
    hub.inject(Fault(Drop(), path="/commit/"))
    with pytest.raises(HubError, match="broke off"):
        publish(str(released), "tester/x")
    assert hub.files("tester/x") == [".gitattributes"]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_token_of_mine")
    with pytest.raises(HubError) as caught:
        publish(str(released), "tester/y")
    assert "HF_TOKEN" in str(caught.value) and "wrong_token_of_mine" not in str(caught.value)


@pytest.mark.slow
def test_what_is_read_back_is_compared(hub: LoopbackHub, released: Path) -> None:
    hub.inject(Fault(Corrupt(), path=r"/resolve/.*config\.json$", method="GET", times=None))
    with pytest.raises(HubError, match=r"config\.json read back is not what was sent"):
        publish(str(released), "tester/x")
    hub.clear_faults()
    hub.inject(Fault(Corrupt(), path="^/lfs/get/", times=None))
    with pytest.raises(HubError, match=r"model\.safetensors"):
        publish(str(released), "tester/y")


@pytest.mark.slow
def test_names_and_directories(tmp_path: Path, released: Path) -> None:
    with pytest.raises(ModelReferenceError, match="org/name"):
        publish(str(released), "name")
    with pytest.raises(CheckpointError, match="no such directory"):
        publish(str(tmp_path / "none"), "a/b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no files"):
        publish(str(tmp_path / "empty"), "a/b")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/a").symlink_to("/etc/hostname")
    with pytest.raises(CheckpointError, match="link out of the directory"):
        publish(str(tmp_path / "links"), "a/b")
