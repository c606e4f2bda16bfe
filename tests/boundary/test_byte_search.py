"""The search that the boundary tests rest on finds what it is to find, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byte_search import find_private, find_rows

NAME = b"patient-Ada-0007"


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "wrapped",
    [
        NAME,
        b"\x00\xff" + NAME + b"\x00",
        NAME.upper(),
        NAME.hex().encode(),
        NAME.decode().encode("utf-16-le"),
        base64.b64encode(b"{" + NAME + b"}" * 20),
        b"xy" + base64.b64encode(b"some words before " + NAME + b" and behind"),
        json.dumps({"payload": base64.b64encode(b'{"a":"' + NAME + b'"}').decode()}).encode(),
        base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 8 + NAME),
        zipped(b"-" * 100 + NAME),
    ],
)
def test_a_name_is_found_however_it_is_wrapped(wrapped, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"before " + wrapped if not wrapped.startswith(b"PK") else wrapped)
    assert find_private([NAME, b"another"], tmp_path)
    assert find_private([b"nobody-here"], tmp_path) == []


def test_a_file_name_counts(tmp_path):
    (tmp_path / f"{NAME.decode()}.bin").touch()
    assert find_private([NAME], tmp_path)


def test_an_empty_search_is_refused(tmp_path):
    with pytest.raises(ValueError, match="proves nothing"):
        find_private([], tmp_path)
    with pytest.raises(ValueError, match="too short"):
        find_private([b"ab"], tmp_path)
    with pytest.raises(FileNotFoundError):
        find_private([NAME], tmp_path / "missing")


WINDOWS = np.random.default_rng(0).normal(size=(20, 2, 75)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    row=st.integers(0, 39),
    start=st.integers(0, 75 - 16),
    lead=st.integers(0, 40),
    dtype=st.sampled_from(["<f4", "<f8", "<f2"]),
)
def test_any_sixteen_samples_are_found_at_any_offset(row, start, lead, dtype):
    piece = WINDOWS.reshape(40, 75)[row, start : start + 16].astype(dtype).tobytes()
    noise = np.random.default_rng(1).bytes(lead)
    found = find_rows([WINDOWS], noise + piece + noise)
    assert any(finding.offset == lead for finding in found)


def test_fifteen_samples_are_not_enough():
    assert find_rows([WINDOWS], WINDOWS[3, 1, 9:24].tobytes()) == []


def test_other_windows_of_the_same_kind_are_not_found():
    others = np.random.default_rng(9).normal(size=(500, 2, 75)).astype(np.float32)
    assert find_rows([WINDOWS], others.tobytes(), zipped(others.tobytes())) == []


def test_clipped_and_missing_samples_tell_nothing():
    flat = np.full((3, 1, 64), 5.0, np.float32)
    flat[1] = 0.0
    flat[2, :, ::2] = -5.0
    assert find_rows([flat], flat.tobytes()) == []


def test_a_window_with_a_flat_part_is_found():
    window = WINDOWS[:1, :1].copy()
    window[0, 0, 20:40] = 5.0
    assert find_rows([window], b"abc" + window[0, 0, 30:].tobytes())
    assert find_rows([window], window[0, 0, 32:48].tobytes())


def test_a_window_in_an_archive_is_found(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", values=WINDOWS[4].astype(np.float64))
    assert find_rows([WINDOWS], tmp_path)
