"""From the worlds' scores to findings: what each attack found, with its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.gate.attacks import attribute
from custodian.gate.attacks.base import Curve, Finding
from custodian.gate.attacks.intervals import too_few
from custodian.gate.attacks.membership import (
    INSIDE,
    NEITHER,
    Measured,
    Worlds,
    likelihood_ratios,
    measure,
    relative_ratios,
)
from custodian.shadows.plan import Plan
from custodian.shadows.words import ATTRIBUTE, CANARIES, CAVEATS, MEMBERSHIP, SINGLING_OUT, SUBJECTS, no_attribute
from custodian.shadows.world import NOISE, RAW, RELEASE, SINGLED, STIMULI, TEACHER, TONE, Whole, World

Floats = NDArray[np.float64]

CURVES = {RELEASE: "stimuli", RAW: "raw windows", NOISE: "noise"}
MAX_WINDOWS = 60
BOOTSTRAP_SEED = 6_700_417


class Scores:
    """The scores of all worlds of one kind, put together.

    Attributes:
        whole: what the worlds have in common.
        worlds: who was inside, by person.
        facts: of each world.
    """

    def __init__(
        self, whole: Whole, inside: NDArray[np.int8], results: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    ) -> None:
        self.whole, self.worlds = whole, Worlds.of(inside)
        self.facts = [facts for _, facts in results]
        self._arrays = [arrays for arrays, _ in results]

    def has(self, source: str, signal: str) -> bool:
        """Whether it was asked."""
        return f"{source}/{signal}" in self._arrays[0]

    def raw(self, source: str, signal: str) -> Floats:
        """``(worlds, windows)`` or ``(worlds, persons)`` as the worlds left them."""
        return np.stack([arrays[f"{source}/{signal}"] for arrays in self._arrays]).astype(np.float64)

    def of_persons(self, source: str, signal: str) -> Floats:
        """``(worlds, persons)``: means over each person's windows."""
        found = self.raw(source, signal)
        if found.shape[1] == self.whole.subjects.persons and signal in (SINGLED, TONE):
            return found
        return np.stack([self.whole.subjects.per_person(row) for row in found])


def natural_findings(scores: Scores) -> list[Finding]:
    """Membership by each way to ask and by all together, attributes, and, for reference, what the teacher would betray."""
    ways = [*(f"student-{family}" for family in scores.whole.plan.students), STIMULI]
    single = [_membership(scores, f"membership-{signal}", signal) for signal in ways]
    attributes = [
        _attribute(scores, groups)
        for groups in attribute.groups_of(scores.whole.cohort.attributes)
        if groups.measurable
    ]
    return [
        _joint(scores, ways),
        *single,
        _singled_out(scores),
        *attributes,
        _membership(scores, "reference-teacher", TEACHER),
    ]


def left_out(cohort: Cohort, plan: Plan) -> dict[str, str]:
    """Attack -> why it is not among the findings; a policy that requires it counts that as failed."""
    known = attribute.groups_of(cohort.attributes)
    missing = {f"attribute-{groups.name}": no_attribute(groups.name) for groups in known if not groups.measurable}
    if not known:
        missing["attribute"] = no_attribute()
    if not plan.canary_worlds:
        missing["canary"] = "no canaries were planted; give --canary-worlds 8"
    return missing


def canary_findings(scores: Scores | None) -> list[Finding]:
    """What became of the canaries; nothing where none were planted."""
    if scores is None:
        return []
    signals = [*(f"student-{family}" for family in scores.whole.plan.students), STIMULI, TONE]
    canaries = scores.whole.design.canaries
    worlds = scores.worlds.only(canaries)

    def heard(source: str, chosen: Sequence[str]) -> Measured:
        ratios = [likelihood_ratios(scores.of_persons(source, signal), scores.worlds, canaries) for signal in chosen]
        return measure(np.sum(ratios, axis=0), worlds, seed=BOOTSTRAP_SEED)

    found = heard(RELEASE, signals)
    each = {f"{signal}-auc": heard(RELEASE, [signal]).auc for signal in signals}
    raw, noise = (heard(source, signals) if scores.has(source, STIMULI) else None for source in (RAW, NOISE))
    size = {"canaries": float(len(canaries)), "worlds": float(len(scores.facts)), "pairs": float(found.pairs)}
    return [
        Finding(
            "canary", "auc", {**found.numbers(), **each, **size}, CANARIES, CAVEATS["canaries"], found.known_intervals(),
            _lacking(found, len(canaries), "canaries"), _curves(found, raw, noise), raw.auc if raw else None,
            noise.auc if noise else None,
        )
    ]  # fmt: skip


def _joint(scores: Scores, signals: Sequence[str]) -> Finding:
    """All that the release says, together: the sum of log-likelihood ratios."""

    def together(source: str) -> Measured | None:
        if not scores.has(source, signals[0]):
            return None
        ratios = [likelihood_ratios(scores.of_persons(source, signal), scores.worlds) for signal in signals]
        return measure(np.sum(ratios, axis=0), scores.worlds, seed=BOOTSTRAP_SEED)

    return _finding("membership", "everything", together(RELEASE), together(RAW), together(NOISE), scores, {})


