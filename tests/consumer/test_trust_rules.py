"""One id, one content; a series never goes back."""

from __future__ import annotations

import pytest

from consumer.trust import Seen
from stimset.errors import ContentMismatch, FormatError, RollbackRefused
from stimset.verifying import VerifiedRelease, verify
from tiny_release import make


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> list[VerifiedRelease]:
    root = tmp_path_factory.mktemp("trust") / "home"
    first = make(root)
    made = [first, make(root, home=first.home), make(root, home=first.home, name="other")]
    return [verify(tiny.folder, tiny.root) for tiny in made]


def test_forward_is_fine_and_back_is_refused(releases):
    first, second, other = releases
    seen = Seen().accept(first).accept(second).accept(other)
    assert dict(seen.highest) == {"tiny": 2, "other": 1}
    seen.check(second)
    seen.check(first)  # known already: a copy that is held is no rollback
    late = Seen().accept(second)
    with pytest.raises(RollbackRefused, match="tiny-0002"):
        late.check(first)
    with pytest.raises(RollbackRefused):
        late.accept(first)
    assert dict(late.accept(first, deliberate=True).highest) == {"tiny": 2}


def test_one_id_has_one_content(releases, tmp_path):
    twin = make(tmp_path / "home", shards=(4,))
    other = verify(twin.folder, twin.root)
    assert other.id == releases[0].id
    for deliberate in (False, True):
        with pytest.raises(ContentMismatch, match="other content"):
            Seen().accept(releases[0]).check(other, deliberate=deliberate)


def test_what_was_seen_survives_as_json(releases):
    seen = Seen().accept(releases[0])
    assert Seen.from_document(seen.to_document()) == seen
    with pytest.raises(TypeError):
        seen.highest["tiny"] = 9
    for bent in ({}, {"highest": {"a": 0}, "statements": {}}, {"highest": {}, "statements": {"a": "x"}}, None):
        with pytest.raises(FormatError):
            Seen.from_document(bent)
