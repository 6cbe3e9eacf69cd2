"""A release, made once a session."""

from pathlib import Path

import pytest
from released_pairs import Pairs

from zooalign.pipelines.align import align_models
from zooalign.release.settings import AlignSettings


@pytest.fixture(scope="session")
def aligned(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release by ``zooalign align``: copy it before you break it."""
    out = tmp_path_factory.mktemp("aligned") / "out"
    align_models(*pairs.vit, str(out), AlignSettings(method="weight"))
    return out
