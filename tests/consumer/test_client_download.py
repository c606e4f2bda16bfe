"""Fetching over a line that breaks, from a custodian that may lie: a scripted source stands for the other side."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_release
from consumer import download
from consumer.download import Interrupted, RetryPolicy, fetch, ignore, pull
from stimset.errors import (
    ConfigError,
    ContentMismatch,
    FileTruncated,
    FormatError,
    TransportError,
    UnknownSigner,
)
from stimset.release import ENVELOPE_FILE, FileEntry

EAGER = RetryPolicy(attempts=3, first_wait_s=0.0, longest_wait_s=0.0, least_bytes=1)


class Line:
    """Serves bytes, and breaks off after each number of bytes in `breaks`; remembers every byte that it sent."""

    def __init__(self, files: dict[str, bytes], breaks=(), chunk=7):
        self.files, self.breaks, self.chunk = files, list(breaks), chunk
        self.sent: list[tuple[int, int]] = []

    def envelope(self, release_id):
        return self.files[ENVELOPE_FILE]

    def read(self, release_id, name, offset, limit):
        stop = self.breaks.pop(0) if self.breaks else None
        data = self.files[name][offset : offset + limit]
        for start in range(0, len(data), self.chunk):
            piece = data[start : start + self.chunk]
            if stop is not None and start + len(piece) > stop:
                raise Interrupted("cut")
            self.sent.append((offset + start, len(piece)))
            yield piece


def entry_of(data, name="file.bin"):
    return FileEntry(name, hashlib.sha256(data).hexdigest(), len(data))


@given(
    data=st.binary(max_size=300),
    breaks=st.lists(st.integers(7, 120), max_size=20),
    before=st.integers(0, 300),
    chunk=st.integers(1, 7),
)
def test_nothing_is_read_twice_however_the_line_breaks(tmp_path_factory, data, breaks, before, chunk):
    folder = tmp_path_factory.mktemp("f")
    before = min(before, len(data))
    (folder / "file.bin").write_bytes(data[:before])
    line = Line({"file.bin": data}, breaks, chunk)
    fetch(line, "r-0001", entry_of(data), folder, EAGER, lambda size: None)
    assert (folder / "file.bin").read_bytes() == data
    position = before
    for offset, size in line.sent:
        assert offset == position
        position += size
    assert position == len(data)


def test_a_poisoned_partial_is_deleted_and_read_once_more(tmp_path):
    data = b"0123456789" * 10
    (tmp_path / "file.bin").write_bytes(b"x" * 50)
    line = Line({"file.bin": data})
    fetch(line, "r-0001", entry_of(data), tmp_path, EAGER, lambda size: None)
    assert (tmp_path / "file.bin").read_bytes() == data
    assert sum(size for _, size in line.sent) == 50 + 100


def test_a_partial_that_is_too_long_is_begun_anew(tmp_path):
    data = b"0123456789"
    (tmp_path / "file.bin").write_bytes(data + b"more")
    fetch(Line({"file.bin": data}), "r-0001", entry_of(data), tmp_path, EAGER, lambda size: None)
    assert (tmp_path / "file.bin").read_bytes() == data


def test_a_link_in_the_partials_place_is_not_followed(tmp_path):
    data, outside = b"0123456789", tmp_path / "outside"
    outside.write_bytes(b"")
    (tmp_path / "file.bin").symlink_to(outside)
    fetch(Line({"file.bin": data}), "r-0001", entry_of(data), tmp_path, EAGER, lambda size: None)
    assert outside.read_bytes() == b""


def test_other_bytes_than_signed(tmp_path):
    signed, sent = b"a" * 100, b"b" * 100
    line = Line({"file.bin": sent})
    with pytest.raises(ContentMismatch, match=r"file\.bin"):
        fetch(line, "r-0001", entry_of(signed), tmp_path, EAGER, lambda size: None)
    assert sum(size for _, size in line.sent) == 200
    assert not (tmp_path / "file.bin").exists()


def test_fewer_bytes_than_signed(tmp_path):
    with pytest.raises(FileTruncated, match="60 of the signed 100"):
        fetch(Line({"file.bin": b"a" * 60}), "r-0001", entry_of(b"a" * 100), tmp_path, EAGER, lambda size: None)


def test_more_bytes_than_signed(tmp_path):
    class Flood(Line):
        def read(self, release_id, name, offset, limit):
            while True:
                yield b"a" * 64

    with pytest.raises(ContentMismatch, match="more comes than"):
        fetch(Flood({}), "r-0001", entry_of(b"a" * 100), tmp_path, EAGER, lambda size: None)
    assert (tmp_path / "file.bin").stat().st_size <= 100


def test_a_trickle_does_not_hold_us(tmp_path):
    class Trickle(Line):
        def read(self, release_id, name, offset, limit):
            self.sent.append((offset, 1))
            yield b"a"
            raise Interrupted("cut")

    line = Trickle({})
    policy = RetryPolicy(attempts=3, first_wait_s=0.0, longest_wait_s=0.0, least_bytes=2)
    with pytest.raises(TransportError, match="kept"):
        fetch(line, "r-0001", entry_of(b"a" * 100), tmp_path, policy, lambda size: None)
    assert len(line.sent) == 3
    assert (tmp_path / "file.bin").read_bytes() == b"aaa"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 256])
def test_names_that_would_leave_the_folder(tmp_path, name):
    with pytest.raises(FormatError):
        fetch(Line({name: b"a"}), "r-0001", entry_of(b"a", name), tmp_path, EAGER, lambda size: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_release.make(tmp_path_factory.mktemp("custodian"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestPull:
    def test_what_arrives_is_what_was_published(self, made, tmp_path):
        seen = []
        destination = tmp_path / made.folder.name
        release = pull(
            Line(files_of(made.folder), breaks=[7, 14, 21], chunk=7),
            made.folder.name,
            destination,
            made.root,
            lambda done, total, file: seen.append((done, total)),
            EAGER,
        )
        assert release.folder == destination
        assert files_of(destination) == files_of(made.folder)
        assert seen[-1][0] == seen[-1][1] == sum(e.size for e in release.statement.subjects)
        assert [p.name for p in tmp_path.iterdir()] == [destination.name]

    def test_a_second_pull_fetches_nothing(self, made, tmp_path):
        destination = made.copy(tmp_path / made.folder.name)
        assert pull(Line({}), made.folder.name, destination, made.root, ignore, EAGER).id == made.folder.name

    def test_a_damaged_copy_is_told_of_not_replaced(self, made, tmp_path):
        destination = made.copy(tmp_path / made.folder.name)
        (destination / "card.json").write_bytes(b"{}")
        with pytest.raises(ContentMismatch):
            pull(Line(files_of(made.folder)), made.folder.name, destination, made.root, ignore, EAGER)

    def test_an_envelope_of_other_signers_is_refused_before_any_file(self, made, tmp_path):
        impostor = tiny_release.make(tmp_path / "impostor")
        line = Line(files_of(impostor.folder))
        with pytest.raises(UnknownSigner):
            pull(line, made.folder.name, tmp_path / made.folder.name, made.root, ignore, EAGER)
        assert line.sent == []
        assert not (tmp_path / f".partial-{made.folder.name}").exists()

    def test_another_release_than_asked_for_is_refused(self, made, tmp_path):
        with pytest.raises(ContentMismatch, match="asked for"):
            pull(Line(files_of(made.folder)), "tiny-0002", tmp_path / "tiny-0002", made.root, ignore, EAGER)

    def test_a_tampered_shard_never_gets_the_name(self, made, tmp_path):
        files = files_of(made.folder)
        name = next(n for n in files if n.endswith(".safetensors"))
        files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
        with pytest.raises(ContentMismatch, match=name):
            pull(Line(files), made.folder.name, tmp_path / made.folder.name, made.root, ignore, EAGER)
        assert not (tmp_path / made.folder.name).exists()

    def test_leftovers_of_another_signing_are_dropped(self, made, tmp_path):
        partial = tmp_path / f".partial-{made.folder.name}"
        (partial / "folder").mkdir(parents=True)
        (partial / "old.safetensors").write_bytes(b"old")
        pull(Line(files_of(made.folder)), made.folder.name, tmp_path / made.folder.name, made.root, ignore, EAGER)
        assert files_of(tmp_path / made.folder.name) == files_of(made.folder)

    def test_two_pulls_of_one_release(self, made, tmp_path):
        destination = tmp_path / made.folder.name

        class Nested(Line):
            def envelope(self, release_id):
                with pytest.raises(ConfigError, match="another pull"):
                    pull(Line(self.files), release_id, destination, made.root, ignore, EAGER)
                return super().envelope(release_id)

        pull(Nested(files_of(made.folder)), made.folder.name, destination, made.root, ignore, EAGER)

    def test_a_full_disk_is_said_before_anything_is_fetched(self, made, tmp_path, monkeypatch):
        monkeypatch.setattr(download, "SPARE_BYTES", 1 << 62)
        line = Line(files_of(made.folder))
        with pytest.raises(ConfigError, match="make room"):
            pull(line, made.folder.name, tmp_path / made.folder.name, made.root, ignore, EAGER)
        assert line.sent == []

    @pytest.mark.parametrize("release_id", ["../x", "", "A", "x" * 129])
    def test_release_ids_that_would_leave_the_folder(self, made, tmp_path, release_id):
        with pytest.raises(FormatError):
            pull(Line({}), release_id, tmp_path / "x", made.root, ignore, EAGER)
