"""Reading from the loopback hub with huggingface_hub's own client."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from zooalign.errors import HubError
from zooalign.testing import LoopbackHub

try:  # huggingface_hub's HTTP library since 2.0
    import httpx2 as httpx
except ImportError:
    import httpx

FILES = {"config.json": b"{}", "w.safetensors": bytes(range(256)) * 40, "sub/deep/a.txt": b"a\n"}
CARD = "---\nlicense: mit\ntags: [one, two]\nlibrary_name: timm\n---\n# A model\n"


@pytest.fixture
def commit(hub: LoopbackHub) -> str:
    return hub.add_repo("tester/m", {**FILES, "README.md": CARD})


def test_whoami(hub, api) -> None:
    assert api.whoami()["name"] == "tester"
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"


def test_bad_token(hub, commit, tmp_path) -> None:
    bad = HfApi(endpoint=hub.endpoint, token="hf_wrong")
    with pytest.raises(HfHubHTTPError) as caught:
        bad.whoami()
    assert caught.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        bad.model_info("tester/m")


def test_model_info(api, commit) -> None:
    info = api.model_info("tester/m", files_metadata=True)
    assert info.sha == commit
    assert (info.author, info.private, info.library_name) == ("tester", False, "timm")
    assert info.tags == ["one", "two"]
    assert info.card_data["license"] == "mit"
    sizes = {s.rfilename: s.size for s in info.siblings}
    assert sizes["w.safetensors"] == 10240 and sizes["config.json"] == 2
    large = {s.rfilename: s.lfs is not None for s in info.siblings}
    assert large["w.safetensors"] and not large["config.json"]
    assert api.model_info("tester/m", revision=commit).sha == commit


def test_tree_and_paths(api, commit) -> None:
    top = {item.path for item in api.list_repo_tree("tester/m")}
    assert top == {".gitattributes", "README.md", "config.json", "w.safetensors", "sub"}
    below = {item.path for item in api.list_repo_tree("tester/m", "sub", recursive=True)}
    assert below == {"sub/deep", "sub/deep/a.txt"}
    found = api.get_paths_info("tester/m", ["sub", "nope", "config.json"], expand=True)
    assert [item.path for item in found] == ["sub", "config.json"]
    assert found[1].last_commit.oid == commit
    assert not api.file_exists("tester/m", "nope") and api.file_exists("tester/m", "config.json")


def test_pages() -> None:
    files = {f"{n:03d}.txt": b"x" for n in range(25)}
    with LoopbackHub(page_size=10) as hub:
        hub.add_repo("tester/m", files)
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        assert set(api.list_repo_files("tester/m")) == {".gitattributes", *files}
        assert sum("/tree/" in request.path for request in hub.requests) == 3


def test_history_and_references(hub, api, commit) -> None:
    second = hub.add_repo("tester/m", {"config.json": b"[]"}, title="Second")
    history = api.list_repo_commits("tester/m")
    assert [c.title for c in history] == ["Second", "Add files", "initial commit"]
    refs = api.list_repo_refs("tester/m", include_pull_requests=True)
    assert [(b.name, b.target_commit) for b in refs.branches] == [("main", second)]
    assert refs.pull_requests == []


@pytest.mark.parametrize("name", ["config.json", "w.safetensors", "sub/deep/a.txt"])
def test_download(hub, api, commit, tmp_path, name) -> None:
    path = api.hf_hub_download("tester/m", name, cache_dir=tmp_path)
    assert Path(path).read_bytes() == FILES[name]


def test_download_by_revision(hub, api, commit, tmp_path) -> None:
    hub.add_repo("tester/m", {"config.json": b"[1]"})
    api.create_tag("tester/m", tag="v1", revision=commit)
    for revision, content in (("v1", b"{}"), (commit, b"{}"), ("main", b"[1]")):
        path = api.hf_hub_download("tester/m", "config.json", revision=revision, cache_dir=tmp_path)
        assert Path(path).read_bytes() == content, revision


def test_snapshot_download(api, commit, tmp_path) -> None:
    folder = api.snapshot_download("tester/m", local_dir=tmp_path / "here")
    for name, content in FILES.items():
        assert (tmp_path / "here" / name).read_bytes() == content
    assert folder == str(tmp_path / "here")


def test_token_is_not_sent_to_the_cdn(hub, api, commit, tmp_path) -> None:
    api.hf_hub_download("tester/m", "w.safetensors", cache_dir=tmp_path)
    cdn = [request for request in hub.requests if request.port == "cdn"]
    assert cdn and not any(request.authorized for request in cdn)


def test_cdn_wants_a_signature(hub, api, commit, tmp_path) -> None:
    url = f"{hub.endpoint}/tester/m/resolve/main/w.safetensors"
    location = httpx.get(url, trust_env=False).headers["Location"]
    assert httpx.get(location, trust_env=False).content == FILES["w.safetensors"]
    assert httpx.get(location.partition("?")[0], trust_env=False).status_code == 403


@pytest.mark.parametrize("name", ["w.safetensors", "sub/deep/a.txt"])
def test_range(hub, commit, name) -> None:
    url = f"{hub.endpoint}/tester/m/resolve/main/{name}"
    options = {"follow_redirects": True, "trust_env": False}
    part = httpx.get(url, headers={"Range": "bytes=1-"}, **options)
    assert part.status_code == 206 and part.content == FILES[name][1:]
    size = len(FILES[name])
    assert part.headers["Content-Range"] == f"bytes 1-{size - 1}/{size}"
    beyond = httpx.get(url, headers={"Range": f"bytes={size}-"}, **options)
    assert beyond.status_code == 416 and beyond.headers["Content-Range"] == f"bytes */{size}"


def test_safetensors_metadata_by_range(hub, api) -> None:
    import torch
    from safetensors.torch import save

    hub.add_repo("tester/m", {"model.safetensors": save({"a": torch.zeros(3, 4)})})
    found = api.get_safetensors_metadata("tester/m")
    assert found.parameter_count == {"F32": 12}


def test_missing_repo(hub, api, tmp_path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("tester/none")
    with pytest.raises(RepositoryNotFoundError):
        api.hf_hub_download("tester/none", "config.json", cache_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.endpoint, token=False).model_info("tester/none")


def test_missing_revision(api, commit, tmp_path) -> None:
    for call in (
        lambda: api.model_info("tester/m", revision="none"),
        lambda: list(api.list_repo_tree("tester/m", revision="none")),
        lambda: api.hf_hub_download("tester/m", "a", revision="none", cache_dir=tmp_path),
        lambda: api.model_info("tester/m", revision="0" * 40),
    ):
        with pytest.raises(RevisionNotFoundError):
            call()


def test_missing_file(api, commit, tmp_path) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("tester/m", "none.txt", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("tester/m", "none"))
    # X-Repo-Commit came with the 404: the client remembers that there is no such file.
    assert list(tmp_path.glob(f"**/.no_exist/{commit}/none.txt"))


def test_private_and_gated(hub, api, tmp_path) -> None:
    hub.add_repo("tester/mine", FILES, private=True)
    hub.add_repo("other/theirs", FILES, private=True)
    hub.add_repo("other/gated", FILES, gated=True)
    assert api.model_info("tester/mine").private
    anonymous = HfApi(endpoint=hub.endpoint, token=False)
    for client, name in ((anonymous, "tester/mine"), (api, "other/theirs")):
        with pytest.raises(RepositoryNotFoundError):
            client.model_info(name)
    assert api.model_info("other/gated").gated == "manual"
    with pytest.raises(GatedRepoError):
        api.hf_hub_download("other/gated", "config.json", cache_dir=tmp_path)
    assert [m.id for m in anonymous.list_models()] == ["other/gated"]


def test_list_models(hub, api, commit) -> None:
    hub.add_repo("other/n", {"config.json": b"{}"})
    assert [m.id for m in api.list_models()] == ["other/n", "tester/m"]
    assert [m.id for m in api.list_models(author="tester")] == ["tester/m"]
    assert [m.id for m in api.list_models(filter="two")] == ["tester/m"]


def test_datasets_live_beside_models(hub, api, tmp_path) -> None:
    hub.add_repo("tester/d", {"data.csv": b"a,b\n"}, kind="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("tester/d")
    path = api.hf_hub_download("tester/d", "data.csv", repo_type="dataset", cache_dir=tmp_path)
    assert Path(path).read_bytes() == b"a,b\n"


def test_log_holds_no_token(hub, api, commit) -> None:
    api.whoami()
    httpx.get(f"{hub.endpoint}/{hub.token}?t={hub.token}", trust_env=False)
    assert any(request.path == "/***" for request in hub.requests)
    assert hub.token not in repr(hub.requests)
    hub.clear_requests()
    assert hub.requests == ()


def test_view_of_the_store(hub, commit) -> None:
    assert hub.read("tester/m", "config.json") == b"{}"
    assert hub.files("tester/m") == sorted([".gitattributes", "README.md", *FILES])
    with pytest.raises(HubError, match="there is no model"):
        hub.read("tester/none", "config.json")
    for bad in ("../x", "/x", "a//b", ".git/config", "a\\b"):
        with pytest.raises(HubError, match="not a path"):
            hub.add_repo("tester/m", {bad: b""})
    for bad in ("m", "a/b/c", "a/..", "../b", "a/-b"):
        with pytest.raises(HubError, match="repository name"):
            hub.add_repo(bad, {})


def test_root_is_kept(tmp_path) -> None:
    with LoopbackHub(tmp_path / "hub") as first:
        commit = first.add_repo("tester/m", FILES)
        api = HfApi(endpoint=first.endpoint, token=first.token)
        api.create_discussion("tester/m", title="Hello")
    with LoopbackHub(tmp_path / "hub") as second:
        assert second.read("tester/m", "w.safetensors", commit) == FILES["w.safetensors"]
        api = HfApi(endpoint=second.endpoint, token=second.token)
        assert api.get_discussion_details("tester/m", 1).title == "Hello"


def test_a_stopped_hub_answers_nothing(hub, commit) -> None:
    with httpx.Client(trust_env=False) as client:  # keeps its connection
        assert client.get(f"{hub.endpoint}/api/models/tester/m").status_code == 200
        hub.stop()
        with pytest.raises(httpx.TransportError):
            client.get(f"{hub.endpoint}/api/models/tester/m")
    hub.stop()


def test_bound_to_loopback_only(hub) -> None:
    assert hub.endpoint.startswith("http://127.0.0.1:")
