"""The daemon's key is known to others: a new one takes its place, partners follow, and the old one convinces nobody."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from consumer import channel as partner_channel
from consumer import standing
from consumer.client import Client
from custodian.config import Home
from custodian.publish import channel
from custodian.publish.keys import ONLINE_FILE, load_online, own_root
from hostile_server import Hostile, serving
from stimset.errors import VerificationError
from stimset.signing import load_key
from two_people import command
from wire_world import QUICK, World


def pull(world: World, folder_of_channel, folder):
    with (
        serving(world.home, Hostile(folder_of_channel, folder)) as address,
        Client.to(world.custodian, world.consumer, address=address, policy=QUICK) as client,
    ):
        return partner_channel.pull(client, world.consumer, world.custodian, folder.name)


def test_partners_follow_to_the_new_online_key_and_refuse_the_old_one(tmp_path):
    world = World.make(tmp_path)
    home, release = world.home, world.release.folder
    pull(world, home.channel, release)
    builder = (home.keys / "builder.pem").read_bytes()
    stolen = load_online(home)
    # The thief's copy of the channel, which the stolen key keeps fresh.
    thief = Home.at(tmp_path / "thief")
    shutil.copytree(home.root, thief.root)
    said = command("root", "renew", "--new-online-key", "--home", home.root)
    assert (said["proposal"], said["version"]) == (None, 2)
    command("release", "renew", "--home", home.root)
    assert (home.keys / "builder.pem").read_bytes() == builder
    assert set(own_root(home).online) == {load_online(home).keyid}
    assert load_online(home).keyid != stolen.keyid
    assert load_key(home.keys / "old-1" / ONLINE_FILE, None).keyid == stolen.keyid
    assert not (home.keys / "next").exists()
    assert pull(world, home.channel, release).id == "tiny-0001"
    assert [root.version for root in standing.roots(world.custodian.folder, world.custodian.fingerprint)] == [2, 1]
    # Whoever has seen the new root takes nothing more that the stolen key signs.
    for path in home.channel.glob("*.root.json"):
        shutil.copy(path, thief.channel)
    channel.refresh(thief, stolen, datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(VerificationError):
        pull(world, thief.channel, release)


def test_both_kinds_of_keys_change_at_once(tmp_path):
    world = World.make(tmp_path)
    before = {path.name: path.read_bytes() for path in world.home.keys.glob("*.pem")}
    command("root", "renew", "--new-keys", "--new-online-key", "--home", world.home.root)
    after = {path.name: path.read_bytes() for path in world.home.keys.glob("*.pem")}
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in before)
    assert {path.name for path in (world.home.keys / "old-1").iterdir()} == set(before)
    command("release", "renew", "--home", world.home.root)
    assert pull(world, world.home.channel, world.release.folder).id == "tiny-0001"
    command("log", "verify", "--home", world.home.root)
