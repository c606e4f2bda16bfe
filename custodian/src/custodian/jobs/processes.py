"""Whether a process lives, and is the one that we mean: ids are used again, and a machine may have been started anew."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_SECONDS = 0.05


def birth(pid: int) -> str | None:
    """What tells a process from every other that had or will have its id: the boot, and its start in it; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold blanks and brackets
    return None if fields[0] in ("Z", "X") else f"{boot}:{fields[19]}"


@contextmanager
def held(path: Path, patience_s: float = 0.0) -> Iterator[bool]:
    """Take the lock while the block runs; False where another process has it, after so many seconds still."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    try:
        while not (taken := _locked(descriptor, fcntl.LOCK_EX)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        yield taken
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process has the lock."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)  # shared, so that two who ask don't take each other for the job
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_group(pid: int, born: str, patience_s: float) -> bool:
    """End a process that leads its own group, and all that it started: politely by SIGINT, then by SIGKILL.

    Args:
        pid: the leader.
        born: its `birth`; another process of the same id is left alone.
        patience_s: how long it may take to end by itself.

    Returns:
        Whether it had to be killed.
    """
    if birth(pid) != born:
        return False
    _signal(pid, signal.SIGINT, group=False)  # the leader tells its workers
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if birth(pid) != born:
            break
        time.sleep(POLL_SECONDS)
    killed = birth(pid) == born
    _signal(pid, signal.SIGKILL, group=True)
    return killed


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number) if group else os.kill(pid, number)
