"""A set that the gate refused leaves by two named people or not at all, and says so wherever it goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from consumer.cli import app as consumer_app
from custodian.config import Home
from custodian.excitation.candidates import CandidateSet
from custodian.gate import verdict
from custodian.gate.override import OVERRIDE_FILE, OVERRIDE_TYPE, check_approved, parse_request
from custodian.gate.policy import AttackRule, Policy
from custodian.publish.keys import load_signers, own_root
from custodian.publish.overriding import examine_override, request_override
from small_cohort import SPEC, cohort
from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import ContentMismatch, FormatError, ReleaseRefused, SignatureInvalid, StimsetError, UnknownSigner
from stimset.provenance import parse_statement
from stimset.signing import generate_key, sign_statement
from two_people import OFFICER_PASSPHRASE, TwoPeople, command

POLICY = Policy("test", 1, {"identity": AttackRule(True, 0.05, variants=("random_forest",))}, 0.1, ("knn",), 0.25, 0.1)
REASON = "A rehearsal with our partner on [bold]noise[/bold]; nobody's recording had any part in it."
NAMES = ("--builder", "Ada Meyer", "--officer", "Bo Holm")


def refuse(home: Home, name: str = "main") -> CandidateSet:
    """A set of noise, judged by the real gate: harmless and useless, so refused."""
    folder = home.candidates(name)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {
        "values": rng.standard_normal((200, 2, 60)).clip(-5, 5).astype(np.float32),
        "probabilities": rng.dirichlet((1, 1, 1), 200).astype(np.float32),
    }
    save_file(arrays, folder / "shard-00000.safetensors")
    entry = {"name": "test", "numbers": 1, "bound": "none", "epsilon": None, "delta": None}
    made = CandidateSet(
        folder, SPEC, {"shard-00000.safetensors": 200}, True, 0, {"architecture": "cnn"}, {"name": "noise"}, (entry,)
    )
    made.save()
    with pytest.raises(ReleaseRefused):
        verdict.admit(home, made, cohort(), POLICY)
    return made


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> TwoPeople:
    made = TwoPeople.make(tmp_path_factory.mktemp("override"))
    refuse(made.home)
    return made


def ask(people: TwoPeople, **options) -> dict:
    return command("override", "request", "--home", people.home.root, *NAMES, "--reason", REASON, **options)


def carried(people: TwoPeople, name: str = "override.json") -> tuple[Path, str]:
    said = ask(people)
    return Path(shutil.copy(said["proposal"], people.stick / name)), said["words"]


def agree(people: TwoPeople, file: Path, words: str, *, exit_code: int = 0) -> dict:
    return command(
        "override", "approve", file, "--home", people.officer, "--words", words, passphrase=OFFICER_PASSPHRASE, exit_code=exit_code
    )


def install(people: TwoPeople, file: Path, *, exit_code: int = 0) -> dict:
    return command("override", "install", file, "--home", people.home.root, exit_code=exit_code)


def consumer(*arguments: object) -> tuple[int, dict, str]:
    result = CliRunner().invoke(consumer_app, [*map(str, arguments), "--format", "json"])
    return result.exit_code, json.loads(result.stdout or "{}"), result.stderr


def test_one_person_alone_overrides_nothing(people):
    """Neither by asking, nor by keeping what the officer has not signed, nor by keys that the root does not name."""
    file, words = carried(people)
    said = install(people, file, exit_code=5)
    assert "both people must sign" in said["said"]
    with pytest.raises(ReleaseRefused):
        verdict.readmit(people.home, "main")

    own = people.home.candidates("main") / OVERRIDE_FILE
    own.write_bytes(file.read_bytes())
    with pytest.raises(SignatureInvalid):
        verdict.readmit(people.home, "main")
    envelope = parse_envelope(file.read_bytes())
    strangers = [generate_key(), generate_key("ml-dsa-65/1")]
    added = tuple(Signature(s.keyid, s.sign(envelope.pae())) for s in strangers)
    own.write_bytes(Envelope(OVERRIDE_TYPE, envelope.payload, envelope.signatures + added).to_bytes())
    with pytest.raises(SignatureInvalid):
        verdict.readmit(people.home, "main")
    own.unlink()

    wrong = "bidol-bidol-bidol-bidol-bidol-bidol"
    assert "don't sign" in agree(people, file, wrong, exit_code=6)["said"]
    assert words != wrong


def test_where_one_person_holds_the_root_there_is_no_override(tmp_path):
    command("init", "--home", tmp_path / "home", "--name", "Small Clinic")
    home = Home(tmp_path / "home")
    refuse(home)
    said = command("override", "request", "--home", home.root, *NAMES, "--reason", REASON, exit_code=10)
    assert "one person alone" in said["said"]


@pytest.mark.parametrize(
    ("people_named", "reason"),
    [
        ({"builder": "Ada Meyer", "officer": "ada meyer"}, REASON),
        ({"builder": "Ada Meyer", "officer": " "}, REASON),
        ({"builder": "Ada Meyer", "officer": "Bo Holm\x1b[2J"}, REASON),
        ({"builder": "Ada Meyer"}, REASON),
        ({"builder": "Ada Meyer", "head": "Bo Holm"}, REASON),
        ({"builder": "Ada Meyer", "officer": "Bo Holm"}, "because"),
        ({"builder": "Ada Meyer", "officer": "Bo Holm"}, " " * 40),
        ({"builder": "Ada Meyer", "officer": "Bo Holm"}, "long " * 300),
    ],
)
def test_names_and_reason_are_bounded(people, people_named, reason):
    judged = verdict.read_verdict(people.home, "main")
    signers = load_signers(people.home, "a passphrase for tests")
    with pytest.raises(FormatError):
        request_override(people.home, "main", judged, people_named, reason, signers)


def test_nothing_that_was_admitted_or_never_judged_is_overridden(people):
    said = command(
        "override", "request", "--home", people.home.root, "--set", "absent", *NAMES, "--reason", REASON, exit_code=3
    )
    assert "was not audited" in said["said"]


def test_a_changed_request_is_refused_at_every_hand(people):
    """One bit anywhere in the file, a name in the signed part: refused by an error of the tree."""
    file, words = carried(people, "tampered.json")
    agree(people, file, words)
    whole = file.read_bytes()
    root = own_root(people.home)
    check_approved(whole, root)
    rng = np.random.default_rng(3)
    for position in [*rng.integers(0, len(whole), 60), *range(len(whole) - 200, len(whole), 20)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(7))
        with pytest.raises(StimsetError):
            check_approved(bytes(damaged), root)
    other = parse_envelope(whole).payload.replace(b"Bo Holm", b"Bo Holz")
    forged = Envelope(OVERRIDE_TYPE, other, parse_envelope(whole).signatures).to_bytes()
    file.write_bytes(forged)
    for look in (lambda: check_approved(forged, root), lambda: examine_override(file, people.officer)):
        with pytest.raises(SignatureInvalid):
            look()


def test_a_signature_on_a_release_is_none_on_an_override(people):
    """The same bytes under the release's type: another kind of document, whoever signed it."""
    file, _ = carried(people, "type.json")
    payload = parse_envelope(file.read_bytes()).payload
    signers = load_signers(people.home, "a passphrase for tests")
    with pytest.raises(FormatError):
        check_approved(sign_statement(payload, signers), own_root(people.home))
    relabelled = Envelope(OVERRIDE_TYPE, payload, parse_envelope(sign_statement(payload, signers)).signatures)
    with pytest.raises(SignatureInvalid):
        check_approved(relabelled.to_bytes(), own_root(people.home))
    with pytest.raises(UnknownSigner):
        key = generate_key()
        alone = Envelope(OVERRIDE_TYPE, payload, (Signature(key.keyid, key.sign(pae(OVERRIDE_TYPE, payload))),))
        check_approved(alone.to_bytes(), own_root(people.home))
    with pytest.raises(FormatError):
        parse_statement(payload)


