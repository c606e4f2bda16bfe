"""Attacks and students, held against the policy: every check, fail closed.

What crashed, did not run, gave no number, could not succeed on its own positive control, found something in noise, or has too few patients
for the interval that the policy asks for is a check without a value or with a wrong one, and fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from custodian.cohort import Cohort
from custodian.gate.attacks import Attack, Evidence, Finding
from custodian.gate.policy import QUICK, AttackRule, Policy
from custodian.gate.power import cohort_warning
from custodian.gate.selection import quick_attacks
from custodian.gate.utility import StudentTrial, try_student
from stimset.errors import StimsetError
from stimset.gate_entry import MAX_MEASUREMENTS
from stimset.release import CheckResult, GateResult, StimulusArrays

ATTACK_SEED = 7919  # attackers share no random stream with teachers, identity networks or students

T = TypeVar("T")
OnProgress = Callable[[float, str], None]

NOT_RUN = "The attack '{name}' did not run or broke off, which counts as failed: nothing is known of what it would have found."
UPPER = (
    "Upper end of the 95 % interval of what '{name}' found: with so few patients the true value may be as high. "
    "Without patients enough for an interval there is none, which counts as failed."
)
POSITIVE = "What '{name}' finds in a set that is known to leak: below the limit it would have missed a leak in the stimuli too."
NEGATIVE = "What '{name}' finds in noise that holds nobody: above the limit its other numbers say nothing."
LOSS = (
    "Kappa that a {family} loses on patients whom nobody trained on when it learns from the stimuli instead of the true windows; "
    "negative where it gains."
)
TRUE = "Kappa of a {family} trained on the true windows, on the same patients: below the limit the comparison says nothing."


@dataclass(frozen=True)
class Judgement:
    """What came of judging a set.

    Attributes:
        result: the verdict, as it will be signed.
        findings: of all attacks that ran.
        trials: of all students that ran.
        troubles: what did not run -> why. It stays inside: an error's text may name what is private.
    """

    result: GateResult
    findings: tuple[Finding, ...]
    trials: tuple[StudentTrial, ...]
    troubles: Mapping[str, str]


def checks_to_run(policy: Policy) -> int:
    """How many attacks and students `judge` runs: the total of its progress."""
    return len(list(quick_attacks(policy))) + len(policy.students)


def judge(
    stimuli: StimulusArrays, cohort: Cohort, policy: Policy, *, deep: Sequence[Finding] = (), seed: int = 0,
    on_progress: OnProgress = lambda d, n: None,
) -> Judgement:  # fmt: skip
    """Run every quick attack and every student, and hold these and the deep findings against the policy.

    It never raises for a set that is bad, nor for an attack that breaks; it says so in the result.
    """
    evidence, troubles = Evidence(stimuli, cohort), dict[str, str]()
    attacks = list(quick_attacks(policy))
    findings = [f for i, a in enumerate(attacks) if (f := _attacked(a, evidence, seed, partial(_report, on_progress, i, a.name), troubles))]
    findings += deep
    trials = {
        family: _attempt(
            f"utility-{family}", troubles,
            partial(try_student, family, stimuli, cohort, seed=seed, on_progress=partial(_report, on_progress, i, f"student {family}")),
        )
        for i, family in enumerate(policy.students, len(attacks))
    }  # fmt: skip
    checks = [check for name, rule in policy.attacks.items() for check in _attack_checks(name, rule, findings)]
    checks += [check for family, trial in trials.items() for check in _utility_checks(family, trial, policy)]
    on_progress(len(attacks) + len(trials), "")
    done = tuple(t for t in trials.values() if t)
    warning = cohort_warning(cohort.training_persons, len(cohort.validation_persons), policy.half_width_at_most)
    result = GateResult(
        all(c.passed for c in checks), policy.title, policy.digest(), tuple(checks), _measured(len(stimuli), findings, done),
        persons=cohort.training_persons, warnings=(warning,) if warning else (),
    )  # fmt: skip
    return Judgement(result, tuple(findings), done, troubles)


def _report(on_progress: OnProgress, before: int, note: str, share: float) -> None:
    on_progress(before + share, note)


def _attacked(
    attack: Attack, evidence: Evidence, seed: int, on_progress: Callable[[float], None], troubles: dict[str, str]
) -> Finding | None:
    on_progress(0.0)
    return _attempt(attack.name, troubles, partial(attack.run, evidence, seed=ATTACK_SEED + seed, on_progress=on_progress))


def _attempt(name: str, troubles: dict[str, str], run: Callable[[], T]) -> T | None:
    """What `run` returns, or None whatever breaks in it: only a person's interrupt and an exhausted machine end the audit."""
    try:
        return run()
    except MemoryError:
        raise
    except Exception as error:
        troubles[name] = str(error) if isinstance(error, StimsetError) else f"{type(error).__name__}: {error}"
        return None


