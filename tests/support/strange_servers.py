"""Servers on loopback that are not ours: what ``custodian doctor`` may find in the place of what it looks for."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from custodian.cli import checkup_clock


@contextmanager
def _answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that takes every connection, one after the other."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def listener(answer=b""):
    """A server that answers whatever is asked with some bytes."""

    def say(connection: socket.socket) -> None:
        connection.settimeout(2)
        connection.recv(1024)
        connection.sendall(answer)

    return _answering(say)


def tls_server(certificate, key, protocols):
    """A TLS server that is not ours, or does not speak HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if protocols:
        context.set_alpn_protocols(protocols)
    return _answering(lambda connection: context.wrap_socket(connection, server_side=True).recv(1))


@contextmanager
def time_server(ahead, *, mode=4, stratum=2, silent=False):
    """An SNTP server whose clock is ahead of ours by so many seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def serve():
            try:
                question, sender = server.recvfrom(1024)
            except OSError:
                return
            assert len(question) == 48
            if silent:
                return
            now = time.time() + ahead + checkup_clock._NTP_EPOCH
            stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
            server.sendto(struct.pack("!BBBb", 0x20 | mode, stratum, 0, -20) + bytes(28) + stamp + stamp, sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
