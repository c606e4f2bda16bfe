"""The verdict: every check of the policy, fail closed. The only place that makes an `AdmittedSet`.

A check that crashed, gave no number, or could not succeed on its own positive control counts as failed. The verdict is kept beside the
candidate set under a keyed digest of the home, so an edited verdict, or a set changed after it, admits nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import TypeVar

from custodian.cohort import Cohort
from custodian.config import GATE_KEY_FILE, Home, write_secret
from custodian.excitation.candidates import CandidateSet
from custodian.gate import admitted as _admitted
from custodian.gate.admitted import AdmittedSet
from custodian.gate.attacks import IdentityAttack, attack_identity
from custodian.gate.policy import Policy
from custodian.gate.utility import StudentTrial, try_student
from stimset.errors import ConfigError, ReleaseRefused, StimsetError
from stimset.release import CheckResult, GateResult, canonical_json

VERDICT_FILE = "verdict.json"
ATTACK_SEED = 7919  # attackers share no random stream with teachers, identity networks or students

T = TypeVar("T")
OnProgress = Callable[[float, str], None]

CERTAINTY = (
    "How much more certain (in probability) a {family} attacker, trained on the patients and never seen by inhibition, is of a stimulus's "
    "owner than of the owner of a stranger's window; 0 or less is no more. It says nothing of other attackers, or of membership."
)
CONTROL = (
    "How often the {family} attacker names the right patient for windows that it did not learn (or, where patients can't be told apart, "
    "for windows with a planted tone), over how often the label alone would: an attacker that can't recognise anybody proves nothing."
)
LOSS = (
    "Kappa that a {family} loses on patients whom nobody trained on when it learns from the stimuli instead of the true windows; "
    "negative where it gains."
)
TRUE = "Kappa of a {family} trained on the true windows, on the same patients: below the limit the comparison says nothing."


def checks_to_run(policy: Policy) -> int:
    """How many attackers and students `judge` trains: the total of its progress."""
    return len(policy.attackers) + len(policy.students)


def judge(
    candidates: CandidateSet, cohort: Cohort, policy: Policy, *, seed: int = 0, on_progress: OnProgress = lambda d, n: None
) -> GateResult:
    """Run every check. It never raises for a set that is bad; it says so in the result."""
    stimuli = candidates.arrays()
    checks: list[CheckResult] = []
    measurements: dict[str, float] = {"stimuli": float(len(stimuli))}
    for i, family in enumerate(policy.attackers):
        watched = partial(_report, on_progress, i, f"attacker {family}")
        attack = _attempt(partial(
            attack_identity, family, stimuli, cohort, seed=ATTACK_SEED + seed, lift_wanted=policy.control_lift_at_least,
            on_progress=watched,
        ))  # fmt: skip
        checks += _identity_checks(family, attack, policy)
        measurements |= _measured(f"identity-{family}", attack)
    for i, family in enumerate(policy.students, len(policy.attackers)):
        watched = partial(_report, on_progress, i, f"student {family}")
        trial = _attempt(partial(try_student, family, stimuli, cohort, seed=seed, on_progress=watched))
        checks += _utility_checks(family, trial, policy)
        measurements |= _measured(f"utility-{family}", trial)
    on_progress(checks_to_run(policy), "")
    return GateResult(all(c.passed for c in checks), policy.name, policy.digest(), tuple(checks), measurements)


def admit(
    home: Home, candidates: CandidateSet, cohort: Cohort, policy: Policy, *, seed: int = 0, on_progress: OnProgress = lambda d, n: None
) -> AdmittedSet:
    """Judge a set, keep the verdict beside it, and admit it.

    Raises:
        ReleaseRefused: with a sentence for every failed check; the verdict is kept all the same.
    """
    judged = candidates.digest()
    result = judge(candidates, cohort, policy, seed=seed, on_progress=on_progress)
    document = {"candidates": judged, "result": _document(result)}
    write_secret(candidates.folder / VERDICT_FILE, json.dumps({**document, "seal": _seal(home, document)}, indent=1).encode())
    return _admitted_or_refused(candidates, result, judged)


def readmit(home: Home, set_name: str) -> AdmittedSet:
    """The set that an earlier audit admitted.

    Raises:
        ConfigError: it was not audited.
        ReleaseRefused: it was refused, the verdict was edited, or the set has changed since.
    """
    candidates = CandidateSet.load(home.candidates(set_name))
    result, judged = read_verdict(home, set_name)
    if candidates.digest() != judged:
        raise ReleaseRefused(f"the set '{set_name}' has changed since its audit; run 'custodian audit --set {set_name}' again")
    return _admitted_or_refused(candidates, result, judged)


def read_verdict(home: Home, set_name: str) -> tuple[GateResult, str]:
    """A kept verdict, and the digest of the set that it speaks of.

    Raises:
        ConfigError: there is none.
        ReleaseRefused: it is not what the gate wrote.
    """
    file = home.candidates(set_name) / VERDICT_FILE
    try:
        document = json.loads(file.read_text())
    except OSError:
        raise ConfigError(f"the set '{set_name}' was not audited; run 'custodian audit --set {set_name}' first") from None
    except ValueError:
        document = {}
    body = {key: document.get(key) for key in ("candidates", "result")}
    if not hmac.compare_digest(str(document.get("seal")), _seal(home, body)):
        raise ReleaseRefused(f"{file} is not what the gate wrote; run 'custodian audit --set {set_name}' again")
    r = body["result"]
    return GateResult(**{**r, "checks": tuple(CheckResult(**c) for c in r["checks"])}), str(body["candidates"])


def sentence(check: CheckResult) -> str:
    """One line for a person: what was measured, and what was allowed."""
    value = "not measured" if check.value is None else f"{check.value:.3f}"
    return f"{check.name} is {value}, allowed is {check.rule} {check.limit:g}"


def _admitted_or_refused(candidates: CandidateSet, result: GateResult, judged: str) -> AdmittedSet:
    failed = [sentence(c) for c in result.checks if not c.passed]
    if failed or not result.admitted:
        count = f"{len(failed)} of {len(result.checks)} checks failed"
        raise ReleaseRefused(f"the gate refuses the set '{candidates.folder.name}': {count}", failed)
    return AdmittedSet(candidates, result, candidates_digest=judged, _seal=_admitted._SEAL)


def _report(on_progress: OnProgress, before: int, note: str, share: float) -> None:
    on_progress(before + share, note)


def _attempt(run: Callable[[], T]) -> T | None:
    """What `run` returns, or None where it fails on bad input or arithmetic: a check without a value counts as failed."""
    try:
        return run()
    except (StimsetError, ValueError, ArithmeticError, RuntimeError):
        return None


def _identity_checks(family: str, attack: IdentityAttack | None, policy: Policy) -> Iterator[CheckResult]:
    stimuli, control = (attack.certainty_gap, attack.planted_lift) if attack else (None, None)
    meanings = CERTAINTY.format(family=family), CONTROL.format(family=family)
    yield _check(f"identity-certainty-{family}", stimuli, "<=", policy.certainty_gap_at_most, meanings[0])
    yield _check(f"identity-control-{family}", control, ">=", policy.control_lift_at_least, meanings[1])


def _utility_checks(family: str, trial: StudentTrial | None, policy: Policy) -> Iterator[CheckResult]:
    loss, true = (trial.loss, trial.true_kappa) if trial else (None, None)
    yield _check(f"utility-loss-{family}", loss, "<=", policy.kappa_loss_at_most, LOSS.format(family=family))
    yield _check(f"utility-true-{family}", true, ">=", policy.true_kappa_at_least, TRUE.format(family=family))


def _check(name: str, value: float | None, rule: str, limit: float, meaning: str) -> CheckResult:
    known = value is not None and math.isfinite(value)
    passed = known and (value <= limit if rule == "<=" else value >= limit)  # type: ignore[operator]
    return CheckResult(name, value if known else None, limit, rule, bool(passed), meaning)


def _measured(prefix: str, outcome: IdentityAttack | StudentTrial | None) -> dict[str, float]:
    if outcome is None:
        return {}
    numbers = {k: v for k, v in asdict(outcome).items() if isinstance(v, float) and math.isfinite(v)}
    return {f"{prefix}-{key.replace('_', '-')}": value for key, value in numbers.items()}


def _document(result: GateResult) -> dict[str, object]:
    return {**asdict(result), "checks": [asdict(c) for c in result.checks], "measurements": dict(result.measurements)}


def _seal(home: Home, document: object) -> str:
    return hmac.new(home.secret(GATE_KEY_FILE), hashlib.sha256(canonical_json(document)).digest(), hashlib.sha256).hexdigest()
