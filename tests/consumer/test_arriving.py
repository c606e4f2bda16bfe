"""A file on its way in: its digest is that of all of it, and a disk that is full is told."""

from __future__ import annotations

import hashlib
import resource
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.arriving import Arrival
from consumer.download import RetryPolicy, fetch, pull
from stimset.errors import ConfigError
from stimset.release import ENVELOPE_FILE, FileEntry


@given(before=st.binary(max_size=200), pieces=st.lists(st.binary(max_size=100), max_size=8), large=st.booleans())
def test_the_digest_is_that_of_the_file(tmp_path_factory, before, pieces, large):
    path = tmp_path_factory.mktemp("a") / "file"
    path.write_bytes(before)
    sent = [piece * 2000 if large else piece for piece in pieces]
    with Arrival(path) as arrival:
        assert arrival.have == len(before)
        for piece in sent:
            arrival.append(memoryview(piece))
        digest = arrival.finish()
    assert path.read_bytes() == before + b"".join(sent)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def small_files():
    """No file may have more than 1000 bytes, as on a disk with no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_takes_a_part_of_a_piece(tmp_path, small_files):
    data = bytes(range(250)) * 8
    with pytest.raises(OSError), Arrival(tmp_path / "file") as arrival:
        arrival.append(data[:700])
        arrival.append(data[700:])
    assert arrival.have == 1000
    assert (tmp_path / "file").read_bytes() == data[:1000]


class _Source:
    """Sends what it has, whole."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked = files, []

    def envelope(self, release_id: str) -> bytes:
        return self.files[ENVELOPE_FILE]

    def read(self, release_id, name, offset, limit):
        self.asked.append((name, offset))
        yield self.files[name][offset : offset + limit]


def test_a_full_disk_ends_a_pull_with_one_line_and_the_next_goes_on(tmp_path, request):
    import tiny_release

    made = tiny_release.make(tmp_path / "home", shards=(300,))
    source = _Source({path.name: path.read_bytes() for path in made.folder.iterdir()})
    there = tmp_path / "there" / made.folder.name
    large = max((path for path in made.folder.iterdir()), key=lambda path: path.stat().st_size)
    assert large.stat().st_size > 1000
    request.getfixturevalue("small_files")
    with pytest.raises(ConfigError, match="is full; make room and pull again, what was fetched is kept"):
        pull(source, made.folder.name, there, made.root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    held = {path.name: path.stat().st_size for path in (there.parent / f".partial-{made.folder.name}").iterdir()}
    source.asked.clear()
    assert pull(source, made.folder.name, there, made.root).folder == there
    assert all(offset >= held.get(name, 0) for name, offset in source.asked)


def test_a_file_that_was_here_whole_is_hashed_not_asked_for(tmp_path):
    data = b"abc" * 100_000
    (tmp_path / "file").write_bytes(data)
    source = _Source({})
    entry = FileEntry("file", hashlib.sha256(data).hexdigest(), len(data))
    fetch(source, "r-0001", entry, tmp_path, RetryPolicy(), lambda size: None)
    assert source.asked == []
