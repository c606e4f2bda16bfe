"""The officer says no: what is signed, what it ends, what the log keeps of it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.publish.officer import examine
from custodian.publish.rejecting import (
    REJECTION_FILE,
    REJECTION_TYPE,
    Rejection,
    install_rejection,
    parse_rejection,
    reject,
)
from custodian.publish.reports import report_carried
from custodian.publish.store import ReleaseStore
from review_desk import REASON, decisions, desk_of, propose_with_report
from stimset.envelope import Envelope, Signature, parse_envelope
from stimset.errors import ConfigError, ContentMismatch, FormatError, SignatureInvalid, StimsetError, UnknownSigner
from stimset.provenance import format_time
from stimset.signing import ED25519, MLDSA65, generate_key
from two_people import OFFICER_PASSPHRASE, command

NOW = format_time(datetime(2026, 1, 1, 12, tzinfo=UTC))


def rejected(two) -> tuple:
    """A rejection on the stick, and the proposal in the home."""
    proposal = two.propose()
    carried = two.carry(proposal)
    said = command(
        "release", "reject", carried, "--home", two.officer, "--reason", REASON, passphrase=OFFICER_PASSPHRASE
    )
    assert said["approved"] is False and said["proposal"] == "apnea-0001"
    return carried, proposal


def test_a_rejection_ends_the_proposal_and_stands_in_the_log(two):
    carried, proposal = rejected(two)
    said = two.publish(carried, exit_code=10)["said"]
    assert REASON in said
    assert not proposal.exists() and ReleaseStore(two.home.releases).list() == ()
    (facts,) = decisions(two.home, "reject")
    assert facts["release"] == "apnea-0001" and len(facts["signers"]) == 2
    (kept,) = (two.home.root / "rejected").iterdir()
    envelope = parse_envelope(kept.read_bytes())
    assert parse_rejection(envelope.payload).reason == REASON
    assert facts["statement"] == parse_rejection(envelope.payload).digest
    assert REASON not in json.dumps(facts)
    assert [p.read_bytes() for p in (two.officer / "rejected").iterdir()] == [kept.read_bytes()]
    assert two.propose().name == "apnea-0002", "a number that somebody saw is not used again"


def test_it_is_taken_once(two):
    carried, _ = rejected(two)
    two.publish(carried, exit_code=10)
    assert "does not wait here" in two.publish(carried, exit_code=3)["said"]
    assert len(decisions(two.home, "reject")) == 1


def test_it_is_about_one_proposal(two):
    carried, proposal = rejected(two)
    other = two.propose("other")
    shutil.rmtree(proposal)
    other.rename(proposal)  # another one under the same name
    with pytest.raises(ContentMismatch, match="not about"):
        install_rejection(two.home, carried)
    assert proposal.exists() and not decisions(two.home, "reject")


def test_who_may_say_no(two):
    carried, _ = rejected(two)
    file = carried / REJECTION_FILE
    envelope = parse_envelope(file.read_bytes())
    strangers = tuple(
        Signature(s.keyid, s.sign(envelope.pae())) for s in (generate_key(ED25519), generate_key(MLDSA65))
    )
    for signatures, error in (
        (strangers, UnknownSigner),
        (envelope.signatures[:1], SignatureInvalid),
        (tuple(Signature(s.keyid, s.value[:-1] + bytes([s.value[-1] ^ 1])) for s in envelope.signatures), SignatureInvalid),
    ):
        file.write_bytes(Envelope(REJECTION_TYPE, envelope.payload, signatures).to_bytes())
        with pytest.raises(error):
            install_rejection(two.home, carried)
    file.write_bytes(Envelope("application/vnd.in-toto+json", envelope.payload, envelope.signatures).to_bytes())
    with pytest.raises(FormatError, match="type"):
        install_rejection(two.home, carried)
    changed = envelope.payload.replace(b"linkage", b"weather")
    file.write_bytes(Envelope(REJECTION_TYPE, changed, envelope.signatures).to_bytes())
    with pytest.raises(SignatureInvalid):
        install_rejection(two.home, carried)


@pytest.mark.parametrize("reason", ["", "no", " " * 40, "x" * 1001])
def test_a_reason_is_needed(two, reason):
    carried = two.carry(two.propose())
    with pytest.raises(FormatError):
        reject(examine(carried, two.officer), two.officer, OFFICER_PASSPHRASE, reason)
    assert not (carried / REJECTION_FILE).exists() and not (two.officer / "rejected").exists()


def test_what_changed_meanwhile_is_not_rejected(two):
    carried = two.carry(two.propose())
    found = examine(carried, two.officer)
    (carried / "release" / "CARD.md").write_text("another")
    with pytest.raises(ContentMismatch):
        reject(found, two.officer, OFFICER_PASSPHRASE, REASON)


def test_a_change_of_the_channel_is_rejected_too(two):
    two.release()
    command("release", "withdraw", "apnea-0001", "--home", two.home.root)
    carried = two.carry(two.home.proposals / "withdraw-apnea-0001")
    desk = desk_of(two, carried)
    desk.reject("withdraw-apnea-0001", desk.examine("withdraw-apnea-0001").digest, reason=REASON)
    two.publish(carried, exit_code=10)
    assert not (two.home.proposals / "withdraw-apnea-0001").exists()
    (facts,) = decisions(two.home, "reject")
    assert facts["release"] == "withdraw-apnea-0001"


def test_a_rejection_outlives_a_backup(two, tmp_path):
    carried, _ = rejected(two)
    two.publish(carried, exit_code=10)
    command("backup", tmp_path / "b.tar", "--home", two.home.root)
    command("restore", tmp_path / "b.tar", "--home", tmp_path / "again")
    assert len(list((tmp_path / "again" / "rejected").iterdir())) == 1


def test_the_report_goes_with_the_proposal_and_not_with_the_release(two):
    proposal = propose_with_report(two)
    assert {p.name for p in proposal.iterdir()} == {"release", "targets.json", "report.json", "report.html"}
    carried = two.carry(proposal)
    digests = examine(carried, two.officer).statement.predicate.gate.report
    assert report_carried(carried, digests)
    (carried / "report.html").write_text("<h1>All is well.</h1>")
    with pytest.raises(ContentMismatch, match="don't sign"):
        report_carried(carried, digests)
    (carried / "report.html").unlink()
    assert not report_carried(carried, digests) and not report_carried(carried, None)
    two.approve(carried)
    two.publish(carried)
    assert not any(p.name.startswith("report") for p in (two.home.releases / "apnea-0001").iterdir())


def test_a_report_that_was_changed_before_it_is_proposed(two, monkeypatch):
    from custodian.gate import report

    write = report.write

    def careless(candidates, *arguments):
        digests = write(candidates, *arguments)
        (candidates.folder / "report.html").write_text("friendlier")
        return digests

    monkeypatch.setattr(report, "write", careless)
    with pytest.raises(ContentMismatch, match="audit it again"):
        propose_with_report(two)
    assert not list(two.home.proposals.iterdir())


ORIGINAL = Rejection("apnea-0001", "ab" * 32, REASON, NOW).to_bytes()
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,120}", fullmatch=True)
DIGESTS = st.from_regex("[0-9a-f]{64}", fullmatch=True)
CHARACTERS = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])
REASONS = st.text(CHARACTERS, min_size=20, max_size=1000).filter(lambda text: len(text.strip()) >= 20)


@settings(max_examples=50)
@given(NAMES, DIGESTS, REASONS)
def test_what_is_written_is_read(name, digest, reason):
    made = Rejection(name, digest, reason, NOW)
    assert parse_rejection(made.to_bytes()) == made


@settings(max_examples=100)
@given(st.integers(0, len(ORIGINAL) - 1), st.binary(max_size=3))
def test_other_bytes_are_refused_in_one_line_or_are_a_rejection(position, inserted):
    mutant = ORIGINAL[:position] + inserted + ORIGINAL[position + 1 :]
    try:
        parse_rejection(mutant)
    except StimsetError as error:
        assert isinstance(error, FormatError) and "\n" not in str(error)


def test_an_officer_without_keys(two, tmp_path):
    carried = two.carry(two.propose())
    with pytest.raises(ConfigError):
        reject(examine(carried, two.officer), two.officer, "another passphrase", REASON)
    assert not (carried / REJECTION_FILE).exists()