def test_the_whole_way_is_visible_to_everybody(people, tmp_path):
    file, words = carried(people)
    shown = command("override", "approve", file, "--home", people.officer, passphrase=OFFICER_PASSPHRASE)
    assert shown["words"] == words and not shown["signed"] and shown["reason"] == REASON
    assert list(shown["failed"]) == ["utility-loss-knn"]
    agree(people, file, words)
    assert "signed this override already" in agree(people, file, words, exit_code=3)["said"]
    install(people, file)

    admitted = verdict.readmit(people.home, "main")
    assert not admitted.result.admitted and admitted.result.override.failed == ("utility-loss-knn",)
    proposed = command("release", "build", "--home", people.home.root, "--set", "main", "--name", "apnea")
    stick = people.carry(Path(proposed["proposal"]))
    seen = command("release", "approve", stick, "--home", people.officer, passphrase=OFFICER_PASSPHRASE)
    assert seen["gate"]["override"]["people"] == {"builder": "Ada Meyer", "officer": "Bo Holm"}
    people.approve(stick)
    folder = Path(people.publish(stick)["folder"])
    card = (folder / "CARD.md").read_text()
    assert "OVERRIDDEN" in card and "Ada Meyer (builder) and Bo Holm (officer)" in card and "utility-loss-knn" in card

    trust = ("--root", people.home.root_file, "--fingerprint", own_root(people.home).fingerprint)
    code, document, complaint = consumer("verify", folder, *trust)
    assert code == 19 and "--accept-override" in complaint
    assert document["verified"] and not document["accepted"]
    code, document, _ = consumer("verify", folder, *trust, "--accept-override")
    assert code == 0 and document["accepted"] and document["gate"]["override"]["reason"] == REASON
    text = CliRunner().invoke(consumer_app, ["verify", str(folder), *map(str, trust), "--accept-override"]).stdout
    assert "OVERRIDDEN" in text and REASON in text


def test_a_new_audit_ends_an_override(people):
    file, words = carried(people)
    agree(people, file, words)
    install(people, file)
    made = CandidateSet.load(people.home.candidates("main"))
    with pytest.raises(ReleaseRefused):
        verdict.admit(people.home, made, cohort(), POLICY)
    with pytest.raises(ReleaseRefused):
        verdict.readmit(people.home, "main")
    assert "another verdict" in install(people, file, exit_code=6)["said"]
    (made.folder / OVERRIDE_FILE).write_bytes(file.read_bytes())
    with pytest.raises(ContentMismatch):
        verdict.readmit(people.home, "main")
    request = parse_request(parse_envelope(file.read_bytes()).payload)
    assert request.people == {"builder": "Ada Meyer", "officer": "Bo Holm"}
