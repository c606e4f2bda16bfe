"""The type that only the gate can make: a candidate set together with the verdict that lets it leave."""

from __future__ import annotations

from custodian.excitation.candidates import CandidateSet
from stimset.errors import ReleaseRefused
from stimset.release import GateResult
from stimset.sealed import Sealed

_SEAL = object()


class AdmittedSet(Sealed):
    """A candidate set that passed every check. `custodian.gate.verdict` makes it; nothing else can.

    Attributes:
        candidates: the stimuli.
        result: the verdict, as it will stand in the signed provenance.
        candidates_digest: `CandidateSet.digest` of what was judged; `custodian.publish` refuses anything else.
    """

    __slots__ = ("candidates", "candidates_digest", "result")

    candidates: CandidateSet
    result: GateResult
    candidates_digest: str

    def __init__(
        self, candidates: CandidateSet, result: GateResult, *, candidates_digest: str, _seal: object = None
    ) -> None:
        if _seal is not _SEAL:
            raise TypeError("an AdmittedSet is made by the gate alone (custodian.gate.verdict)")
        if not result.admitted or not result.checks or not all(check.passed for check in result.checks):
            raise ReleaseRefused("the gate did not admit this set")
        self._store(candidates=candidates, result=result, candidates_digest=candidates_digest)
