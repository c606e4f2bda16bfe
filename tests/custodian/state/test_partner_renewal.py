"""A partner's certificates over time, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import wire_world
from custodian.service import pki
from custodian.state.database import Partners
from custodian.state.log import length, records
from stimset.errors import ConfigError

OVERLAP = timedelta(days=14)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return pki.create_authority(tmp_path_factory.mktemp("tls"), "Test Hospital")


@pytest.fixture
def leaf(authority):
    return lambda **choices: wire_world.certificate(authority, wire_world.new_key(), **choices)


@pytest.fixture
def table(database):
    return Partners(database)


def test_both_are_good_for_a_while_with_the_same_grants(table, leaf):
    former = table.add("acme", leaf(ends=datetime.now(UTC) + timedelta(days=100)), ("apnea-*", "sleep"))
    present = table.renew("acme", leaf(), OVERLAP)
    assert present.grants == former.grants
    old = table.by_fingerprint(former.fingerprint)
    assert not old.revoked()
    assert old.revoked(datetime.now(UTC) + OVERLAP)
    assert [name for name, _ in table.certificates()] == ["acme", "acme"]


def test_a_certificate_does_not_live_beyond_its_own_end(table, leaf):
    former = table.add("acme", leaf(ends=datetime.now(UTC) + timedelta(days=2)))
    table.renew("acme", leaf(), OVERLAP)
    assert table.by_fingerprint(former.fingerprint).revoked_at == former.expires


def test_no_overlap_at_all(table, leaf):
    former = table.add("acme", leaf())
    table.renew("acme", leaf(), timedelta(0))
    assert table.by_fingerprint(former.fingerprint).revoked()
    assert len(table.certificates()) == 1


def test_a_third_one_while_the_first_still_holds_and_then_none(table, leaf):
    table.add("acme", leaf(ends=datetime.now(UTC) + timedelta(days=100)))
    for _ in range(2):
        table.renew("acme", leaf(ends=datetime.now(UTC) + timedelta(days=100)), OVERLAP)
    assert len(table.certificates()) == 3
    table.grant("acme", ("sleep",))
    table.revoke("acme")
    assert table.certificates() == ()
    assert all(partner.revoked() for partner in table.list())
    assert table.add("acme", leaf()).revoked_at is None  # the name is free again


def test_what_is_refused_leaves_everything_as_it_was(table, leaf):
    certificate = leaf()
    table.add("acme", certificate)
    before = table.list()
    with pytest.raises(ConfigError, match="already"):
        table.renew("acme", certificate, OVERLAP)
    with pytest.raises(ConfigError, match="no valid certificate"):
        table.renew("other", leaf(), OVERLAP)
    assert table.list() == before


def test_every_change_is_one_decision_without_a_name(table, database, leaf):
    table.add("acme", leaf())
    table.renew("acme", leaf(), OVERLAP)
    table.revoke("acme")
    with database.reading() as session:
        texts = [row.record for row in records(session)]
        assert length(session) == 4  # enrol, recertify, revoke, revoke
    assert '"event":"recertify"' in texts[1].replace(" ", "")
    assert '"hours":336' in texts[1].replace(" ", "")
    assert not [text for text in texts if "acme" in text]
