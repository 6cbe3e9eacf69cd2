"""Checking repos over HTTP: what is downloaded, pull requests, what the hub holds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from released_pairs import Pairs, tamper, weights
from served_hub import served_hub

from zooalign.errors import CheckpointError, HubError
from zooalign.gate.check import CheckRequest, check
from zooalign.gate.checks import all_checks
from zooalign.gate.policy import Policy
from zooalign.pipelines.align import align_models
from zooalign.pipelines.apply import apply_permutation
from zooalign.publish.publish import publish
from zooalign.release.settings import AlignSettings, PublishSettings
from zooalign.testing import Fault, LoopbackHub, Reply
from zooalign.zoo.writer import write_model

pytestmark = pytest.mark.slow

SHARDS = 100


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture(scope="module")
def released(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "out"
    align_models(
        *pairs.vit, str(out), AlignSettings(method="weight"), command="zooalign align a b -o out"
    )
    return out


def files(folder: Path) -> dict[str, Path]:
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def cached(tmp_path: Path) -> list[str]:
    """Files of weights that were downloaded."""
    return [path.name for path in (tmp_path / "cache").rglob("*.safetensors")]


def many_shards(released: Path, out: Path) -> Path:
    """The release's files with weights of 100 shards and 64 MiB, which its architecture lacks."""
    tensors = {f"layers.{i}.weight": torch.full((1024, 160), float(i)) for i in range(SHARDS)}
    size = 1024 * 160 * 4
    kept = {n: p.read_bytes() for n, p in files(released).items() if not n.endswith(".safetensors")}
    write_model(out, tensors, extra_files=kept, max_shard_size=size)
    assert len(list(out.glob("*.safetensors"))) == SHARDS
    return out


def test_headers_of_a_hundred_shards(hub: LoopbackHub, released: Path, tmp_path: Path) -> None:
    out = many_shards(released, tmp_path / "many")
    hub.add_repo("tester/many", files(out))
    hub.clear_requests()
    report = check("tester/many", CheckRequest(headers_only=True))
    assert cached(tmp_path) == []
    assert "weights.shards" in report.checks and "weights.headers" in report.checks
    assert {"weights.finite", "weights.digests"} <= set(report.unasked)
    # The shards agree with their index; they are just of another architecture.
    wrong = {finding.id for finding in report.failures}
    assert "weights.keys" in wrong and not wrong & {"weights.shards", "weights.headers"}
    shards = [r for r in hub.requests if r.path.endswith(".safetensors") and "resolve" in r.path]
    assert len(shards) == SHARDS and len(hub.requests) < 3 * SHARDS
    assert not any(r.authorized for r in hub.requests if r.port == "cdn")


def test_a_broken_shard_is_found_without_downloading_it(
    hub: LoopbackHub, released: Path, tmp_path: Path
) -> None:
    out = many_shards(released, tmp_path / "many")
    cut = out / "model-00007-of-00100.safetensors"
    cut.write_bytes(cut.read_bytes()[:-4])
    bomb = out / "model-00008-of-00100.safetensors"
    bomb.write_bytes((10**15).to_bytes(8, "little") + b"{" * 100)
    (out / "model-00009-of-00100.safetensors").unlink()
    hub.add_repo("tester/many", files(out))
    report = check("tester/many", CheckRequest(headers_only=True))
    where = {(f.id, f.file or f.where) for f in report.findings}
    assert {
        ("weights.readable", cut.name),
        ("weights.headers", bomb.name),
        ("weights.shards", "model-00009-of-00100.safetensors"),
    } <= where
    assert cached(tmp_path) == []


def test_a_hub_that_knows_no_ranges(hub: LoopbackHub, released: Path, tmp_path: Path) -> None:
    """It answers with the whole of a file of 64 MiB: only what was asked for is read."""
    whole = (released / "model.safetensors").read_bytes() + bytes(2**26)
    given = files(released) | {"model.safetensors": tmp_path / "long.safetensors"}
    given["model.safetensors"].write_bytes(whole)
    hub.add_repo("tester/long", given)
    hub.inject(Fault(Reply(200, body=whole), path=r"^/lfs/get/", times=None))
    report = check("tester/long", CheckRequest(headers_only=True))
    assert {(f.id, f.file) for f in report.failures} == {("weights.headers", "model.safetensors")}
    hub.clear_faults()
    assert check("tester/long", CheckRequest(headers_only=True)).findings == report.findings


