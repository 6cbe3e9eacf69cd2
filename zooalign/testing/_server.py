"""The socket side: one HTTP/1.1 server with routes, faults, a log, and a clean end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from zooalign.testing._faults import (
    Action,
    Corrupt,
    Cut,
    Drop,
    EndlessPages,
    Faults,
    RedirectLoop,
    Reply,
    Shorten,
    Slow,
    corrupted,
    shortened,
)
from zooalign.testing._http import Body, Refusal, Request, Response, length, pieces
from zooalign.testing._routing import Context, Route

__all__ = ["LoggedRequest", "Server"]


@dataclass(frozen=True)
class LoggedRequest:
    """A request the hub got: never its token, query or body.

    ``path`` is decoded; ``status`` is 0 when no answer was sent; ``port`` is ``"hub"`` or
    ``"cdn"``; ``authorized`` tells whether an ``Authorization`` header came with it.
    """

    method: str
    path: str
    status: int
    port: str
    authorized: bool


class Server:
    """A server on 127.0.0.1 for one set of routes.

    Parameters
    ----------
    name:
        ``"hub"`` or ``"cdn"``, for the log.
    port:
        0 chooses a free one.
    faults:
        CheckRequest for every request.
    log:
        Called once for every request, before the answer is sent.
    authenticate:
        User of an ``Authorization`` header; raises Refusal for a bad token.
    """

    def __init__(
        self,
        name: str,
        port: int,
        faults: Faults,
        log: Callable[[LoggedRequest], None],
        authenticate: Callable[[str | None], str | None],
    ) -> None:
        self.name = name
        self.faults = faults
        self.log = log
        self.authenticate = authenticate
        self.stopping = threading.Event()
        self.numbers = itertools.count(1)
        self._context: Context | None = None
        self._routes: tuple[Route, ...] = ()
        self._server = _Sockets(("127.0.0.1", port), _handler(self))
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self, context: Context, routes: Iterable[Route]) -> None:
        """Serve in threads."""
        self._context, self._routes = context, tuple(routes)
        name = f"loopback-{self.name}"
        loop = self._server.serve_forever
        self._thread = threading.Thread(target=loop, args=(0.05,), name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close all connections, idle ones too."""
        self.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.close_connections()

    def answer(self, request: Request) -> Response:
        """The answer of the first route that matches."""
        assert self._context is not None
        for candidate in self._routes:
            parts = candidate.match(request.method, request.path)
            if parts is not None:
                return candidate.handler(self._context, request, parts)
        if "/resolve/" in request.path or request.path.startswith(("/api/models/", "/api/d")):
            status = 401 if request.user is None else 404
            raise Refusal(status, f"Repository not found ({request.path})", "RepoNotFound")
        raise Refusal(404, f"no such route on the loopback hub: {request.method} {request.path}")


class _Sockets(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._lock:
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is expected
            super().handle_error(request, client_address)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        hub = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    hub: Server
    protocol_version = "HTTP/1.1"
    server_version = "zooalign-loopback"
    sys_version = ""
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        raw, _, query = self.path.partition("?")
        path = unquote(raw)
        action = self.hub.faults.take(self.command, path)
        try:
            body = Body(self.rfile, self.headers)
        except Refusal as refusal:
            self.close_connection = True
            self._send(refusal.response(), None)
            return
        response = None
        if not isinstance(action, Reply | RedirectLoop) and action != Drop(handled=False):
            response = self._ask(raw, query, body)
        elif isinstance(action, Reply):
            response = action.response()
        elif isinstance(action, RedirectLoop):
            location = f"http://127.0.0.1:{self.hub.port}{self.path}"
            response = Response(307, {"Location": location})
        body.drain()
        dropped = response is None or isinstance(action, Drop)
        authorized = "Authorization" in self.headers
        status = 0 if dropped or response is None else response.status
        self.hub.log(LoggedRequest(self.command, path, status, self.hub.name, authorized))
        if dropped or response is None:
            self._abort()
        else:
            self._send(response, action)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def _ask(self, path: str, query: str, body: Body) -> Response:
        values = parse_qs(query, keep_blank_values=True)
        args = {key: tuple(items) for key, items in values.items()}
        try:
            user = self.hub.authenticate(self.headers.get("Authorization"))
            request = Request(self.command, path, args, self.headers, body, user)
            return self.hub.answer(request)
        except Refusal as refusal:
            return refusal.response()
        except ConnectionError:
            raise
        except Exception as error:  # a mistake of the hub must be seen in the test that met it
            traceback.print_exc()
            return Refusal(500, f"error in the loopback hub: {error!r}").response()

    def _send(self, response: Response, action: Action | None) -> None:
        if isinstance(action, Shorten):
            response = replace(response, body=shortened(response.body, action.to))
        total = length(response.body)
        response = replace(response, headers=dict(response.headers))
        if isinstance(action, EndlessPages):
            address = f"http://127.0.0.1:{self.hub.port}{self.path}"
            response = replace(
                response, headers={**response.headers, "Link": f'<{address}>; rel="next"'}
            )
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value.encode("latin-1", "replace").decode("latin-1"))
        self.send_header("X-Request-Id", f"loopback-{self.hub.name}-{next(self.hub.numbers)}")
        self.send_header("Content-Length", str(total))
        if self.hub.stopping.is_set():
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(action, Cut):
            self._send_part(response, total // 2 if action.after is None else action.after)
        elif isinstance(action, Slow):
            self._send_slowly(response, total, action.seconds)
        elif isinstance(action, Corrupt):
            for piece in corrupted(response.body, action.at):
                self.wfile.write(piece)
        else:
            for piece in pieces(response.body):
                self.wfile.write(piece)

    def _send_part(self, response: Response, count: int) -> None:
        for piece in pieces(response.body):
            self.wfile.write(piece[:count])
            count -= len(piece)
            if count <= 0:
                break
        self._abort()

    def _send_slowly(self, response: Response, total: int, seconds: float) -> None:
        step, sent, due = max(1, -(-total // 8)), 0, 0
        for piece in pieces(response.body):
            for start in range(0, len(piece), step):
                part = piece[start : start + step]
                if sent >= due:
                    due += step
                    if self.hub.stopping.wait(seconds / 8):
                        self._abort()
                        return
                self.wfile.write(part)
                sent += len(part)
        if not total:
            self.hub.stopping.wait(seconds)

    def _abort(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the hub keeps its own log; request lines may carry signatures
