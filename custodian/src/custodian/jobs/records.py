"""A job's folder, read and written. Whether a job that says that it runs really lives is asked of the kernel, not of the file."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from custodian.config import write_secret
from custodian.jobs.processes import birth, is_held
from stimset.errors import ConfigError, FormatError
from stimset.strict import Fields, load_json

COMMANDS = ("train", "excite", "audit")
JOB_FILE, STATE_FILE, LOCK_FILE, LOG_FILE, CANCEL_FILE = "job.json", "state.json", "lock", "output.log", "cancel"
MAX_ARGUMENTS = 100
MAX_ARGUMENT = 4096
MAX_FILE_BYTES = 1 << 20
MAX_TAIL_BYTES = 1 << 20
JOB_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z]+-[0-9a-f]{4}\Z")


class State(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Standing:
    """What ``state.json`` holds.

    Attributes:
        state: as the job itself wrote it; see `Job.state`.
        pid, born: the process, and what tells it from others (`processes.birth`); 0 and empty before the first start.
        attempts: how often it was started.
        started, heartbeat, ended: UTC in ISO form, or empty.
        exit_code: the command's (`stimset.errors`), or None.
        work, done, total, note: how far the part in work is.
    """

    state: State = State.QUEUED
    pid: int = 0
    born: str = ""
    attempts: int = 0
    started: str = ""
    heartbeat: str = ""
    ended: str = ""
    exit_code: int | None = None
    work: str = ""
    done: float = 0.0
    total: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One job as it stands now.

    Attributes:
        id: its folder's name.
        folder: where it lies.
        command, arguments: of ``custodian``, without ``--home``.
        directory: in which relative paths among the arguments begin.
        by_daemon: whether the daemon starts it, and takes it up again after a crash.
        standing: what it last wrote.
    """

    id: str
    folder: Path
    command: str
    arguments: tuple[str, ...]
    directory: str
    by_daemon: bool
    standing: Standing

    @classmethod
    def make(cls, folder: Path, command: str, arguments: tuple[str, ...], directory: str, by_daemon: bool) -> Job:
        """Write a new job's folder; raises ConfigError for what can't be one."""
        if command not in COMMANDS:
            raise ConfigError(f"'{command[:40]}' can't be a job; {', '.join(COMMANDS)} can")
        if len(arguments) > MAX_ARGUMENTS or any(len(a) > MAX_ARGUMENT or "\0" in a for a in arguments):
            raise ConfigError(f"a job takes at most {MAX_ARGUMENTS} arguments of {MAX_ARGUMENT} characters")
        if any(a == "--home" or a.startswith("--home=") for a in arguments):
            raise ConfigError("a job works in the home that it lies in; leave --home out of its arguments")
        folder.mkdir(mode=0o700)
        job = cls(folder.name, folder, command, arguments, directory, by_daemon, Standing())
        document = {"arguments": list(arguments), "by_daemon": by_daemon, "command": command, "directory": directory}
        job.stand(job.standing)
        write_secret(folder / JOB_FILE, json.dumps(document, indent=2).encode())  # last: with it the job is there
        return job

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read a job's folder.

        Raises:
            ConfigError: there is none.
            FormatError: a file of it is damaged.
        """
        fields = Fields(_document(folder / JOB_FILE), "job", ("arguments", "by_daemon", "command", "directory"))
        arguments = fields.sequence("arguments", most=MAX_ARGUMENTS)
        command = fields.text("command", most=16)
        if command not in COMMANDS or not all(isinstance(a, str) for a in arguments):
            raise FormatError(f"the job {folder.name} is damaged; remove its folder")
        try:
            stored = _document(folder / STATE_FILE)
            standing = Standing(**{**stored, "state": State(stored["state"])})
        except (TypeError, ValueError, KeyError):
            raise FormatError(f"the state of the job {folder.name} is damaged; remove its folder") from None
        directory, by_daemon = fields.text("directory", most=MAX_ARGUMENT), fields.flag("by_daemon")
        return cls(folder.name, folder, command, tuple(arguments), directory, by_daemon, standing)

    @property
    def state(self) -> State:
        """What holds now: a job that says that it runs and does not live has crashed."""
        written = self.standing.state
        if written is not State.RUNNING or self.alive:
            return written
        return State.CANCELLED if (self.folder / CANCEL_FILE).exists() else State.CRASHED

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        pid, born = self.standing.pid, self.standing.born
        return is_held(self.folder / LOCK_FILE) or (pid > 0 and bool(born) and birth(pid) == born)

    def stand(self, standing: Standing) -> Job:
        """Write how it stands, in one step."""
        write_secret(self.folder / STATE_FILE, json.dumps(asdict(standing), indent=2).encode())
        return replace(self, standing=standing)

    def tail(self, lines: int) -> list[str]:
        """The last lines of what the command printed."""
        try:
            with (self.folder / LOG_FILE).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_TAIL_BYTES))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []


def now() -> str:
    """This moment as a job's files hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror}); 'custodian jobs list' names the jobs") from None
    document = load_json(data, limit=MAX_FILE_BYTES, what=path.name)
    if not isinstance(document, dict):
        raise FormatError(f"{path} is damaged; remove its folder")
    return document
