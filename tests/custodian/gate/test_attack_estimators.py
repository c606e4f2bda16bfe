"""Each attack catches what leaks, passes what does not, and says what it could not measure."""

from dataclasses import replace

import numpy as np
import pytest

from custodian.cohort import Cohort
from custodian.gate.attacks import attack_identity, controls
from custodian.gate.attacks.association import Association
from custodian.gate.attacks.base import Evidence
from custodian.gate.attacks.doubles import find_doubles, find_pairs
from custodian.gate.attacks.linkage import Linkage, agreement, thirds
from custodian.gate.attacks.reconstruction import RATIO, Reconstruction, singled_out
from custodian.gate.utility import try_student
from overfitted import overfitted_generator
from small_cohort import cohort
from stimset.errors import DataInvalid
from stimset.metrics import cohen_kappa
from stimset.release import StimulusArrays

LIMITS = {"reconstruction": 0.01, "linkage": 0.03, "identity-knn": 0.05}
ATTACKS = (Reconstruction(), Linkage(), Association("knn"))


@pytest.fixture(scope="module")
def many():
    """Twenty-four persons, five of them strangers: enough for intervals."""
    made = distinct(cohort(persons=24, per_person=40))
    assert len(made.validation_persons) >= 5
    return made


def distinct(cohort):
    """Each training person with a trait that no stranger has: a tone in the second channel between those of the small cohort."""
    w = cohort.windows
    own = 0.5 * np.linspace(0.1, 0.9, len(w.person_names))[w.person, None] * np.arange(60)
    tone = 0.8 * np.sin(2 * np.pi * own) * ~np.isin(w.person, cohort.validation_persons)[:, None]
    values = w.values.copy()
    values[:, 1] += tone.astype(np.float32)
    return replace(cohort, windows=replace(w, values=np.clip(values, -5, 5)))


def soft(labels, classes=3):
    return (0.9 * np.eye(classes, dtype=np.float32)[labels] + 0.1 / classes).astype(np.float32)


def raw(cohort, rng, count=400):
    rows = rng.choice(len(cohort.training), count, replace=False)
    return StimulusArrays(cohort.training.values[rows], soft(cohort.training.labels[rows]))


def harmless(cohort, rng, count=400):
    """The classes' rhythms, and tones that are nobody's."""
    labels = rng.integers(3, size=count)
    t, phase = np.arange(60), rng.uniform(0, 2 * np.pi, (2, count, 1))
    wave = 1.5 * np.sin(2 * np.pi * np.array([0, 0.05, 0.15])[labels][:, None] * t + phase[0]) * (labels > 0)[:, None]
    wave = wave + 0.7 * np.sin(2 * np.pi * rng.uniform(0.05, 0.5, (count, 1)) * t + phase[1])
    x = np.stack([wave, 0.8 * wave], 1) + 1.3 * rng.standard_normal((count, 2, 60))
    return StimulusArrays(np.clip(x, -5, 5).astype(np.float32), soft(labels))


@pytest.fixture(scope="module")
def findings(many):
    rng = np.random.default_rng(0)
    leaking = raw(many, rng)
    sets = {
        "raw": leaking,
        "noised": replace(leaking, values=controls.noised(leaking.values, rng)),
        "harmless": harmless(many, rng),
        "noise": StimulusArrays(controls.noise(many.spec, 400, rng), soft(rng.integers(3, size=400))),
    }
    return {name: {a.name: a.run(Evidence(s, many), seed=5) for a in ATTACKS} for name, s in sets.items()}


@pytest.mark.parametrize("attack", [a.name for a in ATTACKS])
def test_windows_are_caught_and_noise_passes(findings, attack):
    limit = LIMITS[attack]
    for name in ("raw", "noised"):
        assert findings[name][attack].value > limit, name
    for name in ("harmless", "noise"):
        assert findings[name][attack].value <= limit, name


@pytest.mark.parametrize("attack", [a.name for a in ATTACKS])
def test_its_controls_say_the_same_of_the_attack_whatever_is_attacked(findings, attack):
    for found in findings.values():
        assert found[attack].positive_control > LIMITS[attack]
        assert found[attack].negative_control <= LIMITS[attack]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_it_has_an_interval_around_its_headline_and_repeats(findings, many, attack):
    found = findings["harmless"][attack.name]
    low, high = found.intervals[found.headline]
    assert low <= found.value <= high
    assert not found.missing
    assert all(np.isfinite(v) for v in found.measurements.values())
    evidence = Evidence(harmless(many, np.random.default_rng(9)), many)
    shares = []
    again = [attack.run(evidence, seed=5, on_progress=shares.append) for _ in range(2)]
    assert again[0] == again[1]
    assert max(shares) == pytest.approx(1.0)
    assert attack.cost_s(evidence) > 0


def test_an_overfitted_generator_is_refused_for_copying(many):
    memorised = overfitted_generator(many, 300, seed=2, windows=80, steps=250)
    evidence = Evidence(memorised, many)
    copied = Reconstruction().run(evidence, seed=5)
    assert copied.value > 0.5
    assert copied.intervals["copied-share"][0] > LIMITS["reconstruction"]


def test_the_copied_share_is_the_share_that_was_copied(many):
    rng = np.random.default_rng(3)
    clean, leaking = harmless(many, rng, 380), raw(many, rng, 20)
    mixed = StimulusArrays(
        *(
            np.concatenate(pair)
            for pair in ((clean.values, leaking.values), (clean.probabilities, leaking.probabilities))
        )
    )
    found = Reconstruction().run(Evidence(mixed, many), seed=5)
    assert found.value == pytest.approx(20 / 400, abs=0.006)


