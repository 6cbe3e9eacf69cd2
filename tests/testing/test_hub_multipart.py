"""LFS files in parts, by the unmodified client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from zooalign.testing import EndlessPages, Fault, LoopbackHub, Reply, Shorten

pytestmark = pytest.mark.slow

try:  # huggingface_hub's HTTP library since 2.0
    import httpx2 as httpx
except ImportError:
    import httpx

WEIGHTS = bytes(range(256)) * 1000 + b"end"
PART = 100_000


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub(xet=False, part_size=PART) as hub:
        yield hub


def put(api: HfApi, content: bytes = WEIGHTS) -> None:
    api.create_repo("tester/m", exist_ok=True)
    api.upload_file(path_or_fileobj=content, path_in_repo="w.safetensors", repo_id="tester/m")


def sent(hub: LoopbackHub) -> list[tuple[str, int]]:
    return [
        (r.path.split("/")[2] + "/" + r.path.split("/")[3][:1], r.status)
        for r in hub.requests
        if r.path.startswith(("/lfs/part/", "/lfs/put/"))
    ]


def test_parts_are_put_together(hub: LoopbackHub, api: HfApi) -> None:
    put(api)
    assert hub.read("tester/m", "w.safetensors") == WEIGHTS
    assert sent(hub) == [("part/1", 200), ("part/2", 200), ("part/3", 200)]
    assert not any(r.authorized for r in hub.requests if r.port == "cdn")
    hub.clear_requests()
    put(api, WEIGHTS[:PART])
    assert [kind for kind, _ in sent(hub)] == [
        f"put/{hashlib.sha256(WEIGHTS[:PART]).hexdigest()[0]}"
    ]


def test_a_part_fails_once_and_is_sent_again(hub: LoopbackHub, api: HfApi) -> None:
    hub.inject(Fault(503, path="^/lfs/part/2/"))
    put(api)
    assert sent(hub) == [("part/1", 200), ("part/2", 503), ("part/2", 200), ("part/3", 200)]
    assert hub.read("tester/m", "w.safetensors") == WEIGHTS


def test_a_part_that_is_refused_leaves_nothing(hub: LoopbackHub, api: HfApi) -> None:
    hub.inject(Fault(Reply(403), path="^/lfs/part/3/"))
    with pytest.raises((HfHubHTTPError, RuntimeError)):
        put(api)
    assert hub.files("tester/m") == [".gitattributes"]
    put(api)
    assert hub.read("tester/m", "w.safetensors") == WEIGHTS


def test_a_completion_is_checked(hub: LoopbackHub, api: HfApi) -> None:
    api.create_repo("tester/m")
    oid = hashlib.sha256(WEIGHTS).hexdigest()
    answer = httpx.post(
        f"{hub.endpoint}/tester/m.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [{"oid": oid, "size": len(WEIGHTS)}]},
        headers={"Authorization": f"Bearer {hub.token}"},
        trust_env=False,
    ).json()
    upload = answer["objects"][0]["actions"]["upload"]
    assert answer["transfer"] == "multipart" and upload["header"]["chunk_size"] == str(PART)

    def complete(etags: list[str]) -> int:
        named = [{"partNumber": i + 1, "etag": etag} for i, etag in enumerate(etags)]
        body = {"oid": oid, "parts": named}
        return int(httpx.post(upload["href"], json=body, trust_env=False).status_code)

    pieces = [WEIGHTS[start : start + PART] for start in range(0, len(WEIGHTS), PART)]
    etags = [
        httpx.put(upload["header"][str(i + 1)], content=piece, trust_env=False).headers["ETag"]
        for i, piece in enumerate(pieces)
    ]
    assert complete([]) == complete([*etags, "more"]) == 400
    assert complete([etags[1], etags[0], etags[2]]) == 400
    assert complete(etags[:2]) == 400  # the whole has another hash
    assert complete(etags) == 200
    wrong = upload["header"]["1"].replace("sig=", "sig=0")
    assert httpx.put(wrong, content=b"", trust_env=False).status_code == 403


def test_shortened_and_endless_answers(hub: LoopbackHub) -> None:
    hub.add_repo("tester/m", {"config.json": b"0123456789"})
    hub.inject(Fault(Shorten(4), path="config"), Fault(EndlessPages(), path="/tree/", times=None))
    url = f"{hub.endpoint}/tester/m/resolve/main/config.json"
    answer = httpx.get(url, trust_env=False)
    assert answer.content == b"0123" and answer.headers["Content-Length"] == "4"
    page = f"{hub.endpoint}/api/models/tester/m/tree/main"
    for _ in range(3):
        assert httpx.get(page, trust_env=False).headers["Link"] == f'<{page}>; rel="next"'
