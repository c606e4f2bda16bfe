"""The gate refuses what it must, admits what it may, and can't be talked round."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, Home, write_secret
from custodian.excitation.candidates import CandidateSet
from custodian.gate import verdict
from custodian.gate.attacks import Finding
from custodian.gate.policy import AttackRule, Policy, load_policy
from small_cohort import SPEC, cohort
from stimset.errors import ConfigError, ReleaseRefused
from stimset.release import StimulusArrays

RULE = AttackRule(required=True, at_most=0.05, variants=("random_forest",))
POLICY = Policy("test", 1, {"identity": RULE}, 0.1, ("knn",), 0.25, 0.1)
ENTRY = {"name": "test", "numbers": 1, "bound": "none", "epsilon": None, "delta": None}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home.at(tmp_path_factory.mktemp("gate"))
    home.create()
    home.settings_file.write_text('name = "Test"\n')
    for name in (GATE_KEY_FILE, PSEUDONYM_KEY_FILE):
        write_secret(home.keys / name, bytes(range(32)))
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
        "identity-random_forest", "identity-random_forest-positive-control", "identity-random_forest-negative-control",
        "utility-loss-knn", "utility-true-knn",
    }  # fmt: skip
    again = verdict.readmit(home, "good")
    assert again.result == admitted.result
    assert again.candidates_digest == made.digest()


def test_raw_windows_are_refused_for_identity(home):
    training = cohort().training
    made = candidates(home, "raw", training.values, soft(training.labels))
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, made, cohort(), POLICY)
    assert any(s.startswith("identity-random_forest is") for s in caught.value.failed)
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
    strict = replace(POLICY, attacks={"identity": replace(RULE, positive_control_at_least=0.99)})
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, candidates(home, "blind", *stranger_like()), cohort(), strict)
    assert [s.split(" ")[0] for s in caught.value.failed] == ["identity-random_forest-positive-control"]


def finding(name="membership-student", auc=0.52, interval=(0.45, 0.59), **changes):
    """What a deep audit leaves; its numbers are the test's."""
    fields = {
        "intervals": {"auc": interval} if interval else {}, "missing": {} if interval else {"auc": "8 persons are too few"},
        "positive_control": 0.9, "negative_control": 0.5,
    }  # fmt: skip
    return Finding(name, "auc", {} if auc is None else {"auc": auc}, "Words.", "Caveat.", **{**fields, **changes})


def deep_checks(rule, *findings):
    stimuli = stranger_like(60)
    made = verdict.judge(StimulusArrays(*(np.asarray(a, np.float32) for a in stimuli)), cohort(), policy(rule), deep=findings)
    return {c.name: c for c in made.result.checks if c.name.startswith("membership")}, made.result


def policy(rule):
    return replace(POLICY, attacks={"identity": RULE, "membership": rule})


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        ((finding(),), []),
        ((), ["membership"]),
        ((finding(auc=0.7),), ["membership-student"]),
        ((finding(auc=None),), ["membership-student"]),
        ((finding(auc=float("nan")),), ["membership-student"]),
        ((finding(interval=None),), ["membership-student-upper"]),
        ((finding(interval=(0.4, 0.66)),), ["membership-student-upper"]),
        ((finding(positive_control=None),), ["membership-student-positive-control"]),
        ((finding(positive_control=0.6),), ["membership-student-positive-control"]),
        ((finding(negative_control=0.61),), ["membership-student-negative-control"]),
        ((finding(negative_control=None),), ["membership-student-negative-control"]),
        ((finding(), finding("membership-stimuli", auc=0.9)), ["membership-stimuli"]),
        ((finding("membershipx"),), ["membership"]),
    ],
)
def test_a_required_attack_fails_closed(found, failed):
    checks, result = deep_checks(AttackRule(True, 0.6, upper_at_most=0.65), *found)
    assert [name for name, c in checks.items() if not c.passed] == failed
    assert checks and (not failed or not result.admitted)


def test_a_deep_attack_that_is_not_required_is_held_to_its_limits_where_it_ran():
    rule = AttackRule(False, 0.6)
    assert deep_checks(rule)[0] == {}
    checks, result = deep_checks(rule, finding(auc=0.7))
    assert not checks["membership-student"].passed and not result.admitted
    assert result.measurements["membership-student-auc-high"] == 0.59
    listed = replace(rule, variants=("student", "stimuli"))
    assert deep_checks(listed, finding())[0]["membership-stimuli"].value is None


