"""Workers on this machine: one process per core or GPU.

They are started anew (never forked: torch's threads and CUDA don't survive it), and get pieces as lines of JSON
(`custodian.workers.answering`). One that is killed is replaced, and its piece handed out again.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import IO, Any, Generic, Self

from custodian.device import GPUS, visible_gpus
from custodian.workers.pieces import Ledger, P, own_error

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GRACE_S = 10


def make(module: str, arguments: Sequence[str], workers: int, ledger: Ledger[P], device: str) -> None:
    """Have all pieces made by so many processes.

    Args:
        module: what each process runs, as ``python -m module *arguments``; see `custodian.workers.answering`.
        arguments: what it is told.
        workers: how many.
        ledger: of the pieces.
        device: a torch device; with CUDA each process sees one GPU.

    Raises:
        ConfigError: a piece fails by its own error, or workers keep dying over it.
    """
    gpus = visible_gpus() if device.startswith("cuda") else []
    with ExitStack() as stack:
        crew: list[Worker[P]] = [
            stack.enter_context(Worker((module, *arguments), gpus[i % len(gpus)] if gpus else None))
            for i in range(workers)
        ]
        _run(crew, ledger)


@dataclass
class Worker(Generic[P]):
    """The parent's end of one worker process; `piece` is what it is making."""

    command: Sequence[str]
    gpu: str | None
    piece: P | None = None
    process: subprocess.Popen[bytes] = field(init=False)
    said: IO[bytes] = field(init=False)
    _heard: bytes = b""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """A fresh process."""
        environment = {
            **os.environ,
            **dict.fromkeys(THREADS, "1"),
            **({GPUS: self.gpu} if self.gpu is not None else {}),
        }
        self.said, self._heard = tempfile.TemporaryFile(), b""  # noqa: SIM115 (closed in `stop`)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", *self.command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, env=environment, bufsize=0,
        )  # fmt: skip

    def stop(self) -> None:
        """End the process: by closing its input where it waits, by a signal where it works."""
        self._pipe(self.process.stdin).close()
        if self.piece is not None:
            self.process.terminate()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._pipe(self.process.stdout).close()
        self.said.close()

    def ask(self, piece: P | None) -> None:
        """Hand out a piece; None leaves the worker waiting."""
        self.piece = piece
        if piece is not None:
            with suppress(BrokenPipeError):  # it died; its output ends, and `_run` learns of it there
                self._pipe(self.process.stdin).write(
                    json.dumps({"number": piece.number, "count": piece.count}).encode() + b"\n"
                )

    def hear(self) -> list[dict[str, Any]] | None:
        """The answers that have come; None where the process is gone."""
        data = os.read(self.fileno(), 65536)
        if not data:
            return None
        *lines, self._heard = (self._heard + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def fileno(self) -> int:
        """Of the pipe that answers come by."""
        return self._pipe(self.process.stdout).fileno()

    def last_words(self) -> str:
        """How the process ended, and the last line that it wrote to stderr."""
        status = self.process.wait()
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return ": ".join([f"killed by signal {-status}" if status < 0 else f"exit status {status}", *lines[-1:]])

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise BrokenPipeError
        return pipe


def _run(crew: Sequence[Worker[P]], ledger: Ledger[P]) -> None:
    """Hand out pieces until all are made."""
    with selectors.DefaultSelector() as selector:
        for worker in crew:
            selector.register(worker, selectors.EVENT_READ, worker)
            worker.ask(ledger.next())
        while not ledger.complete:
            for key, _ in selector.select():
                worker = key.data
                answers = worker.hear()
                if answers is None:
                    selector.unregister(worker)
                    _replace(worker, ledger)
                    selector.register(worker, selectors.EVENT_READ, worker)
                for answer in answers or ():
                    _take(worker, answer, ledger)
            for worker in crew:  # a piece that came back may be one that nobody asked for meanwhile
                if worker.piece is None:
                    worker.ask(ledger.next())


def _take(worker: Worker[P], answer: dict[str, Any], ledger: Ledger[P]) -> None:
    piece = worker.piece
    if piece is None:
        return
    if "failed" in answer:
        raise own_error(piece, answer["failed"])
    if "finished" in answer:
        ledger.finished(piece)
        worker.piece = None
    else:
        ledger.progress(piece, answer["done"])


def _replace(worker: Worker[P], ledger: Ledger[P]) -> None:
    piece, worker.piece = worker.piece, None
    cause = worker.last_words()
    worker.stop()
    if piece is not None:
        ledger.lost(piece, cause)
    worker.start()


def processes_for(device: str) -> int:
    """One per GPU, or one per core that this process may use."""
    if device.startswith("cuda"):
        return max(1, len(visible_gpus()))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
