"""Which libraries a command imports before it has work for them. Modules are held, not seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each takes a noticeable part of a second to import, torch and timm several.
HEAVY = {
    *("torch", "torchvision", "timm", "transformers", "sympy"),
    *("numpy", "scipy", "networkx", "huggingface_hub", "httpx", "PIL", "matplotlib"),
}
# Packages of zooalign that compute.
COMPUTING = {f"zooalign.{name}" for name in ("symmetry", "matching", "merging", "api", "pipelines")}
_RUN = """
import json, sys
from zooalign.cli import main
code = main(sys.argv[2:], standalone_mode=False)
with open(sys.argv[1], "w") as file:
    json.dump({"code": code, "modules": sorted(sys.modules)}, file)
"""


def started(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and the modules it imported."""
    out = folder / "modules.json"
    # Other people's plugins import what they like.
    subprocess.run(
        [sys.executable, "-c", _RUN, str(out), *arguments],
        env={**os.environ, "ZOOALIGN_PLUGINS": ""},
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    result = json.loads(out.read_text())
    return result["code"], set(result["modules"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["nonsense"], 2),
        (["align", "--nope"], 2),
        (["check", "--help"], 0),
        (["align", "--help"], 0),
        (["merge", "--help"], 0),
        (["barrier", "--help"], 0),
        (["connectivity", "--help"], 0),
        (["plugins"], 0),
        (["plugins", "--format", "json"], 0),
        (["spec", "./nowhere"], 2),
        (["spec", "tim:resnet18"], 2),
        (["spec", "./weights.safetensors"], 2),
        (["merge", "./nowhere", "./here", "-o", "out"], 2),
        (["check", "./nowhere"], 2),
        (["check", "--headers-only", "./nowhere"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_heavy(arguments: list[str], code: int, tmp_path: Path) -> None:
    exit_code, modules = started(tmp_path, *arguments)
    assert exit_code == code
    assert sorted(modules & (HEAVY | COMPUTING)) == []


@pytest.mark.parametrize("command", ["spec", "check"])
def test_timm_and_the_tracer_only_where_asked_for(command: str, tmp_path: Path) -> None:
    """A directory that no library knows is refused without timm, which brings both others."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text("{}")
    (tmp_path / "net" / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    code, modules = started(tmp_path, command, "./net")
    assert code == 2
    assert sorted(modules & {"timm", "torchvision", "torch._dynamo", "sympy"}) == []
