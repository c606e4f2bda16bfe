"""One shard as bytes and back: two float32 tensors in a safetensors file, read without trusting it.

The safetensors library accepts NaN, further tensors and any shape; here the header must say exactly what the signed
statement says.

Usage::

    data = shard_bytes(arrays)
    arrays = parse_shard(data, spec, count=512, name="stimuli-00000.safetensors")
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.errors import FormatError
from stimset.release import StimulusArrays
from stimset.strict import Fields, load_json
from stimset.windows import WindowSpec

MAX_HEADER_BYTES = 64 << 10
HASH_BLOCK = 256 << 10
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


class ShardScan:
    """Holds a shard's numbers against the spec while its bytes go by on their way to the hash: one pass, no memory.

    Nothing is parsed, since the bytes are not verified yet: the file must begin with the very header that `shard_bytes` writes.
    Where it does not, or where a number is not as it must be, `holds` is false, and `parse_shard` on the verified bytes says why.

    As 32-bit integers, floats of one sign are in the order of their magnitude, and infinities and NaN lie behind all others: two
    integer maxima therefore find every number that is too high, too low or none.
    """

    def __init__(self, spec: WindowSpec, count: int) -> None:
        self._head = header_bytes(spec, count)
        self._beliefs_end = len(self._head) + 4 * count * spec.classes
        self._end = self._beliefs_end + 4 * count * math.prod(spec.shape)
        self._classes = spec.classes
        self._highest, self._lowest = _bits_within(spec.clip + CLIP_TOLERANCE)
        self._beliefs = bytearray()
        self._position = 0
        self._fine = True

    def feed(self, block: memoryview) -> None:
        """The next bytes of the file; every block but the last has a multiple of 4 of them."""
        start, self._position = self._position, self._position + len(block)
        if not self._fine:
            return
        if start < len(self._head):
            cut = len(self._head) - start
            self._fine = self._head[start : start + len(block)] == block[:cut]
            block, start = block[cut:], start + cut
        if start < self._beliefs_end:
            cut = self._beliefs_end - start
            self._beliefs += block[:cut]
            block = block[cut:]
        if not block:
            return
        if len(block) % 4:
            self._fine = False
            return
        bits = np.frombuffer(block, dtype="<u4")
        # Signed, the negative numbers are below all others; unsigned, above.
        self._fine &= int(bits.view("<i4").max()) <= self._highest and int(bits.max()) <= self._lowest

    def holds(self) -> bool:
        """Whether the whole file was as it must be."""
        if not self._fine or self._position != self._end:
            return False
        beliefs = np.frombuffer(self._beliefs, dtype="<f4").reshape(-1, self._classes)
        low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
        if not (float(beliefs.min()) >= low and float(beliefs.max()) <= high):  # false for NaN too
            return False
        return float(np.abs(beliefs.sum(axis=1, dtype=np.float64) - 1.0).max()) <= SUM_TOLERANCE


def hash_file(file: io.FileIO, scan: ShardScan | None) -> str:
    """SHA-256 (hex) of an open file; the blocks pass by `scan` while they are in the processor's cache."""
    if scan is None:
        return hashlib.file_digest(file, "sha256").hexdigest()
    digest, buffer = hashlib.sha256(), bytearray(HASH_BLOCK)
    view, held = memoryview(buffer), 0
    while read := file.readinto(view[held:]):
        held += read
        if held == HASH_BLOCK:
            digest.update(buffer)
            scan.feed(view)
            held = 0
    digest.update(view[:held])
    scan.feed(view[:held])
    return digest.hexdigest()


def header_bytes(spec: WindowSpec, count: int) -> bytes:
    """Length and header of the file that `shard_bytes` writes for so many stimuli."""
    shapes = {"probabilities": [count, spec.classes], "stimuli": [count, *spec.shape]}
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bits_within(limit: float) -> tuple[int, int]:
    """The bits of the largest float32 up to `limit`, and of its negative."""
    most = np.float32(limit)
    if float(most) > limit:
        most = np.nextafter(most, np.float32(0))
    bits = int(most.view(np.uint32))
    return bits, bits | 1 << 31


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
