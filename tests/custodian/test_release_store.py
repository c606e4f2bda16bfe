"""The store: what is listed, what is served, and that no name from outside reaches the disk."""

from __future__ import annotations

import hashlib

import pytest

from custodian.publish.store import ReleaseStore, UnknownRelease
from stimset.errors import FormatError
from tiny_release import NOW, TinyRelease, make


@pytest.fixture
def tiny(tmp_path) -> TinyRelease:
    first = make(tmp_path / "home", now=NOW, name="b")
    make(first.home.root, home=first.home, now=NOW, name="a")
    make(first.home.root, home=first.home, now=NOW, name="b")
    return first


def test_an_empty_store(tmp_path):
    assert ReleaseStore(tmp_path / "none").list() == ()


def test_list_and_files(tiny):
    store = ReleaseStore(tiny.home.releases)
    summaries = store.list()
    assert [s.release_id for s in summaries] == ["a-0001", "b-0001", "b-0002"]
    assert store.broken() == {}
    summary = store.summary("b-0001")
    assert (summary.name, summary.sequence, summary.stimuli, summary.simulated) == ("b", 1, 5, True)
    assert summary.bytes == sum(p.stat().st_size for p in tiny.folder.iterdir())
    assert summary.statement_sha256 == hashlib.sha256((tiny.folder / "statement.json").read_bytes()).hexdigest()
    assert summary.signed_by == tiny.release.signed_by
    assert store.files("b-0001") == tiny.release.statement.subjects
    for name in (*(f.name for f in store.files("b-0001")), "statement.json", "provenance.dsse.json"):
        assert store.path("b-0001", name) == tiny.folder / name


@pytest.mark.parametrize(
    "release_id", ["", ".", "..", "../releases", ".series", "b-0001/", "B-0001", "b-0009", "b\0", "x" * 5000]
)
def test_unknown_releases(tiny, release_id):
    store = ReleaseStore(tiny.home.releases)
    for call in (store.files, store.summary, store.statement, lambda r: store.path(r, "card.json")):
        with pytest.raises(UnknownRelease):
            call(release_id)


@pytest.mark.parametrize(
    "file", ["", ".", "..", "../b-0002/card.json", "/etc/hostname", "card.json/", "x", "card.json\0", "./card.json"]
)
def test_unknown_files(tiny, file):
    with pytest.raises(UnknownRelease):
        ReleaseStore(tiny.home.releases).path("b-0001", file)


def test_links_are_not_followed(tiny, tmp_path):
    store = ReleaseStore(tiny.home.releases)
    (tmp_path / "secret").write_text("x")
    (tiny.folder / "card.json").unlink()
    (tiny.folder / "card.json").symlink_to(tmp_path / "secret")
    with pytest.raises(UnknownRelease, match="lost"):
        store.path("b-0001", "card.json")
    (tiny.home.releases / "c-0001").symlink_to(tiny.folder)
    assert "c-0001" not in {s.release_id for s in store.list()}


def test_a_damaged_folder_is_served_to_nobody(tiny):
    releases = tiny.home.releases
    (releases / "junk").mkdir()
    tiny.folder.rename(releases / "z-0001")
    store = ReleaseStore(releases)
    assert [s.release_id for s in store.list()] == ["a-0001", "b-0002"]
    assert set(store.broken()) == {"junk", "z-0001"}
    with pytest.raises(FormatError):
        store.files("z-0001")


def test_a_release_that_is_removed_disappears(tiny):
    store = ReleaseStore(tiny.home.releases)
    assert len(store.list()) == 3
    tiny.folder.rename(tiny.home.root / "moved")
    assert len(store.list()) == 2
    with pytest.raises(UnknownRelease):
        store.path("b-0001", "card.json")
