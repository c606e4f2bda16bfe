"""The gate's part of a signed statement: what a release may carry, and what it may not."""

from __future__ import annotations

import contextlib
import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.errors import FormatError
from stimset.gate_entry import gate_document, parse_gate, read_gate
from stimset.provenance import parse_statement, statement_bytes
from stimset.release import Budget, CheckResult, FileEntry, GateResult, Override, Predicate, ReportDigests, Statement
from tiny_release import RESULT, SPEC

FAILED = CheckResult("membership", 0.7, 0.6, "<=", False, "Who was in the cohort.")
UNMEASURED = CheckResult("canary", None, 0.6, "<=", False, "")
PEOPLE = {"builder": "Ada Meyer", "officer": "Bo Holm"}
OVERRIDE = Override(PEOPLE, "A rehearsal on noise; nobody's recording is in it.", ("membership", "canary"), "ab" * 32)
OVERRIDDEN = replace(RESULT, admitted=False, checks=(*RESULT.checks, FAILED, UNMEASURED), override=OVERRIDE)
FULL = replace(
    OVERRIDDEN, persons=24, warnings=("The cohort is small: ±0.20 at best.",), report=ReportDigests("cd" * 32, "ef" * 32)
)


def statement(**changes) -> Statement:
    predicate = Predicate(
        release_id="tiny-0001", name="tiny", sequence=1, custodian="Test Hospital", created="2026-01-01T00:00:00Z",
        expires="2027-01-01T00:00:00Z", simulated=True, window_spec=SPEC, stimuli=5, shards={"stimuli-00000.safetensors": 5},
        teacher={"architecture": "cnn"}, recipe={"name": "spectral"}, aggregates=(), gate=RESULT, software={},
    )  # fmt: skip
    files = ("CARD.md", "card.json", "stimuli-00000.safetensors")
    return Statement(tuple(FileEntry(name, f"{i:064x}", 100 + i) for i, name in enumerate(files)), replace(predicate, **changes))


@pytest.mark.parametrize("gate", [RESULT, OVERRIDDEN, FULL, replace(RESULT, persons=0)])
def test_a_verdict_is_read_back_as_it_was(gate):
    assert gate.may_leave
    assert parse_gate(json.loads(json.dumps(gate_document(gate)))) == gate
    made = statement(gate=gate, budget=Budget(3.5, 1e-6, 4))
    assert parse_statement(statement_bytes(made)) == made


def test_what_is_not_said_leaves_no_trace():
    """Statements of before the new fields keep their bytes."""
    assert set(gate_document(RESULT)) == {"admitted", "policy", "policyDigest", "checks", "measurements"}
    assert "budget" not in json.loads(statement_bytes(statement()))["predicate"]


@pytest.mark.parametrize(
    "gate",
    [
        replace(OVERRIDDEN, override=None),
        replace(OVERRIDDEN, admitted=True),
        replace(RESULT, override=OVERRIDE),
        replace(RESULT, admitted=False),
        replace(OVERRIDDEN, override=replace(OVERRIDE, failed=("membership",))),
        replace(OVERRIDDEN, override=replace(OVERRIDE, failed=("canary", "membership"))),
        replace(OVERRIDDEN, override=replace(OVERRIDE, failed=("membership", "canary", "linkage"))),
        replace(OVERRIDDEN, checks=RESULT.checks),
        replace(OVERRIDDEN, checks=()),
    ],
)
def test_an_override_names_exactly_what_failed(gate):
    assert not gate.may_leave
    with pytest.raises(FormatError):
        parse_gate(gate_document(gate))
    with pytest.raises(FormatError):
        statement_bytes(statement(gate=gate))


@pytest.mark.parametrize(
    "override",
    [
        replace(OVERRIDE, people={"builder": "Ada Meyer"}),
        replace(OVERRIDE, people={"builder": "Ada Meyer", "officer": "ADA MEYER"}),
        replace(OVERRIDE, people={"builder": "Ada Meyer", "officer": "B"}),
        replace(OVERRIDE, people={"builder": "Ada Meyer", "officer": "Bo Holm "}),
        replace(OVERRIDE, people={"builder": "Ada Meyer", "The Officer": "Bo Holm"}),
        replace(OVERRIDE, people={"builder": "Ada Meyer", "officer": "x" * 101}),
        replace(OVERRIDE, people={f"role{chr(97 + i)}": f"Person {i}" for i in range(5)}),
        replace(OVERRIDE, reason="short"),
        replace(OVERRIDE, reason="x" * 1001),
        replace(OVERRIDE, reason="A reason that moves the cursor \x1b[2J"),
        replace(OVERRIDE, approval="x"),
    ],
)
def test_an_override_is_bounded(override):
    with pytest.raises(FormatError):
        statement_bytes(statement(gate=replace(OVERRIDDEN, override=override)))


@pytest.mark.parametrize(
    "changes",
    [
        {"persons": -1}, {"persons": 1.0}, {"persons": True}, {"warnings": ["x" * 1001]}, {"warnings": ["x"] * 21}, {"warnings": []},
        {"warnings": [3]}, {"report": {"json": "ab" * 32}}, {"report": {"json": "ab" * 32, "html": "AB" * 32}}, {"report": None},
        {"override": None}, {"overide": {}},
    ],
    ids=str,
)  # fmt: skip
def test_the_new_fields_are_bounded(changes):
    with pytest.raises(FormatError):
        read_gate({**gate_document(FULL), **changes})


@pytest.mark.parametrize(
    "budget",
    [
        {"epsilon": 1.0, "delta": None, "entries": 1}, {"epsilon": None, "delta": 1e-6, "entries": 1},
        {"epsilon": -1.0, "delta": 1e-6, "entries": 1}, {"epsilon": 1.0, "delta": 1.5, "entries": 1},
        {"epsilon": 1.0, "delta": 1e-6, "entries": -1}, {"epsilon": 1.0, "delta": 1e-6}, None,
    ],
    ids=str,
)  # fmt: skip
def test_a_budget_is_bounded(budget):
    document = json.loads(statement_bytes(statement(budget=Budget(1.0, 1e-6, 1))))
    document["predicate"]["budget"] = budget
    with pytest.raises(FormatError):
        parse_statement(json.dumps(document).encode())


def paths(document, prefix=()):
    yield prefix
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield from paths(value, (*prefix, key))


DOCUMENT = gate_document(FULL)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=30) | st.sampled_from(["membership"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["builder", "officer", "json"]), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=300)
@given(st.sampled_from(list(paths(DOCUMENT))[1:]), VALUES, st.booleans())
def test_whatever_is_read_is_consistent(path, value, remove):
    """Any change anywhere: refused, or read as a verdict that a release may carry by its own numbers."""
    document = copy.deepcopy(DOCUMENT)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with contextlib.suppress(FormatError):
        gate = parse_gate(document)
        assert isinstance(gate, GateResult) and gate.may_leave
        assert gate.admitted == all(c.passed for c in gate.checks) == (gate.override is None)
        assert parse_gate(gate_document(gate)) == gate
