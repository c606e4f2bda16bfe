"""A release is taken back by the hospital's command, and everybody who holds it learns so at the next contact."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import tiny_release
from consumer import channel, standing
from consumer.cli import app as consumer_app
from consumer.students.sources import open_release
from custodian.cli import app as custodian_app
from stimset.errors import Withdrawn
from wire_world import World

ID = "tiny-0001"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    world = World.make(tmp_path_factory.mktemp("withdrawal"))
    yield world
    world.close()


def consumer(world: World, *arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(consumer_app, [*map(str, arguments), "--home", str(world.consumer.root)])
    assert result.exit_code == exit_code, result.output
    return result.stdout if exit_code == 0 else result.output


def test_withdrawal_from_end_to_end(world):
    address = world.start().address
    consumer(world, "pull", ID, "--address", address)
    folder = world.consumer.releases / ID
    document = json.loads(consumer(world, "verify", folder, "--format", "json"))
    assert (document["persons"], document["hybrid"]) == (1, True)
    assert "one person" in consumer(world, "verify", folder)
    student = world.consumer.students / f"{ID}-cnn-1"
    student.mkdir(parents=True)
    digest = next(iter(standing.known(world.custodian.folder).statements))
    (student / "student.json").write_text(json.dumps({"statementSha256": digest}))
    assert json.loads(consumer(world, "list", "--address", address, "--format", "json"))["withdrawn"] == []

    environment = {"CUSTODIAN_PASSPHRASE": tiny_release.PASSPHRASE, "CUSTODIAN_PASSPHRASE_FILE": ""}
    done = CliRunner().invoke(custodian_app, ["release", "withdraw", ID, "--home", str(world.home.root)], env=environment)
    assert done.exit_code == 0, done.output

    consumer(world, "verify", folder)  # offline, nothing is known yet
    (entry,) = json.loads(consumer(world, "list", "--address", address, "--format", "json"))["withdrawn"]
    assert (entry["release"], entry["here"], entry["students"]) == (ID, True, [student.name])
    consumer(world, "pull", ID, "--address", address, exit_code=9)
    consumer(world, "verify", folder, exit_code=9)
    with pytest.raises(Withdrawn, match="despite-withdrawal"):
        open_release(world.consumer, ID)
    consumer(world, "train", ID, "--family", "knn", exit_code=9)
    assert not (world.consumer.root / "overrides.jsonl").exists()
    assert open_release(world.consumer, ID, despite_withdrawal="a published comparison").id == ID
    (line,) = (world.consumer.root / "overrides.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "a published comparison"


def test_what_was_learned_survives_a_new_enrolment_folder(world):
    from consumer.enrolment import trust

    before = standing.withdrawn(world.custodian.folder)
    trust(world.consumer, world.root / "for-acme", world.custodian.fingerprint)
    assert standing.withdrawn(world.custodian.folder) == before != {}


def test_the_daemon_signs_the_timestamp_again(world, tmp_path):
    """A channel that nobody signed for days is fresh as soon as the daemon runs."""
    from datetime import UTC, datetime, timedelta

    from custodian.publish.channel import TIMESTAMP_FILE, refresh
    from custodian.publish.keys import load_online

    (world.home.channel / TIMESTAMP_FILE).unlink()
    refresh(world.home, load_online(world.home), datetime.now(UTC) - timedelta(days=3))
    assert b"targets" not in (world.home.channel / TIMESTAMP_FILE).read_bytes()
    daemon = world.start()
    with world.client(daemon.address) as client:
        assert channel.check(client, world.consumer, world.custodian).version == 2
    assert daemon.events(event="channel signed")
