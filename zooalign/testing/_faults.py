"""Faults a test asks the loopback hub to make, and the book that counts them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from zooalign.testing._http import FileSlice, Response, json_response, length, pieces

__all__ = [
    "Corrupt",
    "Cut",
    "Drop",
    "EndlessPages",
    "Fault",
    "Faults",
    "RedirectLoop",
    "Reply",
    "Shorten",
    "Slow",
    "corrupted",
    "shortened",
]


@dataclass(frozen=True)
class Reply:
    """Answer this instead of serving the request.

    ``retry_after`` (seconds) sets the header of that name; ``code`` sets ``X-Error-Code``
    (``RepoNotFound``, ``RevisionNotFound``, ``EntryNotFound``, ``GatedRepo``). Without a ``body``
    the answer is JSON ``{"error": message}``.
    """

    status: int
    message: str = "injected fault"
    code: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def response(self) -> Response:
        """The answer."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = f"{self.retry_after:g}"
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        if self.body is not None:
            return Response(self.status, headers, self.body)
        if self.status >= 400:
            headers["X-Error-Message"] = self.message
        return json_response({"error": self.message}, self.status, headers)


@dataclass(frozen=True)
class Cut:
    """Announce the whole body, send ``after`` bytes (None: half) and close the connection."""

    after: int | None = None


@dataclass(frozen=True)
class Shorten:
    """Send only the first ``to`` bytes (None: half) and say that this is all of it."""

    to: int | None = None


@dataclass(frozen=True)
class EndlessPages:
    """Serve the request, and say in its ``Link`` header that the next page is this one again.

    Each page is a use: give ``times=None``.
    """


@dataclass(frozen=True)
class Slow:
    """Take ``seconds`` to send the body, in eight parts (an empty body waits before it)."""

    seconds: float


@dataclass(frozen=True)
class Corrupt:
    """Invert the byte ``at`` (None: the middle) of the body; length and headers stay right."""

    at: int | None = None


@dataclass(frozen=True)
class RedirectLoop:
    """Redirect (307) to the same address. Each hop is a use: give ``times=None``."""


@dataclass(frozen=True)
class Drop:
    """Close the connection without an answer.

    With ``handled`` the request takes effect first: the commit is stored, its answer is lost.
    """

    handled: bool = False


Action = Reply | Cut | Slow | Corrupt | RedirectLoop | Drop | Shorten | EndlessPages


@dataclass(frozen=True)
class Fault:
    r"""What shall go wrong, and where.

    Parameters
    ----------
    action:
        One of :class:`Reply`, :class:`Cut`, :class:`Slow`, :class:`Corrupt`, :class:`RedirectLoop`,
        :class:`Drop`, :class:`Shorten`, :class:`EndlessPages`; an int is short for
        ``Reply(status)``.
    path:
        Regular expression searched for in the decoded path (no query), for instance
        ``r"/resolve/.*\.safetensors$"``, ``"/commit/"``, or ``"^/lfs/"`` for the CDN port.
    method:
        HTTP method, or ``"*"``.
    times:
        Number of matching requests it strikes; None: until cleared.
    skip:
        Number of matching requests it lets pass first.
    """

    action: Action | int
    path: str = ""
    method: str = "*"
    times: int | None = 1
    skip: int = 0

    def __post_init__(self) -> None:
        re.compile(self.path)
        if (self.times is not None and self.times < 1) or self.skip < 0:
            raise ValueError(f"times must be at least 1 (or None) and skip at least 0: {self}")

    def hits(self, method: str, path: str) -> bool:
        """Whether it is meant for this request."""
        return self.method in ("*", method) and re.search(self.path, path) is not None


class Faults:
    """The faults still to come. Thread safe; of several that match, the oldest strikes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, int | None, int]] = []

    def add(self, *faults: Fault) -> None:
        """Add faults."""
        with self._lock:
            self._left.extend((fault, fault.times, fault.skip) for fault in faults)

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._left.clear()

    def pending(self) -> tuple[Fault, ...]:
        """The faults that have not struck as often as asked."""
        with self._lock:
            return tuple(fault for fault, _, _ in self._left)

    def take(self, method: str, path: str) -> Action | None:
        """The action for a request, counted as used."""
        with self._lock:
            for index, (fault, times, skip) in enumerate(self._left):
                if not fault.hits(method, path):
                    continue
                if skip > 0:
                    self._left[index] = (fault, times, skip - 1)
                    continue
                if times == 1:
                    del self._left[index]
                else:
                    self._left[index] = (fault, None if times is None else times - 1, 0)
                action = fault.action
                return Reply(action) if isinstance(action, int) else action
        return None


def corrupted(body: bytes | FileSlice, at: int | None) -> Iterator[bytes]:
    """The pieces of a body with one byte inverted."""
    position = length(body) // 2 if at is None else at
    for piece in pieces(body):
        if 0 <= position < len(piece):
            changed = bytearray(piece)
            changed[position] ^= 0xFF
            piece = bytes(changed)
        position -= len(piece)
        yield piece


def shortened(body: bytes | FileSlice, to: int | None) -> bytes | FileSlice:
    """The beginning of a body."""
    count = min(length(body), length(body) // 2 if to is None else to)
    if isinstance(body, FileSlice):
        return FileSlice(body.path, body.start, count)
    return body[:count]
