"""Pieces of a model on their way in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custodian.config import Home
from custodian.evaluation.limits import MAX_MODEL_BYTES, EvaluationDenied, ModelRefused
from custodian.evaluation.receiving import PIECE_BYTES, Incoming
from custodian.state.database import Partner

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = bytes(range(256)) * 20
DIGEST = hashlib.sha256(MODEL).hexdigest()


def partner(fingerprint: str = "ab" * 32) -> Partner:
    return Partner("acme", fingerprint, NOW, NOW, None, ("*",))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(MODEL) - 1), max_size=8, unique=True).map(sorted))
def test_any_cutting_arrives_whole(tmp_path, cuts):
    incoming = Incoming(Home(tmp_path))
    for start, end in zip([0, *cuts], [*cuts, len(MODEL)], strict=True):
        assert incoming.add(partner(), DIGEST, len(MODEL), start, MODEL[start:end]) == end
    assert incoming.whole(partner(), DIGEST).read_bytes() == MODEL
    assert incoming.path(partner()).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("sha256", "size", "offset", "data"),
    [
        ("../../../etc/passwd", 10, 0, b"x"), (DIGEST.upper(), 10, 0, b"x"), (DIGEST, 0, 0, b"x"), (DIGEST, MAX_MODEL_BYTES + 1, 0, b"x"),
        (DIGEST, 10, 0, b""), (DIGEST, 10, 5, b"123456"), (DIGEST, 10, -1, b"x"), (DIGEST, 10, 1, b"x"),
        (DIGEST, MAX_MODEL_BYTES, 0, bytes(PIECE_BYTES + 1)),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(tmp_path, sha256, size, offset, data):
    with pytest.raises(ModelRefused):
        Incoming(Home(tmp_path)).add(partner(), sha256, size, offset, data)


def test_a_changed_model_is_thrown_away_and_a_new_one_replaces_the_old(tmp_path):
    incoming = Incoming(Home(tmp_path))
    with pytest.raises(ModelRefused, match="another digest"):
        incoming.add(partner(), DIGEST, len(MODEL), 0, MODEL[:-1] + b"!")
    assert not incoming.path(partner()).exists()
    incoming.add(partner(), DIGEST, len(MODEL), 0, MODEL[:100])
    other = b"another"
    incoming.add(partner(), hashlib.sha256(other).hexdigest(), len(other), 0, other)
    with pytest.raises(EvaluationDenied):
        incoming.whole(partner(), DIGEST)
    assert incoming.whole(partner(), hashlib.sha256(other).hexdigest()).read_bytes() == other


def test_a_piece_that_comes_again_changes_nothing(tmp_path):
    incoming = Incoming(Home(tmp_path))
    cuts = (0, 2000, 4000, len(MODEL))
    for start, end in pairwise(cuts):
        for _ in range(2):
            assert incoming.add(partner(), DIGEST, len(MODEL), start, MODEL[start:end]) == end
    assert incoming.whole(partner(), DIGEST).read_bytes() == MODEL
    with pytest.raises(ModelRefused, match="bytes are here"):
        incoming.add(partner(), DIGEST, len(MODEL), 2000, b"another")
    assert incoming.whole(partner(), DIGEST).read_bytes() == MODEL


def test_partners_do_not_meet(tmp_path):
    incoming = Incoming(Home(tmp_path))
    incoming.add(partner(), DIGEST, len(MODEL), 0, MODEL)
    with pytest.raises(EvaluationDenied):
        incoming.whole(partner("cd" * 32), DIGEST)
