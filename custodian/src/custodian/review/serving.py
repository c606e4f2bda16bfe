"""The sockets of the review page: the standard library's HTTP server, on loopback, with every request bounded.

One connection carries one request (HTTP/1.0), of at most `Limits.request_bytes` and `Limits.request_seconds`, at most
`Limits.connections` at once; a slow or a talkative peer costs one thread for a few seconds. Nothing is logged here, since a line would
hold the token or the session's place.

Usage::

    with ReviewServer(desk, access) as server:
        show(server.url)
        server.serve()          # until the review is over
"""

from __future__ import annotations

import io
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore
from typing import Any

from custodian.review.access import Access, Limits
from custodian.review.desk import Desk
from custodian.review.routes import Request, Response, Routes
from stimset.errors import ConfigError

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.25
LAST_SECONDS = 1.0


class ReviewServer(ThreadingHTTPServer):
    """The page's server; it listens from the beginning, and answers while `serve` runs.

    Args:
        desk: what is looked at.
        access: who may, and how much one request may take.
        port: of loopback; 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """

    timeout = POLL_SECONDS
    daemon_threads = False  # an answer that has begun is sent before the process ends

    def __init__(self, desk: Desk, access: Access, port: int = 0) -> None:
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} of this machine can't be used ({error}); leave --port out") from None
        self.access = access
        self.routes = Routes(desk, access, f"{LOOPBACK}:{self.server_port}")
        self._slots = BoundedSemaphore(access.limits.connections)

    @property
    def url(self) -> str:
        """The address with its token, to be shown once."""
        return self.routes.url

    def serve(self) -> None:
        """Answer until the review is over: by the button, unused, or idle."""
        while not self.access.over:
            self.handle_request()
        until = time.monotonic() + LAST_SECONDS  # for the style sheet of the last page
        while time.monotonic() < until:
            self.handle_request()

    def server_bind(self) -> None:
        """Bind without asking a name server who we are."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or close it where too many are open."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up or is too slow is no news; anything else is a fault of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ReviewServer
    server_version, sys_version = "stimset", ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Bounded(self.connection, self.server.access.limits))

    def do_GET(self) -> None:
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or len(length) > 9:
            self._send(self.server.routes.refuse(411, "Not possible", "A form says how long it is."))
        elif int(length) > self.server.access.limits.request_bytes:
            self._send(self.server.routes.refuse(413, "Too long", "This is longer than any form of this page."))
        elif len(body := self.rfile.read(int(length))) == int(length):
            self._answer(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses by itself gets the same headers as everything else."""
        self._send(self.server.routes.refuse(int(code), "Not possible", "This is no request that a browser makes of this page."))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the line would hold the token or the session's place."""

    def _answer(self, body: bytes) -> None:
        headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        try:
            response = self.server.routes.answer(Request(self.command, self.path, headers, body))
        except Exception:
            self._send(self.server.routes.refuse(500, "A fault", "Nothing was decided by this click; the terminal says more."))
            raise
        self._send(response)

    def _send(self, response: Response) -> None:
        self.connection.settimeout(ANSWER_SECONDS)
        self.close_connection = True
        if self.request_version == "HTTP/0.9":
            return
        self.send_response(response.status)
        for name, value in response.all_headers().items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)


class _Bounded(io.RawIOBase):
    """A connection's bytes, up to a number and until a moment; then it is as if the peer had hung up.

    The time begins anew with the first byte: browsers open connections before they have something to say.
    """

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        self._left = limits.request_bytes
        self._until = time.monotonic() + limits.request_seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._until - time.monotonic()
        if self._left <= 0 or remaining <= 0:
            return 0
        self._connection.settimeout(remaining)
        try:
            count = self._connection.recv_into(memoryview(buffer)[: self._left])
        except TimeoutError:
            return 0
        if self._left == self._limits.request_bytes:
            self._until = time.monotonic() + self._limits.request_seconds
        self._left -= count
        return count
