"""What is fuzzed, and what must hold of every mutant: it is not accepted, and nothing but an error of the tree comes of it.

Each `Target` takes mutated bytes of one kind through the code that meets them from outside. It returns normally only where the mutant says
exactly what the original said (JSON with another space, say), and raises `Accepted` where something else was believed.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tuf.api.metadata import Metadata

import tiny_release
from consumer import channel, enrolment
from consumer.config import Home as ConsumerHome
from consumer.lineage import properties_of
from custodian.publish.channel import TIMESTAMP_FILE
from stimset.envelope import Envelope, parse_envelope
from stimset.errors import StimsetError
from stimset.provenance import parse_statement
from stimset.release import ENVELOPE_FILE, STATEMENT_FILE
from stimset.roots import TrustedRoot, fingerprint_of
from stimset.shards import CLIP_TOLERANCE, parse_shard
from stimset.verifying import verify, verify_envelope

SHARD = "stimuli-00000.safetensors"
WHOLE_PATH_EVERY = 25  # a mutant of so many goes through the disk and the whole of `verify` too


class Accepted(AssertionError):
    """A mutant was believed."""


@dataclass(frozen=True)
class Target:
    """One kind of bytes from outside.

    Attributes:
        name: what they are.
        original: unmutated.
        share: of all mutants.
        check: raises an error of the tree, or `Accepted`, or returns.
    """

    name: str
    original: bytes
    share: float
    check: Callable[[bytes], None]


def targets(folder: Path) -> list[Target]:
    """All of them, from a release that is made in `folder`."""
    tiny = tiny_release.make(folder / "hospital")
    copy = tiny.copy(folder / "copy")
    statement = (tiny.folder / STATEMENT_FILE).read_bytes()
    envelope = (tiny.folder / ENVELOPE_FILE).read_bytes()
    root = tiny.root_file.read_bytes()
    held = tiny.release.statement
    onnx = _onnx()
    count = itertools.count()

    def whole(name: str, data: bytes, original: bytes) -> None:
        """The mutant as a file of the release, by the whole path."""
        if next(count) % WHOLE_PATH_EVERY:
            return
        try:
            (copy / name).write_bytes(data)
            with contextlib.suppress(StimsetError):
                verify(copy, tiny.root)
                raise Accepted(name)
        finally:
            (copy / name).write_bytes(original)

    def of_envelope(data: bytes) -> None:
        whole(ENVELOPE_FILE, data, envelope)
        verify_envelope(data, tiny.root)
        raise Accepted("envelope")

    def of_statement(data: bytes) -> None:
        whole(STATEMENT_FILE, data, statement)
        signed = parse_envelope(envelope)
        with contextlib.suppress(StimsetError):
            verify_envelope(Envelope(signed.payload_type, data, signed.signatures).to_bytes(), tiny.root)
            raise Accepted("statement")
        parse_statement(data)  # it may be read, it was never believed

    def of_shard(data: bytes) -> None:
        whole(SHARD, data, (tiny.folder / SHARD).read_bytes())
        arrays = parse_shard(data, tiny_release.SPEC, held.predicate.shards[SHARD], SHARD)
        most = tiny_release.SPEC.clip + CLIP_TOLERANCE
        if not (np.isfinite(arrays.values).all() and np.abs(arrays.values).max() <= most):
            raise Accepted("shard out of range")

    def of_root(data: bytes) -> None:
        with contextlib.suppress(StimsetError):
            TrustedRoot.from_bytes(data, tiny.fingerprint)
            raise Accepted("root")
        _same(data, root, lambda: TrustedRoot.from_bytes(data, fingerprint_of(data)))

    def of_onnx(data: bytes) -> None:
        properties_of(data)

    line = _Line(folder, tiny)
    kinds = [
        Target("envelope", envelope, 0.25, of_envelope),
        Target("statement", statement, 0.25, of_statement),
        Target("shard", (tiny.folder / SHARD).read_bytes(), 0.2, of_shard),
        Target("onnx", onnx, 0.15, of_onnx),
        Target("root", root, 0.05, of_root),
    ]
    for name in (TIMESTAMP_FILE, "1.snapshot.json", "1.targets.json"):
        data = (tiny.home.channel / name).read_bytes()
        kinds.append(Target(name, data, 0.1 / 3, lambda data, name=name: line.check(name, data)))
    return kinds


class _Line:
    """A consumer's channel whose other end gives out one mutated file."""

    def __init__(self, folder: Path, tiny: tiny_release.TinyRelease) -> None:
        self.served = tiny.home.channel
        self.home = ConsumerHome(folder / "partner")
        place = self.home.custodians / "hospital"
        place.mkdir(parents=True)
        shutil.copy(tiny.root_file, place)
        self.custodian = enrolment.Custodian(
            "hospital", "Hospital", "localhost:1", tiny.fingerprint, place, "partner", datetime.now(UTC)
        )
        self.name, self.mutant = "", b""

    def metadata(self, name: str) -> bytes | None:
        if name == self.name:
            return self.mutant
        path = self.served / name
        return path.read_bytes() if path.is_file() else None

    def checkpoint(self, known_size: int) -> None:
        return None

    def check(self, name: str, data: bytes) -> None:
        self.name, self.mutant = name, data
        shutil.rmtree(self.custodian.folder / channel.CHANNEL_FOLDER, ignore_errors=True)
        original = (self.served / name).read_bytes()
        _same(data, original, lambda: channel.check(self, self.home, self.custodian))


