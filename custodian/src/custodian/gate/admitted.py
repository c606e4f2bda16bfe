"""The type that only the gate can make: a candidate set together with the verdict that lets it leave."""

from __future__ import annotations

from custodian.excitation.candidates import CandidateSet
from stimset.errors import ReleaseRefused
from stimset.release import Budget, GateResult
from stimset.sealed import Sealed

_SEAL = object()


class AdmittedSet(Sealed):
    """A candidate set that passed every check, or that two people let leave all the same and in the open (`GateResult.override`).

    `custodian.gate.verdict` makes it; nothing else can.

    Attributes:
        candidates: the stimuli.
        result: the verdict, as it will stand in the signed provenance.
        candidates_digest: `CandidateSet.digest` of what was judged; `custodian.publish` refuses anything else.
        budget: what the cohort has spent, as the release will state it; None where nobody asked the ledger.
    """

    __slots__ = ("budget", "candidates", "candidates_digest", "result")

    candidates: CandidateSet
    result: GateResult
    candidates_digest: str
    budget: Budget | None

    def __init__(
        self, candidates: CandidateSet, result: GateResult, *, candidates_digest: str, budget: Budget | None = None,
        _seal: object = None,
    ) -> None:  # fmt: skip
        if _seal is not _SEAL:
            raise TypeError("an AdmittedSet is made by the gate alone (custodian.gate.verdict)")
        if not result.may_leave:
            raise ReleaseRefused("the gate did not admit this set")
        self._store(candidates=candidates, result=result, candidates_digest=candidates_digest, budget=budget)
