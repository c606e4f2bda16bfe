"""The Apnea-ECG database of PhysioNet (doi:10.13026/C23W2R, licence ODC-BY 1.0): 70 nights of 32 persons, apnea minute
by minute.

T. Penzel, G. B. Moody, R. G. Mark, A. L. Goldberger, J. H. Peter, "The Apnea-ECG Database", Computers in Cardiology 27
(2000), 255-258.

Usage::

    records = open_records(folder, only=apnea_ecg.RELEASED)
    windows = make_windows(records, apnea_ecg.SPEC_5MIN)

The official split is by record: 18 of the 32 persons have nights on both sides of it. The labels of the test records
x01 to x35 lie in a folder of their own (``wfdb-x-labels``); the database itself has no ``.apn`` for them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stimset.errors import TransportError
from stimset.records.base import optional_module
from stimset.windows import SignalSpec, WindowSpec

RELEASED = ("a*", "b*", "c*")
TEST = ("x*",)
RELEASED_RECORDS = (
    *(f"a{i:02d}" for i in range(1, 21)), *(f"b{i:02d}" for i in range(1, 6)), *(f"c{i:02d}" for i in range(1, 11)),
)  # fmt: skip
TEST_RECORDS = tuple(f"x{i:02d}" for i in range(1, 36))
DATABASE = "apnea-ecg"

_RR = SignalSpec("rr", unit="ms", valid=(300.0, 2000.0))
_MEANING = (
    "whether the minute holds an apnea or hypopnea, scored by one expert on respiration and SpO2 (Apnea-ECG database)"
)

SPEC_5MIN = WindowSpec(
    signals=(_RR,), rate_hz=0.5, epoch_s=60.0, before_s=120.0, after_s=120.0, labels=("normal", "apnea"),
    annotations={"N": "normal", "A": "apnea"}, normalisation="record-robust", meaning=_MEANING,
)  # fmt: skip
"""RR intervals of the labelled minute and two minutes on either side: 1 x 150."""

SPEC_60S = WindowSpec(
    signals=(_RR,), rate_hz=2.0, epoch_s=60.0, labels=("normal", "apnea"), annotations={"N": "normal", "A": "apnea"},
    normalisation="record-robust", meaning=_MEANING,
)  # fmt: skip
"""RR intervals of the labelled minute alone: 1 x 120."""


def needed_files() -> tuple[str, ...]:
    """The files that `download` gets: about 8 MB of headers, beats and labels, without the ECG itself."""
    released = (f"{name}.{kind}" for name in RELEASED_RECORDS for kind in ("hea", "qrs", "apn"))
    test = (f"{name}.{kind}" for name in TEST_RECORDS for kind in ("hea", "qrs"))
    return (*released, *test, "additional-information.txt")


def download(folder: Path, *, files: Sequence[str] | None = None) -> Path:
    """Get the database's headers, beats and labels from PhysioNet into this folder. What is there already is kept.

    Args:
        folder: where to; it is made where it does not exist.
        files: fewer files than `needed_files`.

    Raises:
        TransportError: PhysioNet can't be reached or broke off.
        ConfigError: the extra ``[records]`` is not installed.
    """
    wfdb = optional_module("wfdb")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(files or needed_files())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints
            wfdb.dl_files(DATABASE, str(folder), wanted)
    except Exception as error:  # whatever its network library raises
        raise TransportError(
            f"the Apnea-ECG database can't be fetched from physionet.org ({_cause(error)}); connect to the network, "
            "or copy its .hea, .qrs and .apn files into a folder and name that folder"
        ) from None
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        raise TransportError(
            f"the download of {DATABASE} is incomplete: {missing[0]} and {len(missing) - 1} more are missing; "
            "run it again"
        )
    return folder


def _cause(error: Any) -> str:
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__