def test_a_whole_repo(hub: LoopbackHub, released: Path, tmp_path: Path) -> None:
    commit = hub.add_repo("tester/good", files(released))
    report = check("tester/good")
    assert report.findings == () and report.commit == commit
    assert cached(tmp_path) == ["model.safetensors"]


def test_no_more_is_downloaded_than_is_read(
    hub: LoopbackHub, released: Path, tmp_path: Path
) -> None:
    """Not another large file, which the hub states a hash of, nor a text that is far too long."""
    large = {"other.gguf": bytes(3_000_000), "vocab.txt": b"word\n" * 2_000_000}
    hub.add_repo("tester/good", {**files(released), **large})
    hub.clear_requests()
    assert check("tester/good").ok
    names = {p.name for p in (tmp_path / "cache").rglob("*") if p.is_symlink()}
    assert "model.safetensors" in names and not names & set(large)


def test_a_config_of_gigabytes_is_not_fetched(hub: LoopbackHub, released: Path) -> None:
    commit = hub.add_repo("tester/big", files(released))
    siblings = [{"rfilename": n, "size": 10**11} for n in ("config.json", "README.md")]
    body = {"id": "tester/big", "sha": commit, "siblings": siblings}
    hub.inject(Fault(Reply(200, body=json.dumps(body).encode()), path="^/api/models/", times=None))
    with pytest.raises(CheckpointError, match=r"config\.json: the hub says it has 100000000000"):
        check("tester/big", CheckRequest())
    assert not any("/resolve/" in request.path for request in hub.requests)


def test_a_pull_request(hub: LoopbackHub, released: Path, tmp_path: Path) -> None:
    hub.add_repo("tester/good", files(released))
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes((released / "model.safetensors").read_bytes())
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes(bad.read_bytes())
    tamper(copy, "head.bias")
    HfApi(endpoint=hub.endpoint, token=hub.token).upload_file(
        path_or_fileobj=copy / "model.safetensors",
        path_in_repo="model.safetensors",
        repo_id="tester/good",
        create_pr=True,
    )
    assert check("tester/good").ok
    report = check("tester/good@refs/pr/1")
    assert [f.id for f in report.failures] == ["weights.digests"]
    assert report.failures[0].parameter == "head.bias"


def test_a_tampered_shard_of_a_pull_request(hub: LoopbackHub, pairs: Pairs, tmp_path: Path) -> None:
    """Of a release in shards, the one that was changed is named, and the tensor in it."""
    for number, path in enumerate(pairs.vit):
        kept = {name: Path(path, name).read_bytes() for name in ("config.json", "README.md")}
        write_model(
            tmp_path / f"m{number}", weights(path), config_files=kept, max_shard_size=100_000
        )
    parents = [str(tmp_path / "m0"), str(tmp_path / "m1")]
    align_models(*parents, str(tmp_path / "out"), AlignSettings(method="weight"))
    policy = Policy(disable=("loads.library",))  # timm reads no shards
    made = publish(
        str(tmp_path / "out"), "tester/m", PublishSettings(pull_request=True), policy=policy
    )
    assert made.verified
    asked = CheckRequest(parents=tuple(parents[1:]), against=str(tmp_path / "out"))
    assert check("tester/m@refs/pr/1", asked, policy=policy).ok
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    name = "blocks.1.mlp.fc2.weight"
    shard = index["weight_map"][name]
    (tmp_path / "bad").mkdir()
    content = (tmp_path / "out" / shard).read_bytes()
    (tmp_path / "bad/model.safetensors").write_bytes(content)
    tamper(tmp_path / "bad", name)
    HfApi(endpoint=hub.endpoint, token=hub.token).upload_file(
        path_or_fileobj=tmp_path / "bad/model.safetensors",
        path_in_repo=shard,
        repo_id="tester/m",
        revision="refs/pr/1",
    )
    found = check("tester/m@refs/pr/1", asked, policy=policy).failures
    assert {f.id for f in found} == {
        *("published.same", "weights.digests", "parent.bytes", "parent.function"),
    }
    assert {f.file for f in found if f.file is not None} == {shard}
    assert {f.parameter for f in found if f.parameter is not None} == {name}
    assert check(str(tmp_path / "out"), asked, policy=policy).ok


