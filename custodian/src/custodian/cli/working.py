"""What runs inside a job's process: the command itself, with a heartbeat beside it. Started by `custodian.jobs`, not by people."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import typer

from custodian.config import Home
from custodian.jobs import Job, Jobs, State
from custodian.jobs.processes import birth, held
from custodian.jobs.records import CANCEL_FILE, LOCK_FILE, now
from stimset import console
from stimset.errors import ConfigError

HEARTBEAT_SECONDS = 2.0
LOCK_SECONDS = 30.0
INTERRUPTED = 130


class Heartbeat:
    """Writes every few seconds that the job lives, and how far it is."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._standing = replace(
            job.standing, state=State.RUNNING, pid=os.getpid(), born=birth(os.getpid()) or "", heartbeat=now()
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._job.stand(self._standing)
        self._thread.start()

    def step(self, work: str, total: float, done: float, note: str) -> None:
        """Take note of progress; it is written with the next beat."""
        self._standing = replace(self._standing, work=work, total=total, done=done, note=note[:200])

    def end(self, code: int) -> None:
        """Write how it ended."""
        self._ended.set()
        self._thread.join()
        cancelled = (self._job.folder / CANCEL_FILE).exists()
        state = State.DONE if code == 0 else State.CANCELLED if cancelled or code == INTERRUPTED else State.FAILED
        self._job.stand(replace(self._standing, state=state, heartbeat=now(), ended=now(), exit_code=code))

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # a full disk must not end the work; the lock says that it lives
                self._job.stand(replace(self._standing, heartbeat=now()))


def work(home: Home, job_id: str) -> int:
    """Run the job's command in this process; answers with its exit code.

    Raises:
        ConfigError: there is no such job, or it runs already.
    """
    folder = Jobs(home).find(job_id).folder
    with held(
        folder / LOCK_FILE, LOCK_SECONDS
    ) as taken:  # whoever started us has it until our process id is written down
        if not taken:
            raise ConfigError(f"the job {job_id} runs already")
        return _run(home, Job.read(folder))


def _run(home: Home, job: Job) -> int:
    beat = Heartbeat(job)
    beat.start()
    code = 1
    console.watcher.set(beat.step)
    try:
        os.chdir(job.directory)
        code = _command(job.command, [*job.arguments, "--home", str(home.root)])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        console.err.print(f"error: {error.strerror}: {error.filename or ''}", markup=False)
    except Exception:
        traceback.print_exc()
    finally:
        beat.end(code)
    return code


def _command(name: str, arguments: list[str]) -> int:
    from custodian.cli import app

    try:
        app([name, *arguments], prog_name="custodian")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


@console.reports_errors
def _main(root: str, job_id: str) -> int:
    return work(Home(Path(root)), job_id)


if __name__ == "__main__":
    try:
        sys.exit(_main(sys.argv[1], sys.argv[2]))
    except typer.Exit as ending:
        sys.exit(ending.exit_code)
