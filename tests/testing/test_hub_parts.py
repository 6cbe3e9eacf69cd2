"""The parts of the loopback hub that read bytes from outside."""

from __future__ import annotations

import hashlib
import io
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.testing import Fault
from zooalign.testing._card import metadata, validate
from zooalign.testing._faults import Faults, corrupted
from zooalign.testing._http import Body, Refusal, byte_range
from zooalign.testing._model import git_oid, safe_path
from zooalign.testing._xet import shard_files


@given(st.integers(1, 200), st.integers(0, 250), st.integers(0, 250))
def test_byte_range_is_python_slicing(size: int, first: int, last: int) -> None:
    data = bytes(i % 256 for i in range(size))
    if first >= size:
        with pytest.raises(Refusal):
            byte_range(f"bytes={first}-{last}", size)
        return
    found = byte_range(f"bytes={first}-{last}", size)
    if last < first:
        assert found is None
    else:
        assert found is not None
        assert data[found[0] : sum(found)] == data[first : last + 1]
    assert byte_range(f"bytes=-{first + 1}", size) == (size - first - 1, first + 1)


@pytest.mark.parametrize("header", [None, "", "bytes=", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"])
def test_other_ranges_are_the_whole(header: str | None) -> None:
    assert byte_range(header, 10) is None


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.binary(max_size=20))
def test_chunked_body(chunks: list[bytes], behind: bytes) -> None:
    raw = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\nA: b\r\n\r\n"
    source = io.BytesIO(raw + behind)
    headers = Message()
    headers["Transfer-Encoding"] = "chunked"
    body = Body(source, headers)
    assert body.read() == b"".join(chunks)
    body.drain()
    assert source.read() == behind  # the next request on the connection is untouched


@given(st.binary(max_size=200), st.integers(0, 200))
def test_body_of_known_length(data: bytes, more: int) -> None:
    headers = Message()
    headers["Content-Length"] = str(len(data) + more)
    body = Body(io.BytesIO(data), headers)
    if more:
        with pytest.raises(ConnectionError):
            body.read()
    else:
        assert body.read() == data


@given(st.binary(max_size=2000))
def test_shard_reader_survives_anything(data: bytes) -> None:
    for sha256, xet_hash in shard_files(data):
        assert len(sha256) == len(xet_hash) == 64


@given(st.text(max_size=30))
def test_safe_path_stays_inside(path: str) -> None:
    try:
        found = safe_path(path)
    except Refusal:
        return
    assert found == path and not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))


@given(st.text(max_size=200))
def test_card_reader_survives_anything(text: str) -> None:
    for content in (text, f"---\n{text}\n---\n"):
        assert isinstance(metadata(content), dict)
        errors, warnings = validate(content)
        assert all(isinstance(message, str) for message in errors + warnings)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299))
def test_corruption_changes_one_byte(body: bytes, at: int) -> None:
    out = b"".join(corrupted(body, at))
    differing = [i for i, (x, y) in enumerate(zip(out, body, strict=True)) if x != y]
    assert differing == ([at] if at < len(body) else [])


@given(st.integers(1, 5), st.integers(0, 5))
def test_fault_strikes_as_often_as_said(times: int, skip: int) -> None:
    faults = Faults()
    faults.add(Fault(500, path="^/a", method="GET", times=times, skip=skip))
    assert faults.take("GET", "/b") is None and faults.take("PUT", "/a") is None
    struck = [faults.take("GET", "/a") is not None for _ in range(12)]
    assert struck == [False] * skip + [True] * times + [False] * (12 - times - skip)
    assert faults.pending() == ()


def test_git_oid_is_gits() -> None:
    # `printf 'hello\n' | git hash-object --stdin`
    assert git_oid(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_shard_of_the_real_client(tmp_path) -> None:
    hf_xet = pytest.importorskip("hf_xet")
    data = bytes(range(256)) * 500
    commit = hf_xet.XetSession().new_upload_commit(
        endpoint=f"local://{tmp_path}", token="t", token_expiry_unix_secs=2**40
    )
    with commit:
        handle = commit.start_upload_bytes(data, sha256=hf_xet.COMPUTE_SHA256)
    (shard,) = (tmp_path / "xet" / "xorbs" / "shards").glob("*.mdb")
    expected = (hashlib.sha256(data).hexdigest(), handle.result().xet_info.hash)
    assert list(shard_files(shard.read_bytes())) == [expected]
