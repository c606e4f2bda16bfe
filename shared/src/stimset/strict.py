"""JSON from outside, read without trusting it.

`load_json` bounds size and nesting before a parser sees the bytes, and refuses what JSON leaves open: a key given
twice, NaN and infinities, whole numbers beyond 2^53, text that can't be shown. `Fields` then takes an object apart:
every field is named, nothing is left over, every value has its type and bounds. Both raise `FormatError` and nothing
else.

Usage::

    fields = Fields(load_json(data, limit=MAX_STATEMENT_BYTES, what="statement"), "statement", {"name", "size"})
    name, size = fields.text("name"), fields.integer("size", 0, 1 << 40)
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from stimset.errors import FormatError
from stimset.release import MAX_NESTING

MAX_TEXT = 4000
_SAFE_INTEGER = 1 << 53  # beyond it, other languages' readers lose digits

# A string that is never closed runs to the end, so that every position is looked at once only.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
# Control characters drive terminals, bidirectional overrides reorder what a person reads, surrogates can't be encoded.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def load_json(data: bytes, *, limit: int, what: str) -> Any:
    """Parse JSON from outside.

    Args:
        data: the bytes as received.
        limit: most bytes that are looked at.
        what: the document's name in error messages.

    Returns:
        Plain JSON values; all texts can be shown and encoded, all numbers are finite, whole ones within 2^53.

    Raises:
        FormatError: too long, too deep, not UTF-8, not JSON, a key twice, a number out of bounds, control characters.
    """
    if len(data) > limit:
        raise FormatError(f"{what}: longer than {limit} bytes; it is not what the custodian made")
    _bound_nesting(data, what)
    try:
        document = json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{what}: not valid JSON ({reason[:160]})") from None
    _refuse_unshowable(document, what)
    return document


def _bound_nesting(data: bytes, what: str) -> None:
    """Count brackets outside strings; a parser that recurses must never see what this refuses."""
    depth = 0
    for token in _TOKENS.finditer(data):
        first = token[0][:1]
        if first in b"[{":
            depth += 1
            if depth > MAX_NESTING:
                raise FormatError(f"{what}: nested deeper than {MAX_NESTING} levels")
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is given twice in one object")
    return document


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _bounded(text: str) -> int:
    value = int(text) if len(text) <= 20 else _SAFE_INTEGER + 1
    if abs(value) > _SAFE_INTEGER:
        raise ValueError("a whole number is too large")
    return value


def _refuse_unshowable(document: Any, what: str) -> None:
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, str) and _UNSHOWABLE.search(value):
            raise FormatError(f"{what}: a text holds control characters")


class Fields:
    """An object from outside with exactly the named fields; each reader checks one of them.

    Args:
        document: what `load_json` gave, or a part of it.
        where: the object's place, for messages.
        names: the fields that it must have.
        optional: fields that it may have besides; `in` tells whether it does.

    Raises:
        FormatError: `document` is no object, or its fields are not exactly `names` and some of `optional`.
    """

    def __init__(self, document: object, where: str, names: Iterable[str], optional: Iterable[str] = ()) -> None:
        if not isinstance(document, Mapping):
            raise FormatError(f"{where}: an object is expected")
        if differing := (set(document) - set(optional)) ^ set(names):
            wrong = ", ".join(sorted(str(name)[:40] for name in differing)[:8])
            raise FormatError(f"{where}: fields are missing or unknown: {wrong}")
        self._document = document
        self._where = where

    def __contains__(self, name: str) -> bool:
        return name in self._document

    def _fail(self, name: str, expected: str) -> NoReturn:
        raise FormatError(f"{self._where}: '{name}' must be {expected}")

    def text(self, name: str, *, pattern: re.Pattern[str] | None = None, most: int = MAX_TEXT, least: int = 0) -> str:
        """A text of `least` to `most` characters that matches `pattern` as a whole."""
        value = self._document[name]
        if not isinstance(value, str) or not least <= len(value) <= most:
            self._fail(name, f"a text of {least} to {most} characters")
        if pattern is not None and not pattern.fullmatch(value):
            self._fail(name, f"a text of the form {pattern.pattern}")
        return value

    def exactly(self, name: str, value: str) -> None:
        """The one text that is known here."""
        if self._document[name] != value:
            self._fail(name, f"'{value}'; another version or another kind of document")

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number in ``[low, high]``."""
        value = self._document[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._fail(name, f"a whole number of {low} to {high}")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._document[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(name, "a number")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """A finite number or null."""
        return None if self._document[name] is None else self.number(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._document[name]
        if not isinstance(value, bool):
            self._fail(name, "true or false")
        return value

    def mapping(self, name: str, *, most: int = 10_000) -> dict[str, Any]:
        """An object of at most `most` members, whose values are still to be checked."""
        value = self._document[name]
        if not isinstance(value, dict) or len(value) > most:
            self._fail(name, f"an object of at most {most} members")
        return value

    def sequence(self, name: str, *, least: int = 0, most: int = 10_000) -> list[Any]:
        """An array of `least` to `most` entries, which are still to be checked."""
        value = self._document[name]
        if not isinstance(value, list) or not least <= len(value) <= most:
            self._fail(name, f"an array of {least} to {most} entries")
        return value
