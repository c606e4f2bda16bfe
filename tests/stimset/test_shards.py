"""Shards: what the safetensors library would accept and we don't."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from stimset.errors import FormatError
from stimset.release import StimulusArrays
from stimset.shards import ShardScan, header_bytes, parse_shard, shard_bytes
from stimset.windows import SignalSpec, WindowSpec

SPEC = WindowSpec(signals=(SignalSpec("a"), SignalSpec("b")), rate_hz=1.0, epoch_s=4.0, labels=("x", "y", "z"))


def arrays(count: int = 3) -> StimulusArrays:
    rng = np.random.default_rng(1)
    values = rng.uniform(-5, 5, (count, 2, 4)).astype(np.float32)
    return StimulusArrays(values, rng.dirichlet([1, 1, 1], count).astype(np.float32))


def test_round_trip_and_the_library_agrees():
    made = arrays()
    data = shard_bytes(made)
    read = parse_shard(data, SPEC, 3, "s")
    np.testing.assert_array_equal(read.values, made.values)
    np.testing.assert_array_equal(read.probabilities, made.probabilities)
    np.testing.assert_array_equal(load(data)["stimuli"], made.values)
    assert read.values.flags.writeable
    assert shard_bytes(made) == data


def changed(values=None, probabilities=None, **more) -> bytes:
    made = arrays()
    tensors = {
        "stimuli": made.values if values is None else values,
        "probabilities": made.probabilities if probabilities is None else probabilities,
    }
    return save({**tensors, **more})


def with_value(value: float) -> np.ndarray:
    values = arrays().values
    values[1, 1, 1] = value
    return values


def beliefs(*row: float) -> np.ndarray:
    probabilities = arrays().probabilities
    probabilities[2] = row
    return probabilities


@pytest.mark.parametrize(
    "data",
    [
        changed(values=with_value(np.nan)),
        changed(values=with_value(np.inf)),
        changed(values=with_value(5.01)),
        changed(values=with_value(-5.01)),
        changed(values=arrays().values.astype(np.float64)),
        changed(values=arrays(2).values),
        changed(values=arrays().values.reshape(3, 8)),
        changed(values=arrays().values.transpose(0, 2, 1).copy()),
        changed(probabilities=beliefs(0.5, 0.5, 0.1)),
        changed(probabilities=beliefs(-0.1, 0.6, 0.5)),
        changed(probabilities=beliefs(np.nan, 0.5, 0.5)),
        changed(probabilities=np.full((3, 2), 0.5, np.float32)),
        changed(extra=np.zeros(1, np.float32)),
        save({"stimuli": arrays().values}),
        save({"stimuli": arrays().values, "probabilities": arrays().probabilities}, metadata={"k": "v"}),
        shard_bytes(arrays()) + b"\0",
        shard_bytes(arrays())[:-1],
        b"",
        b"\xff" * 64,
        (1 << 40).to_bytes(8, "little") + b"{}",
    ],
)
def test_refused(data):
    with pytest.raises(FormatError):
        parse_shard(data, SPEC, 3, "s")


def test_rounding_at_the_clip_is_allowed():
    data = changed(values=with_value(5.00005), probabilities=beliefs(0.5, 0.5, 0.0005))
    assert len(parse_shard(data, SPEC, 3, "s")) == 3


def rebuilt(header: dict) -> bytes:
    data = shard_bytes(arrays())
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def header() -> dict:
    data = shard_bytes(arrays())
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_the_spans_must_tile_the_data():
    assert len(parse_shard(rebuilt(header()), SPEC, 3, "s")) == 3
    for tensor, offsets in (
        ("stimuli", [0, 96]),
        ("probabilities", [0, 36]),
        ("probabilities", [-36, 0]),
        ("stimuli", [True, 97]),
        ("stimuli", [36.0, 132.0]),
        ("stimuli", ["36", "132"]),
        ("stimuli", [None, None]),
    ):
        bent = header()
        if bent[tensor]["data_offsets"] == offsets:
            continue
        bent[tensor]["data_offsets"] = offsets
        with pytest.raises(FormatError):
            parse_shard(rebuilt(bent), SPEC, 3, "s")


@settings(max_examples=200)
@given(st.data())
def test_mutated_bytes_raise_format_errors_only(data):
    raw = bytearray(shard_bytes(arrays()))
    start = data.draw(st.integers(0, 200))
    raw[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    with contextlib.suppress(FormatError):
        parse_shard(bytes(raw), SPEC, 3, "s")


def scanned(data: bytes, spec: WindowSpec, count: int, block: int = 64) -> bool:
    scan = ShardScan(spec, count)
    view = memoryview(data)
    for start in range(0, len(data), block):
        scan.feed(view[start : start + block])
    return scan.holds()


@pytest.mark.parametrize("block", [4, 64, 4096, 1 << 18])
def test_the_scan_agrees_with_the_reader(block):
    data = shard_bytes(arrays())
    assert data.startswith(header_bytes(SPEC, 3))
    assert scanned(data, SPEC, 3, block)
    assert not scanned(data, SPEC, 2, block)
    assert not scanned(data[:-4], SPEC, 3, block)
    assert not scanned(data + b"\0\0\0\0", SPEC, 3, block)


@given(
    value=st.one_of(
        st.floats(width=32),
        st.sampled_from([SPEC.clip, -SPEC.clip, SPEC.clip + 9e-5, -SPEC.clip - 9e-5, SPEC.clip + 2e-4, -SPEC.clip - 2e-4, -0.0]),
    ),
    place=st.integers(0, 10**6),
)
def test_the_scan_finds_whatever_the_reader_refuses(value, place):
    made = arrays(4)
    which = (made.values, made.probabilities)[place % 2].reshape(-1)
    which[place % which.size] = value
    data = shard_bytes(made)
    try:
        parse_shard(data, SPEC, 4, "x")
    except FormatError:
        assert not scanned(data, SPEC, 4)
    else:
        assert scanned(data, SPEC, 4)
