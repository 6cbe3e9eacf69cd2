"""A plugin made from the template is found, proves its model, and writes what it can open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zooalign.errors import CheckpointError, ModelReferenceError
from zooalign.zoo.new_plugin import write_plugin

_RUN = """
import pytest

assert pytest.main(["-q", "-p", "no:cacheprovider"]) == 0

from zooalign.pipelines.align import align_models
from zooalign.plugins import open_model
from zooalign.release.settings import AlignSettings
from safetensors.torch import save_file

for seed in (0, 1):
    model = open_model("my-nets:example?width=6")
    save_file(dict(model.state_dict(seed)), f"{seed}.safetensors")
settings = AlignSettings(method="weight", model="my-nets:example?width=6")
align_models("./0.safetensors", "./1.safetensors", "out", settings)
model = open_model("./out")
assert model.adapter.name == "my-nets" and model.architecture.config == {"width": 6}
model.adapter.load(model.directory)
"""


@pytest.mark.parametrize("name", ["My nets", "9nets", "../nets", "", "nets-"])
def test_names_that_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelReferenceError, match="cannot be the name of a library"):
        write_plugin(name, tmp_path / "out")
    with pytest.raises(ModelReferenceError, match="a library 'timm' already"):
        write_plugin("timm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.py").write_text("")
    with pytest.raises(CheckpointError, match="out"):
        write_plugin("nets", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.py"]


@pytest.mark.slow
def test_one_that_is_made_works(tmp_path: Path) -> None:
    folder = tmp_path / "zooalign-my-nets"
    result = write_plugin("my-nets", folder)
    assert "zooalign_my_nets/adapter.py" in result.files
    lines = (folder / "zooalign_my_nets" / "adapter.py").read_text().splitlines()
    assert len(lines) < 60
    # As an installation would leave it.
    installed = tmp_path / "zooalign_my_nets-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: zooalign-my-nets\nVersion: 0.1.0\n"
    )
    (installed / "entry_points.txt").write_text("[zooalign]\nmy_nets = zooalign_my_nets\n")
    path = [str(folder), str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "ZOOALIGN_PLUGINS": "my_nets",
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
