"""Does anything private stand in these files? A search over bytes, not over what the files claim to be.

Two questions. `find_private`: does one of these texts or keys occur, plain, in another case, in hexadecimal, in UTF-16, or
within base64 or a ZIP member? `find_rows`: do 16 samples in a row of any of these arrays occur, as float32, float64 or
float16, at any byte offset?

Rows are found by keys: 16 samples in a row hold at least three whole keys, the 8 bytes that begin at a multiple of 4
samples of the array. Keys are looked up at each of the 8 byte alignments of the file; what matches is then compared sample
by sample.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RUN = 16
STRIDE = 4
KEY_BYTES = 8
# A run of clipped or missing samples is nobody's: fewer different values than this tell nothing.
LEAST_DISTINCT = 6
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")


@dataclass(frozen=True)
class Finding:
    """Something private, and where it stands."""

    what: str
    where: str
    offset: int


def find_private(needles: Iterable[bytes], *places: Path | bytes) -> list[Finding]:
    """Every occurrence of `needles` in files, in folders with all below them (file names too), or in bytes."""
    forms: dict[bytes, bytes] = {}
    for needle in needles:
        if len(needle) < 3:
            raise ValueError(f"{needle!r} is too short to say anything")
        text = needle.decode("latin-1")
        for form in (needle, needle.hex().encode(), text.encode("utf-16-le"), text.encode("utf-16-be")):
            forms[form.lower()] = needle
    if not forms:
        raise ValueError("there is nothing to look for; an empty search finds nothing and proves nothing")
    # One expression over all forms; longer ones first, since an alternative that matches ends the search at its place.
    pattern = re.compile(b"|".join(re.escape(f) for f in sorted(forms, key=len, reverse=True)))
    found = []
    for where, data in contents(places):
        for view_name, view in views(data):
            lowered = view.lower()
            found += [
                Finding(repr(forms[match.group()]), f"{where}{view_name}", match.start()) for match in pattern.finditer(lowered)
            ]
    return found


def find_rows(arrays: Iterable[NDArray[np.floating]], *places: Path | bytes) -> list[Finding]:
    """Every place where `RUN` samples in a row of the last axis of one of `arrays` occur."""
    needles = [_Rows.of(arrays, dtype) for arrays in [list(arrays)] for dtype in (np.float32, np.float64, np.float16)]
    found = []
    for where, data in contents(places):
        for view_name, view in views(data):
            for rows in needles:
                found += [Finding(f"samples as {rows.dtype}", f"{where}{view_name}", offset) for offset in rows.search(view)]
    return found


def contents(places: Sequence[Path | bytes]) -> Iterator[tuple[str, bytes]]:
    """Each file's bytes; its path counts as content as well."""
    for place in places:
        if isinstance(place, bytes):
            yield "bytes", place
            continue
        if not place.exists():
            raise FileNotFoundError(place)
        base = place.parent
        for path in sorted([place, *place.rglob("*")]):
            if path.is_file():
                yield str(path), path.read_bytes()
            yield f"the name of {path}", str(path.relative_to(base)).encode()


def views(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes themselves, and what is wrapped in them: base64 runs, members of a ZIP archive."""
    yield "", data
    for match in _BASE64.finditer(data):
        text = match.group().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        # Of a run that begins before the encoded part, only one of four beginnings gives the content.
        for start in range(4):
            part = text[start:]
            if len(part) % 4 == 1:
                part = part[:-1]
            yield f" (base64 at {match.start() + start})", base64.b64decode(part + b"=" * (-len(part) % 4))
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield f" ({name} in the archive)", archive.read(name)


@dataclass(frozen=True)
class _Rows:
    """What to look for, in one number format."""

    dtype: np.dtype[np.floating]
    rows: tuple[NDArray[np.floating], ...]
    keys: NDArray[np.uint64]
    places: NDArray[np.int64]  # (keys, 2): row, first sample; in the order of `keys`, which is ascending

    @classmethod
    def of(cls, arrays: Sequence[NDArray[np.floating]], dtype: type[np.floating]) -> _Rows:
        kind = np.dtype(dtype).newbyteorder("<")
        with np.errstate(over="ignore"):
            rows = [
                np.ascontiguousarray(row, dtype=kind)
                for array in arrays
                for row in np.asarray(array).reshape(-1, np.shape(array)[-1] if np.ndim(array) else 1)
                if len(row) >= RUN
            ]
        if not rows:
            raise ValueError(f"there is no row of {RUN} samples to look for")
        samples = KEY_BYTES // kind.itemsize
        keys, places = [], []
        for i, row in enumerate(rows):
            starts = np.arange(0, len(row) - samples + 1, STRIDE)
            keys.append(np.stack([row[s : s + samples] for s in starts]).view(np.uint64).ravel())
            places.append(np.stack([np.full(len(starts), i), starts], axis=1))
        all_keys, all_places = np.concatenate(keys), np.concatenate(places)
        order = np.argsort(all_keys, kind="stable")
        return cls(kind, tuple(rows), all_keys[order], all_places[order])

    def search(self, data: bytes) -> list[int]:
        """Offsets at which a run of `RUN` samples stands."""
        found: set[int] = set()
        for alignment in range(KEY_BYTES):
            count = (len(data) - alignment) // KEY_BYTES
            if count <= 0:
                continue
            hay = np.frombuffer(data, np.uint64, count, alignment)
            left = np.searchsorted(self.keys, hay, "left")
            hits = np.flatnonzero(self.keys[np.minimum(left, len(self.keys) - 1)] == hay)
            for hit in hits:
                offset = alignment + int(hit) * KEY_BYTES
                if (place := self._confirmed(data, offset, int(left[hit]))) is not None:
                    found.add(place)
        return sorted(found)

    def _confirmed(self, data: bytes, offset: int, key: int) -> int | None:
        """Where the run begins that contains the key at `offset`, or None."""
        size = self.dtype.itemsize
        samples = np.frombuffer(data, self.dtype, KEY_BYTES // size, offset)
        if len(samples) > 1 and (samples == samples[0]).all():
            return None  # clipped or missing samples match everywhere; the run's other keys decide
        wanted = self.keys[key]
        while key < len(self.keys) and self.keys[key] == wanted:
            row_number, start = self.places[key]
            row = self.rows[row_number]
            first = max(-int(start), -(offset // size), -(RUN - 1))
            last = min(len(row) - int(start), (len(data) - offset) // size, RUN)
            there = np.frombuffer(data, self.dtype, last - first, offset + first * size)
            equal = (there == row[start + first : start + last]).astype(np.int8)
            for begin in np.flatnonzero(np.convolve(equal, np.ones(RUN, np.int8), "valid") == RUN):
                if len(np.unique(there[begin : begin + RUN])) >= LEAST_DISTINCT:
                    return offset + (first + int(begin)) * size
            key += 1
        return None
