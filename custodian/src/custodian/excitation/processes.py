"""The local pool: one worker process per core or GPU.

Workers are started anew (never forked: torch's threads and CUDA don't survive it), get the order as files and shards as lines of JSON
(`custodian.excitation.worker`). One that is killed is replaced, and its shard handed out again.
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
from pathlib import Path
from typing import IO, Any, Self

from custodian.excitation.order import ORDER_PREFIX, Shard, WorkOrder
from custodian.excitation.pools import Here, Ledger, OnStimuli, own_error
from custodian.excitation.shard import Excitation

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GPUS = "CUDA_VISIBLE_DEVICES"
GRACE_S = 10
QUICK_SHARDS = 50
"""So many shards for each worker make it worth starting one for a recipe that takes no steps."""


@dataclass(frozen=True)
class Processes:
    """So many worker processes on this machine.

    Attributes:
        workers: at most; no more are started than there is work for, and for a single shard none.
    """

    workers: int

    def make(
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnStimuli
    ) -> None:
        """See `custodian.excitation.pools.Pool.make`."""
        # Without steps a shard takes a tenth of a second, and starting a worker takes seconds.
        quick = order.recipe.method == "ascent" and order.recipe.ascent.steps == 0
        workers = min(self.workers, len(shards) // QUICK_SHARDS if quick else len(shards))
        if workers < 2:
            Here().make(order, job, shards, folder, on_stimuli)
            return
        ledger = Ledger(shards, on_stimuli)
        with ExitStack() as stack:
            # Beside the set, not in /tmp: the order is as private as the set, and belongs to the same disk.
            order_folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=ORDER_PREFIX, dir=folder)))
            order.save(order_folder)
            gpus = visible_gpus() if order.device.startswith("cuda") else []
            crew = [
                stack.enter_context(Worker(order_folder, folder, gpus[i % len(gpus)] if gpus else None))
                for i in range(workers)
            ]
            run(crew, ledger)


@dataclass
class Worker:
    """The parent's end of one worker process; `shard` is what it is making."""

    order_folder: Path
    folder: Path
    gpu: str | None
    shard: Shard | None = None
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
            [sys.executable, "-P", "-m", "custodian.excitation.worker", str(self.order_folder), str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, env=environment, bufsize=0,
        )  # fmt: skip

    def stop(self) -> None:
        """End the process: by closing its input where it waits, by a signal where it works."""
        self._pipe(self.process.stdin).close()
        if self.shard is not None:
            self.process.terminate()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._pipe(self.process.stdout).close()
        self.said.close()

    def ask(self, shard: Shard | None) -> None:
        """Hand out a shard; None leaves the worker waiting."""
        self.shard = shard
        if shard is not None:
            with suppress(BrokenPipeError):  # it died; its output ends, and `run` learns of it there
                self._pipe(self.process.stdin).write(
                    json.dumps({"number": shard.number, "count": shard.count}).encode() + b"\n"
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


def run(crew: Sequence[Worker], ledger: Ledger) -> None:
    """Hand out shards until all are made."""
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
            for worker in crew:  # a shard that came back may be one that nobody asked for meanwhile
                if worker.shard is None:
                    worker.ask(ledger.next())


def _take(worker: Worker, answer: dict[str, Any], ledger: Ledger) -> None:
    shard = worker.shard
    if shard is None:
        return
    if "failed" in answer:
        raise own_error(shard, answer["failed"])
    if "finished" in answer:
        ledger.finished(shard)
        worker.shard = None
    else:
        ledger.progress(shard, answer["done"])


def _replace(worker: Worker, ledger: Ledger) -> None:
    shard, worker.shard = worker.shard, None
    cause = worker.last_words()
    worker.stop()
    if shard is not None:
        ledger.lost(shard, cause)
    worker.start()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    named = os.environ.get(GPUS)
    return [name for name in named.split(",") if name] if named else [str(i) for i in range(torch.cuda.device_count())]


def processes_for(device: str) -> int:
    """One per GPU, or one per core that this process may use."""
    if device.startswith("cuda"):
        return max(1, len(visible_gpus()))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
