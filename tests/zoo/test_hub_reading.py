"""Models from a hub, over real HTTP with the unmodified client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from forked import LIBRARIES, forked
from huggingface_hub import HfApi

from zooalign.errors import CheckpointError, HubError, ModelReferenceError
from zooalign.testing import Corrupt, Cut, Drop, Fault, LoopbackHub, Reply
from zooalign.zoo.models import Model, open_architecture, open_model
from zooalign.zoo.writer import write_model

TEXT = "timm:test_vit?num_classes=3"
CARD = "---\nlicense: mit\n---\n# card\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    model = open_model(TEXT)
    out = write_model(
        tmp_path_factory.mktemp("model") / "out",
        model.state_dict(seed=7),
        config_files=model.config_files(),
        extra_files={"README.md": CARD.encode(), "unwanted.bin": b"pickle"},
    )
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub(xet=False) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub


@pytest.fixture
def opened(hub: LoopbackHub, tmp_path: Path):
    def opened(text: str, **options: object) -> Model:
        return open_model(text, **{"token": hub.token, "cache_dir": tmp_path / "cache"} | options)  # type: ignore[arg-type]

    return opened


def downloaded(hub: LoopbackHub) -> set[str]:
    return {
        request.path.rpartition("/")[2].partition("?")[0]
        for request in hub.requests
        if "/resolve/" in request.path
    }


def test_a_repo(hub: LoopbackHub, opened, files: dict[str, bytes]) -> None:
    commit = hub.add_repo("tester/vit", files)
    model = opened("tester/vit")
    assert model.source["commit"] == commit
    assert model.source["repo"] == "tester/vit"
    assert model.source["license"] == "mit"
    assert model.directory is not None and model.directory.name == commit
    assert downloaded(hub) == {"config.json", "model.safetensors"}
    expected = open_model(TEXT).state_dict(seed=7)
    found = model.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert model.config_files()["config.json"] == files["config.json"]


def test_the_architecture_alone_needs_no_weights(
    hub: LoopbackHub, tmp_path: Path, files: dict[str, bytes]
) -> None:
    where = {"token": hub.token, "cache_dir": tmp_path / "cache"}
    commit = hub.add_repo("tester/vit", files)
    model = open_architecture("tester/vit", **where)
    assert model.repo is not None and model.repo.commit == commit
    assert model.architecture.config["model_args"] == {"num_classes": 3}
    assert downloaded(hub) == {"config.json"}
    with pytest.raises(CheckpointError, match="architecture alone"):  # never random weights instead
        model.state_dict()
    hub.add_repo("tester/config-only", {"config.json": files["config.json"]})
    assert open_architecture("tester/config-only", **where).architecture == model.architecture
    hub.add_repo("tester/bare", {"model.safetensors": files["model.safetensors"]})
    with pytest.raises(ModelReferenceError, match=r"no config\.json"):
        open_architecture("tester/bare", **where)
    named = open_architecture("tester/bare", model=TEXT, **where)
    assert named.architecture == open_architecture(TEXT).architecture
    assert downloaded(hub) == {"config.json"}


def test_a_directory_may_hold_a_config_alone(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "config.json").write_bytes(files["config.json"])
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    assert open_architecture(str(tmp_path)).build() is not None
    with pytest.raises(CheckpointError):
        open_model(str(tmp_path))


def test_revisions(hub: LoopbackHub, opened, files: dict[str, bytes]) -> None:
    first = hub.add_repo("tester/vit", files)
    HfApi(endpoint=hub.endpoint, token=hub.token).create_tag("tester/vit", tag="v1")
    other = dict(open_model(TEXT).state_dict(seed=8))
    out = write_model(Path(opened("tester/vit").directory.parent / "new"), other)
    second = hub.add_repo("tester/vit", {"model.safetensors": out / "model.safetensors"})
    for text, commit in [
        ("tester/vit@v1", first),
        ("tester/vit", second),
        (f"tester/vit@{first}", first),
    ]:
        assert opened(text).source["commit"] == commit, text
    assert opened("tester/vit", revision="v1").reference == "tester/vit@v1"
    assert torch.equal(opened("tester/vit").state_dict()["cls_token"], other["cls_token"])


@pytest.mark.slow
def test_a_sharded_repo(hub: LoopbackHub, opened, tmp_path: Path) -> None:
    source = open_model(TEXT)
    out = write_model(
        tmp_path / "sharded",
        source.state_dict(),
        config_files=source.config_files(),
        max_shard_size=400_000,
    )
    hub.add_repo("tester/sharded", {path.name: path for path in out.iterdir()})
    model = opened("tester/sharded")
    assert len(model.source["files"]) > 2
    assert all(torch.equal(model.state_dict()[k], t) for k, t in source.state_dict().items())


def test_an_index_that_names_other_files(hub: LoopbackHub, opened, files: dict[str, bytes]) -> None:
    index = b'{"weight_map": {"cls_token": "../../../../etc/passwd.safetensors"}}'
    hub.add_repo(
        "tester/evil",
        {"config.json": files["config.json"], "model.safetensors.index.json": index},
    )
    with pytest.raises(CheckpointError, match=r"cls_token is placed in .*outside its directory"):
        opened("tester/evil")


def test_an_architecture_from_a_repo(hub: LoopbackHub, opened, files, tmp_path: Path) -> None:
    hub.add_repo("tester/vit", {"config.json": files["config.json"]})
    (tmp_path / "w.safetensors").write_bytes(files["model.safetensors"])
    model = opened(str(tmp_path / "w.safetensors"), model="tester/vit")
    assert model.module().num_classes == 3


def test_a_repo_without_config(hub: LoopbackHub, opened, files: dict[str, bytes]) -> None:
    hub.add_repo("tester/bare", {"model.safetensors": files["model.safetensors"]})
    with pytest.raises(ModelReferenceError, match=r"has no config\.json; name its architecture"):
        opened("tester/bare")
    assert opened("tester/bare", model=TEXT).state_dict().keys()


def test_refusals(hub: LoopbackHub, opened, files: dict[str, bytes]) -> None:
    hub.add_repo("tester/vit", files)
    hub.add_repo("other/gated", files, gated=True)
    hub.add_repo("other/private", files, private=True)
    hub.add_repo("tester/pickled", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    for text, says in [
        ("tester/missing", "no such repo"),
        ("other/private", "no such repo at .*or it is private"),
        ("other/gated", "gated: ask for access"),
        ("tester/vit@nowhere", "tester/vit@nowhere: no such revision"),
    ]:
        with pytest.raises(HubError, match=says):
            opened(text)
    with pytest.raises(CheckpointError, match=r"only as pickle \(pytorch_model\.bin\)"):
        opened("tester/pickled")
    with pytest.raises(HubError, match="does not accept the token") as caught:
        opened("tester/vit", token="hf_wrong_token_of_somebody")
    assert "hf_wrong_token_of_somebody" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            Fault(Reply(500, "database on fire"), "/api/models/", times=None),
            "has a fault .HTTP 500",
        ),
        (Fault(Reply(403), "/api/models/", times=None), "forbids this"),
        (
            Fault(Reply(200, body=b"<html>"), "/api/models/", times=None),
            "cannot be reached or broke",
        ),
        (Fault(Drop(), "/api/models/", times=None), "cannot be reached or broke off"),
        (
            Fault(Reply(404, code="EntryNotFound"), r"config\.json", times=None),
            "is missing from it",
        ),
        (Fault(Cut(), r"config\.json$", method="GET", times=None), "config|broke off|reached"),
    ],
)
def test_faults_are_explained(
    hub: LoopbackHub, opened, files: dict[str, bytes], fault: Fault, says: str
) -> None:
    hub.add_repo("tester/vit", files)
    hub.inject(fault)
    with pytest.raises(HubError, match=says) as caught:
        opened("tester/vit")
    assert hub.token not in str(caught.value)
    hub.clear_faults()
    assert opened("tester/vit").state_dict().keys()


def test_a_cut_body_is_resumed(hub: LoopbackHub, opened, files: dict[str, bytes]) -> None:
    hub.add_repo("tester/vit", files)
    hub.inject(Fault(Cut(), r"model\.safetensors|^/lfs/", method="GET"))
    model = opened("tester/vit")
    assert model.checkpoint is not None
    assert model.checkpoint.files[0].read_bytes() == files["model.safetensors"]


def test_a_corrupted_body_is_found_by_its_hash(
    hub: LoopbackHub, opened, files: dict[str, bytes]
) -> None:
    hub.add_repo("tester/vit", files)
    hub.inject(Fault(Corrupt(), r"model\.safetensors|/lfs/", method="GET", times=None))
    with pytest.raises(HubError, match=r"model\.safetensors in the cache is not the file"):
        opened("tester/vit").source  # noqa: B018


@pytest.mark.slow
def test_offline_with_a_warm_cache(
    hub: LoopbackHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    commit = hub.add_repo("tester/vit", files)
    code = "\n".join(
        [
            "import sys",
            "from zooalign.errors import HubError",
            "from zooalign.zoo.models import open_model",
            "for text in sys.argv[1:]:",
            "    try:",
            "        print(open_model(text).source['commit'])",
            "    except HubError as error:",
            "        print(error)",
        ]
    )
    home = tmp_path / "home"

    def run(*texts: str, **more: str) -> list[str]:
        environment = hub.env(home=home) | more
        done = forked(code, *texts, cwd=tmp_path, env=environment, imports=LIBRARIES)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert run("tester/vit") == [commit]
    hub.clear_requests()
    warm, cold = run("tester/vit", "tester/cold", HF_HUB_OFFLINE="1")
    assert warm == commit
    assert "HF_HUB_OFFLINE" in cold
    assert hub.requests == ()