def _membership(scores: Scores, name: str, signal: str) -> Finding:
    """One way to ask: per person by LiRA and by RMIA, and per window."""

    def lira(source: str) -> Measured | None:
        if not scores.has(source, signal):
            return None
        return measure(
            likelihood_ratios(scores.of_persons(source, signal), scores.worlds), scores.worlds, seed=BOOTSTRAP_SEED
        )

    rmia = measure(
        relative_ratios(scores.of_persons(RELEASE, signal), scores.worlds), scores.worlds, seed=BOOTSTRAP_SEED
    )
    windows = _by_window(scores, signal)
    further = {**rmia.numbers("rmia-"), **windows.numbers("window-")}
    finding = _finding(name, signal, lira(RELEASE), lira(RAW), lira(NOISE), scores, further)
    intervals = {**finding.intervals, **rmia.known_intervals("rmia-"), **windows.known_intervals("window-")}
    return replace(finding, intervals=intervals)


def _by_window(scores: Scores, signal: str) -> Measured:
    """Window by window: some windows of each person, losses as log-odds."""
    person = scores.whole.subjects.windows.person
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows = np.sort(
        np.concatenate([rng.permutation(np.flatnonzero(person == p))[:MAX_WINDOWS] for p in np.unique(person)])
    )
    found = scores.raw(RELEASE, signal)[:, rows]
    odds = found if signal == STIMULI else -_log_odds(np.exp(-found))
    worlds = scores.worlds.of_units(person[rows])
    return measure(likelihood_ratios(odds, worlds), worlds, seed=BOOTSTRAP_SEED)


def _log_odds(chance: Floats) -> Floats:
    clipped = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _finding(
    name: str, signal: str, found: Measured | None, raw: Measured | None, noise: Measured | None, scores: Scores, further: dict[str, float]
) -> Finding:  # fmt: skip
    size = _size(scores)
    words = MEMBERSHIP.format(subject=SUBJECTS.get(signal.split("-")[0], signal).format(family=signal.split("-")[-1]))
    caveat = CAVEATS["teacher" if signal == TEACHER else "membership"]
    if found is None:
        return Finding(name, "auc", size, words, caveat, missing={"auc": "it was not asked in any world"})
    return Finding(
        name, "auc", {**found.numbers(), **further, **size, "pairs": float(found.pairs)}, words, caveat, found.known_intervals(),
        _lacking(found, scores.whole.subjects.persons, "persons"), _curves(found, raw, noise), raw.auc if raw else None,
        noise.auc if noise else None,
    )  # fmt: skip


def _singled_out(scores: Scores) -> Finding:
    """Whether stimuli point at persons inside."""

    def pointed(source: str) -> Measured | None:
        if not scores.has(source, SINGLED):
            return None
        return measure(
            likelihood_ratios(scores.of_persons(source, SINGLED), scores.worlds), scores.worlds, seed=BOOTSTRAP_SEED
        )

    counts = np.exp(-scores.of_persons(RELEASE, SINGLED))
    sides = scores.worlds.inside
    share = float(np.mean(np.sum(counts * (sides == INSIDE), axis=1) / np.sum(counts * (sides != NEITHER), axis=1)))
    found, raw, noise = (pointed(source) for source in (RELEASE, RAW, NOISE))
    finding = _finding("membership-singled-out", SINGLED, found, raw, noise, scores, {"insiders-share": share})
    return replace(finding, words=SINGLING_OUT, caveat=CAVEATS["singling-out"])


def _attribute(scores: Scores, groups: attribute.Groups) -> Finding:
    signal, words = f"attribute-{groups.name}", ATTRIBUTE.format(attribute=groups.name)

    def gained(source: str) -> attribute.Advantage | None:
        if not scores.has(source, signal):
            return None
        return attribute.advantage(scores.raw(source, signal), scores.worlds, seed=BOOTSTRAP_SEED)

    found, raw, noise = gained(RELEASE), gained(RAW), gained(NOISE)
    if found is None:
        return Finding(
            signal, "advantage", {}, words, CAVEATS["attribute"], missing={"advantage": no_attribute(groups.name)}
        )
    numbers = {
        "advantage": found.value,
        "inside": found.inside,
        "outside": found.outside,
        "persons": float(found.persons),
    }
    return Finding(
        signal, "advantage", {**numbers, "worlds": float(len(scores.facts))}, words, CAVEATS["attribute"],
        {"advantage": found.ends} if found.ends else {}, {} if found.ends else {"advantage": found.missing},
        positive_control=raw.value if raw else None, negative_control=noise.value if noise else None,
    )  # fmt: skip


def _size(scores: Scores) -> dict[str, float]:
    return {"persons": float(scores.whole.subjects.persons), "worlds": float(len(scores.facts))}


def _lacking(found: Measured, persons: int, side: str) -> dict[str, str]:
    return {} if found.intervals[0] else {"auc": too_few(persons, side=side, share=1.0)}


def _curves(found: Measured, raw: Measured | None, noise: Measured | None) -> dict[str, Curve]:
    named = {CURVES[RELEASE]: found, CURVES[RAW]: raw, CURVES[NOISE]: noise}
    return {name: measured.curve for name, measured in named.items() if measured}


def gather(worlds: Sequence[World], whole: Whole, inside: NDArray[np.int8]) -> Scores:
    """All results of worlds of one kind."""
    return Scores(whole, inside, [result for world in worlds if (result := world.result())])


def kappas(scores: Scores) -> dict[str, float]:
    """Mean kappa on the persons outside: of the teacher, and of each student by what it learnt from."""
    return {name: float(np.mean([facts["kappa"][name] for facts in scores.facts])) for name in scores.facts[0]["kappa"]}
