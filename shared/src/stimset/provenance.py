"""A release's statement as bytes and back: in-toto Statement v1 around the predicate ``urn:stimset:release:v1``.

The subjects are the release's files, each with its SHA-256; their sizes stand in the predicate's ``files``, since
in-toto's subjects have no place for one. `shared/FORMAT.md` names every field and bound.

Usage::

    data = statement_bytes(statement)       # canonical: equal statements give equal bytes
    parse_statement(data) == statement      # or FormatError; a verifier calls it only on bytes whose signatures hold
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stimset.errors import FormatError
from stimset.gate_entry import gate_document, parse_gate
from stimset.release import (
    ENVELOPE_FILE,
    MAX_CARD_BYTES,
    MAX_FILES,
    MAX_SHARD_BYTES,
    MAX_STATEMENT_BYTES,
    PREDICATE_TYPE,
    SHARD_PATTERN,
    STATEMENT_FILE,
    STATEMENT_TYPE,
    Budget,
    FileEntry,
    Predicate,
    Statement,
    canonical_json,
)
from stimset.strict import Fields, load_json
from stimset.windows import WindowSpec

__all__ = ["budget_document", "format_time", "gate_document", "parse_statement", "parse_time", "statement_bytes"]

CARD_FILES = ("CARD.md", "card.json")
MAX_STIMULI = 100_000_000
MAX_SEQUENCE = 999_999
MAX_ENTRIES = 1000
MAX_NUMBERS = 1 << 40
_AGGREGATE = frozenset({"name", "numbers", "bound", "epsilon", "delta"})

SERIES_NAME = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")
MAX_SERIES_NAME = 48
_FILE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile("[0-9a-f]{64}")
_TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def statement_bytes(statement: Statement) -> bytes:
    """The canonical bytes of a statement: what is signed, and what ``statement.json`` holds.

    Raises:
        FormatError: the statement would not be read back (a field is out of bounds, a number is not finite, ...).
    """
    p = statement.predicate
    files = sorted(statement.subjects, key=lambda file: file.name)
    document = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [{"name": f.name, "digest": {"sha256": f.sha256}} for f in files],
        "predicate": {
            "releaseId": p.release_id,
            "name": p.name,
            "sequence": p.sequence,
            "custodian": p.custodian,
            "created": p.created,
            "expires": p.expires,
            "simulated": p.simulated,
            "windowSpec": p.window_spec.to_document(),
            "stimuli": p.stimuli,
            "shards": dict(p.shards),
            "files": {f.name: f.size for f in files},
            "teacher": dict(p.teacher),
            "recipe": dict(p.recipe),
            "aggregates": [dict(a) for a in p.aggregates],
            "gate": gate_document(p.gate),
            "software": dict(p.software),
            **({} if p.budget is None else {"budget": budget_document(p.budget)}),
        },
    }
    try:
        data = canonical_json(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"statement: a value can't be written as JSON ({error})") from None
    parse_statement(data)
    return data


def budget_document(budget: Budget) -> dict[str, Any]:
    """The privacy budget as plain JSON values, as it stands in the predicate."""
    return {"epsilon": budget.epsilon, "delta": budget.delta, "entries": budget.entries}


def parse_statement(data: bytes) -> Statement:
    """Read a statement from outside.

    Args:
        data: the bytes whose signatures were verified; at most `MAX_STATEMENT_BYTES`.

    Raises:
        FormatError: the bytes are no statement about a release that a gate admitted, within the documented bounds.
    """
    document = load_json(data, limit=MAX_STATEMENT_BYTES, what="statement")
    fields = Fields(document, "statement", ("_type", "subject", "predicateType", "predicate"))
    fields.exactly("_type", STATEMENT_TYPE)
    fields.exactly("predicateType", PREDICATE_TYPE)
    digests = _digests(fields.sequence("subject", least=1, most=MAX_FILES))
    body = Fields(
        fields.mapping("predicate"),
        "predicate",
        (
            "releaseId", "name", "sequence", "custodian", "created", "expires", "simulated", "windowSpec", "stimuli",
            "shards", "files", "teacher", "recipe", "aggregates", "gate", "software",
        ),
        optional=("budget",),
    )  # fmt: skip
    shards = _shards(body)
    subjects = _subjects(digests, Fields(body.mapping("files"), "predicate: files", digests), shards)
    return Statement(subjects, _predicate(body, shards))


def parse_time(text: str) -> datetime:
    """A time as statements write it (``YYYY-MM-DDTHH:MM:SSZ``), in UTC.

    Raises:
        FormatError: it is not written so, or there is no such day.
    """
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise FormatError(f"'{text[:40]}' is no time of the form YYYY-MM-DDTHH:MM:SSZ") from None


def format_time(moment: datetime) -> str:
    """The inverse of `parse_time`; fractions of a second are cut off."""
    return moment.astimezone(UTC).strftime(_TIME_FORMAT)


def _digests(subjects: list[Any]) -> dict[str, str]:
    digests: dict[str, str] = {}
    for entry in subjects:
        subject = Fields(entry, "statement: subject", ("name", "digest"))
        name = subject.text("name", pattern=_FILE_NAME)
        if ".." in name or name in (STATEMENT_FILE, ENVELOPE_FILE):
            raise FormatError(f"statement: '{name}' can't be a signed file's name")
        digest = Fields(subject.mapping("digest"), f"statement: digest of {name}", ("sha256",))
        digests[name] = digest.text("sha256", pattern=_SHA256)
    # Two names that differ in case alone are one file on some disks.
    if len({name.casefold() for name in digests}) != len(subjects):
        raise FormatError("statement: a file is named twice")
    if missing := [name for name in CARD_FILES if name not in digests]:
        raise FormatError(f"statement: {missing[0]} is not among the signed files")
    return digests


def _shards(body: Fields) -> dict[str, int]:
    """Shard names with their counts, in order; numbered from 0 without a gap."""
    given = body.mapping("shards", most=MAX_FILES)
    counts = Fields(given, "predicate: shards", [SHARD_PATTERN.format(i) for i in range(len(given))])
    shards = {name: counts.integer(name, 1, MAX_STIMULI) for name in sorted(given)}
    total = body.integer("stimuli", 1, MAX_STIMULI)
    if sum(shards.values()) != total:
        raise FormatError(f"predicate: the shards hold {sum(shards.values())} stimuli, but {total} are stated")
    return shards


def _subjects(digests: Mapping[str, str], sizes: Fields, shards: Mapping[str, int]) -> tuple[FileEntry, ...]:
    if missing := [name for name in shards if name not in digests]:
        raise FormatError(f"predicate: shard {missing[0]} is not among the signed files")
    entries = []
    for name, sha256 in sorted(digests.items()):
        if name.casefold().endswith(".safetensors") and name not in shards:
            raise FormatError(f"predicate: {name} is not among the shards")
        most = MAX_SHARD_BYTES if name in shards else MAX_CARD_BYTES
        entries.append(FileEntry(name, sha256, sizes.integer(name, 1, most)))
    return tuple(entries)


def _predicate(body: Fields, shards: Mapping[str, int]) -> Predicate:
    name = body.text("name", pattern=SERIES_NAME, most=MAX_SERIES_NAME)
    sequence = body.integer("sequence", 1, MAX_SEQUENCE)
    release_id = body.text("releaseId")
    if release_id != f"{name}-{sequence:04d}":
        raise FormatError("predicate: 'releaseId' must be made of 'name' and 'sequence'")
    created, expires = body.text("created"), body.text("expires")
    if parse_time(created) >= parse_time(expires):
        raise FormatError("predicate: 'expires' must be later than 'created'")
    software = body.mapping("software", most=MAX_ENTRIES)
    versions = Fields(software, "predicate: software", software)
    return Predicate(
        release_id=release_id,
        name=name,
        sequence=sequence,
        custodian=body.text("custodian", least=1, most=200),
        created=created,
        expires=expires,
        simulated=body.flag("simulated"),
        window_spec=_window_spec(body.mapping("windowSpec")),
        stimuli=sum(shards.values()),
        shards=dict(shards),
        teacher=body.mapping("teacher", most=MAX_ENTRIES),
        recipe=body.mapping("recipe", most=MAX_ENTRIES),
        aggregates=_aggregates(body.sequence("aggregates", most=MAX_ENTRIES)),
        gate=parse_gate(body.mapping("gate")),
        software={key: versions.text(key, most=200) for key in software},
        budget=_budget(body.mapping("budget")) if "budget" in body else None,
    )


def _window_spec(document: dict[str, Any]) -> WindowSpec:
    spec = WindowSpec.from_document(document)
    # The reader is lenient ("5" for 5.0, members of a signal that nobody knows); a signed spec has one spelling.
    if spec.to_document() != document:
        raise FormatError("predicate: 'windowSpec' is not written as a window spec is")
    return spec


def _aggregates(entries: list[Any]) -> tuple[dict[str, Any], ...]:
    """The statistics of patients that were read. Five members are fixed, later recipes may say more."""
    for entry in entries:
        if not isinstance(entry, dict) or not set(entry) >= _AGGREGATE or len(entry) > MAX_ENTRIES:
            raise FormatError(f"predicate: each of 'aggregates' must be an object with {', '.join(sorted(_AGGREGATE))}")
        fields = Fields(entry, "predicate: aggregate", entry)
        fields.text("name", least=1)
        fields.integer("numbers", 0, MAX_NUMBERS)
        fields.text("bound")
        fields.optional_number("epsilon")
        fields.optional_number("delta")
    return tuple(entries)


def _budget(document: dict[str, Any]) -> Budget:
    """Epsilon and delta stand together: both, or null where no guarantee holds."""
    fields = Fields(document, "predicate: budget", ("epsilon", "delta", "entries"))
    epsilon, delta = fields.optional_number("epsilon"), fields.optional_number("delta")
    if (epsilon is None) != (delta is None) or (epsilon or 0.0) < 0 or not 0 <= (delta or 0.0) <= 1:
        raise FormatError("predicate: budget: 'epsilon' (at least 0) and 'delta' (0 to 1) must both be numbers, or both null")
    return Budget(epsilon, delta, fields.integer("entries", 0, MAX_NUMBERS))
