"""A TCP relay between client and daemon that stops passing bytes on after a while: a bad line, on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Listens on loopback and relays to `target`.

    Args:
        target: host:port of the daemon.
        stall_after: daemon's bytes (over all connections) after which nothing more is passed on; None for never.
        cut: instead of stalling, close the connections when `stall_after` is reached, and count anew.
        delay_s: what each of the daemon's pieces waits, as on a far line.
    """

    def __init__(self, target: str, *, stall_after: int | None = None, cut: bool = False, delay_s: float = 0.0) -> None:
        host, port = target.rsplit(":", 1)
        self._target = host, int(port)
        self._stall_after, self._cut, self._delay_s = stall_after, cut, delay_s
        self.passed = 0
        self.total = 0
        self.cuts = 0
        self.stalled = threading.Event()
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._released.set()
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                threading.Thread(target=self._relay, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._relay, args=(far, near, True), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted and self._stall_after is not None and self.passed + len(data) > self._stall_after:
                    self.stalled.set()
                    if self._cut:
                        self.passed = 0
                        self.cuts += 1
                        break
                    self._released.wait()
                    break
                if counted:
                    time.sleep(self._delay_s)
                sink.sendall(data)
                if counted:
                    self.passed += len(data)
                    self.total += len(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
