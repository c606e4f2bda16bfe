"""Whose recording is it? Tables beside the recordings say so.

Looked for, in this order: ``persons.csv``, ``records.csv``, ``subjects.csv``, ``patients.csv`` with a column
``record`` (recording, file, name) and a column ``person`` (subject, patient, person_id ...);
``additional-information.txt`` of the Apnea-ECG database, where records that share age, sex, height and weight are one
person (the publisher gives no key; this gives exactly the 32 people it counts).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from stimset.errors import RecordError

TABLES = ("persons.csv", "records.csv", "subjects.csv", "patients.csv")
PUBLISHED = "additional-information.txt"
RECORD_COLUMNS = ("record", "recording", "record_name", "record_id", "recording_id", "file", "filename", "name")
PERSON_COLUMNS = (
    "person", "subject", "patient", "person_id", "subject_id", "patient_id", "participant", "participant_id",
    "subject_number",
)  # fmt: skip
SUFFIXES = (".npz", ".csv", ".edf", ".hea", ".dat")


def read_persons(folder: Path) -> dict[str, str]:
    """Record name -> person, from the tables in this folder; empty where there are none.

    Raises:
        RecordError: a table can't be read, lacks a column, or gives one record two persons.
    """
    for name in TABLES:
        if (folder / name).is_file():
            return _table(folder / name)
    if (folder / PUBLISHED).is_file():
        return _published(folder / PUBLISHED)
    return {}


def is_persons_table(path: Path) -> bool:
    """Whether this CSV file is such a table, and so no recording."""
    return path.name.casefold() in TABLES


def read_table(path: Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The lines of such a table, and its columns: lower-case name -> name.

    Raises:
        RecordError: it is no text in UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a text file in UTF-8 ({error.__class__.__name__}); export it again") from None
    delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    return rows, {(name or "").strip().casefold(): name for name in (rows[0] if rows else {})}


def pick(columns: dict[str, str], wanted: Sequence[str]) -> str | None:
    """The first of these columns that there is, as the table spells it."""
    return next((columns[name] for name in wanted if name in columns), None)


def _table(path: Path) -> dict[str, str]:
    rows, columns = read_table(path)
    record, person = pick(columns, RECORD_COLUMNS), pick(columns, PERSON_COLUMNS)
    if record is None or person is None:
        raise RecordError(
            f"{path}: columns 'record' and 'person' (or subject, patient) are needed; "
            f"found: {', '.join(columns) or 'nothing'}"
        )
    owners: dict[str, str] = {}
    for row in rows:
        name, owner = (row[record] or "").strip(), (row[person] or "").strip()
        if Path(name).suffix.casefold() in SUFFIXES:
            name = Path(name).stem
        if not name or not owner:
            raise RecordError(f"{path}: a line names no record or no person; complete or remove it")
        if owners.setdefault(name, owner) != owner:
            raise RecordError(f"{path}: record '{name}' is given to two persons; keep one line")
    return owners


def _published(path: Path) -> dict[str, str]:
    people: dict[Sequence[str], str] = {}
    return {name: people.setdefault(person, f"person-{len(people):02d}") for name, person in published(path)}


def published(path: Path) -> Iterator[tuple[str, tuple[str, str, str, str]]]:
    """Apnea-ECG: each record with age, sex, height in cm and weight in kg of its person.

    The columns are record, minutes, non-apnea, apnea, hours, AI, HI, AHI, age, sex, height, weight.
    """
    for line in path.read_text(encoding="latin-1").splitlines():
        cells = line.split()
        if len(cells) >= 12 and cells[1].isdigit() and cells[9] in ("M", "F"):
            yield cells[0], (cells[8], cells[9], cells[10], cells[11])
