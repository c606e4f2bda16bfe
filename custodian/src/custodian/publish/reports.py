"""The gate's report beside a proposal: the officer reads it before signing; no partner gets it, since it lies outside the release.

It is held against the digests in the signed provenance (`stimset.release.ReportDigests`) on both ways, so nobody can hand the officer
a friendlier one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from custodian.publish.writing import write_file
from stimset.errors import ContentMismatch, FileMissing, StimsetError
from stimset.plainfiles import read_plain
from stimset.release import ReportDigests

PAGE, NUMBERS = "html", "json"
MAX_REPORT_BYTES = 32 << 20


def carry_report(source: Path, digests: ReportDigests | None, target: Path) -> None:
    """Copy a candidate set's report into a proposal.

    Args:
        source: the set's folder.
        digests: what the verdict says of the report; None where the set has none.
        target: the proposal's folder.

    Raises:
        ContentMismatch: the report is gone, or not the one that the gate wrote; audit the set again.
    """
    if digests is None:
        return
    for kind in asdict(digests):
        try:
            data = read_report(source, digests, kind)
        except StimsetError as error:
            raise ContentMismatch(f"the gate's report on this set can't be handed to the officer ({error}); audit it again") from None
        write_file(target / _name(kind), data)


def read_report(folder: Path, digests: ReportDigests, kind: str = PAGE) -> bytes:
    """One of the report's two files (`PAGE`, `NUMBERS`), if its bytes are those that were signed.

    Raises:
        FileMissing: it was not carried along.
        ContentMismatch, FormatError, ConfigError: it is another one, is too long, or can't be read.
    """
    data = read_plain(folder, _name(kind), MAX_REPORT_BYTES)
    if hashlib.sha256(data).hexdigest() != asdict(digests)[kind]:
        raise ContentMismatch(f"{_name(kind)} is not the report whose digest is signed; somebody changed it, don't sign")
    return data


def report_carried(folder: Path, digests: ReportDigests | None) -> bool:
    """Whether the page of the report lies here as it was signed; False where there is none. Raises what `read_report` raises."""
    if digests is None:
        return False
    try:
        read_report(folder, digests)
    except FileMissing:
        return False
    return True


def _name(kind: str) -> str:
    return f"report.{kind}"
