"""EDF and EDF+: signals of any rates, and annotations such as sleep stages.

Labels come from the file's own EDF+ annotations, or from an EDF+ file that holds annotations alone (a hypnogram): one
of the same name in a folder of labels, or one beside the recording whose name shares its first six characters or more
(``SC4001E0-PSG.edf`` and ``SC4001EC-Hypnogram.edf``).

The person is the patient code of the EDF+ header, unless that is absent or ``X``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stimset.errors import RecordError
from stimset.records.base import Annotation, Record, SampledSignal, optional_module

HEADER_BYTES = 256
MAX_SIGNALS = 4096
SHARED_PREFIX = 6


def read_edf(path: Path, *, person: str = "", labels: Path | None = None, hypnograms: Sequence[Path] = ()) -> Record:
    """Read one EDF or EDF+ recording.

    Args:
        path: the file with the signals.
        person: whom it belongs to; empty takes the header's patient code, or else the file's name.
        labels: a folder with EDF+ files of the same name that hold the annotations.
        hypnograms: files beside it that hold annotations alone.

    Raises:
        RecordError: it is truncated, interrupted (EDF+D with gaps), no EDF, or holds no signal.
        ConfigError: the extra ``[records]`` is not installed.
    """
    edf = _open(path)
    try:
        if not edf.is_continuous:
            raise RecordError(f"{path}: the recording is interrupted (EDF+D); split it into continuous files")
        signals = tuple(
            SampledSignal(
                s.label.strip(),
                s.physical_dimension.strip(),
                float(s.sampling_frequency),
                np.asarray(s.data, np.float64),
            )
            for s in edf.signals
        )
        own, duration, code = edf.annotations, float(edf.duration), _patient_code(edf)
    except (ValueError, IndexError, OSError, KeyError, ArithmeticError) as error:
        raise RecordError(f"{path}: not a readable EDF file ({_cause(error)}); export it again") from None
    if not signals:
        raise RecordError(f"{path}: holds annotations but no signal; name the folder of such files as the labels")
    annotations = _annotations(path, labels, hypnograms) or _texts(own)
    return Record(path.stem, person or code or path.stem, signals, annotations, duration, str(path))


def holds_signals(path: Path) -> bool:
    """Whether this EDF file holds more than annotations (reads the header only).

    Raises:
        RecordError: it is no EDF file.
    """
    return any(label != b"EDF Annotations" for label in _layout(path)[1])


def _annotations(path: Path, labels: Path | None, hypnograms: Sequence[Path]) -> tuple[Annotation, ...]:
    candidates = []
    if labels is not None:
        candidates = [labels / path.name] if (labels / path.name).is_file() else []
        hypnograms = [
            *hypnograms,
            *(p for p in sorted(labels.iterdir()) if p.suffix.casefold() == ".edf" and p.name != path.name),
        ]
    if not candidates:
        shared = {p: _shared_start(p.stem, path.stem) for p in hypnograms}
        longest = max(shared.values(), default=0)
        candidates = [p for p, n in shared.items() if n == longest] if longest >= SHARED_PREFIX else []
        if len(candidates) > 1:
            raise RecordError(
                f"{path}: {candidates[0].name} and {candidates[1].name} both look like its labels; name one as "
                "the recording"
            )
    return _texts(_open(candidates[0]).annotations) if candidates else ()


def _texts(annotations: Sequence[Any]) -> tuple[Annotation, ...]:
    found = [Annotation(float(a.onset), float(a.duration or 0.0), str(a.text).strip()) for a in annotations]
    return tuple(sorted((a for a in found if a.text), key=lambda a: a.onset_s))


def _open(path: Path) -> Any:
    edfio = optional_module("edfio")
    header_bytes, _, record_bytes, records = _layout(path)
    need, have = header_bytes + max(records, 0) * record_bytes, path.stat().st_size
    if have < need:
        raise RecordError(f"{path}: truncated: {have} bytes where the header promises {need}; fetch the file again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of was checked above
            return edfio.read_edf(path, header_encoding="latin-1")
    except (ValueError, IndexError, OSError, KeyError, ArithmeticError) as error:
        raise RecordError(f"{path}: not a readable EDF file ({_cause(error)}); export it again") from None


def _layout(path: Path) -> tuple[int, list[bytes], int, int]:
    """The header's size, the signals' labels, the size of a data record, and how many there are (-1: unknown)."""
    try:
        with path.open("rb") as file:
            fixed = file.read(HEADER_BYTES)
            size, records, count = int(fixed[184:192]), int(fixed[236:244]), int(fixed[252:256])
            if not 0 <= count <= MAX_SIGNALS or size != HEADER_BYTES * (count + 1):
                raise ValueError("the header's size and the number of signals don't fit")
            table = file.read(HEADER_BYTES * count)
        names = [table[16 * i : 16 * (i + 1)].strip() for i in range(count)]
        samples = [int(table[216 * count + 8 * i : 216 * count + 8 * (i + 1)]) for i in range(count)]
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: no complete EDF header ({_cause(error)}); fetch or export the file again") from None
    return size, names, 2 * sum(samples), records


def _shared_start(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _patient_code(edf: Any) -> str:
    try:
        code = str(edf.patient.code).strip()
    except (ValueError, IndexError):
        return ""  # plain EDF: free text there may be a name, and is no key
    return "" if code.upper() in ("", "X") else code


def _cause(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160] or type(error).__name__
