"""What zooalign makes of a hub that fails: one clear error, exit code 2, nothing half-written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from forked import LIBRARIES, forked
from huggingface_hub import HfApi
from huggingface_hub.utils import _http
from released_pairs import Pairs
from served_hub import served_hub

from zooalign.cli import main
from zooalign.errors import HubError
from zooalign.publish.publish import publish
from zooalign.publish.upload import create, upload
from zooalign.release.contents import list_files
from zooalign.release.settings import PublishSettings
from zooalign.testing import (
    Corrupt,
    Cut,
    EndlessPages,
    Fault,
    LoopbackHub,
    RedirectLoop,
    Reply,
    Shorten,
    Slow,
)
from zooalign.zoo.models import open_model

pytestmark = pytest.mark.slow

STATUSES = {
    401: "does not accept the token; check HF_TOKEN",
    403: "forbids this to the token's user",
    404: "HTTP 404: injected fault",
    409: "HTTP 409: injected fault",
    412: "HTTP 412: injected fault",
    416: "HTTP 416: injected fault",
    429: "too many requests (HTTP 429); try again in 7 seconds",
    500: "has a fault (HTTP 500); try again later",
    503: "has a fault (HTTP 503); try again later",
}
TARGETS = ("tester/x", "tester/z", "other/x")
METADATA, CONFIG, WEIGHTS = r"^/api/models/", r"/config\.json$", "^/lfs/get/"


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    # The client waits for seconds between its own attempts; here it only yields.
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)


@pytest.fixture
def hub(pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        hub.add_repo("tester/m", {p.name: p for p in Path(pairs.vit[1]).iterdir()})
        yield hub


def align(pairs: Pairs, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Align a model of the hub: it reads metadata, a small file and the weights."""
    words = ["align", pairs.vit[0], "tester/m", "--method", "weight", "-o", str(out / "out")]
    code = main([*words, "--format", "json"], standalone_mode=False)
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    return code, found.err