def test_a_further_limit_on_a_measurement():
    rule = AttackRule(False, 0.6, also_at_most={"tpr-at-1": 0.05})
    checks, _ = deep_checks(rule, finding())
    assert not checks["membership-student-tpr-at-1"].passed
    assert checks["membership-student-tpr-at-1"].value is None


def test_an_attack_that_crashes_counts_as_failed_and_tells_nothing_outside(home, monkeypatch):
    """Whatever breaks in an attack, also what nobody thought of; the error's text may name a patient and stays in the report."""
    from custodian.gate.attacks.association import Association

    def broken(self, evidence, *, seed, on_progress):
        raise KeyError("patient Ann")

    good = candidates(home, "crash", *stranger_like())
    verdict.admit(home, good, cohort(), POLICY)
    monkeypatch.setattr(Association, "run", broken)
    with pytest.raises(ReleaseRefused) as caught:
        verdict.admit(home, good, cohort(), POLICY)
    assert caught.value.failed == ("identity-random_forest is not measured, allowed is <= 0.05",)
    result, _ = verdict.read_verdict(home, "crash")
    assert "Ann" not in repr(result)
    assert "patient Ann" in (good.folder / "report.json").read_text()


def test_an_audit_that_breaks_off_leaves_no_earlier_verdict_in_force(home, monkeypatch):
    good = candidates(home, "broken-off", *stranger_like())
    verdict.admit(home, good, cohort(), POLICY)

    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(verdict, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verdict.admit(home, good, cohort(), POLICY)
    with pytest.raises(ConfigError, match="was not audited"):
        verdict.readmit(home, "broken-off")


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
        ('name = "default"', "", "'name' is missing"),
        ("version = 3", 'version = "two"', "'version' must be a whole number"),
        ("version = 3", "version = true", "'version' must be a whole number"),
        ('variants = ["deep_cnn", "random_forest", "knn"]', "variants = []", "admits anything"),
        ('"deep_cnn"', '"oracle"', "no family 'oracle'"),
        ("kappa_loss_at_most = 0.15", "kappa_loss = 0.15", "'kappa_loss_at_most' is missing"),
        ("kappa_loss_at_most = 0.15", 'kappa_loss_at_most = "a lot"', "must be a number"),
        ("kappa_loss_at_most = 0.15", "kappa_loss_at_most = nan", "finite"),
        ("[attacks.linkage]", "[attacks.linkages]", "no attack 'linkages'"),
        ("[utility]", "[utility]\nbribe = 1", "'bribe' is unknown"),
        ("required = true", "required = false", "admits anything"),
        ("required = true", "required = 1", "true or false"),
    ],
)
def test_a_wrong_policy_is_refused(tmp_path, old, new, cause):
    from importlib import resources

    text = (resources.files("custodian.gate") / "policies" / "default.toml").read_text()
    assert old in text
    (tmp_path / "p.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=cause):
        load_policy(tmp_path / "p.toml")


def test_the_shipped_policies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_policy() == load_policy(Path("default"))
    assert load_policy().digest() == load_policy().digest() != replace(load_policy(), kappa_loss_at_most=0.5).digest()
    default, strict = load_policy(), load_policy(Path("strict"))
    deep = {"membership", "attribute", "canary"}
    assert {name for name, rule in strict.attacks.items() if rule.required} == set(strict.attacks) >= deep
    assert {name for name, rule in default.attacks.items() if not rule.required} == deep
    for name, rule in default.attacks.items():
        assert strict.attacks[name].at_most <= rule.at_most
    with pytest.raises(ConfigError, match="does not exist"):
        load_policy(Path("lenient"))


def test_persons_who_can_not_be_told_apart_still_test_the_attacker(home):
    """No person has a rhythm here: only the planted tones show that the attacker could have found one."""
    c = cohort()
    x, p = stranger_like(len(c.windows), seed=1)
    alike = replace(c, windows=replace(c.windows, values=x.astype(np.float32), labels=p.argmax(1)))
    made = candidates(home, "alike", *stranger_like(seed=2))
    result = verdict.admit(home, made, alike, POLICY).result
    assert result.measurements["identity-random_forest-control-lift"] < 1.5
    assert result.measurements["identity-random_forest-planted-lift"] > 2
