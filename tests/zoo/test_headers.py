"""Safetensors headers, written and hostile."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load, save_file

from zooalign.errors import CheckpointError
from zooalign.graph.lazy_state import TensorInfo
from zooalign.zoo.headers import make_header, read_header

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
]
infos = st.builds(
    TensorInfo, st.lists(st.integers(0, 4), max_size=3).map(tuple), st.sampled_from(DTYPES)
)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda k: k != "__metadata__"),
        infos,
        min_size=1,
        max_size=6,
    )
)
def test_the_library_reads_what_is_written(tensors: dict[str, TensorInfo]) -> None:
    start, header = make_header(tensors, {"format": "pt"})
    size = sum(info.nbytes for info in tensors.values())
    found = load(start + bytes(size))
    assert {k: TensorInfo(tuple(v.shape), v.dtype) for k, v in found.items()} == tensors
    assert all(header.offsets[k] % tensors[k].dtype.itemsize == 0 for k in tensors)


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.zeros(2, 3, dtype=dtype) for dtype in DTYPES}
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, metadata={"format": "pt", "x": "y"})
    header = read_header(path)
    assert header.tensors == {k: TensorInfo((2, 3), v.dtype) for k, v in tensors.items()}
    assert header.metadata == {"format": "pt", "x": "y"}


def entry(begin: int, end: int, shape: object = None, dtype: object = "U8") -> dict[str, object]:
    shape = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def file_of(header: object, data: int = 4) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


HOSTILE = {
    "nothing": (b"", "truncated: 0 bytes"),
    "short": (b"\x01\x02", "truncated"),
    "bomb": (struct.pack("<Q", 2**63) + b"{}", "claims a header of 9223372036854775808 bytes"),
    "large_bomb": (struct.pack("<Q", 99_999_999) + b"{}", "truncated: its header needs"),
    "no_json": (file_of(b"\x80\x81"), "not JSON"),
    "nested": (file_of(b"[" * 200_000), "not JSON"),
    "digits": (file_of(b'{"w": ' + b"9" * 5000 + b"}"), "not JSON"),
    "list": (file_of([]), "not a JSON object"),
    "metadata": (file_of({"__metadata__": {"a": 1}, "w": entry(0, 4)}), "__metadata__"),
    "metadata_list": (file_of({"__metadata__": [], "w": entry(0, 4)}), "__metadata__"),
    "entry": (file_of({"w": 3}), "w: its entry"),
    "keys": (file_of({"w": {"dtype": "U8"}}), "w: its entry"),
    "dtype": (file_of({"w": entry(0, 4, dtype="F4")}), "w: dtype 'F4'"),
    "dtype_type": (file_of({"w": entry(0, 4, dtype=["U8"])}), r"w: its entry .*dtype"),
    "shape": (file_of({"w": entry(0, 4, shape=[-1])}), r"w: its entry .*shape"),
    "shape_type": (file_of({"w": entry(0, 4, shape=[True])}), r"w: its entry .*shape"),
    "shape_product": (file_of({"w": entry(0, 4, shape=[2**40, 2**40])}), "w: shape .* needs"),
    "offsets": (file_of({"w": entry(4, 0, shape=[1])}), "w: shape .* needs"),
    "offsets_negative": (file_of({"w": entry(-1, 3, shape=[4])}), r"w: its entry .*data_offsets"),
    "range": (file_of({"w": entry(0, 8)}), "w: truncated or out of range"),
    "overlap": (file_of({"v": entry(0, 4), "w": entry(2, 4)}), "w: overlaps"),
    "hole": (file_of({"v": entry(0, 1), "w": entry(2, 4)}), "w: leaves a hole"),
    "tail": (file_of({"w": entry(0, 2)}), "2 bytes follow"),
    "half_a_character": (
        file_of(b'{"\\ud800": {"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'),
        "not text",
    ),
    "half_in_entry": (file_of(b'{"w": {"\\ud800": 1}}'), "w: its entry is malformed"),
    "half_in_metadata": (file_of({"__metadata__": {"a": "\ud800"}, "w": entry(0, 4)}), "not text"),
    "twice": (
        file_of(
            b'{"w": {"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
            b' "w": {"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
        ),
        "its header the key 'w' is there twice",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_named(name: str, tmp_path: Path) -> None:
    content, says = HOSTILE[name]
    path = tmp_path / "evil.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_is_refused_or_means_the_same_to_the_library(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.safetensors"
    save_file({"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}, path)
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position : position + len(change)] = change
    path.write_bytes(content)
    try:
        header = read_header(path)
    except CheckpointError:
        return
    with safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == sorted(header.tensors)
        for key, info in header.tensors.items():
            found = file.get_tensor(key)
            assert TensorInfo(tuple(found.shape), found.dtype) == info
