"""The gate's report on a set: ``report.json``, and ``report.html``, the same for a data-protection officer.

Both stay with the custodian: they show the cohort's size and curves with a step per patient. Their digests and the key figures stand in the
signed provenance, so a partner who is given one can hold it against the release. The page is made of the JSON document alone, needs nothing
from outside itself, and knows light, dark and print.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from custodian.cohort import Cohort
from custodian.config import write_secret
from custodian.excitation.candidates import CandidateSet
from custodian.gate.attacks import Finding
from custodian.gate.distances import distance_picture
from custodian.gate.judging import Judgement
from custodian.gate.policy import Policy
from custodian.gate.power import auc_half_width, persons_needed
from stimset.gate_entry import gate_document
from stimset.provenance import budget_document, format_time
from stimset.release import Budget, GateResult, ReportDigests, canonical_json

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
TEMPLATE = "report.html.j2"
KIND = "stimset-gate-report-v1"

TITLES = {
    "identity": "Does a stimulus point at a patient?",
    "linkage": "Do independent observers name the same patient?",
    "reconstruction": "Is a stimulus a copy of a recording?",
    "membership": "Can it be told who was in the cohort?",
    "attribute": "Does it betray a patient's sex, age or weight?",
    "canary": "Is a planted signature found again?",
    "reference": "For comparison: what would the teacher itself betray, which is never released?",
    "utility": "Can a student learn from it?",
}


def write(candidates: CandidateSet, cohort: Cohort, policy: Policy, judgement: Judgement, budget: Budget) -> ReportDigests:
    """Write both files beside the set, readable by their owner only, and answer with their digests."""
    document = report_document(candidates, cohort, policy, judgement, budget)
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False).encode()
    page = report_page(document).encode()
    for name, data in ((REPORT_JSON, text), (REPORT_HTML, page)):
        write_secret(candidates.folder / name, data)
    return ReportDigests(hashlib.sha256(text).hexdigest(), hashlib.sha256(page).hexdigest())


def report_document(
    candidates: CandidateSet, cohort: Cohort, policy: Policy, judgement: Judgement, budget: Budget
) -> dict[str, Any]:
    """Everything that the report says, as plain JSON values."""
    result = judgement.result
    inside, outside = cohort.training_persons, len(cohort.validation_persons)
    half_width = auc_half_width(inside, outside)
    return {
        "kind": KIND,
        "set": candidates.folder.name,
        "made": format_time(datetime.now(UTC)),
        "simulated": candidates.simulated,
        "stimuli": candidates.count,
        "verdict": gate_document(result),
        "cohort": {
            "persons": inside, "strangers": outside, "windows": len(cohort.windows), "labels": list(cohort.spec.labels),
            "aucHalfWidth": half_width if math.isfinite(half_width) else None, "wanted": policy.half_width_at_most,
            "personsNeeded": persons_needed(policy.half_width_at_most),
        },
        "policy": {**json.loads(canonical_json(asdict(policy))), "digest": policy.digest()},
        "attacks": [_attack(finding, result) for finding in judgement.findings],
        "students": [{"family": t.family, "stimuliKappa": t.stimuli_kappa, "trueKappa": t.true_kappa} for t in judgement.trials],
        "troubles": dict(judgement.troubles),
        "distances": distance_picture(candidates.arrays(), cohort),
        "teacher": dict(candidates.teacher),
        "recipe": dict(candidates.recipe),
        "aggregates": [dict(entry) for entry in candidates.aggregates],
        "budget": budget_document(budget),
    }  # fmt: skip


def _attack(finding: Finding, result: GateResult) -> dict[str, Any]:
    own = (finding.name, *(f"{finding.name}-{end}" for end in ("upper", "positive-control", "negative-control", *finding.measurements)))
    return {
        "name": finding.name,
        "headline": finding.headline,
        "value": finding.value,
        "interval": list(finding.intervals[finding.headline]) if finding.headline in finding.intervals else None,
        "words": finding.words,
        "caveat": finding.caveat,
        "missing": dict(finding.missing),
        "positiveControl": finding.positive_control,
        "negativeControl": finding.negative_control,
        "measurements": {k: v for k, v in finding.measurements.items() if math.isfinite(v)},
        "curves": {name: {"fpr": list(curve.fpr), "tpr": list(curve.tpr)} for name, curve in finding.curves.items()},
        "checks": [check.name for check in result.checks if check.name in own],
    }


def report_page(document: Mapping[str, Any]) -> str:
    """The whole HTML page of a report document."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from stimset.pages import house_css

    environment = Environment(
        loader=PackageLoader("custodian.gate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "title": title_of}
    checks = {check["name"]: check for check in document["verdict"]["checks"]}
    return environment.get_template(TEMPLATE).render(
        d=document, verdict=document["verdict"], checks=checks,
        attacks=[{**attack, "checks": [checks[name] for name in attack["checks"]]} for attack in document["attacks"]],
        failed=[c for c in checks.values() if not c["passed"]],
        not_run=_not_run(document, checks), house_css=house_css(), min=min, max=max,
    )  # fmt: skip


def _not_run(document: Mapping[str, Any], checks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Checks that belong to no attack that ran and to no student: what was required and is missing."""
    shown = {name for attack in document["attacks"] for name in attack["checks"]}
    return [check for name, check in checks.items() if name not in shown and not name.startswith("utility-")]


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def title_of(name: str) -> str:
    """The question that an attack answers, by its finding's name."""
    return TITLES.get(name.partition("-")[0], name)
