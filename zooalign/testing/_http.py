"""The values that travel between the socket and the routes of the loopback hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from zooalign.errors import HubError

__all__ = [
    "Body",
    "FileSlice",
    "Refusal",
    "Request",
    "Response",
    "byte_range",
    "json_response",
    "length",
    "page",
    "pieces",
]

CHUNK = 1 << 16
# A JSON or ndjson body is held in memory; blobs are streamed to disk and may be larger.
MAX_IN_MEMORY = 512 << 20


class Refusal(HubError):
    """What the hub answers instead of a result: a status, the Hub's error code, a sentence."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.content = dict(content) if content is not None else {"error": message}

    def response(self) -> Response:
        """The answer on the wire: JSON ``{"error": ...}`` and the ``X-Error-*`` headers."""
        headers = {"X-Error-Message": " ".join(self.message.split())} | self.headers
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return json_response(self.content, self.status, headers)


@dataclass(frozen=True)
class FileSlice:
    """The bytes ``start`` to ``start + size`` of a file on disk."""

    path: Path
    start: int
    size: int


@dataclass(frozen=True)
class Response:
    """A status, headers and a body; ``Content-Length`` is added when it is sent."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""


class _Source(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...
    def readline(self, size: int = -1, /) -> bytes: ...


class Body:
    """The body of a request, read once, with a known length or in chunks (RFC 9112, 7.1)."""

    def __init__(self, source: _Source, headers: Message) -> None:
        self._source = source
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        declared = headers.get("Content-Length") or "0"
        if not declared.isdecimal():
            raise Refusal(400, "Content-Length is not a number")
        self._left = int(declared)
        self._rest = self._pieces()  # one iterator: what is read is read

    def __iter__(self) -> Iterator[bytes]:
        return self._rest

    def _pieces(self) -> Iterator[bytes]:
        if self._chunked:
            yield from self._chunks()
        while self._left > 0:
            piece = self._source.read(min(CHUNK, self._left))
            if not piece:
                raise ConnectionError("the client closed the connection within the body")
            self._left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        self._left = 0
        while size := self._chunk_size():
            while size > 0:
                piece = self._source.read(min(CHUNK, size))
                if not piece:
                    raise ConnectionError("the client closed the connection within a chunk")
                size -= len(piece)
                yield piece
            self._source.readline()
        while self._source.readline().strip():
            pass  # trailers

    def _chunk_size(self) -> int:
        line = self._source.readline(1024)
        try:
            return int(line.split(b";")[0].strip(), 16)
        except ValueError:
            raise ConnectionError("a chunk without a size") from None

    def read(self) -> bytes:
        """The whole body."""
        parts: list[bytes] = []
        total = 0
        for piece in self:
            total += len(piece)
            if total > MAX_IN_MEMORY:
                raise Refusal(413, f"a body of more than {MAX_IN_MEMORY} bytes on this route")
            parts.append(piece)
        return b"".join(parts)

    def copy_to(self, target: BinaryIO) -> int:
        """Write the body to ``target`` and return its length."""
        return sum(target.write(piece) for piece in self)

    def drain(self) -> None:
        """Read what no route read, so that the connection can be used again."""
        for _ in self:
            pass


@dataclass(frozen=True)
class Request:
    """A request: ``path`` is still percent-encoded, ``user`` is None for anonymous."""

    method: str
    path: str
    query: Mapping[str, tuple[str, ...]]
    headers: Message
    body: Body
    user: str | None

    def flag(self, name: str) -> bool:
        """Whether the query says ``name=1`` or ``name=true``."""
        return self.arg(name).lower() in ("1", "true")

    def arg(self, name: str, default: str = "") -> str:
        """The first value of ``name`` in the query."""
        return self.query.get(name, (default,))[0]

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is ``{}``."""
        raw = self.body.read()
        try:
            value = json.loads(raw) if raw.strip() else {}
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise Refusal(400, "the body is not a JSON object")
        return value


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with ``value`` as JSON."""
    extra = {"Content-Type": "application/json; charset=utf-8"} | dict(headers or {})
    return Response(status, extra, json.dumps(value).encode())


def length(body: bytes | FileSlice) -> int:
    """Length of a body in bytes."""
    return body.size if isinstance(body, FileSlice) else len(body)


def pieces(body: bytes | FileSlice) -> Iterator[bytes]:
    """A body in pieces of at most 64 KiB."""
    if isinstance(body, bytes):
        for start in range(0, len(body), CHUNK):
            yield body[start : start + CHUNK]
        return
    with body.path.open("rb") as file:
        file.seek(body.start)
        left = body.size
        while left > 0 and (piece := file.read(min(CHUNK, left))):
            left -= len(piece)
            yield piece


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and length asked for by a ``Range`` header; None: the whole.

    Only one range is understood, as on the Hub's CDN; anything else is the whole file.

    Raises
    ------
    Refusal
        416, when the range begins behind the end.
    """
    if not header or not header.startswith("bytes=") or "," in header:
        return None
    first, _, last = header.removeprefix("bytes=").strip().partition("-")
    if not (first + last).isdecimal():
        return None
    if not first:
        count = min(int(last), size)
        return size - count, count
    start = int(first)
    if start >= size:
        raise Refusal(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
    stop = min(int(last), size - 1) if last else size - 1
    return (start, stop - start + 1) if stop >= start else None


def page(request: Request, url: str, items: list[Any], size: int) -> Response:
    """One page of ``items``, with ``Link: <...>; rel="next"`` when there are more."""
    raw = request.arg("cursor", "0")
    start = int(raw) if raw.isdecimal() else 0
    size = min(size, int(raw)) if (raw := request.arg("limit")).isdecimal() and int(raw) else size
    headers = {}
    if start + size < len(items):
        kept = "".join(
            f"&{name}={value}"
            for name, values in request.query.items()
            if name not in ("cursor",)
            for value in values
        )
        headers["Link"] = f'<{url}{request.path}?cursor={start + size}{kept}>; rel="next"'
    return json_response(items[start : start + size], headers=headers)
