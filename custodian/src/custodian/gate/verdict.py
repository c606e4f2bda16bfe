"""The verdict: admitted or refused. The only place that makes an `AdmittedSet`.

`custodian.gate.judging` runs the checks, fail closed. The verdict is kept beside the candidate set under a keyed digest of the home, so an
edited verdict, or a set changed after it, admits nothing. A refused set leaves only where two people have signed for that very verdict
(`custodian.gate.override`), and then it says so wherever it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from custodian.cohort import Cohort
from custodian.config import Home
from custodian.excitation.candidates import CandidateSet
from custodian.gate import admitted as _admitted
from custodian.gate import report
from custodian.gate.admitted import AdmittedSet
from custodian.gate.attacks import Finding
from custodian.gate.deep import kept_findings
from custodian.gate.judging import OnProgress, checks_to_run, judge
from custodian.gate.override import OVERRIDE_FILE, overridden
from custodian.gate.policy import Policy
from custodian.gate.sealing import read_sealed, write_sealed
from custodian.gate.spent import account_of, budget_of
from custodian.state.log import Entry, record
from stimset.errors import ConfigError, FormatError, ReleaseRefused
from stimset.gate_entry import gate_document, read_gate
from stimset.release import Budget, CheckResult, GateResult

__all__ = ["VERDICT_FILE", "admit", "checks_to_run", "judge", "read_verdict", "readmit", "sentence"]

VERDICT_FILE = "verdict.json"


def admit(
    home: Home, candidates: CandidateSet, cohort: Cohort, policy: Policy, *, deep: Sequence[Finding] | None = None, seed: int = 0,
    on_progress: OnProgress = lambda d, n: None,
) -> AdmittedSet:  # fmt: skip
    """Judge a set, keep verdict and report beside it, and admit it.

    Args:
        home: whose key seals the verdict.
        candidates: the set.
        cohort: the very cohort that its teacher saw.
        policy: what it must satisfy.
        deep: what a deep audit found in this very set; None takes what it left beside the set. It is held to the policy's limits even
            where the policy does not require it.
        seed: of attackers and students.
        on_progress: is told how many of `checks_to_run` are done, and what runs.

    Raises:
        ReleaseRefused: with a sentence for every failed check; verdict and report are kept all the same.
    """
    judged = candidates.digest()
    for stale in (VERDICT_FILE, OVERRIDE_FILE):  # an audit that breaks off must not leave an earlier verdict in force
        (candidates.folder / stale).unlink(missing_ok=True)
    kept = kept_findings(home, candidates.folder.name) if deep is None else deep
    account = account_of(home, cohort)
    budget = budget_of(home, account, candidates)  # before the work: a ledger that can't be read ends it at once
    judgement = judge(candidates.arrays(), cohort, policy, deep=kept, seed=seed, on_progress=on_progress)
    result = replace(judgement.result, report=report.write(candidates, cohort, policy, judgement, budget))
    failed = sum(not check.passed for check in result.checks)
    record(home, Entry("audit", candidates=judged, admitted=result.admitted, failed=failed))
    document = {"candidates": judged, "account": account, "result": gate_document(result)}
    write_sealed(home, candidates.folder / VERDICT_FILE, document)
    return _admitted_or_refused(candidates, result, judged, budget)


def readmit(home: Home, set_name: str) -> AdmittedSet:
    """The set that an earlier audit admitted, or that two people let leave after it was refused.

    Raises:
        ConfigError: it was not audited.
        ReleaseRefused: it was refused, the verdict was edited, or the set has changed since.
        VerificationError, FormatError: an override lies there that does not hold for this verdict.
    """
    candidates = CandidateSet.load(home.candidates(set_name))
    result, judged, account = _read(home, set_name)
    if candidates.digest() != judged:
        raise ReleaseRefused(f"the set '{set_name}' has changed since its audit; run 'custodian audit --set {set_name}' again")
    if not result.admitted:
        result = replace(result, override=overridden(home, candidates.folder, result, judged))
    return _admitted_or_refused(candidates, result, judged, budget_of(home, account, candidates))


def read_verdict(home: Home, set_name: str) -> tuple[GateResult, str]:
    """A kept verdict, and the digest of the set that it speaks of.

    Raises:
        ConfigError: there is none.
        ReleaseRefused: it is not what the gate wrote.
    """
    return _read(home, set_name)[:2]


def _read(home: Home, set_name: str) -> tuple[GateResult, str, str]:
    """Verdict, digest of the set, and the cohort's account in the ledger."""
    file = home.candidates(set_name) / VERDICT_FILE
    if not file.is_file():
        raise ConfigError(f"the set '{set_name}' was not audited; run 'custodian audit --set {set_name}' first")
    document = read_sealed(home, file)
    try:
        return read_gate(document["result"]), str(document["candidates"]), str(document["account"])
    except (FormatError, KeyError):  # sealed, but by an earlier version of the gate
        raise ReleaseRefused(f"{file} is of an earlier version of the gate; run 'custodian audit --set {set_name}' again") from None


def sentence(check: CheckResult) -> str:
    """One line for a person: what was measured, and what was allowed."""
    value = "not measured" if check.value is None else f"{check.value:.3f}"
    return f"{check.name} is {value}, allowed is {check.rule} {check.limit:g}"


def _admitted_or_refused(candidates: CandidateSet, result: GateResult, judged: str, budget: Budget) -> AdmittedSet:
    if not result.may_leave:
        failed = [sentence(c) for c in result.checks if not c.passed]
        count = f"{len(failed)} of {len(result.checks)} checks failed"
        raise ReleaseRefused(f"the gate refuses the set '{candidates.folder.name}': {count}", failed)
    return AdmittedSet(candidates, result, candidates_digest=judged, budget=budget, _seal=_admitted._SEAL)
