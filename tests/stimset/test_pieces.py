"""A piece's plain bytes against protobuf's own, in both directions."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from stimset.pieces import PIECE_BYTES, framed, unframed
from stimset.v1 import release_service_pb2 as pb

SIZES = (0, 1, 127, 128, 16383, 16384, 2**20 - 1, PIECE_BYTES)


@given(st.binary(max_size=400))
def test_written_as_protobuf_writes_it(data):
    message = pb.ReadFileResponse(data=data).SerializeToString()
    assert framed(data) == framed(memoryview(data)) == message
    assert bytes(unframed(message)) == data


@pytest.mark.parametrize("size", SIZES)
def test_every_length_of_the_length(size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    message = framed(data)
    assert pb.ReadFileResponse.FromString(message).data == data
    assert unframed(message) == data


def test_a_piece_is_not_copied():
    message = framed(b"x" * 1000)
    assert unframed(message).obj is message


@given(st.binary(max_size=60))
def test_read_as_protobuf_reads_it_or_refused_as_it_refuses(message):
    try:
        wanted = pb.ReadFileResponse.FromString(message).data
    except DecodeError:
        with pytest.raises(DecodeError):
            unframed(message)
    else:
        assert unframed(message) == wanted


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x83\x00abc",  # a length that is longer than it need be
        b"\x0a\x03abc\x10\x01",  # a field that a later version may add
        b"\x10\x01\x0a\x03abc",
        b"\x0a\x01x\x0a\x03abc",  # the last one holds
    ],
)
def test_what_protobuf_allows_besides_is_left_to_it(message):
    assert unframed(message) == b"abc"
