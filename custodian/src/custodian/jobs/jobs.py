"""`Jobs`: what people and the daemon do with a home's jobs.

Usage::

    jobs = Jobs(home)
    job = jobs.start("train", ["--regime", "cross-fitted"])     # returns at once
    jobs.find(job.id).state                                     # State.RUNNING
    jobs.cancel(job.id)
    jobs.resume(job.id)                                         # excite and audit --deep go on where they were
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from custodian.config import Home
from custodian.jobs.processes import birth, end_group, held
from custodian.jobs.records import CANCEL_FILE, JOB_ID, LOCK_FILE, LOG_FILE, Job, Standing, State, now
from stimset.errors import ConfigError, FormatError

MAX_ATTEMPTS = 3
CANCEL_SECONDS = 10.0
LOCK_SECONDS = 1.0  # whoever only looks whether a job lives has its lock for a moment
_WORKER = "custodian.cli.working"  # named, not imported: it loads torch, which nobody here may
_OF_THE_DAEMON = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")


class Jobs:
    """A home's jobs. Safe to use from several processes at once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._children: set[int] = set()

    def start(self, command: str, arguments: Sequence[str] = (), *, by_daemon: bool = False) -> Job:
        """Start a job in a process of its own, or leave it in the queue for the daemon.

        Raises:
            ConfigError: it can't be a job (`records.Job.make`).
        """
        self._home.jobs.mkdir(mode=0o700, exist_ok=True)
        made = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{command}-{secrets.token_hex(2)}"
        if not JOB_ID.match(made):
            raise ConfigError(f"'{command[:40]}' can't be a job")
        job = Job.make(self._home.jobs / made, command, tuple(arguments), str(Path.cwd()), by_daemon)
        return job if by_daemon else self._spawn(job)

    def list(self) -> tuple[Job, ...]:
        """Every job, the oldest first; one whose folder is damaged or half made is left out."""
        found = []
        with suppress(FileNotFoundError):
            for folder in sorted(self._home.jobs.iterdir()):
                if JOB_ID.match(folder.name):
                    with suppress(ConfigError, FormatError):
                        found.append(Job.read(folder))
        return tuple(found)

    def find(self, job: str) -> Job:
        """The job of this id; raises ConfigError where there is none."""
        if not JOB_ID.match(job):
            raise ConfigError(f"'{job[:60]}' is no job; 'custodian jobs list' names them")
        return Job.read(self._home.jobs / job)

    def cancel(self, job: str, patience_s: float = CANCEL_SECONDS) -> Job:
        """End a job, politely and then by force; what it had finished stays.

        Raises:
            ConfigError: there is none, or it has ended.
        """
        found = self.find(job)
        if found.state.ended:
            raise ConfigError(f"the job {job} has ended already: {found.state}")
        (found.folder / CANCEL_FILE).touch(mode=0o600)
        if found.state is State.RUNNING:
            end_group(found.standing.pid, found.standing.born, patience_s)
            found = self.find(job)
        return found.stand(replace(found.standing, state=State.CANCELLED, ended=now()))

    def resume(self, job: str) -> Job:
        """Start a job that was cancelled, failed or crashed once more, with the same arguments.

        Raises:
            ConfigError: there is none, or it waits, runs, or is done.
        """
        found = self.find(job)
        if found.state in (State.QUEUED, State.RUNNING, State.DONE):
            raise ConfigError(
                f"the job {job} is {found.state}; only what was cancelled, failed or crashed is taken up again"
            )
        (found.folder / CANCEL_FILE).unlink(missing_ok=True)
        return self._queue(found) if found.by_daemon else self._spawn(found)

    def remove(self, job: str) -> None:
        """Forget a job that has ended: its folder goes, what its command left stays.

        Raises:
            ConfigError: there is none, or it waits or runs.
        """
        found = self.find(job)
        if not found.state.ended:
            raise ConfigError(f"the job {job} is {found.state}; 'custodian jobs cancel' ends it first")
        shutil.rmtree(found.folder)

    def advance(self, most: int) -> None:
        """What the daemon does every few seconds: take up what crashed, start what waits, at most so many at once."""
        self._reap()
        if not self._home.jobs.is_dir():
            return
        with held(self._home.jobs / ".daemon") as taken:
            if not taken:  # another daemon of this home does it
                return
            ours = [job for job in self.list() if job.by_daemon]
            for job in ours:
                if job.state is State.CRASHED and job.standing.attempts < MAX_ATTEMPTS:
                    self._queue(job)
            free = most - sum(job.state is State.RUNNING for job in ours)
            waiting = [job for job in self.list() if job.by_daemon and job.state is State.QUEUED]
            for job in waiting[: max(0, free)]:
                self._spawn(job)

    def _queue(self, job: Job) -> Job:
        return job.stand(Standing(attempts=job.standing.attempts))

    def _spawn(self, job: Job) -> Job:
        """A new process, leader of its own session: it outlives us, and a signal reaches it with all that it started."""
        environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_DAEMON}
        log = str(job.folder / LOG_FILE)
        # The lock is taken by the worker; until then its process is what says that it lives.
        with held(job.folder / LOCK_FILE, LOCK_SECONDS) as taken:
            if not taken:
                raise ConfigError(f"the job {job.id} runs already")
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", _WORKER, str(self._home.root), job.id],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
            self._children.add(pid)
            return job.stand(
                Standing(
                    State.RUNNING, pid, birth(pid) or "", job.standing.attempts + 1, started=now(), heartbeat=now()
                )
            )

    def _reap(self) -> None:
        for pid in tuple(self._children):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._children.discard(pid)
