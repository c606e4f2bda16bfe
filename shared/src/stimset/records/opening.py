"""Find the recordings in a folder or file, whatever their format."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from stimset.errors import RecordError
from stimset.records.arrays import npz_entries
from stimset.records.base import Record, RecordEntry, RecordSet
from stimset.records.delimited import read_csv
from stimset.records.edf import holds_signals, read_edf
from stimset.records.persons import is_persons_table, read_persons
from stimset.records.wfdb import is_usable, read_wfdb

FORMATS = (".hea", ".edf", ".npz", ".csv")
# Apnea-ECG has each of eight recordings up to three times: a01 (ECG), a01r (respiration), a01er (both).
_APNEA_ECG_COPY = re.compile(r"([abcx]\d\d)e?r")


def open_records(path: Path, *, labels: Path | None = None, only: Sequence[str] | None = None) -> RecordSet:
    """The recordings at this path, each read when it is asked for.

    Args:
        path: a folder, or one file. In a folder all recordings count: WFDB headers (``.hea``), ``.edf``, ``.npz``,
            ``.csv``; where it holds none, its subfolders do. A folder with a subfolder ``wfdb`` (and ``wfdb-x-labels``,
            ``records.csv``) is read as one data set. Persons come from the tables that `read_persons` knows, or else
            from the recordings themselves.
        labels: a folder with label annotations that don't lie beside the recordings.
        only: names or patterns (``["a*", "x01"]``) of the recordings to take.

    Raises:
        RecordError: there is nothing to read, or `only` matches nothing. Reading one raises it for a broken recording.
    """
    path = Path(path)
    if not path.exists():
        raise RecordError(f"{path}: does not exist; name a folder or file with recordings")
    if labels is not None and not labels.is_dir():
        raise RecordError(f"{labels}: no such folder of labels")
    if path.is_dir() and (path / "wfdb").is_dir() and not any(path.glob("*.hea")):
        labels = labels or _existing(path / "wfdb-x-labels")
        persons, files = read_persons(path) or read_persons(path / "wfdb"), _files(path / "wfdb")
    elif path.is_dir():
        beside = path.parent if path.name == "wfdb" else path
        labels = labels or (_existing(beside / "wfdb-x-labels") if path.name == "wfdb" else None)
        persons, files = read_persons(beside) or read_persons(path), _files(path)
    else:
        persons, files = read_persons(path.parent), [path.with_suffix(".hea") if path.suffix == ".dat" else path]
    entries = _entries(files, persons, labels)
    if not entries:
        raise RecordError(
            f"{path}: no recordings; looked for {', '.join(FORMATS)} (a .hea needs its .dat or beat "
            "annotations beside it)"
        )
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecordError(f"{path}: two recordings are called '{twice[0]}'; rename one")
    entries.sort(key=lambda entry: entry.name)
    if only is not None:
        entries = [entry for entry in entries if any(fnmatchcase(entry.name, pattern) for pattern in only)]
        if not entries:
            raise RecordError(
                f"{path}: none of the {len(names)} recordings is called {' or '.join(only)}; there are "
                f"{', '.join(names[:5])} ..."
            )
    return RecordSet(tuple(entries), str(path))


def _files(folder: Path) -> list[Path]:
    for pattern in ("*", "*/*"):
        found = [
            p
            for p in sorted(folder.glob(pattern))
            if p.suffix.casefold() in FORMATS and p.is_file() and not p.name.startswith(".")
        ]
        if found := [p for p in found if not is_persons_table(p)]:
            return found
    return []


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _entries(files: Sequence[Path], persons: Mapping[str, str], labels: Path | None) -> list[RecordEntry]:
    headers = {p.stem for p in files if p.suffix.casefold() == ".hea"}
    edfs = [p for p in files if p.suffix.casefold() == ".edf"]
    # A single EDF file has its hypnogram beside it, unnamed.
    beside = (
        edfs
        if len(files) > 1
        else [p for f in edfs for p in sorted(f.parent.iterdir()) if p.suffix.casefold() == ".edf"]
    )
    hypnograms = [p for p in beside if not holds_signals(p)] if beside else []
    entries: list[RecordEntry] = []
    for path in files:
        stem, kind = path.stem, path.suffix.casefold()
        person = persons.get(stem, "")
        if kind == ".hea":
            copy = _APNEA_ECG_COPY.fullmatch(stem)
            if (copy and copy[1] in headers) or (len(files) > 1 and not is_usable(path)):
                continue
            found = [RecordEntry(stem, functools.partial(read_wfdb, path, person=person, labels=labels))]
        elif kind == ".edf":
            if path in hypnograms and len(files) > 1:
                continue
            found = [
                RecordEntry(
                    stem, functools.partial(read_edf, path, person=person, labels=labels, hypnograms=hypnograms)
                )
            ]
        elif kind == ".npz":
            found = npz_entries(path, persons)
        elif kind == ".csv":
            found = [RecordEntry(stem, functools.partial(read_csv, path, person=person))]
        else:
            raise RecordError(f"{path}: not a recording; known formats are {', '.join(FORMATS)}")
        entries += [RecordEntry(entry.name, _checked(entry.read, path, persons)) for entry in found]
    return entries


def _checked(read: Callable[[], Record], path: Path, persons: Mapping[str, str]) -> Callable[[], Record]:
    """Name the file in every error, and refuse a recording that the persons' table forgot."""

    def checked() -> Record:
        try:
            record = read()
        except RecordError as error:
            raise error if str(path.parent) in str(error) else RecordError(f"{path}: {error}") from None
        if persons and record.name not in persons and record.person == record.name:
            raise RecordError(f"{path}: the persons' table does not say whose recording '{record.name}' is; add a line")
        return record

    return checked
