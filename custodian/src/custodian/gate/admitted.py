"""The type that only the gate can make: a candidate set together with the verdict that lets it leave."""

from __future__ import annotations

from typing import NoReturn

from custodian.excitation.candidates import CandidateSet
from stimset.errors import ReleaseRefused
from stimset.release import GateResult

_SEAL = object()


class AdmittedSet:
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
        object.__setattr__(self, "candidates", candidates)
        object.__setattr__(self, "result", result)
        object.__setattr__(self, "candidates_digest", candidates_digest)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an AdmittedSet can't be changed")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("an AdmittedSet can't be subclassed")

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AdmittedSet can't be copied or pickled; read the verdict again (custodian.gate.verdict)")
