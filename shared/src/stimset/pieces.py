"""A piece of a file as the wire carries it: protobuf's bytes for ``ReadFileResponse``, without protobuf's copies.

The message has one field, ``data``. On the wire that is one tag, a length and the data, so joining the two makes it and a view into it
reads it; protobuf's own objects would copy each piece twice more on either side.
The format is protobuf's encoding guide, "message structure"; anything else that the guide allows is left to protobuf's parser.
"""

from __future__ import annotations

from stimset.v1 import release_service_pb2 as pb

PIECE_BYTES = 1 << 20
_TAG = 0x0A  # field 1, of wire type 2: a length, then so many bytes
_LONGEST_LENGTH = 5  # a message stays below 4 GiB, so its length below five groups of seven bits


def framed(data: bytes | memoryview) -> bytes:
    """The message with this data; none is an empty message, as protobuf writes it."""
    return b"".join((_head(len(data)), data)) if len(data) else b""


def unframed(message: bytes) -> memoryview:
    """The data in a message: a view into it where it is of the plain form, else what protobuf finds.

    Raises:
        DecodeError: it is no ``ReadFileResponse``; gRPC turns it into a failed call.
    """
    size = shift = 0
    if message[:1] == b"\x0a":
        for position, byte in enumerate(message[1 : 1 + _LONGEST_LENGTH], 2):
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if len(message) - position == size:
                    return memoryview(message)[position:]
                break
    return memoryview(pb.ReadFileResponse.FromString(message).data)


def _head(size: int) -> bytes:
    head = bytearray([_TAG])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)
