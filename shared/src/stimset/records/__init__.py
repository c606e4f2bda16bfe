"""Step 1: a recording on disk becomes a `Record`.

In the order of the data's way::

    base         Record, SampledSignal, EventSeries, Annotation; RecordSet, which reads each when it is asked for
    wfdb         PhysioNet's format; RR intervals from beat annotations
    edf          EDF and EDF+, with hypnograms
    arrays       NPZ: the schema is its docstring              building   the rules that NPZ and CSV share
    delimited    CSV: the schema is its docstring              writing    Record -> NPZ
    persons      whose recording it is
    demographics what else is known of the persons, in groups
    opening      a folder or file -> RecordSet
    guess        a window spec for a data set that nobody has described
    apnea_ecg    the public database: specs, split, download
    simulated    persons who never lived

Usage::

    from stimset.records import guess_spec, open_records
    records = open_records(Path("recordings"), only=["a*"])
    len(records), records.names, records[0].signals
"""

from stimset.records.base import Annotation, EventSeries, Record, RecordSet, SampledSignal, Signal
from stimset.records.demographics import read_demographics
from stimset.records.guess import guess_spec
from stimset.records.opening import open_records
from stimset.records.persons import read_persons
from stimset.records.simulated import is_simulated, simulate
from stimset.records.writing import write_npz

__all__ = [
    "Annotation",
    "EventSeries",
    "Record",
    "RecordSet",
    "SampledSignal",
    "Signal",
    "guess_spec",
    "is_simulated",
    "open_records",
    "read_demographics",
    "read_persons",
    "simulate",
    "write_npz",
]
