"""NPZ: recordings as plain arrays. This docstring is the schema; nothing in such a file is ever unpickled.

**One file per recording**, named by its file name:

    key          shape                 meaning
    signals      (channels, samples)   NaN = missing. (samples, channels) is recognised by the number of channel names,
                                       or else by having more samples than channels; (samples,): one channel
    rate_hz      one number            samples per second. Not needed where epoch_s and labels say it
    labels       (epochs,)             one per epoch from the beginning, integers (which become "0", "1" ...) or texts.
                                       NaN and "" label nothing. (samples,): one per sample
    epoch_s      one number            seconds per label. Not needed where labels divide the samples evenly
    person       one text or integer   whom it belongs to; else the file persons.csv says it; else each recording is its
                                       own person
    channels     (channels,) texts     optional; "channel1", "channel2" ... without it
    units        (channels,) texts     optional
    label_names  (classes,) texts      optional: label 0 is called label_names[0]
    times_s      (samples,)            optional: times of irregular values (RR intervals) instead of rate_hz
    onsets_s     (labels,)             optional: when each label begins, where they are not back to back
    durations_s  (labels,)             optional, with onsets_s: how long each label lasts

In place of `signals` each channel may stand under its own name (``eeg``, ``emg``), all of one length.

**Many recordings in one file**, in any of these forms; rate_hz, epoch_s, channels, units, label_names are then for
all:

    signals_<record>, labels_<record>   an array each, of any length; <record>_signals, <record>_labels too, and plain
                                        <record> beside labels_<record>. person_<record>, rate_hz_<record> and
                                        epoch_s_<record> as above, or `persons` (records,) in the recordings' order:
                                        that of `records` (records,) if given, else the file's
    signals (records, channels, samples)  stacked, with labels (records, epochs), persons (records,), and optionally
                                        records (records,)
    signals (windows, channels, samples)  already cut, with labels (windows,) and persons (windows,), and optionally
                                        records (windows,): the windows of one record (else of one person) are joined

Names may differ in case, and these are understood too (see `SYNONYMS`): x, data, values; fs, sampling_hz,
sampling_rate, sfreq; y, label, stages, targets; patient, subject, person_id, subject_ids; channel_names, ch_names;
class_names; epoch_length_s ...
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.errors import RecordError
from stimset.records.base import Record, RecordEntry
from stimset.records.building import RATE_NAMES, build_record, number, oriented, text_of

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "signals": ("signals", "signal", "x", "data", "values", "waveforms", "recordings_data"),
    "rate_hz": RATE_NAMES,
    "labels": ("labels", "label", "y", "stages", "stage", "targets", "target", "hypnogram", "annotations"),
    "epoch_s": (
        "epoch_s", "epoch", "epoch_sec", "epoch_seconds", "epoch_length", "epoch_length_s", "epoch_duration",
        "epoch_duration_s",
        "label_s", "window_s", "window_seconds",
    ),
    "person": (
        "person", "persons", "person_id", "person_ids", "patient", "patients", "patient_id", "patient_ids",
        "subject", "subjects", "subject_id", "subject_ids", "participant", "participants", "participant_id", "pid",
        "groups", "group",
    ),
    "channels": ("channels", "channel_names", "channel", "ch_names", "signal_names", "signals_names", "names"),
    "units": ("units", "unit"),
    "records": (
        "records", "record", "record_names", "record_name", "record_id", "record_ids", "recordings", "recording",
        "recording_id",
    ),
    "label_names": ("label_names", "labels_names", "class_names", "classes", "stage_names"),
    "times_s": ("times_s", "time_s", "times", "time", "timestamps_s", "t"),
    "onsets_s": ("onsets_s", "onset_s", "label_onsets_s", "onsets"),
    "durations_s": ("durations_s", "duration_s", "label_durations_s", "durations"),
}  # fmt: skip
_CANON = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
_PER_RECORD = ("signals", "labels", "person", "rate_hz", "epoch_s", "times_s", "onsets_s", "durations_s")
_OF_ONE = ("rate_hz", "labels", "epoch_s", "channels", "units", "label_names", "times_s", "onsets_s", "durations_s")
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class Npz:
    """An NPZ file: what it holds by canonical name, and its arrays when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.common: dict[str, str] = {}
        self.per_record: dict[str, dict[str, str]] = {}
        self.other: list[str] = []
        self.shapes = self._shapes()
        for key in self.shapes:
            plain = _plain(key)
            if plain in _CANON:
                self.common.setdefault(_CANON[plain], key)
            elif (match := _of_record(key)) is not None:
                name, record = match
                self.per_record.setdefault(record, {})[name] = key
            else:
                self.other.append(key)
        for key in self.other:
            # A recording may stand under its bare name, where its labels (or person) say that it is one.
            if key in self.per_record:
                self.per_record[key].setdefault("signals", key)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                for entry in archive.namelist():
                    with archive.open(entry) as file:
                        version = np.lib.format.read_magic(file)
                        read = (
                            np.lib.format.read_array_header_1_0
                            if version == (1, 0)
                            else np.lib.format.read_array_header_2_0
                        )
                        shape, _, dtype = read(file)
                    if dtype.hasobject:
                        raise RecordError(
                            f"{self.path}: '{entry.removesuffix('.npy')}' holds Python objects, which are never "
                            "unpickled; save each recording as an array of its own: signals_<record>, labels_<record>"
                        )
                    shapes[entry.removesuffix(".npy")] = tuple(shape)
        except _BROKEN as error:
            raise RecordError(
                f"{self.path}: not a complete NPZ file ({_cause(error)}); save or fetch it again"
            ) from None
        return shapes

    def load(self, key: str) -> NDArray[Any]:
        """The array of this key."""
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                return np.asarray(archive[key])
        except _BROKEN as error:
            raise RecordError(
                f"{self.path}: '{key}' can't be read ({_cause(error)}); save or fetch the file again"
            ) from None

    def get(self, name: str, record: str = "") -> NDArray[Any] | None:
        """The array of this canonical name: the record's own, or else the common one; None where there is neither."""
        key = self.per_record.get(record, {}).get(name) or self.common.get(name)
        return None if key is None else self.load(key)

    @cached_property
    def stack(self) -> dict[str, NDArray[Any]]:
        """The arrays of a stacked file, read once: every record is a slice of them."""
        return {name: self.load(key) for name, key in self.common.items()}

    @property
    def place(self) -> str:
        """The file's path, as messages name it."""
        return str(self.path)

    def fail(self, cause: str) -> RecordError:
        """An error that names what was found and what is accepted."""
        found = ", ".join(f"{key} {shape}" for key, shape in list(self.shapes.items())[:12])
        return RecordError(
            f"{self.path}: {cause}; found: {found or 'nothing'}; see the schema in stimset.records.arrays"
        )


