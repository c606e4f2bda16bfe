"""JSON from outside: what is refused before and after parsing, and that nothing but FormatError leaves."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.errors import FormatError
from stimset.strict import Fields, load_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf"))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(categories=("L",))), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_reads_what_json_writes(document):
    assert load_json(json.dumps(document).encode(), limit=1 << 20, what="x") == document


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b"\xff",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"9007199254740993",
        b"1" * 5000,
        b'"\\u0000"',
        b'"\\u001b[31m"',
        b'"\\ud800"',
        b'{"\\u202e":1}',
        b"'a'",
        b"\xef\xbb\xbf{}",
        b'"\x01"',
    ],
)
def test_refuses(data):
    with pytest.raises(FormatError):
        load_json(data, limit=1 << 20, what="x")


def test_bounds_are_looked_at_before_parsing():
    with pytest.raises(FormatError, match="longer than 10 bytes"):
        load_json(b"[1,2,3,4,5,6]", limit=10, what="x")
    with pytest.raises(FormatError, match="nested deeper"):
        load_json(b"[" * 1_000_000, limit=1 << 20, what="x")
    with pytest.raises(FormatError, match="nested deeper"):
        load_json(b'{"a":' * 100_000, limit=1 << 20, what="x")


def test_brackets_inside_strings_are_no_nesting():
    text = "[{" * 100 + '\\"'
    assert load_json(json.dumps([text]).encode(), limit=1 << 20, what="x") == [text]


@pytest.mark.parametrize("data", [b'"\\"' * 1_000_000, b'\\"' * 1_000_000, b'"' * 1_000_001, b"\\" * 3_000_000])
def test_hostile_quotes_take_linear_time(data):
    start = time.monotonic()
    with pytest.raises(FormatError):
        load_json(data, limit=4 << 20, what="x")
    assert time.monotonic() - start < 5


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(alphabet='[]{}":,\\ue0123456789abnulltrefs.-+ ', max_size=60).map(str.encode))
def test_only_format_errors_leave(data):
    try:
        load_json(data, limit=50, what="x")
    except FormatError:
        return
    assert json.loads(data) == json.loads(data.decode())


def test_fields_are_exact_and_typed():
    fields = Fields({"a": 1, "b": "x", "c": True, "d": None}, "thing", ("a", "b", "c", "d"))
    assert (fields.integer("a", 0, 1), fields.text("b"), fields.flag("c"), fields.optional_number("d")) == (
        1,
        "x",
        True,
        None,
    )
    for read in (
        lambda: fields.integer("a", 2, 3),
        lambda: fields.integer("c", 0, 1),
        lambda: fields.number("c"),
        lambda: fields.text("a"),
        lambda: fields.flag("a"),
        lambda: fields.mapping("a"),
        lambda: fields.sequence("b"),
        lambda: fields.text("b", least=2),
        lambda: Fields({"a": 1}, "thing", ("a", "b")),
        lambda: Fields({"a": 1, "b": 2}, "thing", ("a",)),
        lambda: Fields([], "thing", ()),
    ):
        with pytest.raises(FormatError, match="thing"):
            read()
