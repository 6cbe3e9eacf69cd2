"""``hf zooalign ...`` through the real ``hf``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from released_pairs import Pairs, tamper

from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


@pytest.fixture
def hf(tmp_path: Path):
    for name in ("hf", "hf-zooalign"):
        if not (BIN / name).is_file():
            pytest.skip(f"{name} is not installed beside this Python")
    env = os.environ | {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        program, *rest = words
        return subprocess.run(
            [str(BIN / program), *rest], env=env, capture_output=True, text=True,
            cwd=tmp_path, timeout=180, check=False,
        )  # fmt: skip

    return run


def test_hf_zooalign(hf, tmp_path: Path, pairs: Pairs) -> None:
    registered = hf("hf-zooalign", "--register")
    assert registered.returncode == 0 and "hf zooalign runs" in registered.stdout
    manifest = json.loads(
        (tmp_path / ".local/share/hf/extensions/hf-zooalign/manifest.json").read_text()
    )
    assert Path(manifest["executable_path"]).name == "hf-zooalign"
    # `hf extensions update` installs what is on GitHub by this name: no account can have it.
    assert manifest["owner"].startswith("-")
    assert "zooalign" in hf("hf", "extensions", "list").stdout
    align_models(*pairs.vit, str(tmp_path / "out"), AlignSettings(method="weight"))
    done = hf("hf", "zooalign", "check", "./out", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]
    tamper(tmp_path / "out", "norm.weight")
    assert hf("hf", "zooalign", "check", "./out").returncode == 1
    missing = hf("hf", "zooalign", "check", "./none")
    assert missing.returncode == 2 and "no such directory" in missing.stderr
    usage = hf("hf", "zooalign", "check")
    assert usage.returncode == 2 and "hf zooalign check --help" in usage.stderr
    assert hf("hf-zooalign", "--unregister").returncode == 0
    assert "no longer" not in hf("hf-zooalign", "--unregister").stdout
    assert not (tmp_path / ".local/share/hf/extensions/hf-zooalign").exists()