def npz_entries(path: Path, persons: Mapping[str, str]) -> list[RecordEntry]:
    """The recordings in an NPZ file.

    Args:
        path: the file.
        persons: record -> person, which wins over what the file says.

    Raises:
        RecordError: it is broken, holds Python objects, or nothing in it looks like a recording.
    """
    npz = Npz(path)
    rows = {name: npz.shapes[key] for name, key in npz.common.items()}
    if "signals" in rows:
        count, labels = rows["signals"][:1], rows.get("labels", ())
        if len(rows["signals"]) > 3 or not count:
            raise npz.fail("signals must have one to three dimensions")
        per_row = [name for name in ("labels", "person", "records") if rows.get(name, ())[:1] == count]
        cut = (
            len(labels) == 1
            and "labels" in per_row
            and ("person" in per_row or "records" in per_row or len(rows["signals"]) == 3)
        )
        if cut and len(rows["signals"]) >= 2:
            return _cut_entries(npz, persons)
        if len(rows["signals"]) == 3 or (len(labels) == 2 and labels[0] == count[0] > 1):
            return _stacked_entries(npz, persons)
        return [RecordEntry(path.stem, lambda: _single(npz, path.stem, persons.get(path.stem, "")))]
    names = [record for record, keys in npz.per_record.items() if "signals" in keys]
    if not names and (channels := _bare_channels(npz)):
        return [RecordEntry(path.stem, lambda: _single(npz, path.stem, persons.get(path.stem, ""), channels=channels))]
    if not names:
        raise npz.fail("no signals; accepted are " + ", ".join(SYNONYMS["signals"][:5]) + " and signals_<record>")
    return _named_entries(npz, names, persons)


def _single(npz: Npz, name: str, person: str, record: str = "", channels: list[str] | None = None) -> Record:
    own = npz.get("person", record)
    if not person and own is not None:
        values = {text_of(value) for value in own.reshape(-1)}
        if len(values) != 1:
            raise npz.fail(f"recording '{name}': {len(values)} persons for one recording")
        person = values.pop()
    arrays = {key: npz.get(key, record) for key in _OF_ONE}
    if channels is not None:
        signals: NDArray[Any] | None = np.stack([npz.load(key) for key in channels])
        arrays["channels"] = np.array(channels)
    else:
        signals = npz.get("signals", record)
    return build_record(npz, name, person, signals, arrays)


def _bare_channels(npz: Npz) -> list[str]:
    """Signals that stand each under its own name: numbers of one common length, the greatest in the file."""
    longest = max((npz.shapes[key][0] for key in npz.other if len(npz.shapes[key]) == 1), default=0)
    return [key for key in npz.other if npz.shapes[key] == (longest,)] if longest > 1 else []