@pytest.mark.parametrize("status", STATUSES)
def test_status_of_metadata(hub, pairs, tmp_path, capsys, status: int) -> None:
    hub.inject(Fault(Reply(status, retry_after=7), path=METADATA, times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and STATUSES[status] in err, err
    assert "tester/m: http://127.0.0.1" in err and not (tmp_path / "out").exists()
    hub.clear_faults()
    assert align(pairs, tmp_path, capsys)[0] == 0


@pytest.mark.parametrize("status", STATUSES)
def test_status_of_a_file(hub, pairs, tmp_path, capsys, status: int) -> None:
    hub.inject(Fault(Reply(status, retry_after=0), path=CONFIG, method="GET", times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and "tester/m" in err, err
    assert not (tmp_path / "out").exists()
    hub.clear_faults()
    assert align(pairs, tmp_path, capsys)[0] == 0


@pytest.mark.parametrize("status", STATUSES)
def test_status_of_a_commit(hub, pairs, status: int) -> None:
    hub.inject(Fault(Reply(status, retry_after=7), path="/commit/"))
    expected = "somebody committed to it meanwhile" if status == 412 else STATUSES[status]
    with pytest.raises(HubError) as caught:
        publish(pairs.vit[0], "tester/new", PublishSettings(force=True))
    assert expected in str(caught.value)
    assert hub.files("tester/new") == [".gitattributes"]
    assert publish(pairs.vit[0], "tester/new", PublishSettings(force=True)).verified


@pytest.mark.parametrize("path", ["/preupload/", r"\.git/info/lfs/objects/batch$", "^/lfs/put/"])
def test_status_of_an_upload(hub, tmp_path, path: str) -> None:
    """In each step before the commit: nothing is published, and the next try publishes it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.safetensors").write_bytes(os.urandom(2000))
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    head = create(api, "tester/new", private=False)
    listed = list_files(tmp_path / "out")

    def send() -> object:
        return upload(
            api, "tester/new", tmp_path / "out", listed, parent=head.commit, message="m",
            pull_request=False,
        )  # fmt: skip

    for status in STATUSES:
        hub.inject(Fault(Reply(status, retry_after=0), path=path, times=None))
        with pytest.raises(HubError, match=r"tester/new: ") as caught:
            send()
        assert str(status) in str(caught.value) or status in (401, 403), str(caught.value)
        assert hub.files("tester/new") == [".gitattributes"]
        hub.clear_faults()
    send()
    assert "model.safetensors" in hub.files("tester/new")


def test_slow_body_arrives(hub, pairs, tmp_path, capsys) -> None:
    hub.inject(Fault(Slow(1.5), path=CONFIG, method="GET"))
    assert align(pairs, tmp_path, capsys)[0] == 0


def test_body_that_stops_is_an_error(hub, pairs, tmp_path, capsys) -> None:
    hub.inject(Fault(Slow(3600), path=CONFIG, method="GET", times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and "cannot be reached or broke off" in err
    assert not (tmp_path / "out").exists()


def test_cut_body_is_fetched_again(hub, pairs, tmp_path, capsys) -> None:
    hub.inject(Fault(Cut(), path=WEIGHTS))
    assert align(pairs, tmp_path, capsys)[0] == 0


def test_cut_body_for_ever(hub, pairs, tmp_path, capsys) -> None:
    hub.inject(Fault(Cut(0), path=WEIGHTS, times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and "broke off" in err and not (tmp_path / "out").exists()


def test_wrong_hash(hub, pairs, tmp_path, capsys) -> None:
    hub.inject(Fault(Corrupt(), path=WEIGHTS, times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and not (tmp_path / "out").exists()
    assert "is not the file the hub states" in err or "NaN" in err or "does not compute" in err, err


def test_wrong_hash_of_a_small_file(hub, pairs, tmp_path, capsys) -> None:
    hub.inject(Fault(Corrupt(at=30), path=CONFIG, method="GET"))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and "config.json" in err and "is not the file the hub states" in err, err
    assert align(pairs, tmp_path, capsys)[0] == 0, "the bad file is not left in the cache"


@pytest.mark.parametrize("path", [CONFIG, WEIGHTS])
def test_wrong_length(hub, pairs, tmp_path, capsys, path: str) -> None:
    hub.inject(Fault(Shorten(), path=path, method="GET", times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and not (tmp_path / "out").exists()
    assert "of another length than it announced" in err or "broke off" in err, err


@pytest.mark.parametrize("path", [METADATA, CONFIG, WEIGHTS])
def test_redirect_loop(hub, pairs, tmp_path, capsys, path: str) -> None:
    hub.inject(Fault(RedirectLoop(), path=path, times=None))
    code, err = align(pairs, tmp_path, capsys)
    assert code == 2 and "broke off (TooManyRedirects)" in err, err


def test_endless_pagination(hub, pairs, tmp_path, capsys) -> None:
    """Nothing is read by pages: what claims to have more of them is asked once."""
    hub.inject(Fault(EndlessPages(), times=None))
    assert align(pairs, tmp_path, capsys)[0] == 0
    main(["check", "tester/m", "--format", "json"], standalone_mode=False)
    assert "findings" in json.loads(capsys.readouterr().out)
    assert publish(pairs.vit[0], "tester/new", PublishSettings(force=True)).verified
    assert len(hub.requests) < 100


def test_the_gate_over_a_failing_hub(hub, capsys) -> None:
    for status, says in STATUSES.items():
        hub.inject(Fault(Reply(status, retry_after=7), path=METADATA, times=None))
        assert main(["check", "tester/m"], standalone_mode=False) == 2
        assert says in capsys.readouterr().err
        hub.clear_faults()


def test_a_listing_that_makes_no_sense(hub, capsys) -> None:
    for body in (
        b"",
        b"[]",
        b'{"id": 3}',
        b'{"id":"a/b","siblings":[3]}',
        b'{"id":"a/b"}',
        b"null",
    ):
        hub.inject(Fault(Reply(200, body=body), path=METADATA))
        assert main(["spec", "tester/m"], standalone_mode=False) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: tester/m: ") and "bug" not in err, (body, err)


def test_names_that_lead_out_of_the_repo(hub, pairs, tmp_path, capsys, monkeypatch) -> None:
    """A hub that lists such names (the loopback hub refuses to store them) is not followed."""
    monkeypatch.chdir(tmp_path)
    evil = ["../../evil.safetensors", "/etc/evil.safetensors", "a/../../evil.safetensors"]
    body = {
        "id": "tester/m",
        "sha": "a" * 40,
        "siblings": [{"rfilename": n} for n in ["config.json", *evil]],
    }
    hub.inject(Fault(Reply(200, body=json.dumps(body).encode()), path=METADATA, times=None))
    for words in (
        ["check", "tester/m"],
        ["align", pairs.vit[0], "tester/m", "--method", "weight", "-o", "o"],
    ):
        assert main(words, standalone_mode=False) == 2
        assert "bug" not in capsys.readouterr().err
    asked = [r.path for r in hub.requests if "evil" in r.path]
    assert asked == [] and not list(tmp_path.glob("*evil*"))


def test_no_token_anywhere(hub, pairs, tmp_path) -> None:
    """A sentinel token: not in output, logs, tracebacks or files, whatever goes wrong."""
    echo = Reply(400, f"you sent Bearer {hub.token}")
    hub.add_repo("tester/bad", {"config.json": b"{}"})
    hub.inject(
        Fault(echo, path="/api/models/tester/bad"),
        Fault(echo, path="/api/models/tester/x/commit/"),
        Fault(500, path="/api/models/tester/z/commit/"),
    )
    commands = [
        ["align", pairs.vit[0], "tester/m", "--method", "weight", "-o", "out"],
        ["check", "tester/bad"],
        *(["publish", pairs.vit[0], "--to", f"{name}", "--force"] for name in TARGETS),
        ["publish", "./out", "--to", "tester/y"],
    ]
    code = "import json, sys, logging; logging.basicConfig(level=logging.INFO); "
    code += "from zooalign.cli import main; "
    code += "print([main(c, standalone_mode=False) for c in json.loads(sys.argv[1])])"
    env = hub.env(xet=False) | {"ZOOALIGN_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}
    done = forked(code, json.dumps(commands), cwd=tmp_path, env=env, imports=LIBRARIES)
    assert done.stdout.splitlines()[-1] == "[0, 2, 2, 2, 2, 0]", done.stderr[-3000:]
    everything = done.stdout + done.stderr
    assert "you sent Bearer ***" in everything and "Traceback" in everything
    assert hub.token not in everything
    written = [p for p in tmp_path.rglob("*") if p.is_file() and "cache" not in p.parts]
    assert len(written) > 5
    for path in written:
        assert hub.token.encode() not in path.read_bytes(), path
    for name in hub.files("tester/y"):
        assert hub.token.encode() not in hub.read("tester/y", name), name
    assert not any(r.authorized for r in hub.requests if r.port == "cdn")
    assert os.environ["HF_TOKEN"] == hub.token


def test_a_download_is_whole_or_not_in_the_cache(hub, tmp_path) -> None:
    hub.inject(Fault(Corrupt(at=30), path=CONFIG, method="GET"))
    with pytest.raises(HubError, match="is not the file the hub states"):
        open_model("tester/m")
    assert open_model("tester/m").architecture.name == "test_vit"
