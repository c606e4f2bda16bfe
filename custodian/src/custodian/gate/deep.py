"""The deep audit's result, as the gate keeps it: findings beside the set that they speak of, under the home's seal.

Usage::

    write_deep(home, candidates, findings, {"worlds": 16})
    deep_findings(home, "main")        # or an error: none, edited, or of another set
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custodian.config import Home
from custodian.excitation.candidates import CandidateSet
from custodian.gate.attacks.base import Curve, Finding
from custodian.gate.sealing import read_sealed, write_sealed
from stimset.errors import ConfigError, ReleaseRefused

DEEP_FILE = "deep.json"


def write_deep(home: Home, candidates: CandidateSet, findings: Sequence[Finding], facts: Mapping[str, Any]) -> Path:
    """Keep findings beside the set, with facts about how they were made (plain JSON values)."""
    file = candidates.folder / DEEP_FILE
    documents = [finding_document(finding) for finding in findings]
    write_sealed(home, file, {"candidates": candidates.digest(), "facts": dict(facts), "findings": documents})
    return file


def deep_findings(home: Home, set_name: str) -> list[Finding]:
    """What the last deep audit of this set found.

    Raises:
        ConfigError: there was none.
        ReleaseRefused: the file was edited, or the set has changed since.
    """
    return [finding_of(document) for document in _read(home, set_name)["findings"]]


def kept_findings(home: Home, set_name: str) -> list[Finding]:
    """As `deep_findings`; nothing where there was no deep audit.

    Raises:
        ReleaseRefused: as `deep_findings`.
    """
    return deep_findings(home, set_name) if (home.candidates(set_name) / DEEP_FILE).is_file() else []


def deep_facts(home: Home, set_name: str) -> dict[str, Any]:
    """How the last deep audit of this set was made: plan, kappas, seconds.

    Raises:
        ConfigError, ReleaseRefused: as `deep_findings`.
    """
    return dict(_read(home, set_name)["facts"])


def _read(home: Home, set_name: str) -> dict[str, Any]:
    candidates = CandidateSet.load(home.candidates(set_name))
    file = candidates.folder / DEEP_FILE
    again = f"run 'custodian audit --deep --set {set_name}'"
    if not file.is_file():
        raise ConfigError(f"the set '{set_name}' had no deep audit; {again}")
    document = read_sealed(home, file)
    if document.get("candidates") != candidates.digest():
        raise ReleaseRefused(f"the set '{set_name}' has changed since its deep audit; {again} again")
    return document


def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding as plain JSON values; `finding_of` reads them back."""
    plain = asdict(finding)
    return {
        **plain, "notes": list(finding.notes), "intervals": {name: list(ends) for name, ends in finding.intervals.items()},
        "curves": {name: {"fpr": list(curve.fpr), "tpr": list(curve.tpr)} for name, curve in finding.curves.items()},
    }  # fmt: skip


def finding_of(document: Mapping[str, Any]) -> Finding:
    """The finding that `finding_document` wrote."""
    curves = {name: Curve(tuple(curve["fpr"]), tuple(curve["tpr"])) for name, curve in document["curves"].items()}
    intervals = {name: (float(low), float(high)) for name, (low, high) in document["intervals"].items()}
    return Finding(**{**document, "curves": curves, "intervals": intervals, "notes": tuple(document["notes"])})