def _attack_checks(name: str, rule: AttackRule, findings: Sequence[Finding]) -> Iterator[CheckResult]:
    """Every check of one rule. A deep attack that nobody ran is no check where the policy does not require it."""
    own = {f.name: f for f in findings if f.name == name or f.name.startswith(f"{name}-")}
    wanted = [f"{name}-{variant}" for variant in rule.variants] or ([] if own else [name])
    if own or rule.required or name in QUICK:
        for missing in (w for w in wanted if w not in own):
            yield _check(missing, None, "<=", rule.at_most, NOT_RUN.format(name=missing))
    for finding in own.values():
        yield from _finding_checks(finding, rule)


def _finding_checks(finding: Finding, rule: AttackRule) -> Iterator[CheckResult]:
    name, missing = finding.name, finding.missing
    meaning = " ".join((finding.words, finding.caveat, missing.get(finding.headline, "") if finding.value is None else "")).strip()
    yield _check(name, finding.value, "<=", rule.at_most, meaning)
    if rule.upper_at_most is not None:
        low_high = finding.intervals.get(finding.headline)
        reason = "" if low_high else f" {missing.get(finding.headline, '')}".rstrip()
        yield _check(f"{name}-upper", low_high[1] if low_high else None, "<=", rule.upper_at_most, UPPER.format(name=name) + reason)
    for measurement, limit in rule.also_at_most.items():
        words = f"{measurement} of '{name}'. {missing.get(measurement, '')}".strip()
        yield _check(f"{name}-{measurement}", finding.measurements.get(measurement), "<=", limit, words)
    yield _check(f"{name}-positive-control", finding.positive_control, ">=", rule.positive_limit, POSITIVE.format(name=name))
    yield _check(f"{name}-negative-control", finding.negative_control, "<=", rule.negative_limit, NEGATIVE.format(name=name))


def _utility_checks(family: str, trial: StudentTrial | None, policy: Policy) -> Iterator[CheckResult]:
    loss, true = (trial.loss, trial.true_kappa) if trial else (None, None)
    yield _check(f"utility-loss-{family}", loss, "<=", policy.kappa_loss_at_most, LOSS.format(family=family))
    yield _check(f"utility-true-{family}", true, ">=", policy.true_kappa_at_least, TRUE.format(family=family))


def _check(name: str, value: float | None, rule: str, limit: float, meaning: str) -> CheckResult:
    known = value is not None and math.isfinite(value)
    passed = known and (value <= limit if rule == "<=" else value >= limit)  # type: ignore[operator]
    return CheckResult(name, value if known else None, limit, rule, bool(passed), meaning)


def _measured(stimuli: int, findings: Sequence[Finding], trials: Sequence[StudentTrial]) -> dict[str, float]:
    """Every finite number by name, with its interval; no more than a release may carry, the first ones first."""
    numbers = {"stimuli": float(stimuli)}
    for finding in findings:
        numbers |= {f"{finding.name}-{key}": value for key, value in finding.measurements.items()}
        for key, (low, high) in finding.intervals.items():
            numbers |= {f"{finding.name}-{key}-low": low, f"{finding.name}-{key}-high": high}
    for trial in trials:
        numbers |= {f"utility-{trial.family}-stimuli-kappa": trial.stimuli_kappa, f"utility-{trial.family}-true-kappa": trial.true_kappa}
    finite = [(name, float(value)) for name, value in numbers.items() if math.isfinite(value)]
    return dict(finite[:MAX_MEASUREMENTS])
