"""Two people hold the root: nothing is released by one of them, and nothing that the other did not see."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.metadata import Metadata, Root, Targets

import tiny_release
from custodian.publish import channel
from custodian.publish.keys import load_signers, own_root
from custodian.publish.publishing import publish
from custodian.publish.store import ReleaseStore
from stimset.envelope import Envelope, parse_envelope
from stimset.errors import SignatureInvalid
from stimset.roots import sign_metadata
from stimset.signing import sign_statement
from stimset.verifying import verify
from two_people import OFFICER_PASSPHRASE, TwoPeople, command


@pytest.fixture
def two(tmp_path) -> TwoPeople:
    return TwoPeople.make(tmp_path)


def test_the_root_needs_both_and_both_algorithms(two):
    root = own_root(two.home)
    assert (len(root.keys), root.threshold, root.persons, root.hybrid) == (4, 4, 2, True)
    roles = Metadata[Root].from_bytes(two.home.root_file.read_bytes()).signed.roles
    assert (len(roles["root"].keyids), roles["root"].threshold) == (6, 4)
    assert not set(roles["timestamp"].keyids) & (set(roles["root"].keyids) | set(roles["targets"].keyids))


def test_propose_show_approve_publish(two):
    proposal = two.propose()
    assert ReleaseStore(two.home.releases).list() == ()
    assert not list(two.home.channel.glob("*"))
    with pytest.raises(SignatureInvalid):
        verify(proposal / "release", own_root(two.home))
    carried = two.carry(proposal)
    shown = command("release", "approve", carried, "--home", two.officer, passphrase=OFFICER_PASSPHRASE)
    assert not shown["signed"]
    assert shown["release"] == "apnea-0001" and shown["stimuli"] == 5 and shown["simulated"]
    assert shown["gate"]["policyDigest"] == "ab" * 32
    assert [check["name"] for check in shown["gate"]["checks"]] == ["identity-certainty", "utility-kappa-loss"]
    two.publish(carried, exit_code=5)  # shown is not signed
    two.approve(carried, words=shown["words"].upper().replace("-", " "))
    two.publish(carried)
    release = verify(two.home.releases / "apnea-0001", own_root(two.home))
    assert len(release.signed_by) == 4
    assert channel.read(two.home, "timestamp.json") is not None
    assert not proposal.exists()
    second = two.carry(two.propose())
    two.approve(second)
    assert two.publish(second)["release"] == "apnea-0002"


def test_one_person_alone_releases_nothing(two):
    admitted = tiny_release.admit(tiny_release.candidates(two.home.candidates("alone")))
    with pytest.raises(SignatureInvalid):
        publish(admitted, two.home, load_signers(two.home, tiny_release.PASSPHRASE), name="alone")
    assert ReleaseStore(two.home.releases).list() == ()


def test_other_words_are_not_signed(two):
    carried = two.carry(two.propose())
    said = two.approve(carried, exit_code=6, words="babab-babab-babab-babab-babab-babab")
    assert "don't sign" in said["said"]
    two.publish(carried, exit_code=5)


@pytest.mark.parametrize("missing", range(4))
def test_each_missing_signature_is_refused(two, missing):
    carried = two.carry(two.propose())
    two.approve(carried)
    path = carried / "release" / "provenance.dsse.json"
    envelope = parse_envelope(path.read_bytes())
    rest = tuple(s for i, s in enumerate(envelope.signatures) if i != missing)
    path.write_bytes(Envelope(envelope.payload_type, envelope.payload, rest).to_bytes())
    two.publish(carried, exit_code=5)
    assert ReleaseStore(two.home.releases).list() == ()


def test_a_missing_signature_on_the_channel_is_refused(two):
    carried = two.carry(two.propose())
    two.approve(carried)
    path = carried / "targets.json"
    document = json.loads(path.read_text())
    document["signatures"].pop()
    path.write_text(json.dumps(document))
    two.publish(carried, exit_code=5)
    assert ReleaseStore(two.home.releases).list() == ()


def prefix_statement(folder) -> None:
    path = folder / "release" / "statement.json"
    path.write_bytes(b"{" + path.read_bytes())


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("extra file", lambda f: (f / "release" / "more.txt").write_text("x"), 17),
        ("changed card", lambda f: (f / "release" / "CARD.md").write_bytes(b"y" * (f / "release/CARD.md").stat().st_size), 6),
        ("changed statement", prefix_statement, 6),
        ("missing shard", lambda f: (f / "release" / "stimuli-00000.safetensors").unlink(), 16),
    ],
)  # fmt: skip
def test_an_extra_change_is_refused_on_both_ways(two, name, change, code):
    proposal = two.propose()
    out = two.carry(proposal)
    change(out)
    two.approve(out, exit_code=code)
    back = two.carry(proposal)
    two.approve(back)
    change(back)
    two.publish(back, exit_code=code)
    assert ReleaseStore(two.home.releases).list() == ()


def test_another_statement_is_refused(two):
    proposal = two.propose()
    carried = two.carry(proposal)
    document = json.loads((carried / "release" / "statement.json").read_text())
    document["predicate"]["custodian"] = "Another Hospital"
    statement = json.dumps(document).encode()
    (carried / "release" / "statement.json").write_bytes(statement)
    # Even signed by the builder's real keys: the channel's targets vouch for the first one.
    signers = load_signers(two.home, tiny_release.PASSPHRASE)
    (carried / "release" / "provenance.dsse.json").write_bytes(sign_statement(statement, signers))
    two.approve(carried, exit_code=6)
    # And with targets of its own, the officer's signature does not bring it past the home that proposed another one.
    draft = channel.draft_targets(two.home, datetime.now(UTC), add=[statement])
    (carried / "targets.json").write_bytes(sign_metadata(draft, signers))
    two.approve(carried)
    two.publish(carried, exit_code=6)
    assert ReleaseStore(two.home.releases).list() == ()


def test_a_stranger_in_the_targets_is_refused(two):
    carried = two.carry(two.propose())
    signers = load_signers(two.home, tiny_release.PASSPHRASE)
    statement = (carried / "release" / "statement.json").read_bytes()
    draft = channel.draft_targets(two.home, datetime.now(UTC), add=[statement, b"{}"])
    (carried / "targets.json").write_bytes(sign_metadata(draft, signers))
    assert "never approved" in two.approve(carried, exit_code=6)["said"]
    long = channel.draft_targets(two.home, datetime.now(UTC), add=[statement], days=400)
    (carried / "targets.json").write_bytes(sign_metadata(long, signers))
    two.approve(carried, exit_code=6)
    (carried / "targets.json").write_bytes(draft)
    two.approve(carried, exit_code=5)


def test_withdrawing_takes_both_and_serves_nothing_meanwhile(two):
    two.release()
    two.release("other")
    said = command("release", "withdraw", "apnea-0001", "--home", two.home.root)
    assert [s.release_id for s in ReleaseStore(two.home.releases).list()] == ["other-0001"]
    carried = two.carry(two.home.proposals / "withdraw-apnea-0001")
    two.publish(carried, exit_code=5)
    shown = two.approve(carried)
    assert shown["withdraws"] == ["apnea-0001"] and shown["stands"] == ["other-0001"] and shown["words"] == said["words"]
    two.publish(carried)
    newest = channel.current_version(two.home)
    targets = Metadata[Targets].from_bytes(channel.read(two.home, f"{newest}.targets.json"))
    assert len(targets.signed.targets) == 1


def test_an_older_proposal_is_overtaken(two):
    first, second = two.carry(two.propose()), two.carry(two.propose("other"))
    two.approve(second)
    two.publish(second)
    two.approve(first, exit_code=8)


def test_a_root_that_was_changed_on_the_way(tmp_path):
    two = TwoPeople.make(tmp_path / "a")
    command("officer", "init", "--home", tmp_path / "o", passphrase=OFFICER_PASSPHRASE)
    said = command("init", "--home", tmp_path / "h", "--name", "Two", "--officer", tmp_path / "o/officer.keys.json")
    command("root", "install", two.stick / "root.json", "--home", tmp_path / "h", exit_code=6)
    command("root", "install", said["proposal"], "--home", tmp_path / "h", exit_code=5)
    proposal = tmp_path / "proposal.json"
    shutil.copy(two.stick / "root.proposal.json", proposal)  # names another officer
    command("officer", "sign-root", proposal, "--home", tmp_path / "o", exit_code=6)
    command("release", "withdraw", "x-0001", "--home", tmp_path / "h", exit_code=3)


def test_targets_are_renewed(two):
    two.release()
    command("release", "renew", "--home", two.home.root)
    carried = two.carry(two.home.proposals / "renew")
    assert two.approve(carried)["withdraws"] == []
    two.publish(carried)
    assert channel.current_version(two.home) == 2


def test_timestamp_and_snapshot_are_signed_again_in_time(two):
    from custodian.publish.keys import load_online

    two.release()
    online, now = load_online(two.home), datetime.now(UTC)
    assert not channel.refresh(two.home, online, now + timedelta(hours=11))
    assert channel.refresh(two.home, online, now + timedelta(hours=13))
    assert not channel.refresh(two.home, online, now + timedelta(hours=14))
    assert channel.refresh(two.home, online, now + timedelta(days=4))
    assert channel.read(two.home, "2.snapshot.json") is not None
    assert channel.read(two.home, "../root.json") is None
