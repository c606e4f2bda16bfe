"""Write a `Record` as an NPZ file that `stimset.records.open_records` reads back: for the simulated cohort, and for
converting.

The file follows the schema in `stimset.records.arrays`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from stimset.errors import RecordError
from stimset.records.base import EventSeries, Record, SampledSignal


def write_npz(record: Record, folder: Path) -> Path:
    """Write the record as ``folder/NAME.npz`` and say where.

    Raises:
        RecordError: its signals differ in rate or times, so they don't fit into one array.
    """
    first = record.signals[0]
    if isinstance(first, SampledSignal):
        same = all(
            isinstance(s, SampledSignal)
            and s.rate_hz == first.rate_hz
            and s.start_s == 0.0
            and len(s.values) == len(first.values)
            for s in record.signals
        )
        base = {"rate_hz": np.array(first.rate_hz)}
    else:
        same = all(isinstance(s, EventSeries) and np.array_equal(s.times_s, first.times_s) for s in record.signals)
        base = {"times_s": first.times_s}
    if not same:
        raise RecordError(f"{record.where}: its signals differ in rate, start or length; bring them to one rate first")
    arrays = {
        "signals": np.stack([s.values for s in record.signals]),
        "channels": np.array([s.name for s in record.signals]),
        "units": np.array([s.unit for s in record.signals]),
        "labels": np.array([a.text for a in record.annotations], dtype=np.str_),
        "onsets_s": np.array([a.onset_s for a in record.annotations]),
        "durations_s": np.array([a.duration_s for a in record.annotations]),
        "person": np.array(record.person),
        **base,
    }
    if not record.annotations:
        arrays = {k: v for k, v in arrays.items() if k not in ("labels", "onsets_s", "durations_s")}
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    path = folder / f"{record.name}.npz"
    path.write_bytes(buffer.getvalue())
    return path
