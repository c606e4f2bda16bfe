"""The attacks that TUF's specification lists, each by a real server on loopback that holds the custodian's TLS key."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

import tiny_release
from consumer import channel, standing
from consumer.client import Client
from consumer.download import RetryPolicy
from custodian.publish import channel as publishing_channel
from custodian.publish.keys import load_online, load_signers
from custodian.publish.withdrawing import renew
from hostile_server import Hostile, serving
from stimset.errors import (
    ContentMismatch,
    Expired,
    FormatError,
    RollbackRefused,
    SignatureInvalid,
    TransportError,
    UnknownSigner,
    VerificationError,
    Withdrawn,
)
from stimset.roots import sign_metadata, tuf_signer
from stimset.signing import generate_key, sign_statement
from wire_world import World

QUICK = RetryPolicy(attempts=2, short_attempts=2, first_wait_s=0.01, longest_wait_s=0.02, call_s=1.0)
ID = "tiny-0001"


class Attack:
    """A partner, the hostile server, and what the custodian really holds."""

    def __init__(self, folder: Path) -> None:
        self.world = World.make(folder)
        self.home = self.world.home
        self.release = self.world.release.folder
        self.channel = folder / "served"
        self.copy()
        self.hostile = Hostile(self.channel, self.release)

    def copy(self) -> None:
        """What the server has is what the custodian has now."""
        shutil.rmtree(self.channel, ignore_errors=True)
        shutil.copytree(self.home.channel, self.channel)

    def pull(self, client: Client, **options: object):
        return channel.pull(client, self.world.consumer, self.world.custodian, ID, **options)

    def online(self):
        return load_online(self.home)

    def builder(self):
        return load_signers(self.home, tiny_release.PASSPHRASE)

    def renew(self) -> None:
        renew(self.home, self.builder())

    def beat(self, snapshot: int, version: int, *, signer=None, hours: float = 24) -> bytes:
        """A timestamp by the stolen (or another) online key."""
        signed = Timestamp(version, expires=soon(hours), snapshot_meta=MetaFile(snapshot))
        metadata = Metadata(signed)
        metadata.sign(tuf_signer(signer or self.online()))
        return metadata.to_bytes()


def soon(hours: float) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


@pytest.fixture
def attack(tmp_path) -> Attack:
    return Attack(tmp_path)


@pytest.fixture
def client(attack) -> Iterator[Client]:
    with serving(attack.home, attack.hostile) as address, attack.world.client(address, QUICK) as client:
        yield client


def untouched(attack: Attack) -> bool:
    """Nothing was accepted."""
    return not (attack.world.consumer.releases / ID).exists()


def test_without_an_attack_it_works(attack, client):
    assert attack.pull(client).id == ID
    assert attack.pull(client).id == ID
    assert attack.hostile.asked[:2] == ["2.root.json", "timestamp.json"]


def test_arbitrary_software_by_a_strangers_key(attack, client):
    attack.hostile.envelope = sign_statement((attack.release / "statement.json").read_bytes(), [generate_key()])
    with pytest.raises(UnknownSigner):
        attack.pull(client)
    assert untouched(attack)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"])
def test_arbitrary_metadata_by_a_strangers_key(attack, client, name):
    def forged(asked: str) -> bytes | None:
        if asked != name:
            return attack.hostile.honest_metadata(asked)
        metadata = Metadata.from_bytes(attack.hostile.honest_metadata(asked.replace("2.root", "1.root")))
        metadata.signed.version += "root" in name
        metadata.sign(tuf_signer(generate_key()))
        return metadata.to_bytes()

    attack.hostile.metadata = forged
    with pytest.raises(SignatureInvalid):
        attack.pull(client)
    assert untouched(attack)


def test_rollback_of_the_metadata(attack, client):
    attack.renew()
    old = attack.channel
    attack.hostile.channel = attack.home.channel
    channel.check(client, attack.world.consumer, attack.world.custodian)
    attack.hostile.channel = old
    with pytest.raises(RollbackRefused):
        attack.pull(client)
    # Also when the online key is stolen and a new timestamp points to the old snapshot.
    (old / "timestamp.json").write_bytes(attack.beat(1, 9))
    with pytest.raises(RollbackRefused):
        attack.pull(client)
    assert untouched(attack)


def test_rollback_of_a_release(attack, client):
    newer = tiny_release.make(attack.home.root, home=attack.home)
    attack.copy()
    attack.hostile.release = newer.folder
    channel.pull(client, attack.world.consumer, attack.world.custodian, newer.release.id)
    attack.hostile.release = attack.release
    with pytest.raises(RollbackRefused, match="tiny-0002"):
        attack.pull(client, deliberate=False)
    assert attack.pull(client).id == ID  # named by its id, it is no attack


def test_indefinite_freeze(attack, client):
    (attack.channel / "timestamp.json").write_bytes(attack.beat(1, 2, hours=-1))
    with pytest.raises(Expired):
        attack.pull(client)
    assert untouched(attack)


def test_freeze_by_a_stolen_online_key_ends_with_the_targets(attack, client):
    draft = publishing_channel.draft_targets(attack.home, datetime.now(UTC) - timedelta(days=31))
    (attack.channel / "2.targets.json").write_bytes(sign_metadata(draft, attack.builder()))
    snapshot = Metadata(Snapshot(2, expires=soon(24), meta={"targets.json": MetaFile(2)}))
    snapshot.sign(tuf_signer(attack.online()))
    (attack.channel / "2.snapshot.json").write_bytes(snapshot.to_bytes())
    (attack.channel / "timestamp.json").write_bytes(attack.beat(2, 2))
    with pytest.raises(Expired):
        attack.pull(client)


@pytest.mark.parametrize("size", [17 << 10, 3 << 20, 8 << 20])
def test_endless_metadata(attack, client, size):
    attack.hostile.metadata = lambda name: None if "root" in name else bytes(size)
    with pytest.raises((FormatError, TransportError)):
        attack.pull(client)
    assert untouched(attack)


def test_endless_roots(attack, client):
    root = attack.hostile.honest_metadata("1.root.json")
    attack.hostile.metadata = lambda name: root if "root" in name else attack.hostile.honest_metadata(name)
    with pytest.raises(RollbackRefused):
        attack.pull(client)
    assert len(attack.hostile.asked) == 1


def test_endless_file(attack, client):
    attack.hostile.file = lambda name, offset: itertools.repeat(bytes(1 << 20))
    with pytest.raises(ContentMismatch):
        attack.pull(client)
    assert untouched(attack)


def test_mix_and_match(attack, client):
    attack.renew()
    attack.copy()
    shutil.copy(attack.channel / "1.targets.json", attack.channel / "2.targets.json")
    with pytest.raises(VerificationError):
        attack.pull(client)
    assert untouched(attack)


@pytest.mark.parametrize("name", ["stimuli-00000.safetensors", "CARD.md"])
def test_wrong_hashes(attack, client, name):
    def flipped(asked: str, offset: int) -> Iterator[bytes]:
        data = bytearray((attack.release / asked).read_bytes())
        if asked == name:
            data[-1] ^= 1
        yield bytes(data[offset:])

    attack.hostile.file = flipped
    with pytest.raises(ContentMismatch):
        attack.pull(client)
    assert untouched(attack)


@pytest.mark.parametrize("number", [0, 1])
def test_compromise_of_one_algorithm_and_the_online_key_is_not_enough(attack, client, number):
    stolen = attack.builder()[number]
    draft = publishing_channel.draft_targets(attack.home, datetime.now(UTC), add=[b"{}"])
    (attack.channel / "2.targets.json").write_bytes(sign_metadata(draft, [stolen]))
    snapshot = Metadata(Snapshot(2, expires=soon(24), meta={"targets.json": MetaFile(2)}))
    snapshot.sign(tuf_signer(attack.online()))
    (attack.channel / "2.snapshot.json").write_bytes(snapshot.to_bytes())
    (attack.channel / "timestamp.json").write_bytes(attack.beat(2, 2))
    with pytest.raises(SignatureInvalid):
        attack.pull(client)
    assert untouched(attack)


@pytest.mark.parametrize("number", [0, 1])
def test_compromise_of_one_algorithm_signs_no_release(attack, client, number):
    stolen = attack.builder()[number]
    attack.hostile.envelope = sign_statement((attack.release / "statement.json").read_bytes(), [stolen])
    with pytest.raises(SignatureInvalid):
        attack.pull(client)
    assert untouched(attack)


def test_one_signature_repeated_is_one(attack, client):
    ed25519 = attack.builder()[0]
    draft = publishing_channel.draft_targets(attack.home, datetime.now(UTC))
    metadata = Metadata[Targets].from_bytes(sign_metadata(draft, [ed25519]))
    twin = attack.builder()[1].keyid
    metadata.signatures[twin] = type(metadata.signatures[ed25519.keyid])(twin, metadata.signatures[ed25519.keyid].signature)
    (attack.channel / "1.targets.json").write_bytes(metadata.to_bytes())
    with pytest.raises(SignatureInvalid):
        attack.pull(client)


def test_slow_retrieval_of_a_file_ends(attack, client):
    def drip(name: str, offset: int) -> Iterator[bytes]:
        for byte in (attack.release / name).read_bytes()[offset:]:
            time.sleep(0.2)
            yield bytes([byte])

    attack.hostile.file = drip
    began = time.monotonic()
    with pytest.raises(TransportError):
        attack.pull(client)
    assert time.monotonic() - began < 20
    assert untouched(attack)


def test_slow_retrieval_of_metadata_ends(attack, client):
    def slow(name: str) -> bytes | None:
        time.sleep(3)
        return None

    attack.hostile.metadata = slow
    began = time.monotonic()
    with pytest.raises(TransportError):
        attack.pull(client)
    assert time.monotonic() - began < 10


def test_a_channel_that_is_held_back(attack, client):
    attack.hostile.metadata = lambda name: None
    with pytest.raises(TransportError, match="incomplete"):
        attack.pull(client)
    assert untouched(attack)


def test_withdrawn_while_it_is_fetched(attack, client):
    def late(name: str, offset: int) -> Iterator[bytes]:
        if attack.release.exists():
            kept = attack.channel.parent / "kept"
            shutil.copytree(attack.release, kept)
            attack.hostile.release = kept
            from custodian.publish.withdrawing import withdraw

            withdraw(attack.home, ID, attack.builder())
            attack.hostile.channel = attack.home.channel
        yield from attack.hostile.honest_file(name, offset)

    attack.hostile.file = late
    with pytest.raises(Withdrawn):
        attack.pull(client)
    assert standing.withdrawn(attack.world.custodian.folder)


@pytest.mark.parametrize("junk", [b"", b"{}", b"[" * 10_000, b"\xff" * 100, b'{"signed": {"_type": "timestamp"}, "signatures": []}'])
def test_junk_is_a_format_error(attack, client, junk):
    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"):
        attack.hostile.metadata = lambda asked, name=name: junk if asked == name else attack.hostile.honest_metadata(asked)
        with pytest.raises(FormatError):
            attack.pull(client)
    assert untouched(attack)
