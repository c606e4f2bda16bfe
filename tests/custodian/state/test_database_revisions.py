"""Opening the database, its revisions, and what both databases promise alike."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

import databases
import wire_world
from custodian.cli import app
from custodian.config import Home
from custodian.service import pki
from custodian.state import migrating
from custodian.state.database import Partners
from custodian.state.engine import HEAD, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, Database
from custodian.state.log import Entry, append, length
from custodian.state.tables import METADATA
from stimset.errors import ConfigError, TransportError


def differences(database):
    """What a further migration would have to do."""
    options = {"compare_type": not database.embedded}  # SQLite says REAL for what it was told to be FLOAT
    with database.engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)


def test_the_migrations_make_exactly_the_tables_that_the_code_works_with(database):
    assert differences(database) == []


def test_this_version_works_with_the_newest_revision():
    config = Config()
    config.set_main_option("script_location", "custodian.state:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_an_empty_server_asks_for_migrate_an_embedded_file_is_made(bare_home):
    if bare_home.settings().database:
        with pytest.raises(ConfigError, match="custodian migrate"):
            Database.open(bare_home)
    else:
        Database.open(bare_home).close()


@pytest.mark.parametrize(("revision", "message"), [("0001", "custodian migrate"), ("9999", "no way back")])
def test_another_revision_is_refused_in_one_line(home, database, revision, message):
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": revision})
    with pytest.raises(ConfigError, match=message) as caught:
        Database.open(home)
    assert "\n" not in str(caught.value)


def test_there_is_no_way_back(database):
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="downgrade"):
        migrating.upgrade(database)


def test_migrating_twice_changes_nothing(database):
    assert migrating.upgrade(database) == (HEAD, HEAD)


def test_a_home_of_the_first_version_is_brought_along(tmp_path):
    """Its tables were made without revisions; its partners stay."""
    home = databases.settle(Home(tmp_path / "home"), "")
    early = sqlite3.connect(home.database)
    early.executescript(
        """
        CREATE TABLE partners (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(63) NOT NULL, fingerprint VARCHAR(64) NOT NULL,
          certificate VARCHAR NOT NULL, created VARCHAR(20) NOT NULL, expires VARCHAR(20) NOT NULL, revoked_at VARCHAR(20),
          UNIQUE (fingerprint));
        CREATE UNIQUE INDEX one_live_certificate ON partners (name) WHERE revoked_at IS NULL;
        CREATE INDEX ix_partners_name ON partners (name);
        CREATE TABLE grants (partner_id INTEGER NOT NULL REFERENCES partners (id), series VARCHAR(128) NOT NULL,
          PRIMARY KEY (partner_id, series));
        INSERT INTO partners VALUES (1, 'acme', 'ab', 'pem', '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z', NULL);
        INSERT INTO grants VALUES (1, '*');
        """
    )
    early.close()
    with pytest.raises(ConfigError, match="custodian migrate"):
        Database.open(home)
    opened = Database.unchecked(home)
    assert migrating.upgrade(opened) == ("", HEAD)
    assert [p.name for p in Partners(opened).list()] == ["acme"]
    assert differences(opened) == []
    opened.close()


def test_a_lost_database_is_not_replaced_by_an_empty_one(tmp_path):
    home = databases.settle(Home(tmp_path / "home"), "")
    home.checkpoint.write_text("{}")
    with pytest.raises(ConfigError, match="custodian restore"):
        Database.open(home)


def test_a_name_has_one_live_certificate_on_both(database, tmp_path):
    authority = pki.create_authority(tmp_path / "tls", "Test Hospital")
    partners = Partners(database)
    first, second = (wire_world.certificate(authority, wire_world.new_key()) for _ in range(2))
    partners.add("acme", first)
    with pytest.raises(ConfigError, match="certificate already"):
        partners.add("acme", second)
    partners.revoke("acme")
    assert partners.add("acme", second, ("apnea-*",)).grants == ("apnea-*",)
    with database.reading() as session:
        assert length(session) == 3  # enrol, revoke, enrol: what was refused left no record


def test_nothing_of_a_transaction_that_fails_stays(database):
    with pytest.raises(RuntimeError), database.writing() as session:
        append(session, [Entry("train", regime="plain")])
        raise RuntimeError
    with database.reading() as session:
        assert length(session) == 0


def test_the_log_can_only_grow(database):
    with database.writing() as session:
        append(session, [Entry("train", regime="plain")])
    for statement in ("UPDATE log SET record = '{}'", "DELETE FROM log", "DELETE FROM log_nodes"):
        with pytest.raises(IntegrityError, match="only grow"), database.writing() as session:
            session.execute(text(statement))


def test_writers_wait_for_each_other_and_lose_nothing(home):
    def write():
        own = Database.open(home)
        for _ in range(10):
            with own.writing() as session:
                append(session, [Entry("train", regime="plain")])
        own.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    database = Database.open(home)
    with database.reading() as session:
        assert length(session) == 40
    database.close()


def test_reading_sees_one_moment(home, database):
    other = Database.open(home)
    with database.reading() as session:
        before = length(session)
        with other.writing() as writer:
            append(writer, [Entry("train", regime="plain")])
        assert length(session) == before == 0
    with database.reading() as session:
        assert length(session) == 1
    other.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user@host/name", "must be empty, or"),
        ("postgresql+psycopg://user:hunter2@host/name", "must not hold a password"),
        ("what is this", "must be empty, or"),
    ],
)
def test_settings_that_are_refused(tmp_path, url, message):
    home = databases.settle(Home(tmp_path / "home"), url)
    with pytest.raises(ConfigError, match=message) as caught:
        Database.open(home)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_away_is_named_without_its_password(tmp_path, monkeypatch):
    home = databases.settle(Home(tmp_path / "home"), f"postgresql+psycopg://stimset@/state?host={tmp_path}")
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(secret))
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    with pytest.raises(TransportError, match="state on") as caught:
        Database.open(home)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_commands_say_what_to_do(bare_home):
    def run(*words):
        return CliRunner().invoke(app, [*words, "--home", str(bare_home.root), "--format", "json"])

    listed = run("partner", "list")
    if bare_home.settings().database:
        assert listed.exit_code == 3
        assert "custodian migrate" in listed.stderr
        assert run("migrate").exit_code == 0
        listed = run("partner", "list")
    assert listed.exit_code == 0, listed.stderr
    assert f'"revision": "{HEAD}"' in run("migrate").stdout
