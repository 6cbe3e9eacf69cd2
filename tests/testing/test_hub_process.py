"""The hub from other processes: HF_ENDPOINT, Xet, timm, transformers, and ``python -m``."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forked import LIBRARIES, forked

import zooalign
from zooalign.testing import LoopbackHub

pytestmark = pytest.mark.slow

ROUND_TRIP = """
import os, pathlib
from huggingface_hub import HfApi, hf_hub_download, snapshot_download, whoami
api = HfApi()
assert whoami()["name"] == "tester"
api.create_repo("tester/m")
folder = pathlib.Path("upload"); folder.mkdir()
(folder / "README.md").write_text("---\\nlicense: mit\\n---\\n# M\\n")
(folder / "w.safetensors").write_bytes(os.urandom(300_000))
(folder / "v.bin").write_bytes(os.urandom(1000))
api.upload_folder(repo_id="tester/m", folder_path=folder)
there = pathlib.Path(snapshot_download("tester/m"))
for file in folder.iterdir():
    assert (there / file.name).read_bytes() == file.read_bytes(), file
(folder / "w.safetensors").write_bytes(os.urandom(200_000))
opened = api.upload_folder(repo_id="tester/m", folder_path=folder, create_pr=True)
assert opened.pr_revision == "refs/pr/1", opened
if api.get_discussion_details("tester/m", 1).status == "draft":
    api.change_discussion_status("tester/m", 1, "open")
api.merge_pull_request("tester/m", 1)
got = hf_hub_download("tester/m", "w.safetensors")
assert pathlib.Path(got).read_bytes() == (folder / "w.safetensors").read_bytes()
made = api.upload_file(
    repo_id="tester/m", path_or_fileobj=b"x" * 999, path_in_repo="u.bin", create_pr=True
)
got = hf_hub_download("tester/m", "u.bin", revision=made.pr_revision)
assert pathlib.Path(got).read_bytes() == b"x" * 999
"""

TIMM = """
import timm, torch
torch.manual_seed(0)
model = timm.create_model("test_vit", num_classes=5).eval()
timm.models.push_to_hf_hub(model, "tester/vit", safe_serialization=True)
again = timm.create_model("hf-hub:tester/vit", pretrained=True).eval()
from zooalign.testing import assert_equivalent
assert_equivalent(model, again)
opened = timm.models.push_to_hf_hub(model, "tester/vit", create_pr=True, safe_serialization=True)
print("done")
"""

TRANSFORMERS = """
import torch
from transformers import BertConfig, BertModel
from zooalign.testing import assert_equivalent
config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                    intermediate_size=16, vocab_size=32)
model = BertModel(config)
model.push_to_hub("tester/bert")
again = BertModel.from_pretrained("tester/bert")
assert_equivalent(model, again, {"input_ids": torch.arange(8)[None]})
print("done")
"""


def test_round_trip_by_lfs(hub, run_client) -> None:
    run_client(ROUND_TRIP, hub.env(xet=False))
    assert any(r.method == "PUT" and r.port == "cdn" for r in hub.requests)
    assert not any("xet" in r.path for r in hub.requests)


def test_round_trip_by_xet(hub, run_client) -> None:
    pytest.importorskip("hf_xet")
    run_client(ROUND_TRIP, hub.env())
    paths = [r.path for r in hub.requests]
    assert any("xet-write-token" in path for path in paths)
    assert any("xet-read-token" in path for path in paths)
    assert not any(r.port == "cdn" for r in hub.requests)
    # What came by Xet is read by a client without it, too.
    code = (
        "from huggingface_hub import hf_hub_download as get;"
        "print(len(open(get('tester/m', 'w.safetensors'), 'rb').read()))"
    )
    assert run_client(code, hub.env(xet=False, home=Path(hub.env()["HF_HOME"]) / "b")) == "200000\n"


def test_no_xet() -> None:
    with LoopbackHub(xet=False) as hub:
        assert hub.env()["HF_HUB_DISABLE_XET"] == "1"
        assert hub.env(xet=True)["HF_HUB_DISABLE_XET"] == "1"


def test_anonymous(hub, run_client) -> None:
    hub.add_repo("tester/m", {"a.txt": b"a"})
    code = (
        "from huggingface_hub import get_token, model_info;"
        "print(get_token(), model_info('tester/m').id)"
    )
    assert run_client(code, hub.env(token="")).split() == ["None", "tester/m"]
    assert not any(request.authorized for request in hub.requests)


def test_timm(hub, tmp_path) -> None:
    done = forked(TIMM, cwd=tmp_path, env=hub.env(xet=False), imports=LIBRARIES)
    assert done.stdout.split()[-1:] == ["done"], done.stderr
    assert "model.safetensors" in hub.files("tester/vit")


def test_transformers(hub, tmp_path) -> None:
    if importlib.util.find_spec("transformers") is None:  # not imported here: it takes seconds
        pytest.skip("transformers is not installed")
    done = forked(TRANSFORMERS, cwd=tmp_path, env=hub.env(xet=False), imports=LIBRARIES)
    assert done.stdout.split()[-1:] == ["done"], done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process(tmp_path, run_client, number) -> None:
    root = Path(zooalign.__file__).parents[1]
    command = [sys.executable, "-m", "zooalign.testing", "--port", "0", "--token", "hf_t"]
    process = subprocess.Popen(
        [*command, "--root", str(tmp_path / "root")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)},
        text=True,
    )
    try:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert started["token"] == "hf_t"
        run_client(ROUND_TRIP, started["env"])
    finally:
        process.send_signal(number)
        code = process.wait(timeout=30)
    assert code == 0
    with LoopbackHub(tmp_path / "root") as hub:
        assert len(hub.read("tester/m", "w.safetensors")) == 200_000
    assert not Path(started["env"]["HF_HOME"]).exists()


def test_fixture(loopback_hub) -> None:
    loopback_hub.add_repo("tester/m", {"a.txt": b"a"})
    assert loopback_hub.read("tester/m", "a.txt") == b"a"


def test_importing_the_package_is_cheap(run_client) -> None:
    code = (
        "import sys, zooalign.testing as t;"
        "before = 'torch' in sys.modules; t.Fault(503); t.LoopbackHub;"
        "print(before == ('torch' in sys.modules), 'huggingface_hub' in sys.modules)"
    )
    assert run_client(code, {}).split()[0] == "True"
