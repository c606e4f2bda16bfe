"""CSV: one recording per file, one row per sample, with a header line.

    # rate_hz: 4             optional lines ``# key: value`` before the header: rate_hz, epoch_s, person, unit.<column>
    # person: p07
    time_s,ecg [mV],resp,label
    0.00,0.12,-3.1,W
    0.25,0.15,-3.0,W

* time: a column ``time_s`` (time, t, seconds, timestamp_s), in seconds; or a rate in the lines before the header.
  Irregular times (RR intervals at their beats) make an event series.
* label: a column ``label`` (labels, y, stage, class, annotation, target); runs of equal labels become one annotation,
  an empty cell labels nothing. With ``# epoch_s`` a run is cut into epochs of that length.
* person: a column or line ``person`` (patient, subject, person_id ...); else persons.csv beside the file says it.
* every other column is a signal; its unit may stand in brackets. An empty cell or ``nan`` is a missing value.

Comma, semicolon or tab separate; a decimal comma is understood where they are not commas.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.errors import RecordError
from stimset.records.base import Annotation, Record, SampledSignal, runs
from stimset.records.building import RATE_NAMES, build_record

TIME_COLUMNS = ("time_s", "time", "t", "seconds", "timestamp_s", "timestamp", "times_s")
LABEL_COLUMNS = ("label", "labels", "y", "stage", "stages", "class", "annotation", "target")
PERSON_COLUMNS = (
    "person",
    "patient",
    "subject",
    "person_id",
    "patient_id",
    "subject_id",
    "participant",
    "participant_id",
)
MAX_BYTES = 4 << 30


class CsvSource:
    """A CSV file, for messages."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, columns

    @property
    def place(self) -> str:
        """The file's path, as messages name it."""
        return str(self.path)

    def fail(self, cause: str) -> RecordError:
        """An error that names what was found."""
        found = ", ".join(list(self.columns)[:20]) or "nothing"
        return RecordError(f"{self.path}: {cause}; columns found: {found}; see the schema in stimset.records.delimited")


def read_csv(path: Path, *, person: str = "") -> Record:
    """Read one recording from a CSV file.

    Raises:
        RecordError: it has no header or no rows, a cell is no number, rows differ in length, or neither times nor a
            rate are given.
    """
    notes, header, rows = _table(path)
    source = CsvSource(path, header)
    plain = [_split_unit(name)[0].casefold() for name in header]
    if len(set(plain)) != len(plain):
        raise source.fail("two columns have the same name")
    time, label, owner = (_first(plain, names) for names in (TIME_COLUMNS, LABEL_COLUMNS, PERSON_COLUMNS))
    special = {i for i in (time, label, owner) if i is not None}
    signals = [i for i in range(len(header)) if i not in special]
    if not signals or not rows:
        raise source.fail("no signal column" if rows else "no rows")
    values = np.stack([_numbers(source, header[i], [row[i] for row in rows]) for i in signals])
    arrays: dict[str, NDArray[Any] | None] = {
        "channels": np.array([_split_unit(header[i])[0] for i in signals]),
        "units": np.array([notes.get(f"unit.{plain[i]}", _split_unit(header[i])[1]) for i in signals]),
    }
    for name in (name for name in RATE_NAMES if name in notes):
        arrays["rate_hz"] = _numbers(source, name, [notes[name]])
    times = _numbers(source, header[time], [row[time] for row in rows]) if time is not None else None
    if times is not None:
        arrays["times_s"] = times
    if owner is not None and not person:
        people = {row[owner].strip() for row in rows} - {""}
        if len(people) > 1:
            raise source.fail(f"column '{header[owner]}' names {len(people)} persons; one file holds one recording")
        person = "".join(people)
    person = person or next((notes[name] for name in PERSON_COLUMNS if name in notes), "")
    record = build_record(source, path.stem, person, values, arrays)
    if label is None:
        return record
    texts = [row[label].strip() for row in rows]
    epoch_s = float(_numbers(source, "epoch_s", [notes["epoch_s"]])[0]) if "epoch_s" in notes else 0.0
    return _labelled(record, _label_runs(record, texts, times), epoch_s)


def _label_runs(record: Record, texts: Sequence[str], times: NDArray[np.float64] | None) -> tuple[Annotation, ...]:
    if times is None or isinstance(record.signals[0], SampledSignal):
        return runs(texts, record.duration_s / len(texts))
    found = runs(texts, 1.0)  # positions first: rows stand at irregular times
    ends = np.append(times, times[-1])
    return tuple(
        Annotation(
            float(times[int(a.onset_s)]), float(ends[int(a.onset_s + a.duration_s)] - times[int(a.onset_s)]), a.text
        )
        for a in found
    )


def _labelled(record: Record, found: Sequence[Annotation], epoch_s: float) -> Record:
    cut: list[Annotation] = []
    for run in found:
        count = int(run.duration_s / epoch_s + 1e-6) if epoch_s > 0 else 0
        cut += [Annotation(run.onset_s + i * epoch_s, epoch_s, run.text) for i in range(count)] if count else [run]
    return Record(record.name, record.person, record.signals, tuple(cut), record.duration_s, record.source)


def _table(path: Path) -> tuple[Mapping[str, str], list[str], list[list[str]]]:
    """The leading notes, the header, and the rows as texts."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path}: more than {MAX_BYTES >> 30} GiB; save it as NPZ")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a text file in UTF-8 ({error.__class__.__name__}); export it again") from None
    notes, first = {}, 0
    while first < len(lines) and (lines[first].startswith("#") or not lines[first].strip()):
        key, _, value = lines[first].lstrip("# ").partition(":" if ":" in lines[first] else "=")
        notes[key.strip().casefold()] = value.strip()
        first += 1
    if first >= len(lines):
        raise RecordError(f"{path}: no header line; name the columns in the first line")
    delimiter = max(";\t,", key=lambda c: (lines[first].count(c), -";\t,".index(c)))
    try:
        rows = list(csv.reader(lines[first:], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise RecordError(f"{path}: not a table ({error}); export it again") from None
    header = [name.strip() for name in rows[0]]
    body = [row for row in rows[1:] if row]
    for number, row in enumerate(body):
        if len(row) != len(header):
            raise RecordError(
                f"{path}: row {number + 1} has {len(row)} cells, the header {len(header)}; the file is "
                "truncated or inconsistent"
            )
    if delimiter != ",":
        body = [[re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", cell) for cell in row] for row in body]
    return notes, header, body


def _numbers(source: CsvSource, name: str, cells: Sequence[str]) -> NDArray[np.float64]:
    try:
        return np.array([cell.strip() or "nan" for cell in cells], dtype=np.float64)
    except ValueError as error:
        raise source.fail(f"column '{name}' holds no numbers ({error})") from None


def _split_unit(name: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.+?)\s*[\[(]([^\])]*)[\])]", name)
    return (match[1], match[2].strip()) if match else (name, "")


def _first(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)
