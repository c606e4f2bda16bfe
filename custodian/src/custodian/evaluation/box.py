"""The sandbox from outside: started, spoken to, ended in time. Whatever it answers is bounded and held against what was asked.

Usage::

    with Sandbox(Limits()) as box:
        box.load(model, (1, 150), classes=2)                # ModelRefused, with the reason
        box.answers(windows, seconds=5)                     # (n, classes) float32
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from custodian.evaluation import frames
from custodian.evaluation.limits import Limits, ModelRefused
from stimset.errors import ConfigError

_BLOCK = 1 << 16
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
}  # fmt: skip


class Sandbox:
    """A confined process that runs one partner's model; leave it, and it is killed."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.holds: dict[str, bool] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._loaded: tuple[bytes, tuple[int, int], int] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._process is not None and self._process.poll() is None

    def load(self, model: bytes, shape: tuple[int, int], classes: int) -> None:
        """Check and load a model.

        Args:
            model: the ONNX file, not looked at here.
            shape: ``(channels, samples)`` of the windows that follow.
            classes: how many probabilities each answer has.

        Raises:
            ModelRefused: it may not run here, or it was stopped.
        """
        self._loaded = (model, shape, classes)
        said = frames.packed(frames.SHAPE, json.dumps([*shape, classes]).encode()) + frames.packed(frames.MODEL, model)
        self._expect(frames.READY, 0, said, self.limits.load_seconds)

    def again(self) -> None:
        """Start anew with the model that was loaded, after it was stopped. Raises as `load`."""
        if self._loaded is None:
            raise ModelRefused("no model was loaded")
        self._end()
        self._start()
        self.load(*self._loaded)

    def answers(self, windows: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
        """The model's answers ``(n, classes)``, whatever numbers they are.

        Args:
            windows: ``(n, channels, samples)``.
            seconds: wall time after which the process is killed.

        Raises:
            ModelRefused: it failed, or was stopped; `alive` tells which.
        """
        classes = self._loaded[2] if self._loaded else 0
        data = np.ascontiguousarray(windows, dtype="<f4").tobytes()
        size = 4 * len(windows) * classes
        found = self._expect(frames.ANSWERS, size, frames.packed(frames.WINDOWS, data), seconds)
        return np.frombuffer(found, dtype="<f4").reshape(len(windows), classes)

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stimset-sandbox-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "custodian.evaluation.sandbox", json.dumps(asdict(self.limits))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT, cwd=self._folder.name,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        try:
            data = self._expect(frames.CONFINED, None, b"", self.limits.start_seconds)
        except ModelRefused:
            self._end()
            raise ConfigError("the evaluation's sandbox does not start; check that onnx and onnxruntime are installed here") from None
        self.holds = {str(name): bool(value) for name, value in json.loads(data).items()}
        if not any(self.holds.values()):
            self._end()
            raise ConfigError(
                "this machine lets nothing keep a model from the network: neither a network namespace nor a filter of system calls "
                "can be had; evaluate on a Linux machine that allows one"
            )

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
        self._process = self._folder = None

    def _expect(self, kind: bytes, size: int | None, said: bytes, seconds: float) -> bytes:
        """Say something, and get an answer of this kind and size (None: any that is short) within the time."""
        deadline = time.monotonic() + seconds
        got, length = self._exchange(said, deadline, seconds)
        if got == frames.REFUSED:
            text = self._rest(min(length, frames.MAX_TEXT_BYTES), deadline, seconds).decode("utf-8", "replace")
            raise ModelRefused("".join(c if c.isprintable() else "?" for c in text))
        if got != kind or (length > frames.MAX_TEXT_BYTES if size is None else length != size):
            self._stopped("it answers out of turn")
        return self._rest(length, deadline, seconds)

    def _exchange(self, said: bytes, deadline: float, seconds: float) -> tuple[bytes, int]:
        """Write all of it, and read the head of the answer, whichever comes first."""
        stdin, stdout = self._pipes()
        waiting = memoryview(said)
        head = b""
        while len(head) < frames.HEAD.size:
            readable, writable, _ = select.select([stdout], [stdin] if waiting else [], [], self._left(deadline, seconds))
            if writable:
                try:
                    waiting = waiting[os.write(stdin, waiting[:_BLOCK]) :]
                except BrokenPipeError:
                    self._died()
            if readable:
                head += self._read(stdout, frames.HEAD.size - len(head))
        kind, length = frames.HEAD.unpack(head)
        return kind, length

    def _rest(self, length: int, deadline: float, seconds: float) -> bytes:
        _, stdout = self._pipes()
        data = bytearray()
        while len(data) < length:
            select.select([stdout], [], [], self._left(deadline, seconds))
            with contextlib.suppress(BlockingIOError):
                data += self._read(stdout, min(_BLOCK, length - len(data)))
        return bytes(data)

    def _read(self, stdout: int, most: int) -> bytes:
        if not (data := os.read(stdout, most)):
            self._died()
        return data

    def _pipes(self) -> tuple[int, int]:
        process: Any = self._process
        if process is None:
            raise ModelRefused("the model was stopped before")
        return process.stdin.fileno(), process.stdout.fileno()

    def _left(self, deadline: float, seconds: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            self._stopped(f"it takes longer than {seconds:.3g} s")
        return left

    def _died(self) -> NoReturn:
        process: Any = self._process
        code = process.wait()
        if code == -signal.SIGXCPU:
            self._stopped(f"it takes more than {self.limits.cpu_seconds} s of processor time")
        self._stopped(f"it crashed, or needs more than {self.limits.memory_bytes >> 20} MiB of memory")

    def _stopped(self, reason: str) -> NoReturn:
        self._end()
        raise ModelRefused(f"the model was stopped: {reason}")