def _same(data: bytes, original: bytes, believe: Callable[[], object]) -> None:
    """TUF signs what JSON says, not how it is written: what is believed must say the same."""
    believe()
    if Metadata.from_bytes(data).signed != Metadata.from_bytes(original).signed:
        raise Accepted("metadata")


def _onnx() -> bytes:
    """A small graph with properties, as protobuf writes it, without the ONNX library."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    pairs = {"stimset.release": "tiny-0001", "stimset.family": "cnn", "stimset.labels": '["normal","apnea"]'}
    graph = field(2, b"graph") + field(5, bytes(60))
    properties = b"".join(field(14, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs.items())
    return b"\x08\x0a" + field(2, b"stimset") + field(7, graph) + properties


_TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\x00", b"\xff", b"\\u0000", b"\\ud800", b"null", b"true", b"NaN", b"Infinity",
    b"1e999", b"-0", b"1" * 30, b"[" * 40, b'{"a":' * 40, b"../", b"=", b"\xe2\x80\xae", b"\xef\xbb\xbf", (2**63).to_bytes(8, "little"),
    (2**64 - 1).to_bytes(8, "little"), b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"A" * 300,
]  # fmt: skip


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to four changes of an original: bits, bytes, tokens, pieces moved, doubled, cut out, cut off; never none."""
    mutant = bytearray(data)
    while bytes(mutant) == data:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            place = rng.randrange(len(mutant) + 1)
            length = rng.choice((1, 1, 2, 4, 16, 64))
            kind = rng.randrange(7)
            if kind == 0 and place < len(mutant):
                mutant[place] ^= 1 << rng.randrange(8)
            elif kind == 1:
                mutant[place : place + length] = rng.randbytes(length)
            elif kind == 2:
                mutant[place:place] = rng.choice(_TOKENS)
            elif kind == 3:
                mutant[place : place + length] = b""
            elif kind == 4:
                source = rng.randrange(len(mutant) + 1)
                mutant[place:place] = mutant[source : source + length]
            elif kind == 5:
                del mutant[place:]
            else:
                mutant[place : place + length] = rng.choice(_TOKENS)
    return bytes(mutant)


def try_one(target: Target, mutant: bytes) -> str:
    """The class of error that a mutant ended in; empty where it said the same as the original.

    Raises:
        Accepted: it was believed.
        Exception: whatever is not an error of the tree.
    """
    try:
        target.check(mutant)
    except StimsetError as error:
        return type(error).__name__
    return ""
