"""The daemon's part: it takes a model in pieces, starts an examiner, and passes on its answer. It parses no model and reads no window.

::

    HOME/evaluations/incoming/FINGERPRINT.onnx      what a partner is sending, one model at a time
    HOME/evaluations/asked/, answered/              where an examiner apart from the daemon works (``custodian evaluation work``)
    HOME/evaluations/reports/                       the statements that were given out (`custodian.evaluation.examining`)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from custodian.config import Home, write_secret
from custodian.evaluation.limits import MAX_MODEL_BYTES, EvaluationDenied, ModelRefused
from custodian.state.database import Partner
from stimset.errors import ConfigError, TransportError
from stimset.evaluation import MAX_REPORT_BYTES

PIECE_BYTES = 1 << 20
EXAMINER_SECONDS = 600.0
LOOK_SECONDS = 0.2
_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_ANSWER = 4 * MAX_REPORT_BYTES


class Incoming:
    """What partners are sending. A piece goes to the end of what is there; a wrong one changes nothing."""

    def __init__(self, home: Home) -> None:
        self._folder = home.evaluations / "incoming"

    def path(self, partner: Partner) -> Path:
        """Where this partner's model lies; its certificate names the file."""
        return self._folder / f"{partner.fingerprint}.onnx"

    def add(self, partner: Partner, sha256: str, size: int, offset: int, data: bytes) -> int:
        """Take the next piece; returns how much is here.

        Raises:
            ModelRefused: a number is out of bounds, the piece does not follow, or the whole is not what was announced.
        """
        if not _SHA256.fullmatch(sha256) or not 1 <= size <= MAX_MODEL_BYTES:
            raise ModelRefused(f"sha256 must have 64 hex digits, and size be 1 to {MAX_MODEL_BYTES} bytes; make the model smaller")
        if not 1 <= len(data) <= PIECE_BYTES or offset < 0 or offset + len(data) > size:
            raise ModelRefused(f"a piece must have 1 to {PIECE_BYTES} bytes and lie within the model")
        path = self.path(partner)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if offset == 0 else 0)
        with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
            here = file.seek(0, os.SEEK_END)
            file.seek(min(offset, here))
            # A piece whose answer was lost comes again; it changes nothing.
            if offset > here or (offset < here and file.read(len(data)) != data):
                raise ModelRefused(f"{here} bytes are here, so offset must be that, or 0 to begin anew")
            if offset == here:
                file.write(data)
        if offset + len(data) == size and _digest(path) != sha256:
            path.unlink()
            raise ModelRefused("the model that arrived has another digest than announced; send it again")
        return offset + len(data)

    def whole(self, partner: Partner, sha256: str) -> Path:
        """The model of this digest.

        Raises:
            EvaluationDenied: it was not sent, or not to its end.
        """
        path = self.path(partner)
        if not _SHA256.fullmatch(sha256) or not path.is_file() or _digest(path) != sha256:
            raise EvaluationDenied("the model of this digest was not sent; send it whole before it is evaluated")
        return path


class Spool:
    """Questions and answers as files, for an examiner that is no child of the daemon: ``asked/ID.json``, ``answered/ID.json``.

    A worker holds the lock as long as it lives, so the daemon knows whether anybody is there.
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.evaluations

    def questions(self) -> list[Path]:
        """Those that nobody answered yet, the oldest first."""
        return sorted((self._folder / "asked").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)

    def answer_to(self, question: Path) -> Path:
        """Where its answer goes."""
        return self._folder / "answered" / question.name

    def ask(self, question: bytes) -> Path:
        """Put a question; returns its file."""
        path = self._folder / "asked" / f"{secrets.token_hex(8)}.json"
        write_secret(path, question)
        return path

    @property
    def attended(self) -> bool:
        """Whether a worker is there."""
        try:
            with (self._folder / "worker.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Be the worker.

        Raises:
            ConfigError: there is one already.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / "worker.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError("another 'custodian evaluation work' is at it already; one is enough") from None
            yield


async def evaluated(home: Home, partner: Partner, release_id: str, model: Path, seconds: float = EXAMINER_SECONDS) -> bytes:
    """Let an examiner evaluate a model: the worker where there is one, else a process of the daemon's own.

    Returns:
        The signed report.

    Raises:
        ModelRefused, EvaluationDenied: as the examiner says, for the partner to read.
        ConfigError, TransportError: the examiner failed, or was ended; its words stand in the log.
    """
    question = {
        "home": str(home.root), "partner": partner.name, "fingerprint": partner.fingerprint, "release": release_id, "model": str(model),
    }  # fmt: skip
    said, spool = json.dumps(question).encode(), Spool(home)
    try:
        async with asyncio.timeout(seconds):
            answer = _parsed(await (_asked_worker(spool, said) if spool.attended else _asked(said)))
    except TimeoutError:
        raise TransportError("the evaluation took too long and was ended") from None
    if "refused" in answer:
        raise ModelRefused(answer["refused"])
    if "denied" in answer:
        raise EvaluationDenied(answer["denied"])
    report = base64.b64decode(answer.get("report", ""))
    if not 0 < len(report) <= MAX_REPORT_BYTES:
        raise ConfigError(answer.get("failed", "the examiner gave no report"))
    return report


async def _asked_worker(spool: Spool, question: bytes) -> bytes:
    asked = await asyncio.to_thread(spool.ask, question)
    answer = spool.answer_to(asked)
    try:
        while not answer.is_file():
            await asyncio.sleep(LOOK_SECONDS)
        return await asyncio.to_thread(answer.read_bytes)
    finally:
        asked.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)


async def _asked(question: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "custodian.evaluation.examiner",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        out, _ = await process.communicate(question)
    finally:
        # Also where the partner hung up: nobody waits for the answer any more. The sandbox dies with the examiner.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return out


def _parsed(out: bytes) -> Mapping[str, str]:
    try:
        answer = json.loads(out) if len(out) <= _MAX_ANSWER else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not all(isinstance(value, str) for value in answer.values()):
        raise ConfigError("the examiner ended without an answer; its words stand in the log")
    return answer


def _digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
