"""Association: does a stimulus point at a patient, in the eyes of a fresh attacker?

An attacker of a family that inhibition never saw learns to tell the training persons apart, then looks at stimuli and at windows of
persons whom nobody trained on. It must be able to succeed, or it proves nothing: its positive control is to recognise the training
persons in windows that it did not learn. Where even that fails, the persons may simply be indistinguishable; then the same attacker must
find a weak tone of their own that is planted into each person's windows.

What it says: whether *these* attackers are surer of a stimulus's owner than of a stranger's. What it does not say: that no other attacker
could be, or that membership in the cohort can't be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort, person_shares
from custodian.gate.attacks import controls
from custodian.gate.attacks.base import Curve, Evidence, Finding, OnProgress, unwatched
from custodian.gate.attacks.intervals import Clustered, area, interval, mean_difference, too_few
from custodian.gate.attacks.signatures import with_tones
from stimset.learning.estimator import SoftLabelEstimator
from stimset.learning.families import build, family
from stimset.release import StimulusArrays

CONTROL_SHARE = 0.2
MAX_WINDOWS = 12_000
MAX_JUDGED = 4_000
MAX_CONTROLS = 1_000
LIFT_WANTED = 1.5
GAP_WANTED = 0.05
SECONDS_PER_NUMBER = {"deep_cnn": 1.1e-5, "random_forest": 4e-6, "knn": 3e-7}
PLANTED, PLANTED_STRANGERS = "planted", "strangers, to the attacker of planted windows"

WORDS = (
    "How much more certain (in probability, on average) a {title}, trained on the patients and never seen by inhibition, is of a "
    "stimulus's owner than of the owner of a stranger's window; 0 or less is no more."
)
CAVEAT = "It says nothing of other attackers, nor of whether a patient's membership in the cohort can be told."

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IdentityAttack:
    """What one attacker found.

    Attributes:
        family: of the attacker.
        stimuli_certainty, strangers_certainty, control_certainty: mean of its largest probability for stimuli, for strangers' windows, and
            for held-out windows of the training persons.
        stimuli_auc: chance that it is more certain (largest probability) of a stimulus than of a stranger's window; 0.5 is no difference.
        control_auc: the same for held-out windows of the training persons themselves.
        control_lift: how often it names their person rightly, over how often the label alone would: the positive control.
        planted_lift: the same with planted tones; equal to `control_lift` where that was enough.
        stimuli_entropy, strangers_entropy, control_entropy: mean entropy of its answers over the logarithm of the number of persons: 1
            when everyone is equally likely.
        stimuli_excess, strangers_excess: mean KL(answer || what the label alone says of the person) in nats: what it claims to know
            beyond the label's base rate.
    """

    family: str
    stimuli_certainty: float
    strangers_certainty: float
    control_certainty: float
    stimuli_auc: float
    control_auc: float
    control_lift: float
    planted_lift: float
    stimuli_entropy: float
    strangers_entropy: float
    control_entropy: float
    stimuli_excess: float
    strangers_excess: float

    @property
    def certainty_gap(self) -> float:
        """How much more certain it is, on average, of a stimulus's owner than of a stranger's window's."""
        return self.stimuli_certainty - self.strangers_certainty


@dataclass(frozen=True)
class Association:
    """The identity attack of one family, with its controls, as a `Finding`.

    The headline ``certainty-gap`` is limited by the policy. The positive control is the same gap for windows of the training persons that
    the attacker did not learn, with a tenth of noise; where persons can't be told apart, or no better than strangers are taken for them,
    the same with planted tones. The negative control is noise that sounds like strangers.

    Attributes:
        family: of the attacker, in `stimset.learning.families`.
        lift_wanted, gap_wanted: how much better than the label alone it must name owners, and what gap it must show for their noisy
            windows; below either the planted control is run.
    """

    family: str
    lift_wanted: float = LIFT_WANTED
    gap_wanted: float = GAP_WANTED

    @property
    def name(self) -> str:
        """``identity-FAMILY``."""
        return f"identity-{self.family}"

    def cost_s(self, evidence: Evidence) -> float:
        """Measured on one core: nearly all of it is the attacker's training."""
        cohort = evidence.cohort
        learnt = min(MAX_WINDOWS, (1 - CONTROL_SHARE) * len(cohort.training))
        each = SECONDS_PER_NUMBER.get(self.family, 1.1e-5 if family(self.family).needs_torch else 4e-6)
        return 0.5 + learnt * cohort.spec.channels * cohort.spec.samples * each

    def run(self, evidence: Evidence, *, seed: int, on_progress: OnProgress = unwatched) -> Finding:
        """See `Attack.run`. With fewer strangers than `intervals.LEAST_PERSONS` the intervals are missing."""
        sights = _look(self.family, evidence, seed, self.lift_wanted, on_progress, gap_wanted=self.gap_wanted)
        found = sights.summary()
        stimuli, strangers = sights.certainty("stimuli"), sights.certainty("strangers")
        groups = Clustered.one_by_one(stimuli), Clustered.by_person(strangers, sights.stranger_persons)
        intervals = {
            "certainty-gap": interval(mean_difference, groups, seed=seed, lowest=-1.0, highest=1.0),
            "stimuli-auc": interval(area, groups, seed=seed, lowest=0.0, highest=1.0),
        }
        absent = too_few(len(groups[1].parts))
        blind = PLANTED in sights.answers
        positive = sights.gap(PLANTED, PLANTED_STRANGERS) if blind else sights.gap(controls.NOISED)
        numbers = {k.replace("_", "-"): float(v) for k, v in asdict(found).items() if k != "family"}
        shown = ("stimuli", controls.RAW, controls.NOISED, controls.NOISE)
        return Finding(
            self.name, "certainty-gap", {"certainty-gap": found.certainty_gap, **numbers},
            WORDS.format(title=family(self.family).title), CAVEAT,
            intervals={k: i for k, i in intervals.items() if i},
            missing={k: absent for k, i in intervals.items() if not i},
            curves={name: Curve.of(sights.certainty(name), strangers) for name in shown},
            positive_control=positive, negative_control=sights.gap(controls.NOISE),
        )  # fmt: skip


