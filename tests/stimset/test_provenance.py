"""The statement: canonical bytes, strict reading, and the shared vectors for other implementations."""

from __future__ import annotations

import contextlib
import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.errors import FormatError
from stimset.provenance import format_time, parse_statement, parse_time, statement_bytes
from stimset.release import CheckResult, FileEntry, GateResult, Predicate, Statement
from tiny_release import RESULT, SPEC

VECTORS = json.loads((Path(__file__).parents[2] / "shared/testvectors/statements.json").read_text())


def make_statement(**changes) -> Statement:
    predicate = Predicate(
        release_id="tiny-0001",
        name="tiny",
        sequence=1,
        custodian="Test Hospital",
        created="2026-01-01T00:00:00Z",
        expires="2027-01-01T00:00:00Z",
        simulated=True,
        window_spec=SPEC,
        stimuli=5,
        shards={"stimuli-00000.safetensors": 3, "stimuli-00001.safetensors": 2},
        teacher={"architecture": "cnn"},
        recipe={"name": "spectral", "steps": [1, 2.5, None, {"deep": "é"}]},
        aggregates=({"name": "spectrum", "numbers": 156, "bound": "32 windows", "epsilon": 1.5, "delta": 1e-6},),
        gate=RESULT,
        software={"stimset": "0.1.0"},
    )
    files = ("CARD.md", "card.json", "stimuli-00000.safetensors", "stimuli-00001.safetensors")
    subjects = tuple(FileEntry(name, f"{i:064x}", 100 + i) for i, name in enumerate(files))
    return Statement(subjects, replace(predicate, **changes))


GOOD = make_statement()


def test_round_trip_and_canonical_bytes():
    data = statement_bytes(GOOD)
    assert parse_statement(data) == GOOD
    assert statement_bytes(parse_statement(data)) == data
    assert statement_bytes(Statement(tuple(reversed(GOOD.subjects)), GOOD.predicate)) == data
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == data


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda v: v["name"])
def test_accepted_vectors(vector):
    statement = parse_statement(vector["text"].encode())
    assert statement.predicate.release_id == vector["releaseId"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_refused_vectors(vector):
    with pytest.raises(FormatError):
        parse_statement(vector["text"].encode())


def failed(value: float | None, passed: bool) -> GateResult:
    return replace(RESULT, checks=(CheckResult("identity", value, 0.5, "<=", passed, ""),))


@pytest.mark.parametrize(
    "changes",
    [
        {"release_id": "tiny-0002"},
        {"name": "Tiny", "release_id": "Tiny-0001"},
        {"name": "../x", "release_id": "../x-0001"},
        {"sequence": 0, "release_id": "tiny-0000"},
        {"sequence": True},
        {"custodian": ""},
        {"custodian": "a\x1b[2Jb"},
        {"created": "2026-01-01"},
        {"created": "2026-02-30T00:00:00Z"},
        {"expires": "2026-01-01T00:00:00Z"},
        {"simulated": 1},
        {"stimuli": 6},
        {"shards": {}},
        {"shards": {"stimuli-00000.safetensors": 5}},
        {"shards": {"stimuli-00000.safetensors": 5, "stimuli-00001.safetensors": 0}},
        {"shards": {"stimuli-00000.safetensors": 3, "stimuli-00002.safetensors": 2}},
        {"teacher": {"kappa": float("nan")}},
        {"teacher": {"kappa": object()}},
        {"aggregates": ({"name": "spectrum"},)},
        {"aggregates": ({"name": "s", "numbers": -1, "bound": "", "epsilon": None, "delta": None},)},
        {"gate": replace(RESULT, admitted=False)},
        {"gate": replace(RESULT, checks=())},
        {"gate": replace(RESULT, policy_digest="x")},
        {"gate": failed(0.6, True)},
        {"gate": failed(0.6, False)},
        {"gate": failed(None, True)},
        {"gate": failed(0.4, False)},
        {"software": {"stimset": 1}},
    ],
    ids="-".join,
)
def test_out_of_bounds_is_refused_on_the_way_out(changes):
    with pytest.raises(FormatError):
        statement_bytes(make_statement(**changes))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "",
        "a..b",
        "statement.json",
        "provenance.dsse.json",
        "CARD.MD",
        "x.safetensors",
        "é",
    ],
)
def test_file_names(name):
    with pytest.raises(FormatError):
        statement_bytes(Statement((*GOOD.subjects, FileEntry(name, "0" * 64, 5)), GOOD.predicate))


@pytest.mark.parametrize(
    "entry", [FileEntry("x.txt", "0" * 64, 5 << 20), FileEntry("x.txt", "A" * 64, 5), FileEntry("x.txt", "", 0)]
)
def test_file_bounds(entry):
    with pytest.raises(FormatError):
        statement_bytes(Statement((*GOOD.subjects, entry), GOOD.predicate))


def paths(document, prefix=()):
    yield prefix
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from paths(value, (*prefix, key))


DOCUMENT = json.loads(statement_bytes(GOOD))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["<=", "..", "1", 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=400)
@given(st.sampled_from(list(paths(DOCUMENT))[1:]), values, st.booleans())
def test_any_value_anywhere_is_read_or_refused(path, value, remove):
    document = copy.deepcopy(DOCUMENT)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    data = json.dumps(document).encode()
    with contextlib.suppress(FormatError):
        assert parse_statement(statement_bytes(parse_statement(data))) == parse_statement(data)


@settings(max_examples=300)
@given(st.data())
def test_mutated_bytes_raise_format_errors_only(data):
    raw = bytearray(statement_bytes(GOOD))
    start = data.draw(st.integers(0, len(raw)))
    raw[start : start + data.draw(st.integers(0, 30))] = data.draw(
        st.binary(max_size=10) | st.sampled_from([b"{", b"1e9", b"null"])
    )
    with contextlib.suppress(FormatError):
        parse_statement(bytes(raw))


def test_times():
    moment = datetime(2026, 3, 4, 5, 6, 7, 999, tzinfo=UTC)
    assert format_time(moment) == "2026-03-04T05:06:07Z"
    assert parse_time("2026-03-04T05:06:07Z") == moment.replace(microsecond=0)
    for text in ("2026-03-04T05:06:07", "2026-03-04 05:06:07Z", "٢٠٢٦-03-04T05:06:07Z", "2026-03-04T25:06:07Z", ""):
        with pytest.raises(FormatError):
            parse_time(text)