def test_few_strangers_leave_intervals_out_and_say_why():
    small = cohort()
    stimuli = harmless(small, np.random.default_rng(0))
    for attack in (Linkage(), Association("knn")):
        found = attack.run(Evidence(stimuli, small), seed=1)
        assert found.headline not in found.intervals
        assert "2 strangers are too few" in found.missing[found.headline]
    copied = Reconstruction().run(Evidence(stimuli, small), seed=1)
    assert "nearer-auc" in copied.missing
    assert "copied-share" in copied.intervals


def test_a_recording_kept_twice_is_found_left_out_and_named(many):
    w = many.windows
    twin, stranger = int(many.training_person_indices[0]), many.validation_persons[1]
    values = w.values.copy()
    values[w.person == stranger] = np.roll(values[w.person == twin], 7, axis=-1)
    doubled = Cohort(replace(w, values=values), many.validation_persons, simulated=True)
    assert find_doubles(many) == ()
    assert find_doubles(doubled) == (stranger,)
    assert find_pairs(many.windows) == ()
    assert find_pairs(doubled.windows) == (tuple(sorted((twin, stranger))),)
    rng = np.random.default_rng(0)
    evidence = Evidence(raw(doubled, rng), doubled)
    assert stranger not in evidence.stranger_persons
    assert stranger not in evidence.strangers.person
    found = Reconstruction().run(evidence, seed=1)
    assert found.value > 0.9
    assert "1 of the persons kept apart" in found.notes[0]
    with pytest.raises(DataInvalid, match="at least 2 persons"):
        Reconstruction().run(
            Evidence(evidence.stimuli, replace(doubled, validation_persons=(stranger, many.validation_persons[0]))),
            seed=1,
        )


def test_singling_out_needs_one_person_far_nearer_than_the_rest():
    likeness = np.array([[0.95, 0.2, 0.3], [0.95, 0.94, 0.3], [0.1, 0.2, 0.95], [0.3, 0.3, 0.3]], np.float32)
    assert singled_out(likeness, np.array([0, 1])).tolist() == [True, False, False, False]
    edge = np.array([[1 - 0.99 * RATIO * 0.5, 0.5], [1 - 1.01 * RATIO * 0.5, 0.5]], np.float32)
    assert singled_out(edge, np.array([0])).tolist() == [True, False]


def test_agreement_is_cohens_kappa_and_takes_the_label_for_granted():
    rng = np.random.default_rng(0)
    first = rng.integers(4, size=300)
    second = np.where(rng.random(300) < 0.5, first, rng.integers(4, size=300))
    one_label = np.stack([first, second, np.zeros(300, int)], 1)
    assert agreement([one_label]) == pytest.approx(cohen_kappa(first, second, 4))
    by_label = np.stack([first, first, first], 1)  # the label alone says who
    assert agreement([by_label]) == 0.0
    assert agreement([np.stack([first, first, np.zeros(300, int)], 1)]) == pytest.approx(1.0)


def test_thirds_are_disjoint_in_time_and_hold_everybody(many):
    w = many.training
    parts = thirds(w)
    assert sorted(np.concatenate(parts)) == list(range(len(w)))
    for rows in parts:
        assert set(w.person[rows]) == set(w.person)
    for p in np.unique(w.person):
        ends = [w.start_s[rows[w.person[rows] == p]] for rows in parts]
        assert ends[0].max() <= ends[1].min()
        assert ends[1].max() <= ends[2].min()


def test_the_finding_holds_the_numbers_of_the_plain_call(many):
    stimuli = harmless(many, np.random.default_rng(1))
    found = Association("knn").run(Evidence(stimuli, many), seed=3)
    plain = attack_identity("knn", stimuli, many, seed=3)
    assert found.value == pytest.approx(plain.certainty_gap)
    assert found.measurements["stimuli-auc"] == plain.stimuli_auc
    assert found.measurements["control-lift"] == plain.control_lift
    assert set(found.curves) == {"stimuli", controls.RAW, controls.NOISED, controls.NOISE}


def test_where_nobody_can_be_told_apart_a_planted_tone_is_the_control(many):
    rng = np.random.default_rng(4)
    alike = harmless(many, rng, len(many.windows))
    blind = replace(many, windows=replace(many.windows, values=alike.values, labels=alike.probabilities.argmax(1)))
    found = Association("random_forest").run(Evidence(harmless(many, rng), blind), seed=3)
    assert found.measurements["control-lift"] < 1.5 < found.measurements["planted-lift"]
    assert found.positive_control > LIMITS["identity-knn"]
    assert Linkage().run(Evidence(harmless(many, rng), blind), seed=3).positive_control > LIMITS["linkage"]


def test_values_that_are_not_finite_are_refused(many):
    stimuli = harmless(many, np.random.default_rng(1))
    stimuli.values[3, 0, 0] = np.nan
    for attack in (Reconstruction(), Association("knn")):
        with pytest.raises(DataInvalid):
            attack.run(Evidence(stimuli, many), seed=1)


def test_a_students_loss_has_an_interval_over_persons(many):
    rng = np.random.default_rng(6)
    trial = try_student("naive_bayes", raw(many, rng), many, seed=1)
    low, high = trial.loss_interval
    assert low <= trial.loss <= high
    assert try_student("naive_bayes", raw(cohort(), rng, 200), cohort(), seed=1).loss_interval is None