def _named_entries(npz: Npz, names: list[str], persons: Mapping[str, str]) -> list[RecordEntry]:
    listed = npz.get("records")
    order = [text_of(value) for value in listed.reshape(-1)] if listed is not None else names
    if listed is not None and set(order) != set(names):
        raise npz.fail(f"'records' names {len(order)} recordings, but there are signals of {len(names)} others")
    common = npz.get("person")
    owners = dict.fromkeys(order, "")
    if common is not None:
        if common.size not in (1, len(order)):
            raise npz.fail(f"{common.size} persons for {len(order)} recordings")
        values = np.broadcast_to(common.reshape(-1), (len(order),))
        owners = {name: text_of(value) for name, value in zip(order, values, strict=True)}

    def read(name: str) -> Record:
        return _single(npz, name, persons.get(name) or _own_person(npz, name) or owners[name], name)

    return [RecordEntry(name, functools.partial(read, name)) for name in order]


def _own_person(npz: Npz, record: str) -> str:
    key = npz.per_record[record].get("person")
    return text_of(npz.load(key).reshape(-1)[0]) if key else ""


def _stacked_entries(npz: Npz, persons: Mapping[str, str]) -> list[RecordEntry]:
    count = npz.shapes[npz.common["signals"]][0]
    for name in ("labels", "person", "records"):
        key = npz.common.get(name)
        if key is not None and npz.shapes[key][:1] != (count,):
            raise npz.fail(f"'{key}' must have one entry for each of the {count} recordings in 'signals'")
    names = _row_names(npz, count)
    if len(set(names)) != count:
        raise npz.fail("two recordings have the same name in 'records'")

    def read(row: int) -> Record:
        stack = npz.stack
        arrays: dict[str, NDArray[Any] | None] = dict(stack)
        for key in ("labels", "rate_hz", "epoch_s"):
            if key in stack and stack[key].shape[:1] == (count,) and stack[key].size > 1:
                arrays[key] = stack[key][row]
        own = text_of(stack["person"][row]) if "person" in stack else ""
        return build_record(npz, names[row], persons.get(names[row]) or own, stack["signals"][row], arrays)

    return [RecordEntry(name, functools.partial(read, row)) for row, name in enumerate(names)]


def _cut_entries(npz: Npz, persons: Mapping[str, str]) -> list[RecordEntry]:
    count = npz.shapes[npz.common["signals"]][0]
    group = npz.get("records" if "records" in npz.common else "person")
    names = [text_of(value) for value in group.reshape(-1)] if group is not None else [npz.path.stem] * count
    if len(names) != count:
        raise npz.fail(f"{len(names)} names for {count} windows")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)

    def read(name: str) -> Record:
        stack, mine = npz.stack, rows[name]
        windows = stack["signals"][mine]
        channels = stack["channels"].size if "channels" in stack else 0
        cubes = windows[:, None, :] if windows.ndim == 2 else np.stack([oriented(w, channels) for w in windows])
        arrays: dict[str, NDArray[Any] | None] = dict(stack)
        arrays["labels"] = stack["labels"][mine]
        if "rate_hz" in stack:
            arrays["epoch_s"] = np.asarray(cubes.shape[2] / number(npz, "rate_hz", stack["rate_hz"]))
        arrays["channels"] = stack.get("channels", np.array([f"channel{i + 1}" for i in range(cubes.shape[1])]))
        owners = (
            {text_of(value) for value in np.broadcast_to(stack["person"].reshape(-1), (count,))[mine]}
            if "person" in stack
            else set()
        )
        if len(owners) > 1:
            raise npz.fail(f"recording '{name}' belongs to {len(owners)} persons")
        joined = np.concatenate(list(cubes), axis=1)
        return build_record(npz, name, persons.get(name) or "".join(owners), joined, arrays)

    return [RecordEntry(name, functools.partial(read, name)) for name in rows]


def _row_names(npz: Npz, count: int) -> list[str]:
    listed = npz.get("records")
    width = len(str(count))
    return (
        [text_of(v) for v in listed.reshape(-1)]
        if listed is not None
        else [f"{npz.path.stem}-{i + 1:0{width}d}" for i in range(count)]
    )


def _plain(key: str) -> str:
    return key.strip().casefold().replace("-", "_").replace(" ", "_")


def _of_record(key: str) -> tuple[str, str] | None:
    """``signals_r1`` or ``r1/signals`` -> ``("signals", "r1")``: the longest synonym at either end of the key."""
    plain, best = _plain(key), ("", "", 0)
    for synonym, name in _CANON.items():
        if name not in _PER_RECORD or len(synonym) <= best[2] or len(plain) <= len(synonym) + 1:
            continue
        if plain.startswith(synonym) and plain[len(synonym)] in "_/.:":
            best = (name, key.strip()[len(synonym) + 1 :], len(synonym))
        elif plain.endswith(synonym) and plain[-len(synonym) - 1] in "_/.:":
            best = (name, key.strip()[: -len(synonym) - 1], len(synonym))
    return (best[0], best[1]) if best[1] else None


def _cause(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:160] or type(error).__name__
