"""The gate refuses what it must, admits what it may, and can't be talked round."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from custodian.config import GATE_KEY_FILE, Home, write_secret
from custodian.excitation.candidates import CandidateSet
from custodian.gate import verdict
from custodian.gate.policy import Policy, load_policy
from small_cohort import SPEC, cohort
from stimset.errors import ConfigError, ReleaseRefused

POLICY = Policy("test-1", ("random_forest",), 0.05, 1.5, ("knn",), 0.25, 0.1)
ENTRY = {"name": "test", "numbers": 1, "bound": "none", "epsilon": None, "delta": None}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home.at(tmp_path_factory.mktemp("gate"))
    home.create()
    write_secret(home.keys / GATE_KEY_FILE, bytes(range(32)))
    return home


def candidates(home, name, values, probabilities):
    folder = home.candidates(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrays = {"values": np.ascontiguousarray(values, np.float32), "probabilities": np.ascontiguousarray(probabilities, np.float32)}
    save_file(arrays, folder / "shard-00000.safetensors")
    made = CandidateSet(
        folder, SPEC, {"shard-00000.safetensors": len(values)}, True, 0, {"architecture": "cnn"}, {"name": name}, (ENTRY,)
    )
    made.save()
    return made


def soft(labels):
    return 0.05 + 0.85 * np.eye(3, dtype=np.float32)[labels]


def stranger_like(rows=300, seed=5):
    """What a good recipe leaves: the classes' rhythms with nobody's own rhythm in them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=rows)
    t, phase = np.arange(60), rng.uniform(0, 2 * np.pi, (2, rows, 1))
    wave = 1.5 * np.sin(2 * np.pi * np.array([0, 0.05, 0.15])[labels][:, None] * t + phase[0]) * (labels > 0)[:, None]
    wave = wave + 0.7 * np.sin(2 * np.pi * rng.uniform(0.05, 0.5, (rows, 1)) * t + phase[1])
    x = np.stack([wave, 0.8 * wave], 1) + 1.3 * rng.standard_normal((rows, 2, 60))
    return np.clip(x, -5, 5), soft(labels)


def test_a_harmless_and_useful_set_is_admitted_and_admitted_again(home):
    made = candidates(home, "good", *stranger_like())
    admitted = verdict.admit(home, made, cohort(), POLICY)
    assert {c.name for c in admitted.result.checks} == {
        "identity-certainty-random_forest", "identity-control-random_forest", "utility-loss-knn", "utility-true-knn",
    }  # fmt: skip
    again = verdict.readmit(home, "good")
    assert again.result == admitted.result
    assert again.candidates_digest == made.digest()


def test_raw_windows_are_refused_for_identity(home):
    training = cohort().training
    made = candidates(home, "raw", training.values, soft(training.labels))
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, made, cohort(), POLICY)
    assert any(s.startswith("identity-certainty-random_forest") for s in caught.value.failed)
    with pytest.raises(ReleaseRefused, match="refuses the set 'raw'"):
        verdict.readmit(home, "raw")


def test_noise_is_refused_for_uselessness_and_only_for_that(home):
    rng = np.random.default_rng(0)
    made = candidates(home, "noise", rng.standard_normal((300, 2, 60)), rng.dirichlet((1, 1, 1), 300))
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, made, cohort(), POLICY)
    assert [s.split(" ")[0] for s in caught.value.failed] == ["utility-loss-knn"]


def test_what_could_not_be_measured_counts_as_failed(home):
    x, p = stranger_like(40)
    x[3, 0, 0] = np.nan
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, candidates(home, "nan", x, p), cohort(), POLICY)
    assert any("not measured" in s for s in caught.value.failed)
    result, _ = verdict.read_verdict(home, "nan")
    assert not result.admitted


def test_an_attacker_that_recognises_nobody_proves_nothing(home):
    strict = replace(POLICY, control_lift_at_least=50.0)
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, candidates(home, "blind", *stranger_like()), cohort(), strict)
    assert any(s.startswith("identity-control") for s in caught.value.failed)


def test_an_edited_verdict_or_a_set_changed_after_it_admits_nothing(home):
    rng = np.random.default_rng(0)
    made = candidates(home, "forged", rng.standard_normal((300, 2, 60)), rng.dirichlet((1, 1, 1), 300))
    with pytest.raises(ReleaseRefused):
        verdict.admit(home, made, cohort(), POLICY)
    file = made.folder / verdict.VERDICT_FILE
    document = json.loads(file.read_text())
    document["result"]["admitted"] = True
    for check in document["result"]["checks"]:
        check["passed"] = True
    file.write_text(json.dumps(document))
    with pytest.raises(ReleaseRefused, match="not what the gate wrote"):
        verdict.readmit(home, "forged")
    file.write_text("{")
    with pytest.raises(ReleaseRefused, match="not what the gate wrote"):
        verdict.readmit(home, "forged")

    good = candidates(home, "good", *stranger_like())
    verdict.admit(home, good, cohort(), POLICY)
    shutil.copy(good.folder / verdict.VERDICT_FILE, file)
    with pytest.raises(ReleaseRefused, match="has changed since"):
        verdict.readmit(home, "forged")
    shard = good.folder / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ReleaseRefused, match="has changed since"):
        verdict.readmit(home, "good")
    with pytest.raises(ConfigError, match="was not audited"):
        verdict.readmit(home, candidates(home, "fresh", *stranger_like()).folder.name)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('name = "default-1"', "", "are expected"),
        ('attackers = ["deep_cnn", "random_forest"]', "attackers = []", "admits anything"),
        ('"deep_cnn"', '"oracle"', "no family 'oracle'"),
        ("kappa_loss_at_most = 0.15", "kappa_loss = 0.15", "must have exactly"),
        ("kappa_loss_at_most = 0.15", 'kappa_loss_at_most = "a lot"', "wrong type"),
    ],
)
def test_a_wrong_policy_is_refused(tmp_path, old, new, cause):
    from importlib import resources

    text = (resources.files("custodian.gate") / "policies" / "default.toml").read_text()
    assert old in text
    (tmp_path / "p.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=cause):
        load_policy(tmp_path / "p.toml")
    assert load_policy().digest() == load_policy().digest() != replace(load_policy(), kappa_loss_at_most=0.5).digest()


def test_persons_who_can_not_be_told_apart_still_test_the_attacker(home):
    """No person has a rhythm here: only the planted tones show that the attacker could have found one."""
    c = cohort()
    x, p = stranger_like(len(c.windows), seed=1)
    alike = replace(c, windows=replace(c.windows, values=x.astype(np.float32), labels=p.argmax(1)))
    made = candidates(home, "alike", *stranger_like(seed=2))
    result = verdict.admit(home, made, alike, POLICY).result
    assert result.measurements["identity-random_forest-control-lift"] < 1.5
    assert result.measurements["identity-random_forest-planted-lift"] > 2
