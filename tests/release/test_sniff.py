"""Pickles and archives under other names, and text that is none."""

import io
import pickle
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zooalign.release.sniff import disguise


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def saved(**options: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.ones(2)}, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol: int) -> None:
    assert disguise(pickle.dumps(Evil(), protocol=protocol)) == "a pickle"


def test_what_torch_saves() -> None:
    assert "zip" in (disguise(saved()) or "")
    assert disguise(saved(_use_new_zipfile_serialization=False)) == "a pickle"


def test_archives() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", "y")
    assert "zip" in (disguise(file.getvalue()) or "")
    assert disguise(b"\0" * 257 + b"ustar\0") == "a tar archive"
    assert "gzip" in (disguise(b"\x1f\x8b\x08") or "")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"# A model\n\nof mine",
        b'{"architecture": "resnet18"}',
        b"copyright (c) somebody\nall rights\n",
        b"import os\nos.system('x')\n",
        b"\x89PNG\r\n\x1a\n",
        b"(dp0\n.",
        b"<?xml version='1.0'?>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ],
)
def test_text_is_text(text: bytes) -> None:
    assert disguise(text) is None


@given(st.binary(max_size=300))
def test_it_answers_whatever_comes(head: bytes) -> None:
    assert disguise(head) is None or isinstance(disguise(head), str)
