"""One partner's pull in a process of its own: the consumer's real pull, which writes down what it asked for and what came.

Its diary is a file that only grows, one write a line, so a SIGKILL loses nothing that happened before it::

    begin CERTIFICATE
    ask FILE OFFSET LIMIT HELD      a read is asked for; HELD bytes of the file lie on the disk
    got FILE OFFSET LIMIT           its first piece came
    end verified PEAK_MIB           or: end CLASS MESSAGE, for an error of the tree
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from consumer import pipeline
from consumer.client import Client
from consumer.config import Home
from consumer.enrolment import CERTIFICATE_FILE, find
from consumer.standing import place
from stimset.errors import StimsetError
from stimset.release import ENVELOPE_FILE


@dataclass(frozen=True)
class Errand:
    """What one process is to do.

    Attributes:
        home: the partner's.
        address: of the daemon, or of the line to it.
        release_id: what to pull.
        diary: where to write down what happens.
        largest_file: bytes that a file may have, as on a disk that is full by then; 0 is any.
    """

    home: Path
    address: str
    release_id: str
    diary: Path
    largest_file: int = 0


class Diary:
    """Lines of a file, each by one write."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *words: object) -> None:
        """Add a line."""
        os.write(self._descriptor, (" ".join(str(word) for word in words) + "\n").encode())


def run(errand: Errand) -> None:
    """Pull once, write how it ended, and leave."""
    diary = Diary(errand.diary)
    if errand.largest_file:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (errand.largest_file, errand.largest_file))
    home = Home.open(errand.home)
    custodian = find(home, None)
    certificate = x509.load_pem_x509_certificate((custodian.folder / CERTIFICATE_FILE).read_bytes())
    diary.write("begin", certificate.fingerprint(hashes.SHA256()).hex())
    folder = place(home, custodian, errand.release_id).parent / f".partial-{errand.release_id}"
    try:
        with Client.to(custodian, home, address=errand.address) as client:
            _watch(client, diary, folder)
            pipeline.pull(home, custodian, client, errand.release_id)
    except StimsetError as error:
        diary.write("end", type(error).__name__, str(error).replace("\n", " "))
    else:
        diary.write("end", "verified", f"{_peak_mib():.1f}")
    sys.stdout.flush()
    os._exit(0)  # a forked process: nothing of the parent's is to be tidied up


def _watch(client: Client, diary: Diary, folder: Path) -> None:
    """Write down every call that the log of decisions knows as 'serve'."""
    read, ask = client._read_file, client._stub.GetRelease

    def read_file(request: Any, **options: Any) -> _Watched:
        path = folder / request.file_name
        held = path.stat().st_size if path.exists() else 0
        words = request.file_name, request.offset, request.limit
        diary.write("ask", *words, held)
        return _Watched(read(request, **options), lambda: diary.write("got", *words))

    def get_release(request: Any, **options: Any) -> Any:
        diary.write("ask", ENVELOPE_FILE, 0, 0, 0)
        answer = ask(request, **options)
        diary.write("got", ENVELOPE_FILE, 0, 0)
        return answer

    client._read_file, client._stub.GetRelease = read_file, get_release


class _Watched:
    """A call whose first piece is written down."""

    def __init__(self, call: Any, on_first: Callable[[], None]) -> None:
        self._call, self._on_first = call, on_first

    def __iter__(self) -> Iterator[memoryview]:
        for number, piece in enumerate(self._call):
            if not number:
                self._on_first()
            yield piece

    def cancel(self) -> None:
        self._call.cancel()


def _peak_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
