"""Only an admitted set leaves, and it leaves whole or not at all."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from custodian.gate.admitted import AdmittedSet
from custodian.publish import publishing
from custodian.publish.keys import load_signers, own_root
from custodian.publish.publishing import SignedRelease, publish
from stimset.errors import ConfigError, FormatError, ReleaseRefused, UnknownSigner
from stimset.signing import generate_key
from stimset.verifying import verify
from tiny_release import CHECKS, NOW, PASSPHRASE, RESULT, SPEC, admit, candidates, make, make_home


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home", now=NOW)


@pytest.fixture
def signers(home):
    return load_signers(home, PASSPHRASE)


@pytest.fixture
def made(home):
    return candidates(home.candidates("set"))


def leftovers(home) -> list[str]:
    return sorted(p.name for p in home.releases.iterdir() if not p.name.startswith(".series") and p.name != ".lock")


def test_the_stimuli_arrive_unchanged(home, made, signers):
    seen = []
    release = publish(
        admit(made), home, signers, name="apnea", now=NOW, on_progress=lambda n, note: seen.append((n, note))
    )
    assert release.folder == home.releases / "apnea-0001"
    assert release.signed_by == tuple(sorted(s.keyid for s in signers))
    verified = verify(release.folder, own_root(home), now=NOW)
    assert verified.statement == release.statement
    np.testing.assert_array_equal(verified.stimuli().values, made.arrays().values)
    np.testing.assert_array_equal(verified.stimuli().probabilities, made.arrays().probabilities)
    assert seen == [(5, "stimuli-00000.safetensors")]
    p = verified.predicate
    assert (p.created, p.expires) == ("2026-01-01T12:00:00Z", "2027-01-01T12:00:00Z")
    assert (p.custodian, p.gate, p.simulated) == ("Test Hospital", RESULT, True)


def test_files_can_not_be_written_and_nothing_else_is_left(home, made, signers):
    release = publish(admit(made), home, signers, name="apnea", now=NOW)
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in release.folder.iterdir())
    assert leftovers(home) == ["apnea-0001"]


def test_shards_are_cut_and_joined(home, signers, monkeypatch):
    monkeypatch.setattr("custodian.publish.writing.SHARD_BYTES", 4096 + 4 * 48 + 5)
    made = candidates(home.candidates("many"), shards=(1, 6, 2, 1))
    release = publish(admit(made), home, signers, name="many", now=NOW)
    assert list(release.statement.predicate.shards.values()) == [4, 4, 2]
    verified = verify(release.folder, own_root(home), now=NOW)
    np.testing.assert_array_equal(verified.stimuli().values, made.arrays().values)
    for name in release.statement.predicate.shards:
        assert set(load_file(release.folder / name)) == {"stimuli", "probabilities"}


def test_a_series_counts_and_never_counts_back(home, signers):
    first, second = (make(home.root, home=home, now=NOW, name="a").release for _ in range(2))
    other = make(home.root, home=home, now=NOW, name="a-0001").release
    assert [r.id for r in (first, second, other)] == ["a-0001", "a-0002", "a-0001-0001"]
    for path in second.folder.iterdir():
        path.unlink()
    second.folder.rmdir()
    assert make(home.root, home=home, now=NOW, name="a").release.id == "a-0003"
    (home.releases / ".series/a.last").write_text("junk")
    with pytest.raises(ConfigError, match="damaged"):
        make(home.root, home=home, now=NOW, name="a")


def test_a_set_that_changed_since_the_verdict_is_refused(home, made, signers):
    admitted = admit(made)
    path = made.folder / "shard-00001.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "values": -tensors["values"]}, path)
    with pytest.raises(ReleaseRefused, match="not the one that the gate judged"):
        publish(admitted, home, signers, name="apnea", now=NOW)
    path.unlink()
    with pytest.raises(ReleaseRefused, match="can't be read"):
        publish(admitted, home, signers, name="apnea", now=NOW)
    assert not home.releases.exists()


def test_a_set_that_changes_while_it_is_written_is_refused(home, made, signers):
    admitted = admit(made)

    def swap(done: float, note: str) -> None:
        (made.folder / "candidates.json").write_text("{}")

    with pytest.raises(ReleaseRefused, match="not the one"):
        publish(admitted, home, signers, name="apnea", now=NOW, on_progress=swap)
    assert leftovers(home) == []


@pytest.mark.parametrize("thing", [None, "set", object()])
def test_only_an_admitted_set_is_published(home, made, signers, thing):
    for candidate in (thing, made):
        with pytest.raises(ReleaseRefused, match="gate admitted"):
            publish(candidate, home, signers, name="apnea", now=NOW)


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "a/b", "-a", "a-", "a--b", "é", "a" * 49, "a\n"])
def test_names_of_series(home, made, signers, name):
    with pytest.raises(ConfigError, match="series"):
        publish(admit(made), home, signers, name=name, now=NOW)


def test_strangers_and_too_few_signers_leave_nothing(home, made, signers):
    with pytest.raises(UnknownSigner):
        publish(admit(made), home, [generate_key()], name="apnea", now=NOW)
    with pytest.raises(ConfigError):
        publish(admit(made), home, [], name="apnea", now=NOW)
    assert leftovers(home) == []
    assert publish(admit(made), home, signers, name="apnea", now=NOW).id == "apnea-0001"


@pytest.mark.parametrize("bent", [np.nan, np.inf, 99.0])
def test_what_a_consumer_would_refuse_is_never_seen(home, made, signers, bent):
    path = made.folder / "shard-00000.safetensors"
    tensors = load_file(path)
    tensors["values"][0, 0, 0] = bent
    save_file(tensors, path)
    with pytest.raises(FormatError):
        publish(admit(made), home, signers, name="apnea", now=NOW)
    assert leftovers(home) == []


def test_an_expired_root_signs_nothing(home, made, signers):
    with pytest.raises(ConfigError, match="root expired"):
        publish(admit(made), home, signers, name="apnea", now=NOW + timedelta(days=800))


@pytest.mark.parametrize(
    "where", ["/home/anna/cohort/p1.dat", "see ~/x/y", "C:\\data\\p1", "file:///x", "made from '/data/cohort'"]
)
def test_a_path_in_the_description_is_refused(home, made, signers, where):
    for part in ({"teacher": {"deep": [{"note": where}]}}, {"recipe": {where: 1}}, {"aggregates": ({"name": where},)}):
        bent = replace(made, **part)
        bent.save()
        with pytest.raises(ReleaseRefused, match="path"):
            publish(admit(bent), home, signers, name="apnea", now=NOW)


def test_words_with_slashes_are_no_paths(home, made, signers):
    bent = replace(made, teacher={"note": "normal/apnea, see https://arxiv.org/abs/2009.10007, beats / minute"})
    bent.save()
    publish(admit(bent), home, signers, name="apnea", now=NOW)


def test_no_name_of_the_candidate_set_crosses_over(home, signers):
    made = candidates(home.candidates("secret-set-name"))
    release = publish(admit(made), home, signers, name="apnea", now=NOW)
    everything = b"".join(path.read_bytes() for path in release.folder.iterdir())
    for word in (b"secret-set-name", b"shard-0", b"candidates", str(home.root).encode()):
        assert word not in everything


def test_a_crash_before_the_rename_leaves_nothing_visible(home, made, signers, monkeypatch):
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "record_sequence", crash)
    with pytest.raises(KeyboardInterrupt):
        publish(admit(made), home, signers, name="apnea", now=NOW)
    assert leftovers(home) == []


def test_signed_releases_and_admitted_sets_have_one_maker(home, made, signers):
    release = publish(admit(made), home, signers, name="apnea", now=NOW)
    arguments = (release.folder, release.statement, release.signed_by, release.root_fingerprint)
    for attempt in (
        lambda: SignedRelease(*arguments),
        lambda: SignedRelease(*arguments, _seal=object()),
        lambda: type("Mine", (SignedRelease,), {}),
        lambda: copy.copy(release),
        lambda: pickle.dumps(release),
        lambda: AdmittedSet(made, RESULT, candidates_digest=made.digest()),
        lambda: AdmittedSet(made, RESULT, candidates_digest=made.digest(), _seal=object()),
    ):
        with pytest.raises(TypeError):
            attempt()
    with pytest.raises(AttributeError):
        release.folder = Path("/")
    with pytest.raises(AttributeError):
        admit(made).result = RESULT
    with pytest.raises(ReleaseRefused):
        admit(made, replace(RESULT, checks=(replace(CHECKS[0], passed=False),)))


def test_cards(home, made, signers):
    release = publish(admit(made), home, signers, name="apnea", now=NOW)
    card = json.loads((release.folder / "card.json").read_text())
    assert card["@type"] == "sc:Dataset"
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert "SIMULATED" in card["description"]
    files = {f.name: f for f in release.statement.subjects}
    assert {f["name"]: f["sha256"] for f in card["distribution"]} == {
        name: file.sha256 for name, file in files.items() if name != "card.json"
    }
    ids = {f["@id"] for f in card["distribution"]}
    fields = [field for records in card["recordSet"] for field in records["field"]]
    assert {f["source"]["fileObject"]["@id"] for f in fields if "source" in f} <= ids
    text = (release.folder / "CARD.md").read_text()
    assert text.index("SIMULATED") < 100
    for check in CHECKS:
        assert check.name in text
        assert check.meaning in text
    assert SPEC.digest() in text
    assert "openssl pkeyutl -verify" in text


def test_a_release_of_real_patients_says_so(home, signers):
    made = candidates(home.candidates("real"), simulated=False)
    release = publish(admit(made), home, signers, name="real", now=NOW)
    assert "SIMULATED" not in (release.folder / "CARD.md").read_text()
    assert not release.statement.predicate.simulated


def test_times_are_utc_whatever_the_zone(home, made, signers):
    local = NOW.astimezone(datetime.now(UTC).astimezone().tzinfo)
    assert (
        publish(admit(made), home, signers, name="a", now=local).statement.predicate.created == "2026-01-01T12:00:00Z"
    )
