"""A range of a file, piece by piece, for the event loop.

What lies in the page cache is read at once (``RWF_NOWAIT``): a thread's hand-over for each MiB would cost a tenth of the daemon's work.
What the disk must bring is read by a thread, so that one slow disk read stops nobody else's call.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

from stimset.pieces import PIECE_BYTES, framed

_NOWAIT = getattr(os, "RWF_NOWAIT", None)  # Linux


async def pieces(descriptor: int, position: int, end: int) -> AsyncGenerator[bytes, None]:
    """The file's bytes from `position` to `end` as messages of 1 byte to 1 MiB; it ends early where the file does.

    One buffer of 1 MiB is held, however slowly the messages are taken.
    """
    buffer = bytearray(min(PIECE_BYTES, end - position))
    while position < end:
        room = memoryview(buffer)[: end - position]
        count = _cached(descriptor, room, position)
        if count is None:
            count = await asyncio.to_thread(os.preadv, descriptor, [room], position)
        if not count:
            return
        position += count
        yield framed(room[:count])


def _cached(descriptor: int, room: memoryview, position: int) -> int | None:
    """Read what needs no waiting; None where the disk is needed, or where the file system can't tell."""
    if _NOWAIT is None:
        return None
    try:
        return os.preadv(descriptor, [room], position, _NOWAIT) or None
    except OSError:  # EAGAIN, EOPNOTSUPP; a real fault shows itself in the thread
        return None
