"""What examiner and sandbox say to each other over pipes: a kind, a length, bytes. Nothing is ever read as code."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

HEAD: Final = struct.Struct("<cI")

# To the sandbox.
SHAPE, MODEL, WINDOWS = b"S", b"M", b"W"
# From the sandbox.
CONFINED, READY, REFUSED, ANSWERS = b"C", b"R", b"N", b"A"

MAX_TEXT_BYTES = 2000


def packed(kind: bytes, data: bytes) -> bytes:
    """One frame."""
    return HEAD.pack(kind, len(data)) + data


def read(source: BinaryIO) -> tuple[bytes, bytes] | None:
    """The next frame of a blocking stream; None at its end."""
    head = source.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, length = HEAD.unpack(head)
    data = source.read(length)
    return (kind, data) if len(data) == length else None
