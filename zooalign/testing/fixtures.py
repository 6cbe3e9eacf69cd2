"""pytest fixtures; in a ``conftest.py``: ``from zooalign.testing.fixtures import loopback_hub``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zooalign.testing.hub import LoopbackHub

__all__ = ["loopback_hub"]


@pytest.fixture
def loopback_hub() -> Iterator[LoopbackHub]:
    """A running :class:`LoopbackHub`, new and empty for every test."""
    with LoopbackHub() as hub:
        yield hub
