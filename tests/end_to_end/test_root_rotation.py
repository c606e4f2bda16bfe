"""Keys change, people change, keys are lost: partners who pinned the first root follow, and what was released stays valid."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tiny_release
from consumer import channel, standing
from consumer.students.sources import open_release
from custodian.publish.keys import load_signers, own_root
from hostile_server import Hostile, serving
from stimset.errors import SignatureInvalid
from stimset.signing import sign_statement
from stimset.verifying import verify
from two_people import OFFICER_PASSPHRASE, TwoPeople, command
from wire_world import QUICK, World, enrol_consumer


def pull(home, custodian, consumer, folder: Path):
    """One contact with a server that shows what the custodian has now."""
    from consumer.client import Client

    with (
        serving(home, Hostile(home.channel, folder)) as address,
        Client.to(custodian, consumer, address=address, policy=QUICK) as client,
    ):
        return channel.pull(client, consumer, custodian, folder.name)


def test_one_person_changes_keys(tmp_path):
    world = World.make(tmp_path)
    first = world.release.folder
    pull(world.home, world.custodian, world.consumer, first)
    old = load_signers(world.home, tiny_release.PASSPHRASE)
    said = command("root", "renew", "--new-keys", "--home", world.home.root)
    assert (said["proposal"], said["version"]) == (None, 2)
    assert not {s.keyid for s in load_signers(world.home, tiny_release.PASSPHRASE)} & {s.keyid for s in old}
    # Until the channel is signed anew, partners see the old root with the old targets.
    assert pull(world.home, world.custodian, world.consumer, first).id == "tiny-0001"
    command("release", "renew", "--home", world.home.root)
    newer = tiny_release.make(world.home.root, home=world.home)
    assert pull(world.home, world.custodian, world.consumer, newer.folder).id == "tiny-0002"
    roots = standing.roots(world.custodian.folder, world.custodian.fingerprint)
    assert [root.version for root in roots] == [2, 1]
    assert set(roots[0].keys) == set(own_root(world.home).keys)
    # The first release, signed by the old keys, is vouched for by the new ones: here, pulled anew, and at home.
    assert open_release(world.consumer, "tiny-0001").id == "tiny-0001"
    shutil.rmtree(world.consumer.releases / "tiny-0001")
    assert pull(world.home, world.custodian, world.consumer, first).id == "tiny-0001"
    command("release", "show", "tiny-0001", "--home", world.home.root)
    # The old keys sign nothing any more.
    forged = shutil.copytree(newer.folder, tmp_path / "forged")
    for path in forged.iterdir():
        path.chmod(0o644)
    statement = (forged / "statement.json").read_bytes().replace(b"Test Hospital", b"Fake Hospital")
    (forged / "statement.json").write_bytes(statement)
    (forged / "provenance.dsse.json").write_bytes(sign_statement(statement, old))
    with pytest.raises(SignatureInvalid):
        open_release(world.consumer, str(forged))
    # A partner who enrols now pins the new root.
    late, custodian = enrol_consumer(tmp_path, world.home, "late")
    assert pull(world.home, custodian, late, newer.folder).id == "tiny-0002"


def test_an_officers_keys_are_lost(tmp_path):
    two = TwoPeople.make(tmp_path)
    consumer, custodian = enrol_consumer(tmp_path, two.home, "acme")
    first = two.release()
    pull(two.home, custodian, consumer, first)
    shutil.rmtree(two.officer)
    command("officer", "init", "--home", two.officer, passphrase=OFFICER_PASSPHRASE)
    keys = shutil.copy(two.officer / "officer.keys.json", two.stick / "new.keys.json")
    said = command("root", "renew", "--officer", keys, "--home", two.home.root)
    carried = Path(shutil.copy(said["proposal"], two.stick / "next.json"))
    # Without the safe the old root's threshold is not met.
    alone = two.stick / "alone.json"
    command(
        "officer", "sign-root", carried, "--home", two.officer, "--words", said["words"], "--out", alone,
        passphrase=OFFICER_PASSPHRASE,
    )  # fmt: skip
    command("root", "install", alone, "--home", two.home.root, exit_code=5)
    both = two.stick / "both.json"
    command(
        "officer", "sign-root", alone, "--home", tmp_path / "safe", "--words", said["words"], "--out", both,
        passphrase="the passphrase in the safe",
    )  # fmt: skip
    command("root", "install", both, "--home", two.home.root)
    command("release", "renew", "--home", two.home.root)
    renewal = two.carry(two.home.proposals / "renew")
    # The new officer never saw the first release, and is not asked to believe it blindly.
    assert "never approved" in two.approve(renewal, exit_code=6)["said"]
    command("officer", "adopt", first, "--home", two.officer)
    two.approve(renewal)
    two.publish(renewal)
    second = two.release()
    assert pull(two.home, custodian, consumer, second).id == "apnea-0002"
    assert open_release(consumer, "apnea-0001").id == "apnea-0001"
    with pytest.raises(SignatureInvalid):
        verify(first, own_root(two.home))