def attack_identity(
    family: str, stimuli: StimulusArrays, cohort: Cohort, *, seed: int, lift_wanted: float = LIFT_WANTED,
    on_progress: OnProgress | None = None,
) -> IdentityAttack:  # fmt: skip
    """Train one attacker on the training persons and let it look at the stimuli.

    Args:
        family: in `stimset.learning.families`.
        stimuli: what it looks at.
        cohort: whose training persons it learns; the validation persons are the strangers.
        seed: of its training.
        lift_wanted: below this `control_lift` the planted control is run.
        on_progress: is told the share of the training that is done.
    """
    return _look(family, Evidence(stimuli, cohort), seed, lift_wanted, on_progress or unwatched).summary()


@dataclass(frozen=True)
class _Sights:
    """What an attacker answered.

    Attributes:
        family: of the attacker.
        answers: by set, ``(n, training persons)`` probabilities.
        expected: by set, what the label alone says of the person.
        stranger_persons: whose the strangers' windows are.
        lift, planted_lift: see `IdentityAttack`.
    """

    family: str
    answers: Mapping[str, Floats]
    expected: Mapping[str, Floats]
    stranger_persons: NDArray[np.int64]
    lift: float
    planted_lift: float

    def certainty(self, name: str) -> Floats:
        """``(n,)`` its largest probability for each window of a set."""
        largest: Floats = self.answers[name].max(1)
        return largest

    def gap(self, name: str, strangers: str = "strangers") -> float:
        """How much more certain it is, on average, of this set's owners than of strangers'."""
        return float(self.certainty(name).mean() - self.certainty(strangers).mean())

    def summary(self) -> IdentityAttack:
        mean = {name: float(self.certainty(name).mean()) for name in self.answers}
        strangers = [self.certainty("strangers")]
        entropy = {name: _entropy(p) for name, p in self.answers.items()}
        excess = {name: _excess(self.answers[name], self.expected[name]) for name in self.expected}
        return IdentityAttack(
            self.family, mean["stimuli"], mean["strangers"], mean[controls.RAW],
            area([self.certainty("stimuli")], strangers), area([self.certainty(controls.RAW)], strangers), self.lift, self.planted_lift,
            entropy["stimuli"], entropy["strangers"], entropy[controls.RAW], excess["stimuli"], excess["strangers"],
        )  # fmt: skip


def _look(
    family: str, evidence: Evidence, seed: int, lift_wanted: float, on_progress: OnProgress, *, gap_wanted: float = -1.0
) -> _Sights:
    """Train, and answer for every set. At most `MAX_WINDOWS` windows are learnt and `MAX_JUDGED` of each side judged."""
    cohort, stimuli = evidence.cohort, evidence.stimuli
    training, strangers = cohort.training, evidence.strangers
    persons = cohort.training_person_indices
    owners = np.searchsorted(persons, training.person)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(training))
    control, learnt = np.split(order, [max(1, round(CONTROL_SHARE * len(order)))])
    learnt, control = learnt[:MAX_WINDOWS], control[:MAX_JUDGED]
    shares = person_shares(training, persons).astype(np.float64)
    by_label = float(shares[training.labels[control]].max(1).mean())

    def learn(values: NDArray[np.float32]) -> tuple[SoftLabelEstimator, Floats, float]:
        attacker = build(family, *training.spec.shape, len(persons), seed=seed)
        attacker.fit(values[learnt], owners[learnt], on_progress=on_progress)
        on_control = attacker.predict_proba(values[control])
        return attacker, on_control, float((on_control.argmax(1) == owners[control]).mean()) / by_label

    attacker, on_control, lift = learn(training.values)
    mine = controls.sample(len(stimuli), MAX_JUDGED, rng)
    theirs = controls.sample(len(strangers), MAX_JUDGED, rng)
    known = training.values[control[:MAX_CONTROLS]]
    answers = {
        "stimuli": attacker.predict_proba(stimuli.values[mine]),
        "strangers": attacker.predict_proba(strangers.values[theirs]),
        controls.RAW: on_control,
        controls.NOISED: attacker.predict_proba(controls.noised(known, rng)),
        controls.NOISE: attacker.predict_proba(controls.surrogates(strangers.values[theirs[:MAX_CONTROLS]], rng)),
    }
    expected = {
        "stimuli": stimuli.probabilities[mine].astype(np.float64) @ shares,
        "strangers": shares[strangers.labels[theirs]],
    }
    sights = _Sights(family, answers, expected, strangers.person[theirs], lift, lift)
    if lift < lift_wanted or sights.gap(controls.NOISED) <= gap_wanted:
        attacker, answers[PLANTED], planted_lift = learn(
            with_tones(training.values, owners, len(persons))
        )
        answers[PLANTED_STRANGERS] = attacker.predict_proba(strangers.values[theirs])
        return replace(sights, planted_lift=planted_lift)
    return sights


def _entropy(answers: Floats) -> float:
    p = np.clip(answers, 1e-12, 1)
    return float(-(p * np.log(p)).sum(1).mean() / np.log(p.shape[1]))


def _excess(answers: Floats, expected: Floats) -> float:
    p = np.clip(answers, 1e-12, 1)
    return float((p * np.log(p / expected)).sum(1).mean())
