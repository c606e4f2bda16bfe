"""The log finds whatever was done to it, says where, and takes nothing that could be a name."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from custodian.state import log
from custodian.state.engine import PASSWORD_VARIABLE, Database
from custodian.state.log import EVENTS, Entry, append, length, records, state
from custodian.state.witnesses import check_witness, checkpoint, newest_checkpoint, shown, verify
from stimset.errors import FormatError, LogForked, UnknownSigner
from stimset.merkle import check_consistency, leaf_hash
from stimset.signing import generate_key

SIGNER = generate_key()
KEYS = {SIGNER.keyid: SIGNER.public}


def add(database, count, release="apnea-0001"):
    with database.writing() as session:
        append(
            session,
            [
                Entry("serve", partner="ab" * 8, release=release, file="card.json", offset=0, bytes=i)
                for i in range(count)
            ],
        )


def tamper(database, *statements):
    """As somebody does who may change everything in the database, its triggers too."""
    with database.exclusive() as connection:
        if database.embedded:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            for name in names:
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            for table in ("log", "log_nodes", "log_checkpoints"):
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            connection.exec_driver_sql(statement)


def problems(database, home):
    return [(f.number, f.problem) for f in verify(database, home, KEYS)[1]]


@pytest.fixture
def filled(database, home):
    """23 records; checkpoints after 8, 20 and 23."""
    for count in (8, 12, 3):
        add(database, count)
        checkpoint(home, database, SIGNER)
    assert verify(database, home, KEYS) == (23, [])
    return database


def test_records_are_canonical_and_chained(filled):
    previous = log.NOTHING_BEFORE
    with filled.reading() as session:
        for number, row in enumerate(records(session)):
            document = json.loads(row.record)
            assert row.record == json.dumps(document, sort_keys=True, separators=(",", ":"))
            assert (document["number"], document["previous"], document["event"]) == (number, previous, "serve")
            previous = leaf_hash(row.record.encode()).hex()


def test_a_changed_record_is_named(filled, home):
    tamper(filled, "UPDATE log SET record = replace(record, '\"bytes\":3', '\"bytes\":4') WHERE number = 3")
    assert problems(filled, home)[0][0] == 3
    assert "record 3 was changed" in problems(filled, home)[0][1]


def test_a_removed_record_is_named(filled, home):
    tamper(filled, "DELETE FROM log WHERE number = 11")
    assert problems(filled, home)[0] == (11, "record 11 is missing; the next one is 12")


def test_records_that_changed_places_are_named(filled, home):
    swap = "UPDATE log SET number = {} WHERE number = {}"
    tamper(filled, swap.format(1000, 5), swap.format(5, 6), swap.format(6, 1000))
    assert [number for number, _ in problems(filled, home)][:2] == [5, 6]


def test_a_removed_tail_is_found(filled, home):
    tamper(filled, "DELETE FROM log WHERE number >= 21")
    assert (21, "record 21 and all after it were removed: the tree knows them") in problems(filled, home)


def truncate(size):
    return (
        f"DELETE FROM log WHERE number >= {size}",
        f"DELETE FROM log_nodes WHERE (position + 1) * power(2, level) > {size}",
        f"DELETE FROM log_checkpoints WHERE size > {size}",
    )


def test_a_tail_that_was_removed_with_every_trace_in_the_database(filled, home):
    """The newest checkpoint lies beside the database as well."""
    tamper(filled, *(s.replace("power(2, level)", "(1 << level)") if filled.embedded else s for s in truncate(20)))
    found = problems(filled, home)
    assert len(found) == 1
    assert "saw 23 records, the log has 20: record 20 and those after it were removed" in found[0][1]


def test_a_log_that_was_made_anew_does_not_pass(filled, home):
    """Whoever may write everything can forge a chain and a tree; not the checkpoints that the key signed."""
    with filled.reading() as session:
        witness = newest_checkpoint(session)
    tamper(filled, "DELETE FROM log", "DELETE FROM log_nodes")
    add(filled, 30)
    assert "it was rewritten" in problems(filled, home)[0][1]
    with pytest.raises(LogForked, match="rewritten"):
        check_witness(filled, witness, KEYS)


def test_only_what_comes_after_a_good_checkpoint_is_suspected(filled, home):
    statements = truncate(10)
    tamper(filled, *(s.replace("power(2, level)", "(1 << level)") if filled.embedded else s for s in statements[:2]))
    add(filled, 13, release="other-0001")
    assert {number for number, _ in problems(filled, home)} == {8}
    assert "the fault lies at record 8 or after it" in problems(filled, home)[0][1]


def test_a_changed_tree_is_found(filled, home):
    tamper(filled, "UPDATE log_nodes SET hash = repeat('0', 64) WHERE level = 2 AND position = 1" if not filled.embedded else
           "UPDATE log_nodes SET hash = printf('%064d', 0) WHERE level = 2 AND position = 1")  # fmt: skip
    assert (4, "the tree over records 4 to 7 was changed") in problems(filled, home)


def test_a_partner_is_shown_that_its_log_goes_on(filled):
    seen = {}
    for known in (8, 20, 23):
        with filled.reading() as session:
            row = session.execute(
                text("SELECT envelope FROM log_checkpoints WHERE size = :s"), {"s": known}
            ).scalar_one()
        seen[known] = check_witness(filled, row.encode(), KEYS)
    with filled.reading() as session:
        size, root = state(session)
    for known, witness in seen.items():
        _, proof = shown(filled, known)
        check_consistency(known, witness.root, size, root, proof)
    assert shown(filled, 0)[1] == shown(filled, 99)[1] == []


def test_a_strangers_checkpoint_is_no_witness(filled, home, tmp_path):
    stranger = generate_key()
    add(filled, 1)
    checkpoint(home, filled, stranger)
    with pytest.raises(UnknownSigner):
        check_witness(filled, home.checkpoint.read_bytes(), KEYS)
    assert "can't be believed" in problems(filled, home)[0][1]


def test_nothing_is_signed_twice(filled, home):
    assert checkpoint(home, filled, SIGNER) is None


def test_a_decision_with_a_key_is_recorded_once(database):
    entry = Entry("publish", once="publish:apnea-0001", release="apnea-0001")
    with database.writing() as session:
        assert append(session, [entry, entry]) == 1
    with database.writing() as session:
        assert append(session, [entry]) == 0
        assert length(session) == 1


@given(st.text(min_size=1).filter(lambda t: not re.fullmatch(r"[A-Za-z0-9*._:+/=-]{1,200}", t)))
def test_no_free_text(value):
    with pytest.raises(FormatError, match="free text"):
        Entry("publish", release=value)


@pytest.mark.parametrize("entry", [("gossip", {}), ("publish", {"patient": "p1"}), ("revoke", {"name": "acme"})])
def test_no_fact_that_is_not_foreseen(entry):
    with pytest.raises(FormatError):
        Entry(entry[0], **entry[1])


def test_no_event_has_a_place_for_a_name():
    assert not {"name", "patient", "person", "record", "reason_text"} & {
        fact for facts in EVENTS.values() for fact in facts
    }


# Writes batches of records, and says on stdout which are on the disk.
_WRITER = """
import sys
from pathlib import Path
from custodian.config import Home
from custodian.state.engine import Database
from custodian.state.log import Entry, append
database = Database.open(Home(Path(sys.argv[1])))
for number in range(100000):
    with database.writing() as session:
        append(session, [Entry("publish", once=f"{sys.argv[2]}:{number}", release=f"r{number}"), Entry("renew", targets=number)])
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_neither_a_lost_nor_a_double_record(home):
    environment = {**os.environ, PASSWORD_VARIABLE: os.environ.get(PASSWORD_VARIABLE, "")}
    for turn in range(2):
        command = [sys.executable, "-c", _WRITER, str(home.root), str(turn)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        first = process.stdout.readline()
        time.sleep(0.1 + 0.13 * turn)
        process.send_signal(signal.SIGKILL)
        promised = [int(line) for line in (first + process.stdout.read()).splitlines() if line.strip()]
        process.wait()
        database = Database.open(home)
        with database.reading() as session:
            keys = [row.key for row in records(session) if row.key is not None and row.key.startswith(f"{turn}:")]
            total = length(session)
        assert keys == [f"{turn}:{n}" for n in range(len(keys))]
        assert len(promised) <= len(keys) <= len(promised) + 1  # what was promised is there; one more may be on its way
        assert total % 2 == 0  # both records of a transaction, or none
        assert verify(database, home, KEYS)[1] == []
        database.close()
