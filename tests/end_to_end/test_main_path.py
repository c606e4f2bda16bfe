"""The whole main path once, by the two installed commands, over mutual TLS; then a search for anything private outside.

The sizes are tiny and the gate's limits wide, since what is shown here is the path and its border, not the quality.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from both_sides import PASSPHRASE, BothSides
from byte_search import find_private, find_rows
from stimset.records import simulate
from stimset.records.writing import write_npz
from stimset.release import ENVELOPE_FILE
from stimset.serde import load_windows
from stimset.verifying import TrustedRoot, VerifiedRelease, verify
from stimset.windows import SignalSpec, WindowSpec

PERSONS, MINUTES, SEED, STIMULI = 7, 20, 4, 240
FAMILIES = ("cnn", "random_forest", "logistic_regression")
SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),),
    rate_hz=0.5,
    epoch_s=60.0,
    before_s=30.0,
    after_s=30.0,
    labels=("normal", "apnea"),
    annotations={"N": "normal", "A": "apnea"},
    meaning="Apnea within the minute, by the simulation.",
)
# Every check is run and measured; hardly any value is refused.
POLICY = """
name = "main-path-test"
version = 1
[cohort]
half_width_at_most = 0.1
[attacks.identity]
required = true
variants = ["mlp"]
at_most = 1.0
positive_control_at_least = -1.0
[utility]
students = ["logistic_regression"]
kappa_loss_at_most = 2.0
true_kappa_at_least = -1.0
"""


@dataclass(frozen=True)
class Walked:
    """What walking the path left.

    Attributes:
        both: the two sides.
        release_id: of the one release.
        said: each step's own report.
        answers: all bytes that the daemon sent to the partner's calls.
        outputs: what the partner's commands left outside its home.
    """

    both: BothSides
    release_id: str
    said: dict[str, Any]
    answers: bytes
    outputs: Path

    @property
    def outside(self) -> tuple[Path | bytes, ...]:
        """Everything that is outside the hospital, or goes there."""
        hospital, partner = self.both.hospital.home, self.both.partner.home
        return hospital / "releases", partner, self.both.folder / "for-partner", self.outputs, self.both.log, self.answers


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Walked:
    folder = tmp_path_factory.mktemp("main-path")
    both, outputs = BothSides.make(folder), folder / "outputs"
    (folder / "spec.json").write_text(json.dumps(SPEC.to_document()))
    (folder / "policy.toml").write_text(POLICY)
    outputs.mkdir()
    for record in simulate(4, 30, SEED, first_person=1000):
        write_npz(record, folder / "partners-own")

    hospital, partner, said = both.hospital, both.partner, {}
    cohort = ("--simulated", PERSONS, "--minutes", MINUTES, "--seed", SEED)
    said["ingest"] = hospital.json("ingest", *cohort, "--spec", folder / "spec.json")
    said["train"] = hospital.json("train", "--epochs", 4)
    said["excite"] = hospital.json("excite", "--recipe", "spectral", "--count", STIMULI, "--set", "main")
    said["audit"] = hospital.json("audit", "--set", "main", "--policy", folder / "policy.toml")
    said["release"] = hospital.json("release", "build", "--set", "main", "--name", "trial")
    release_id = said["release"]["release"]
    with both.served() as address:
        both.enrol(address, "trial")
        said["list"] = partner.json("list")
        said["pull"] = partner.json("pull", release_id)
        answers = both.answers(address, release_id)
    said["verify"] = partner.json("verify", partner.home / "releases" / release_id)
    chosen = [word for family in FAMILIES for word in ("--family", family)]
    said["students"] = partner.json("train", release_id, *chosen)
    said["benchmark"] = partner.json("benchmark", folder / "partners-own", "--out", outputs / "benchmark", "--draws", 50)
    said["export"] = partner.json("export", f"{release_id}-cnn-1", "--out", outputs / "cnn.onnx")
    return Walked(both, release_id, said, answers, outputs)


def test_each_step_says_what_it_did(walked):
    said = walked.said
    assert said["ingest"]["persons"] == PERSONS
    assert said["ingest"]["simulated"] is True
    assert said["excite"]["stimuli"] == said["release"]["stimuli"] == STIMULI
    assert walked.release_id == "trial-0001"
    assert [entry["release_id"] for entry in said["list"]["releases"]] == ["trial-0001"]
    assert said["verify"]["verified"] is True
    assert [row["family"] for row in said["students"]["students"]] == list(FAMILIES)
    assert said["export"]["export"]["max_difference"] < 1e-4


@pytest.fixture(scope="module")
def release(walked) -> VerifiedRelease:
    """The partner's copy."""
    root = TrustedRoot.load(walked.both.hospital.home / "root.json", walked.said["release"]["root_fingerprint"])
    return verify(walked.both.partner.home / "releases" / walked.release_id, root)


