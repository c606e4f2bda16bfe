"""The type that only the gate can make: a candidate set together with the verdict that lets it leave."""

from __future__ import annotations

from custodian.excitation.candidates import CandidateSet
from stimset.errors import ReleaseRefused
from stimset.release import GateResult

_SEAL = object()


class AdmittedSet:
    """A candidate set that passed every check. `custodian.gate.verdict` makes it; nothing else can.

    Attributes:
        candidates: the stimuli.
        result: the verdict, as it will stand in the signed provenance.
    """

    __slots__ = ("candidates", "result")

    candidates: CandidateSet
    result: GateResult

    def __init__(self, candidates: CandidateSet, result: GateResult, *, _seal: object = None) -> None:
        if _seal is not _SEAL:
            raise TypeError("an AdmittedSet is made by the gate alone (custodian.gate.verdict)")
        if not result.admitted or not result.checks or not all(check.passed for check in result.checks):
            raise ReleaseRefused("the gate did not admit this set")
        object.__setattr__(self, "candidates", candidates)
        object.__setattr__(self, "result", result)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an AdmittedSet can't be changed")
