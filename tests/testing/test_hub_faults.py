"""What the client sees when the hub is told to fail."""

from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from zooalign.testing import Corrupt, Cut, Drop, Fault, LoopbackHub, RedirectLoop, Reply, Slow

try:  # huggingface_hub's HTTP library since 2.0
    import httpx2 as httpx
except ImportError:
    import httpx

WEIGHTS = bytes(range(256)) * 1024
NAME = "w.safetensors"


@pytest.fixture
def repo(hub: LoopbackHub) -> str:
    hub.add_repo("tester/m", {NAME: WEIGHTS, "config.json": b"{}"})
    return "tester/m"


@pytest.mark.parametrize("status", [401, 403, 404, 409, 412, 416, 429, 500, 503])
def test_status(hub, api, repo, status) -> None:
    hub.inject(Fault(Reply(status, "no luck today", retry_after=0), path="/api/models/tester/m$"))
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info(repo)
    assert caught.value.response.status_code == status
    assert caught.value.response.headers["Retry-After"] == "0"
    assert "no luck today" in str(caught.value)
    assert hub.requests[-1].status == status
    assert api.model_info(repo).id == repo  # it expired
    assert hub.pending_faults == ()


def test_error_code(hub, api, repo) -> None:
    hub.inject(Fault(Reply(403, code="GatedRepo"), path="/api/models"))
    with pytest.raises(GatedRepoError):
        api.model_info(repo)


def test_503_recovers(hub, api, repo) -> None:
    hub.inject(Fault(503, path="/preupload/", method="POST"))
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=repo)
    seen = [r.status for r in hub.requests if "/preupload/" in r.path]
    assert seen == [503, 200]
    assert hub.read(repo, "a.txt") == b"x"


def test_failed_lfs_upload_recovers(hub, api, repo) -> None:
    hub.inject(Fault(500, path="^/lfs/put/"))
    api.upload_file(path_or_fileobj=WEIGHTS[:-1], path_in_repo="b.bin", repo_id=repo)
    assert hub.read(repo, "b.bin") == WEIGHTS[:-1]


def test_cut_body_is_resumed(hub, api, repo, tmp_path, monkeypatch) -> None:
    # The client counts whole pieces only, of 10 MiB: a smaller file begins anew.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 256)
    hub.inject(Fault(Cut(1000), path="^/lfs/get/"))
    path = api.hf_hub_download(repo, NAME, cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert [r.status for r in hub.requests if r.port == "cdn"] == [200, 206]


def test_cut_body_sends_what_it_says(hub, repo) -> None:
    hub.inject(Fault(Cut(1), path="config"))
    url = f"{hub.endpoint}/{repo}/resolve/main/config.json"
    received = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", url, trust_env=False) as response,
    ):
        assert response.headers["Content-Length"] == "2"
        for piece in response.iter_raw():
            received += piece
    assert received == b"{"


def test_corrupt_body(hub, api, repo, tmp_path) -> None:
    hub.inject(Fault(Corrupt(), path="^/lfs/get/", times=1))
    path = api.hf_hub_download(repo, NAME, cache_dir=tmp_path)
    data = Path(path).read_bytes()
    differing = [i for i, (x, y) in enumerate(zip(data, WEIGHTS, strict=True)) if x != y]
    assert differing == [len(WEIGHTS) // 2]
    assert hashlib.sha256(data).hexdigest() != hashlib.sha256(WEIGHTS).hexdigest()


def test_slow_body_arrives(hub, repo) -> None:
    hub.inject(Fault(Slow(0.1), path="/resolve/"), Fault(Slow(0.1), path="^/lfs/"))
    url = f"{hub.endpoint}/{repo}/resolve/main/{NAME}"
    assert httpx.get(url, follow_redirects=True, trust_env=False).content == WEIGHTS


def test_slow_body_does_not_delay_the_end(hub, repo) -> None:
    hub.inject(Fault(Slow(3600), path="/resolve/main/config.json"))
    url = f"{hub.endpoint}/{repo}/resolve/main/config.json"
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(url, timeout=0.2, trust_env=False)
    hub.stop()  # would hang if it waited for the hour


def test_redirect_loop(hub, api, repo) -> None:
    hub.inject(Fault(RedirectLoop(), path="/api/models/tester/m$", times=None))
    with pytest.raises(httpx.TooManyRedirects):
        api.model_info(repo)
    hub.clear_faults()
    assert api.model_info(repo).id == repo


def test_lost_answer_of_a_commit(hub, api, repo) -> None:
    hub.inject(Fault(Drop(handled=True), path="/commit/main$", method="POST"))
    with pytest.raises(httpx.TransportError):
        api.create_commit(repo, [CommitOperationAdd("a.txt", b"x")], commit_message="Lost")
    assert api.list_repo_commits(repo)[0].title == "Lost"
    assert [r.status for r in hub.requests if r.path.endswith("/commit/main")] == [0]


def test_dropped_request_has_no_effect(hub, api, repo) -> None:
    hub.inject(Fault(Drop(), path="/commit/main$"))
    with pytest.raises(httpx.TransportError):
        api.create_commit(repo, [CommitOperationAdd("a.txt", b"x")], commit_message="Lost")
    assert api.list_repo_commits(repo)[0].title == "Add files"


def test_skip_and_order(hub, repo) -> None:
    hub.inject(Fault(503, path="/api/", times=2, skip=1), Fault(418, path="/api/"))
    url = f"{hub.endpoint}/api/models/{repo}"
    seen = [httpx.get(url, trust_env=False).status_code for _ in range(5)]
    assert seen == [418, 503, 503, 200, 200]


def test_faults_are_checked() -> None:
    with pytest.raises(ValueError, match="times"):
        Fault(503, times=0)
    with pytest.raises(ValueError, match="skip"):
        Fault(503, skip=-1)


def test_wrong_content_is_refused_on_upload(hub, repo) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    sha = hashlib.sha256(b"right").hexdigest()
    batch = httpx.post(
        f"{hub.endpoint}/{repo}.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [{"oid": sha, "size": 5}]},
        headers={"Authorization": f"Bearer {hub.token}"},
        trust_env=False,
    ).json()
    href = batch["objects"][0]["actions"]["upload"]["href"]
    assert httpx.put(href, content=b"wrong", trust_env=False).status_code == 400
    assert httpx.put(href, content=iter([b"ri", b"ght"]), trust_env=False).status_code == 200
    assert api.repo_exists(repo)
