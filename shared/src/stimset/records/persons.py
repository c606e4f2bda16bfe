"""Whose recording is it? Tables beside the recordings say so.

Looked for, in this order: ``persons.csv``, ``records.csv``, ``subjects.csv``, ``patients.csv`` with a column
``record`` (recording, file, name) and a column ``person`` (subject, patient, person_id ...);
``additional-information.txt`` of the Apnea-ECG database, where records that share age, sex, height and weight are one
person (the publisher gives no key; this gives exactly the 32 people it counts).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
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


def _table(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a text file in UTF-8 ({error.__class__.__name__}); export it again") from None
    delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    columns = {(name or "").strip().casefold(): name for name in (rows[0] if rows else {})}
    record, person = _pick(columns, RECORD_COLUMNS), _pick(columns, PERSON_COLUMNS)
    if record is None or person is None:
        raise RecordError(
            f"{path}: columns 'record' and 'person' (or subject, patient) are needed; "
            f"found: {', '.join(columns) or 'nothing'}"
        )
    owners: dict[str, str] = {}
    for row in rows:
        name, owner = (row[columns[record]] or "").strip(), (row[columns[person]] or "").strip()
        if Path(name).suffix.casefold() in SUFFIXES:
            name = Path(name).stem
        if not name or not owner:
            raise RecordError(f"{path}: a line names no record or no person; complete or remove it")
        if owners.setdefault(name, owner) != owner:
            raise RecordError(f"{path}: record '{name}' is given to two persons; keep one line")
    return owners


def _published(path: Path) -> dict[str, str]:
    """Apnea-ECG: the columns are record, minutes, non-apnea, apnea, hours, AI, HI, AHI, age, sex, height, weight."""
    people: dict[Sequence[str], str] = {}
    owners: dict[str, str] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        cells = line.split()
        if len(cells) >= 12 and cells[1].isdigit() and cells[9] in ("M", "F"):
            owners[cells[0]] = people.setdefault(tuple(cells[8:12]), f"person-{len(people):02d}")
    return owners


def _pick(columns: dict[str, str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in columns), None)
