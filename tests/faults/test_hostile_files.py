"""Files made to harm: a clear error or a finding, no code run, nothing touched outside."""

import json
import pickle
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from released_pairs import Pairs, edit_json
from safetensors.torch import save_file

from zooalign.cli import main

pytestmark = pytest.mark.slow

EVIL_NAME = "a\x1b[2J\u202egpj\r"


@pytest.fixture
def world(tmp_path: Path, pairs: Pairs, aligned: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, an aligned release and a neighbour that nobody may touch."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pairs.vit[0], "good")
    shutil.copytree(pairs.vit[1], "model")
    shutil.copytree(aligned, "release")
    Path("neighbour").mkdir()
    save_file({"cls_token": torch.ones(1)}, "neighbour/secret.safetensors")
    Path("neighbour/secret.json").write_text('{"secret": "of the neighbour"}')
    return tmp_path


Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: exit code, JSON, stderr. All text is harmless and short of a bug report."""

    def run(*words: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = main([*words, "--format", "json"], standalone_mode=False)
        found = capsys.readouterr()
        assert "bug in zooalign" not in found.err and "Traceback" not in found.err, found.err
        for text in (found.out, found.err):
            assert not any(c in text for c in "\x1b\r\u202e\x9b"), text
        return code, json.loads(found.out), found.err

    return run


def refused(run: Run, says: str, folder: str = "./model", *, spec: bool = True) -> None:
    """Every command that would use the model stops with exit code 2; the gate has a finding."""
    before = snapshot()
    words = [["align", "./good", folder, "--method", "weight", "-o", "out"]]
    words += [["merge", "./good", folder, "--method", "weight", "-o", "out"]]
    words += [["spec", folder]] if spec else []
    for command in words:
        code, found, err = run(*command)
        assert code == 2 and says in found["error"]["message"], found
        assert says.split("\n")[0] in err
    code, found, _ = run("check", folder)
    assert code in (1, 2) and not found.get("ok", False)
    code, _, _ = run("publish", folder, "--to", "tester/x", "--dry-run")
    assert code in (1, 2)
    assert snapshot() == before, "something was written or lost"


def snapshot() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file() and p.exists()}


def header(entries: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict:
    shape = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def sharded(weight_map: dict[str, str]) -> None:
    Path("model/model.safetensors").rename("model/a.safetensors")
    Path("model/model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    "name",
    [
        "../neighbour/secret.safetensors",
        "/etc/secret.safetensors",
        "sub/../../neighbour/secret.safetensors",
        "..\\neighbour\\secret.safetensors",
        "C:\\secret.safetensors",
        "a.safetensors\x00.txt",
    ],
)
def test_index_that_leads_out(world: Path, run: Run, name: str) -> None:
    sharded({"cls_token": name})
    refused(run, "outside its directory")


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000 + "b", "\ud800"])
def test_index_that_names_no_possible_file(world: Path, run: Run, name: str) -> None:
    sharded({"cls_token": f"{name}.safetensors"})
    refused(run, "not a name of a file", spec=False)


def test_index_with_one_key_twice(world: Path, run: Run) -> None:
    sharded({})
    text = '{"weight_map": {"cls_token": "a.safetensors", "cls_token": "b.safetensors"}}'
    Path("model/model.safetensors.index.json").write_text(text)
    refused(run, "the key 'cls_token' is there twice")


def test_link_out_of_the_repo(world: Path, run: Run) -> None:
    sharded({"cls_token": "link.safetensors"})
    Path("model/link.safetensors").symlink_to(world / "neighbour/secret.safetensors")
    refused(run, "a link out of its directory")
    Path("release/notes.txt").symlink_to(world / "neighbour/secret.json")
    code, found, _ = run("check", "./release")
    assert code == 1 and "files.inside" in {f["id"] for f in found["findings"]}
    assert run("publish", "./release", "--to", "tester/x", "--dry-run")[0] == 2
    assert "of the neighbour" not in json.dumps(found)


def _million() -> bytes:
    tail = json.dumps(entry(0, 0))
    return ("{" + ",".join(f'"t{i}":{tail}' for i in range(1_000_000)) + "}").encode()


HEADERS = {
    "bomb": (lambda: header(b"{}", length=99_000_000_000), "it claims a header of"),
    "longer than the file": (lambda: header(b"{}", length=50_000_000), "truncated"),
    "overlapping": (lambda: header({"a": entry(0, 4), "b": entry(2, 6)}, bytes(6)), "overlaps"),
    "a hole": (lambda: header({"a": entry(0, 2), "b": entry(4, 6)}, bytes(6)), "leaves a hole"),
    "one key twice": (
        lambda: header(b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 2)).encode(),) * 2), bytes(2)),
        "the key 'a' is there twice",
    ),
    "deep nesting": (lambda: header(b"[" * 500_000), "its header is not JSON"),
    "negative sizes": (lambda: header({"a": entry(0, 4, [-2, -2])}, bytes(4)), "$.shape"),
    "float sizes": (lambda: header({"a": entry(0, 4, [4.0])}, bytes(4)), "$.shape"),  # type: ignore[list-item]
    "overflowing sizes": (
        lambda: header({"a": entry(0, 0, [2**62, 2**62])}), "needs 2126764793255865"
    ),
    "half a character": (
        lambda: header(b'{"\\ud800":%b}' % json.dumps(entry(0, 2)).encode(), bytes(2)),
        "which is not text",
    ),
    "a million axes": (
        lambda: header({"a": entry(0, 4, [2**40] * 1_000_000)}, bytes(4)), "of length <= 64"
    ),
    "unknown dtype": (lambda: header({"a": entry(0, 4, [4], "PICKLE")}, bytes(4)), "'PICKLE'"),
    "a million tiny tensors": (
        lambda: header(_million()), "lists 1000000 tensors"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_header(world: Path, run: Run, name: str) -> None:
    content, says = HEADERS[name]
    Path("model/model.safetensors").write_bytes(content())
    if name == "a million tiny tensors":  # once is enough: each reading takes seconds
        assert says in run("align", "./good", "./model", "--method", "weight", "-o", "out")[2]
        return
    refused(run, says)


def test_names_with_control_characters(world: Path, run: Run) -> None:
    Path("model/model.safetensors").write_bytes(header({EVIL_NAME: entry(0, 4)}, bytes(4)))
    refused(run, "unexpected: ", spec=False)
    code, found, _ = run("check", "./model")
    assert code == 1 and "\\u202e" in json.dumps(found["findings"])
    main(["check", "./model"], standalone_mode=False)


def test_names_with_control_characters_for_people(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model/model.safetensors").write_bytes(header({EVIL_NAME: entry(0, 4)}, bytes(4)))
    Path(f"model/{EVIL_NAME}.pkl").write_bytes(b"x")
    for words in (
        ["check", "./model"],
        ["align", "./good", "./model", "--method", "weight", "-o", "o"],
    ):
        assert main(words, standalone_mode=False) in (1, 2)
        found = capsys.readouterr()
        assert "\\x1b" in found.out + found.err
        assert not any(c in found.out + found.err for c in "\x1b\r\u202e")


class Canary:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return (_leave, ("ran",))


def _leave(name: str) -> None:
    Path(name).write_text("code ran")


@pytest.mark.parametrize("how", ["plain", "torch", "old"])
def test_pickle_in_disguise(world: Path, run: Run, how: str) -> None:
    target = Path("model/model.safetensors")
    if how == "torch":
        torch.save({"cls_token": Canary()}, target)
    else:
        target.write_bytes(pickle.dumps(Canary(), protocol=0 if how == "old" else None))
    refused(run, "model.safetensors: ")
    shutil.copy(target, "release/weights.txt")
    code, found, _ = run("check", "./release")
    assert code == 1 and any(f["where"] == "weights.txt" for f in found["findings"])
    for command in (
        ["align", "./good", "./model", "-o", "out", "--method", "weight"],
        ["check", "./model"],
    ):
        assert run(*command, "--allow-pickle")[0] in (1, 2)
    assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Canary()))
    assert Path("ran").exists(), "the canary is alive"


def test_config_that_asks_for_remote_code(world: Path, run: Run) -> None:
    Path("model/modeling_evil.py").write_text("open('ran', 'w')\n")
    remote = {"auto_map": {"AutoModel": "modeling_evil.Model"}, "trust_remote_code": True}
    for config in (
        {"architectures": ["Evil"], "model_type": "evil", **remote},
        {"zooalign_reference": "py:modeling_evil:Model", **remote},
        {"architecture": "py:modeling_evil:Model", **remote},
        {"architecture": "hf-hub:evil/model", "pretrained_cfg": {}, **remote},
    ):
        Path("model/config.json").write_text(json.dumps(config))
        refused(run, "")
    assert not Path("ran").exists()


def test_config_that_names_other_weights(world: Path, run: Run) -> None:
    """timm's loader is told by the config where weights are; only those beside it are read."""
    edit_json(
        Path("model/config.json"),
        pretrained_cfg={
            "url": "http://127.0.0.1:9/evil.pth",
            "file": "/etc/passwd",
            "hf_hub_id": "evil/model",
            "source": "url",
            "custom_load": True,
            "state_dict": {"x": 1},
            "input_size": [3, 32, 32],
            "num_classes": 3,
        },
    )
    code, found, err = run("verify", "./model")
    assert code == 0 and found["ok"], err
    code, found, _ = run("check", "./model")
    assert "weights.keys" not in {f["id"] for f in found["findings"]}


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 1_000_000_000},
        {"embed_dim": 10**30},
        {"embed_dim": -64},
        {"depth": -1},
        {"depth": 1e308},
        {"mlp_ratio": float("nan")},
        {"img_size": [10**6, 10**6]},
        {"img_size": -32},
        {"num_heads": 0},
        {"depth": "__import__('os').system('touch ran')"},
        {"act_layer": "os.system"},
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained": True},
        {"no_such": 1},
        {"depth": [[[]]]},
    ],
)
def test_config_of_impossible_sizes(world: Path, run: Run, arguments: dict[str, Any]) -> None:
    config = json.loads(Path("model/config.json").read_text())
    config["model_args"] = {**config.get("model_args", {}), **arguments}
    Path("model/config.json").write_text(json.dumps(config))
    start = time.monotonic()
    code, found, err = run("spec", "./model")
    assert code == 2, found
    assert found["error"]["type"] in ("ModelReferenceError", "CheckpointError"), err
    assert not Path("ran").exists() and time.monotonic() - start < 60


