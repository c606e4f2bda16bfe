"""The predicate's ``gate`` as JSON and back: what was measured, and whether a release may carry it (`shared/FORMAT.md`, section 3.2).

What was added after the first releases (`persons`, `warnings`, `report`, `override`) is written only where there is something to say, so
older statements keep their bytes, and a verifier that doesn't know an override refuses the release.
"""

from __future__ import annotations

import re
from typing import Any

from stimset.errors import FormatError
from stimset.release import CheckResult, GateResult, Override, ReportDigests
from stimset.strict import Fields

MAX_CHECKS = 200
MAX_MEASUREMENTS = 1000
MAX_PERSONS = 100_000_000
MAX_WARNINGS, MAX_WARNING = 20, 1000
MIN_REASON, MAX_REASON = 20, 1000
MAX_PEOPLE, MAX_PERSON_NAME = 4, 100

ROLE = re.compile("[a-z]{1,20}")
_CHECK = ("name", "value", "limit", "rule", "passed", "meaning")
_NEEDED = ("admitted", "policy", "policyDigest", "checks", "measurements")
_SHA256 = re.compile("[0-9a-f]{64}")


def gate_document(gate: GateResult) -> dict[str, Any]:
    """The gate's verdict as plain JSON values, as it stands in the predicate."""
    document: dict[str, Any] = {
        "admitted": gate.admitted,
        "policy": gate.policy,
        "policyDigest": gate.policy_digest,
        "checks": [{name: getattr(check, name) for name in _CHECK} for check in gate.checks],
        "measurements": dict(gate.measurements),
    }
    if gate.persons is not None:
        document["persons"] = gate.persons
    if gate.warnings:
        document["warnings"] = list(gate.warnings)
    if gate.report is not None:
        document["report"] = {"json": gate.report.json, "html": gate.report.html}
    if gate.override is not None:
        o = gate.override
        document["override"] = {
            "people": dict(o.people), "reason": o.reason, "failed": list(o.failed), "approval": o.approval,
        }  # fmt: skip
    return document


def parse_gate(document: dict[str, Any]) -> GateResult:
    """Read the gate's verdict of a release.

    Raises:
        FormatError: it is none within the documented bounds, or one that no release may carry: a check failed and no override
            names it, or an override names anything else.
    """
    gate = read_gate(document)
    if not gate.may_leave:
        raise FormatError("predicate: the gate did not admit this release; it must not be used")
    return gate


def read_gate(document: object) -> GateResult:
    """The same for a verdict that may be a refusal; a check passed only where its numbers say so.

    Raises:
        FormatError: it is no verdict within the documented bounds.
    """
    gate = Fields(document, "predicate: gate", _NEEDED, optional=("persons", "warnings", "report", "override"))
    measured = gate.mapping("measurements", most=MAX_MEASUREMENTS)
    numbers = Fields(measured, "predicate: measurements", measured)
    return GateResult(
        admitted=gate.flag("admitted"),
        policy=gate.text("policy", least=1, most=200),
        policy_digest=gate.text("policyDigest", pattern=_SHA256),
        checks=tuple(_check(entry) for entry in gate.sequence("checks", least=1, most=MAX_CHECKS)),
        measurements={key: numbers.number(key) for key in measured},
        persons=gate.integer("persons", 0, MAX_PERSONS) if "persons" in gate else None,
        warnings=_warnings(gate) if "warnings" in gate else (),
        report=_report(gate.mapping("report")) if "report" in gate else None,
        override=_override(gate.mapping("override")) if "override" in gate else None,
    )


def _check(entry: object) -> CheckResult:
    fields = Fields(entry, "predicate: check", _CHECK)
    name, value, limit = fields.text("name", least=1, most=200), fields.optional_number("value"), fields.number("limit")
    rule, passed = fields.text("rule"), fields.flag("passed")
    if rule not in ("<=", ">="):
        raise FormatError("predicate: a check's 'rule' must be '<=' or '>='")
    holds = value is not None and (value <= limit if rule == "<=" else value >= limit)
    if passed != holds:
        raise FormatError(f"predicate: check '{name}' says {passed}, its numbers say {holds}")
    return CheckResult(name, value, limit, rule, passed, fields.text("meaning"))


def _warnings(gate: Fields) -> tuple[str, ...]:
    given = gate.sequence("warnings", least=1, most=MAX_WARNINGS)
    texts = Fields({str(i): text for i, text in enumerate(given)}, "predicate: warnings", map(str, range(len(given))))
    return tuple(texts.text(str(i), least=1, most=MAX_WARNING) for i in range(len(given)))


def _report(document: dict[str, Any]) -> ReportDigests:
    fields = Fields(document, "predicate: report", ("json", "html"))
    return ReportDigests(fields.text("json", pattern=_SHA256), fields.text("html", pattern=_SHA256))


def _override(document: dict[str, Any]) -> Override:
    fields = Fields(document, "predicate: override", ("people", "reason", "failed", "approval"))
    failed = fields.sequence("failed", least=1, most=MAX_CHECKS)
    if not all(isinstance(name, str) for name in failed):
        raise FormatError("predicate: override: 'failed' must hold names of checks")
    return Override(
        read_people(fields.mapping("people", most=MAX_PEOPLE)),
        fields.text("reason", least=MIN_REASON, most=MAX_REASON),
        tuple(failed),
        fields.text("approval", pattern=_SHA256),
    )


def read_people(document: dict[str, Any]) -> dict[str, str]:
    """Role -> name of at least two different people.

    Raises:
        FormatError: a role or a name is malformed, or one person stands there alone or twice.
    """
    fields = Fields(document, "override: people", document)
    people = {role: fields.text(role, least=3, most=MAX_PERSON_NAME).strip() for role in document if ROLE.fullmatch(role)}
    if len(people) != len(document) or len(people) < 2 or len({name.casefold() for name in people.values()}) != len(people):
        raise FormatError("override: at least two different people must be named, each in a role of their own")
    if any(name != document[role] or len(name) < 3 for role, name in people.items()):
        raise FormatError("override: a name has 3 to 100 characters and no white space around it")
    return people
