"""What is refused before any work."""

from pathlib import Path

import pytest
import torch

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import LazyTensors, TensorInfo
from zooalign.pipelines.assemble import require_room


def test_weights_for_which_the_disk_has_no_room_are_not_read(tmp_path: Path) -> None:
    weights = LazyTensors({"w": TensorInfo((2**52,), torch.uint8)}, lambda name: pytest.fail(name))
    out = tmp_path / "new" / "out"
    with pytest.raises(CheckpointError, match=rf"out: the disk is full.*{2**52} bytes are needed"):
        require_room(str(out), weights, dry_run=False)
    require_room(str(out), weights, dry_run=True)
    assert not list(tmp_path.iterdir())
