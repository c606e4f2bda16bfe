"""One shard as bytes and back: two float32 tensors in a safetensors file, read without trusting it.

The safetensors library accepts NaN, further tensors and any shape; here the header must say exactly what the signed
statement says.

Usage::

    data = shard_bytes(arrays)
    arrays = parse_shard(data, spec, count=512, name="stimuli-00000.safetensors")
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.errors import FormatError
from stimset.release import StimulusArrays
from stimset.strict import Fields, load_json
from stimset.windows import WindowSpec

MAX_HEADER_BYTES = 64 << 10
CLIP_TOLERANCE = 1e-4
SUM_TOLERANCE = 1e-3
PROBABILITY_TOLERANCE = 1e-6  # float32 means of several teachers' beliefs may exceed 1 by rounding


def shard_bytes(arrays: StimulusArrays) -> bytes:
    """The safetensors file that holds these stimuli; equal arrays give equal bytes."""
    from safetensors.numpy import save

    tensors = {
        "stimuli": np.ascontiguousarray(arrays.values, dtype="<f4"),
        "probabilities": np.ascontiguousarray(arrays.probabilities, dtype="<f4"),
    }
    return bytes(save(tensors))


def parse_shard(data: bytes, spec: WindowSpec, count: int, name: str) -> StimulusArrays:
    """Read a shard and hold every number against the window spec.

    Args:
        data: the whole file; its digest was compared before.
        spec: of the signed statement.
        count: stimuli that the statement promises for this shard.
        name: the file's name, for messages.

    Returns:
        Writable copies in native byte order: values ``(count, channels, samples)``, probabilities ``(count, classes)``.

    Raises:
        FormatError: the header is not exactly the expected one, a number is not finite, a value lies outside
            ``[-clip, clip]`` by more than 1e-4, a probability
            outside ``[0, 1]`` by more than 1e-6, or a row's sum is off 1 by more than 1e-3.
    """
    shapes = {"stimuli": (count, *spec.shape), "probabilities": (count, spec.classes)}
    start, spans = _header(data, shapes, name)
    values, probabilities = (_tensor(data, start + spans[key], shapes[key]) for key in ("stimuli", "probabilities"))
    _check_range(values, -spec.clip - CLIP_TOLERANCE, spec.clip + CLIP_TOLERANCE, f"{name}: stimuli")
    _check_range(probabilities, -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE, f"{name}: probabilities")
    if float(np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1.0).max()) > SUM_TOLERANCE:
        raise FormatError(f"{name}: the probabilities of a stimulus do not sum to 1; tell the custodian")
    return StimulusArrays(values, probabilities)


def _header(data: bytes, shapes: dict[str, tuple[int, ...]], name: str) -> tuple[int, dict[str, int]]:
    """Check the header; give where the data begins, and each tensor's offset from there."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise FormatError(f"{name}: not a safetensors file, or its header is longer than {MAX_HEADER_BYTES} bytes")
    what = f"{name}: header"
    tensors = Fields(load_json(data[8 : 8 + length], limit=MAX_HEADER_BYTES, what=what), what, shapes)
    spans: dict[str, int] = {}
    ends: set[int] = {0}
    for key, shape in shapes.items():
        tensor = Fields(tensors.mapping(key), f"{name}: {key}", ("dtype", "shape", "data_offsets"))
        tensor.exactly("dtype", "F32")
        size = 4 * math.prod(shape)
        given: list[Any] = tensor.sequence("shape")
        offsets: list[Any] = tensor.sequence("data_offsets", least=2, most=2)
        whole = all(type(number) is int for number in given + offsets)  # 1.0 and true equal 1, but are none
        if not whole or given != list(shape) or offsets[1] != offsets[0] + size:
            raise FormatError(f"{name}: {key} must have the shape {shape}; tell the custodian")
        spans[key] = offsets[0]
        ends.add(offsets[1])
    total = len(data) - 8 - length
    # Two spans that begin at 0 and where the other ends, and end at the file's end: no gap, no overlap, nothing behind.
    if not (set(spans.values()) | {total}) == ends or len(ends) != len(shapes) + 1:
        raise FormatError(f"{name}: the tensors do not fill the file exactly")
    return 8 + length, spans


def _tensor(data: bytes, offset: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    flat = np.frombuffer(data, dtype="<f4", count=math.prod(shape), offset=offset)
    return flat.astype(np.float32).reshape(shape)


def _check_range(values: NDArray[np.float32], low: float, high: float, what: str) -> None:
    least, most = float(values.min()), float(values.max())  # NaN wins both, so one pass finds everything
    if not (math.isfinite(least) and math.isfinite(most)):
        raise FormatError(f"{what} hold a number that is not finite; tell the custodian")
    if least < low or most > high:
        raise FormatError(f"{what} lie in [{least:g}, {most:g}], outside [{low:g}, {high:g}]; the release is broken")
