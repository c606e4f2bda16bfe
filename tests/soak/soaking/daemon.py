"""The hospital's daemon under trial: killed and started again at one address, its clock moved, its memory watched."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import wire_world
from custodian.config import Home

# Runs first in the daemon's process: its wall clock is off by the hours that a file holds, read anew each time. libfaketime would do it
# for TLS as well, but its waits on conditions are seconds late, and then nothing else is tested.
_CLOCK = """
import datetime, pathlib, time
_true, _hours = time.time, pathlib.Path({clock!r})
time.time = lambda: _true() + 3600 * float(_hours.read_text())
class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = _Datetime
"""


@dataclass
class Trial:
    """A daemon that may die at any moment. Use it in a ``with``.

    Attributes:
        starts, kills: how often it was started, and ended by SIGKILL.
        peak_mib: the largest resident memory that was seen, over all its lives.
        idle_mib: after its first start.
    """

    home: Home
    folder: Path
    starts: int = 0
    kills: int = 0
    peak_mib: float = 0.0
    idle_mib: float = 0.0
    address: str = "127.0.0.1:0"
    _daemon: wire_world.Daemon | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Trial:
        self.folder.mkdir(parents=True)
        self.shift_clock(0)
        self.start()
        self.idle_mib = self.peak_mib = _resident_mib(self.pid)
        threading.Thread(target=self._sample, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._daemon is not None and self._daemon.process.poll() is None:
            self._daemon.kill()

    @property
    def pid(self) -> int:
        """Its process, or the last one that it was."""
        return 0 if self._daemon is None else self._daemon.process.pid

    def start(self) -> None:
        """Start it, at the address that it had before."""
        prelude = _CLOCK.format(clock=str(self.folder / "clock"))
        self._daemon = wire_world.Daemon.start(self.home, self.folder, address=self.address, prelude=prelude)
        self.address = self._daemon.address
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL in the middle of everything, then a new one."""
        if self._daemon is not None:
            self._daemon.kill()
            self.kills += 1
        self.start()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return -1 if self._daemon is None else self._daemon.stop()

    def shift_clock(self, hours: float) -> None:
        """Let its wall clock jump to so many hours from the true time."""
        partial = self.folder / ".clock"
        partial.write_text(f"{hours}\n")
        partial.replace(self.folder / "clock")

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.peak_mib = max(self.peak_mib, _resident_mib(self.pid))


def _resident_mib(pid: int) -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
    return 0.0