@pytest.mark.parametrize(
    "data",
    [
        {"input_size": [3, 10**9, 10**9]},
        {"input_size": [3, -5, 32]},
        {"input_size": "3x32x32"},
        {"input_size": []},
        {"mean": ["a", "b", "c"]},
        {"std": 5},
        {"crop_pct": "x"},
        {"interpolation": "evil"},
        {"num_classes": -7},
    ],
)
def test_config_of_impossible_data(world: Path, run: Run, data: dict[str, Any]) -> None:
    config = json.loads(Path("model/config.json").read_text())
    config["pretrained_cfg"] = {**config["pretrained_cfg"], **data}
    config.get("model_args", {}).pop("img_size", None)
    Path("model/config.json").write_text(json.dumps(config))
    code, found, err = run("spec", "./model")
    assert code in (0, 2), (found, err)


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
    for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
CARDS = {
    "bomb of aliases": f"---\n{ALIASES}license: mit\nbase_model: *m\n---\n",
    "python tag": '---\nlicense: !!python/object/apply:os.system ["touch ran"]\n---\n',
    "python name": "---\nlicense: !!python/name:os.system\n---\n",
    "endless recursion": "---\nlicense: mit\nbase_model: &a [*a]\n---\n",
    "deep nesting": f"---\nlicense: {'[' * 20_000}\n---\n",
    "deep indentation": "---\n"
    + "".join(" " * i + "k:\n" for i in range(600))
    + " " * 600
    + "x\n---\n",
    "merge key": "---\na: &a {license: mit}\n<<: *a\n---\n",
    "binary": '---\nlicense: !!binary "////"\n---\n',
    "a key twice": "---\nlicense: mit\nlicense: apache-2.0\n---\n",
    "a list": "---\n- license: mit\n---\n",
    "a date and a number": "---\nlicense: 2020-01-01\nbase_model: 7\ntags: 3\n---\n",
    "control characters": '---\nlicense: "\\e[2J\\u202e"\n---\n',
    "no UTF-8": b"---\nlicense: \xff\xfe\n---\n",
    "huge key": "---\nlicense: mit\n? " + "k" * 300_000 + "\n: 1\n---\n",
}


@pytest.mark.parametrize("name", CARDS)
def test_card_with_yaml_tricks(world: Path, run: Run, name: str) -> None:
    text = CARDS[name]
    content = text if isinstance(text, bytes) else text.encode()
    for folder in ("release", "model"):
        Path(folder, "README.md").write_bytes(content)
    start = time.monotonic()
    code, found, _ = run("check", "./release")
    assert code == 1 and any(f["id"].startswith("card.") for f in found["findings"])
    # The licence in a parent's card is read by those who align it.
    code, _, _ = run("align", "./good", "./model", "--method", "weight", "-o", "out")
    assert code == 0 and not Path("ran").exists()
    assert time.monotonic() - start < 60
