"""A file's range as messages: complete, bounded, and the same whether the page cache or the disk brings it."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodian.service import reading
from stimset.pieces import PIECE_BYTES
from stimset.v1 import release_service_pb2 as pb

DATA = os.urandom(2 * PIECE_BYTES + 777)


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory):
    path = tmp_path_factory.mktemp("reading") / "file"
    path.write_bytes(DATA)
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


def _read(descriptor: int, position: int, end: int) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [pb.ReadFileResponse.FromString(m).data async for m in reading.pieces(descriptor, position, end)]

    return asyncio.run(collect())


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_a_range_is_whole_and_its_messages_bounded(descriptor, one, other):
    position, end = sorted((one, other))
    found = _read(descriptor, position, end)
    assert b"".join(found) == DATA[position:end]
    assert all(0 < len(piece) <= PIECE_BYTES for piece in found)


@pytest.mark.parametrize("nowait", [None, 1 << 20])
def test_a_system_that_can_not_tell_reads_by_a_thread(descriptor, monkeypatch, nowait):
    monkeypatch.setattr(reading, "_NOWAIT", nowait)  # none, and a flag that no kernel knows
    assert b"".join(_read(descriptor, 5, len(DATA))) == DATA[5:]


def test_a_file_that_became_shorter_ends_early(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    with (tmp_path / "short").open("rb") as file:
        assert _read(file.fileno(), 1, 1000) == [b"bc"]
