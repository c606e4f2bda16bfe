"""A file on its way in: appended to what is there, hashed while the next piece comes, synced once it is whole.

Usage::

    with Arrival(path) as arrival:
        arrival.append(piece)       # from arrival.have on
        arrival.finish()            # SHA-256 (hex); from here on it survives a power cut
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

HASH_BLOCK = 256 << 10
_WORTH_A_THREAD = 64 << 10


class Arrival:
    """A file that is being appended to, and the digest of all of it.

    Hashing runs in a thread of its own, one piece behind the writing, so no more than two pieces are held. What lay there before is read
    once, by that thread. The digest is of the bytes that were handed to the disk; `stimset.verifying` reads them from there.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self.have = self._file.tell()
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._behind: Future[None] | None = self._pool.submit(self._hash_held, self.have) if self.have else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._file.close()

    def append(self, data: bytes | memoryview) -> None:
        """Add the next bytes.

        Raises:
            OSError: the disk does not take them; `have` says how many it took.
        """
        rest = memoryview(data)
        while rest:  # a disk that is nearly full takes a part
            taken = self._file.write(rest) or 0
            self.have += taken
            rest = rest[taken:]
        if self._behind is None and len(data) < _WORTH_A_THREAD:
            self._digest.update(data)
            return
        self._settle()
        self._behind = self._pool.submit(self._digest.update, data)

    def finish(self) -> str:
        """Put it on the disk for good; its SHA-256 (hex).

        Raises:
            OSError: the disk does not take it.
        """
        os.fsync(self._file.fileno())
        self._settle()
        return self._digest.hexdigest()

    def _settle(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.result()

    def _hash_held(self, size: int) -> None:
        with self.path.open("rb", buffering=0) as file:
            while size and (block := file.read(min(HASH_BLOCK, size))):
                self._digest.update(block)
                size -= len(block)