def test_what_the_hub_holds(hub: LoopbackHub, released: Path, tmp_path: Path) -> None:
    held = {name: path.read_bytes() for name, path in files(released).items()}
    hub.add_repo("tester/same", held)
    held["config.json"] += b" "
    held["model.safetensors"] = held["model.safetensors"][:-1] + b"x"
    del held["zooalign/digests.json"]
    hub.add_repo("tester/other", {**held, "more.txt": b"x"})
    asked = CheckRequest(against=str(released), headers_only=True)
    assert check("tester/same", asked).failures == ()
    found = [f for f in check("tester/other", asked).findings if f.id == "published.same"]
    assert sorted(f.where for f in found) == [
        "config.json",
        "model.safetensors",
        "more.txt",
        "zooalign/digests.json",
    ]
    assert cached(tmp_path) == []


def test_the_recorded_parents_are_fetched(hub: LoopbackHub, pairs: Pairs, tmp_path: Path) -> None:
    for name, path in zip("ab", pairs.vit, strict=True):
        hub.add_repo(f"zoo/{name}", files(Path(path)))
    out = tmp_path / "out"
    align_models("zoo/a", "zoo/b", str(out), AlignSettings(method="weight"))
    # The branch moves on; the record has the commit.
    state = {n: t * 2 for n, t in weights(pairs.vit[1]).items()}
    write_model(tmp_path / "new", state)
    HfApi(endpoint=hub.endpoint, token=hub.token)
    hub.add_repo("zoo/b", {"model.safetensors": tmp_path / "new/model.safetensors"})
    report = check(str(out), CheckRequest(recorded_parents=True))
    assert report.findings == () and "parent.bytes" in report.checks
    moved = check(str(out), CheckRequest(parents=("zoo/b",)))
    assert "parent.recorded" in {f.id for f in moved.findings}


def test_a_hub_that_refuses_a_shard(hub: LoopbackHub, released: Path, tmp_path: Path) -> None:
    hub.add_repo("tester/good", files(released))
    hub.inject(Fault(Reply(403, "no"), path=r"/resolve/.*safetensors$", times=None))
    with pytest.raises(HubError, match="forbids") as caught:
        check("tester/good", CheckRequest(headers_only=True))
    assert hub.token not in str(caught.value)


def test_hostile_names_are_findings(hub: LoopbackHub, released: Path) -> None:
    odd = {"notes\u202etxt.md": b"x", "Config.json": b"{}"}
    hub.add_repo("tester/odd", {**files(released), **odd})
    report = check("tester/odd", CheckRequest(headers_only=True))
    found = [f.where for f in report.findings if f.id == "files.names"]
    assert len(found) == 2 and all(name.isprintable() for name in found)
    assert json.dumps(report.to_dict(), ensure_ascii=False).isprintable()
    assert {item.id for item in all_checks()} >= set(report.checks)


def test_a_published_permutation(
    hub: LoopbackHub, released: Path, pairs: Pairs, tmp_path: Path
) -> None:
    """A repo without weights and configuration: checked as what it is, and applied."""
    publish(str(released), "tester/slim", PublishSettings(permutation_only=True))
    report = check("tester/slim", CheckRequest(parents=(pairs.vit[1],)))
    assert report.ok, report.failures
    assert "permutation.only" in report.checks and "permutation.valid" in report.checks
    apply_permutation(pairs.vit[1], "tester/slim", str(tmp_path / "out"))
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        released / "model.safetensors"
    ).read_bytes()
    hub.add_repo("tester/empty", {"README.md": b"---\nlicense: mit\n---\n"})
    assert "weights.readable" in {f.id for f in check("tester/empty").failures}
