"""The daemon records what leaves before it leaves; the partner keeps checkpoints, and finds a log that was rolled back or forked."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from typer.testing import CliRunner

import tiny_release
import wire_world
from consumer import channel, witness
from consumer.cli import app as consumer_app
from custodian.cli import app as custodian_app
from custodian.publish.deciding import settle
from custodian.publish.keys import checkpoint_keys, load_online
from custodian.state.copying import dump, load
from custodian.state.database import Partners
from custodian.state.engine import Database
from custodian.state.log import Entry, record, records
from custodian.state.witnesses import checkpoint, verify
from stimset.errors import LogForked


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = wire_world.World.make(tmp_path_factory.mktemp("witnessed"))
    yield made
    made.close()


@pytest.fixture
def daemon(world):
    started = world.start()
    yield started
    if started.process.poll() is None:
        started.kill()


def decisions(world, event=None):
    database = Database.open(world.home)
    with database.reading() as session:
        found = [json.loads(row.record) for row in records(session)]
    database.close()
    return [r for r in found if event in (None, r["event"])]


def sign(world):
    database = Database.open(world.home)
    checkpoint(world.home, database, load_online(world.home))
    database.close()


def test_a_pull_is_recorded_and_witnessed(world, daemon):
    with world.client(daemon.address) as client:
        release = channel.pull(client, world.consumer, world.custodian, "tiny-0001")
    served = decisions(world, "serve")
    partner = Partners.open(world.home)
    fingerprint = partner.list()[0].fingerprint
    partner.close()
    assert {r["facts"]["partner"] for r in served} == {fingerprint[:16]}
    sizes = {entry.name: entry.size for entry in release.statement.subjects}
    sizes["provenance.dsse.json"] = (release.folder / "provenance.dsse.json").stat().st_size
    assert sorted((r["facts"]["file"], r["facts"]["bytes"]) for r in served) == sorted(sizes.items())
    kept = witness.kept(world.custodian)
    assert kept is not None
    assert {"enrol", "publish", "renew", "start", "serve"} == {r["event"] for r in decisions(world)}
    text = json.dumps(decisions(world))
    assert "acme" not in text
    assert "Hospital" not in text
    assert daemon.stop() == 0
    assert decisions(world)[-1]["event"] == "stop"


def test_the_log_goes_on_over_restarts_and_a_kill(world, daemon):
    before = witness.kept(world.custodian)
    with world.client(daemon.address) as client:
        channel.check(client, world.consumer, world.custodian)
        first = witness.kept(world.custodian)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(10)
    again = world.start()
    with world.client(again.address) as client:
        channel.check(client, world.consumer, world.custodian)
    second = witness.kept(world.custodian)
    assert before.size < first.size < second.size
    again.stop()
    database = Database.open(world.home)
    assert verify(database, world.home, checkpoint_keys(world.home))[1] == []
    database.close()


def test_refusals_are_recorded_and_bounded(world, daemon):
    Partners.open(world.home).grant("acme", ["nothing"])
    with world.client(daemon.address) as client:
        for _ in range(5):
            with pytest.raises(Exception, match="refuses"):
                client.envelope("tiny-0001")
        assert client.metadata("77.root.json") is None  # a question, no refusal
    daemon.stop()
    refused = [r["facts"] for r in decisions(world, "refuse")]
    assert [(r["method"], r["reason"], r["count"]) for r in refused] == [
        ("GetRelease", "NotFound", 1),
        ("GetRelease", "NotFound", 4),
    ]
    Partners.open(world.home).grant("acme", ["*"])


def test_what_a_crash_left_unrecorded_is_entered_once(world):
    """As if the power went between the rename and the record: the next start of anything enters it."""
    made = tiny_release.make(world.home.root, home=world.home, name="crash")
    world.home.withdrawn.mkdir(exist_ok=True)
    made.folder.rename(world.home.withdrawn / made.folder.name)
    for _ in range(2):
        settle(world.home)
    assert [r["facts"]["release"] for r in decisions(world, "withdraw")] == ["crash-0001"]
    assert [r["facts"]["release"] for r in decisions(world, "publish")].count("crash-0001") == 1


def test_a_log_that_was_rolled_back_is_reported(world, tmp_path):
    shutil.copy(world.home.checkpoint, tmp_path)
    database = Database.open(world.home)
    dump(database, tmp_path / "state.jsonl")
    for _ in range(3):
        record(world.home, Entry("train", regime="plain"))
    daemon = world.start()
    with world.client(daemon.address) as client:
        channel.check(client, world.consumer, world.custodian)
    daemon.stop()
    kept = witness.kept(world.custodian)
    handed = tmp_path / "from-acme.json"
    shutil.copy(world.custodian.folder / witness.WITNESS_FILE, handed)

    def verified(*words):
        done = CliRunner().invoke(
            custodian_app, ["log", "verify", "--home", str(world.home.root), "--format", "json", *words]
        )
        return done.exit_code, json.loads(done.stdout)["problems"]

    assert verified("--witness", str(handed)) == (0, [])
    load(database, tmp_path / "state.jsonl", replace=True)  # somebody puts the older state back
    database.close()
    shutil.copy(tmp_path / world.home.checkpoint.name, world.home.checkpoint)
    assert verified() == (0, [])  # it is a log that once was: nothing here can tell
    code, problems = verified("--witness", str(handed))
    assert code == 20
    assert f"saw {kept.size} records" in problems[0]["problem"]
    daemon = world.start()
    with world.client(daemon.address) as client, pytest.raises(LogForked, match="records were removed, or a backup"):
        channel.check(client, world.consumer, world.custodian)
    assert witness.kept(world.custodian) == kept
    # A fork: it grows beyond what we saw, with other records.
    for _ in range(kept.size):
        record(world.home, Entry("train", regime="other"))
    sign(world)
    with world.client(daemon.address) as client, pytest.raises(LogForked, match="does not go on from"):
        channel.check(client, world.consumer, world.custodian)
    assert (world.custodian.folder / witness.CONFLICT_FILE).is_file()
    code, problems = verified("--witness", str(handed))
    assert (code, "it was rewritten" in problems[0]["problem"]) == (20, True)
    words = ["--home", str(world.consumer.root), "--format", "json"]
    listed = CliRunner().invoke(consumer_app, ["list", "--address", daemon.address, *words])
    assert listed.exit_code == 20
    shown = CliRunner().invoke(consumer_app, ["witness", "show", *words])
    assert json.loads(shown.stdout)["records"] == kept.size
    accepted = CliRunner().invoke(consumer_app, ["witness", "accept", "--reason", "they told us by telephone", *words])
    assert accepted.exit_code == 0, accepted.stderr
    assert "they told us" in (world.consumer.root / "overrides.jsonl").read_text()
    listed = CliRunner().invoke(consumer_app, ["list", "--address", daemon.address, *words])
    assert listed.exit_code == 0, listed.stderr
    daemon.stop()