def test_the_partner_holds_what_the_hospital_signed(walked, release):
    made = walked.both.hospital.home / "releases" / walked.release_id
    for path in made.iterdir():
        assert (release.folder / path.name).read_bytes() == path.read_bytes()
    checks = {check.name for check in release.predicate.gate.checks}
    assert checks >= {"identity-mlp", "identity-mlp-positive-control", "utility-loss-logistic_regression"}
    assert release.predicate.gate.policy == "main-path-test-1"
    assert release.predicate.simulated


def test_the_students_were_measured_on_the_partners_recordings(walked):
    document = json.loads((walked.outputs / "benchmark" / "benchmark.json").read_text())
    assert len(document["results"]) == len(FAMILIES)
    assert document["persons"] == 4
    assert b"SIMULATED" in (walked.outputs / "benchmark" / "report.html").read_bytes().upper()
    assert (walked.outputs / "cnn.onnx").stat().st_size > 1000


@pytest.fixture(scope="module")
def private(walked):
    """Texts and keys, and rows of numbers, that must not leave the hospital; read from its home and from the source."""
    home = walked.both.hospital.home
    windows = load_windows(home / "cohort" / "windows.safetensors")
    records = simulate(PERSONS, MINUTES, SEED)
    names = {name for r in records for name in (r.name, r.person)}
    pseudonyms = {*windows.person_names, *windows.record_names}
    assert len(pseudonyms) == 2 * PERSONS
    assert not names & pseudonyms
    keys = [path.read_bytes() for path in (home / "keys").glob("*.key")]
    # The body of a PEM file, without its first and last line, which every key has.
    keys += [b"".join(p.read_bytes().splitlines()[1:-1]) for p in [*home.glob("keys/*.pem"), *home.glob("tls/*.key")]]
    assert len(keys) >= 6
    texts = [*(n.encode() for n in names | pseudonyms), *keys, PASSPHRASE.encode()]
    weights = [tensor for path in home.glob("teacher/*.safetensors") for tensor in load_file(path).values()]
    rows = {
        "windows": [windows.values],
        "recordings": [signal.values for record in records for signal in record.signals],
        "weights": [w.reshape(1, -1) for w in weights if w.dtype.kind == "f" and w.size >= 16],
    }
    assert len(rows["weights"]) > 20
    return texts, rows


def test_no_identifier_and_no_key_is_outside(walked, private):
    texts, _ = private
    assert find_private(texts, *walked.outside) == []


@pytest.mark.parametrize("kind", ["windows", "recordings", "weights"])
def test_no_private_numbers_are_outside(walked, private, kind):
    _, rows = private
    assert find_rows(rows[kind], *walked.outside) == []


def test_the_search_would_have_found_them(walked, release, private):
    """The same search over the hospital's home finds the pseudonyms, the windows and the weights that belong there."""
    texts, rows = private
    home = walked.both.hospital.home
    pseudonym = load_windows(home / "cohort" / "windows.safetensors").person_names[0].encode()
    assert find_private([pseudonym], home / "cohort")
    assert find_rows(rows["windows"], home / "cohort")
    assert find_rows(rows["weights"], home / "teacher")
    assert find_rows([release.stimuli().values[:1]], walked.answers)
    envelope = (home / "releases" / walked.release_id / ENVELOPE_FILE).read_bytes()
    assert envelope in walked.answers
    assert len(texts) > 4 * PERSONS


def test_no_name_is_inside_the_hospital_s_home_either(walked):
    names = [name.encode() for r in simulate(PERSONS, MINUTES, SEED) for name in (r.name, r.person)]
    assert find_private(names, walked.both.hospital.home) == []


def test_the_homes_are_for_their_owners_only(walked):
    for home in (walked.both.hospital.home, walked.both.partner.home):
        assert home.stat().st_mode & 0o077 == 0


def test_the_stimuli_are_no_copies(walked, release):
    """Nearest neighbours prove no privacy; but a stimulus that coincides with a window would prove its absence."""
    windows = load_windows(walked.both.hospital.home / "cohort" / "windows.safetensors").values
    stimuli = release.stimuli().values
    flat, others = windows.reshape(len(windows), -1), stimuli.reshape(len(stimuli), -1)
    nearest = np.sqrt(((others[:, None] - flat[None]) ** 2).mean(axis=2)).min(axis=1)
    assert nearest.min() > 0.05
