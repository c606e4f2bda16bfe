"""The partners' table, and the table of what errors become."""

from __future__ import annotations

import stat
import threading

import grpc
import pytest

import stimset.errors
import wire_world
from custodian.config import Home
from custodian.service import pki, status
from custodian.state.database import Partners
from stimset.errors import ConfigError, StimsetError


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return pki.create_authority(tmp_path_factory.mktemp("tls"), "Test Hospital")


@pytest.fixture
def table(tmp_path):
    opened = Partners.open(Home(tmp_path))
    yield opened
    opened.close()


def leaf(authority):
    return wire_world.certificate(authority, wire_world.new_key())


def test_a_partner_is_found_by_its_certificate(table, authority, tmp_path):
    certificate = leaf(authority)
    added = table.add("acme", certificate, ("apnea-*", "sleep"))
    other = Partners.open(Home(tmp_path))
    assert other.by_fingerprint(added.fingerprint) == added
    assert added.expires == certificate.not_valid_after_utc.replace(microsecond=0)
    assert other.by_fingerprint("00" * 32) is None
    assert [added.sees(s) for s in ("apnea-nights", "sleep", "sleeper", "apnea")] == [True, True, False, False]


def test_it_is_private_on_disk(table, authority, tmp_path):
    table.add("acme", leaf(authority))
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


def test_a_name_has_one_live_certificate(table, authority):
    table.add("acme", leaf(authority))
    with pytest.raises(ConfigError, match="certificate already"):
        table.add("acme", leaf(authority))
    revoked = table.revoke("acme")
    assert revoked.revoked_at is not None
    with pytest.raises(ConfigError, match="no valid certificate"):
        table.revoke("acme")
    again = table.add("acme", leaf(authority), ("sleep",))
    assert again.revoked_at is None
    assert [p.revoked_at is None for p in table.list()] == [False, True]
    assert table.by_fingerprint(revoked.fingerprint).revoked_at is not None


def test_grants_are_replaced(table, authority):
    added = table.add("acme", leaf(authority), ("a", "b"))
    assert table.grant("acme", ("b", "c")).grants == ("b", "c")
    assert table.by_fingerprint(added.fingerprint).grants == ("b", "c")


@pytest.mark.parametrize("series", [(), ("",), ("A",), ("a b",), ("[a-z]",), ("a?",), ("x" * 129,), ("a",) * 101])
def test_grants_that_are_refused(table, authority, series):
    with pytest.raises(ConfigError):
        table.add("acme", leaf(authority), series)
    assert table.list() == ()


def test_a_revocation_is_seen_while_others_read(table, authority, tmp_path):
    fingerprint = table.add("acme", leaf(authority)).fingerprint
    reader = Partners.open(Home(tmp_path))
    errors: list[BaseException] = []

    def read():
        try:
            while reader.by_fingerprint(fingerprint).revoked_at is None:
                pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    table.revoke("acme")
    for thread in threads:
        thread.join(10)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)
    reader.close()


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is no database, but long enough to be read as one" * 100)
    with pytest.raises(ConfigError, match="not Stimset's") as caught:
        Partners.open(Home(tmp_path))
    assert "\n" not in str(caught.value)


PUBLIC = (status.BadRequest, status.Busy, status.TooSlow, status.ModelRefused, status.EvaluationDenied)


def _tree(kind=StimsetError):
    yield kind
    for each in kind.__subclasses__():
        yield from _tree(each)


@pytest.mark.parametrize("kind", sorted(set(_tree()), key=lambda k: k.__qualname__))
def test_every_error_has_an_answer_without_its_detail(kind):
    code, text = status.answer(kind("patient Jane Doe, /secret/path"))
    assert isinstance(code, grpc.StatusCode)
    assert code is not grpc.StatusCode.OK
    # These are raised with a text that is written for partners; each says so in its docstring.
    public = issubclass(kind, PUBLIC)
    assert not public or "sent to the partner" in (kind.__doc__ or "")
    assert ("Jane" in text) == public
    assert "\n" not in text


def test_the_table_names_no_error_twice_and_covers_the_tree():
    named = {
        kind for kind in vars(stimset.errors).values() if isinstance(kind, type) and issubclass(kind, StimsetError)
    }
    assert StimsetError in status.TABLE
    assert all(any(base in status.TABLE for base in kind.__mro__) for kind in named)
