"""Pickles and archives under other names, and text that is none."""

import gzip
import io
import lzma
import pickle
import struct
import zipfile
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zooalign.gate.checks.executable import COUNT, disguise, goes_on


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
    assert "gzip" in (disguise(gzip.compress(b"x")) or "")
    assert "lzma" in (disguise(lzma.compress(b"x", format=lzma.FORMAT_ALONE)) or "")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_that_joblib_deflates(protocol: int) -> None:
    assert "joblib" in (disguise(zlib.compress(pickle.dumps(Evil(), protocol=protocol))) or "")


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_call_behind_a_long_text(protocol: int) -> None:
    """Old pickles have no magic number: any number of bytes may stand before what runs."""
    content = b"S'" + b"a" * 3 * COUNT + b"'\n0" + pickle.dumps(Evil(), protocol=protocol)
    assert disguise(content[:COUNT]) is None and goes_on(content[:COUNT])
    assert disguise(content) == "a pickle"
    assert not goes_on(b"# a text" * 1000) and not goes_on(b"")


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 93, 8483, 35_615])
def test_the_length_of_a_header_is_no_magic_number(length: int) -> None:
    """A safetensors file begins with its header's length, which may be any eight bytes."""
    assert disguise(struct.pack("<Q", length) + b'{"a":') is None


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
        b"x^2 + 1",
        b"The model of somebody",
        b"<?xml version='1.0'?>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ],
)
def test_text_is_text(text: bytes) -> None:
    assert disguise(text) is None


@given(st.binary(max_size=300))
def test_it_answers_whatever_comes(head: bytes) -> None:
    assert disguise(head) is None or isinstance(disguise(head), str)
