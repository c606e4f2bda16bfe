"""What a student descends from, beside its ONNX file, so that anybody with the custodian's root can follow it back.

``NAME.onnx.lineage.json`` is an in-toto Statement v1 about the ONNX file: how it was trained, on which release, and the release's
own signed envelope. A student of several hospitals' releases names them all, joined by ``+`` wherever one is named, and carries all their
envelopes, in the same order. `verify_student` follows the chain of each::

    pinned root --signs--> envelope --digest--> statement of the release --digest--> properties inside the ONNX file
                                                                         --digest--> lineage statement --digest--> ONNX file

What the chain proves: the custodian released the set that the student names, with the very window spec that the student carries, and
the lineage file is about this ONNX file. What it doesn't prove: that the student was trained on it, which is the word of whoever trained
it. No ONNX library is needed, and no graph is parsed: only the properties, by a reader that bounds every length.

Usage::

    accompany(home, student, Path("apnea.onnx"))
    verify_student(Path("apnea.onnx"), [("hospital", root)])
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from consumer.config import Home
from consumer.standing import EVER, write_whole
from stimset.errors import ConfigError, ContentMismatch, FileMissing, FormatError, UnknownSigner
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES, STATEMENT_FILE, STATEMENT_TYPE, Statement, canonical_json
from stimset.roots import TrustedRoot
from stimset.strict import Fields, load_json
from stimset.verifying import verify_envelope

PREDICATE_TYPE = "urn:stimset:student:v1"
SUFFIX = ".lineage.json"
JOINT = "+"
MAX_LINEAGE_BYTES = 64 << 20
MAX_RELEASES = 64
MAX_ONNX_BYTES = 1 << 30
MAX_PROPERTIES = 256
MAX_PROPERTY_BYTES = 4 << 20
_METADATA_PROPS = 14  # of ONNX's ModelProto
_SHA256 = re.compile("[0-9a-f]{64}")
_SHA256_EACH = re.compile(r"[0-9a-f]{64}(?:\+[0-9a-f]{64})*")


class Origin(Protocol):
    """A release that a student learned from; `consumer.students.student.Lineage`."""

    @property
    def release(self) -> str:
        """The release's id."""

    @property
    def statement_sha256(self) -> str:
        """Digest (hex) of its statement."""


class Descent(Origin, Protocol):
    """All that a student learned from; several releases are joined by ``+``."""

    @property
    def origins(self) -> Sequence[Origin]:
        """Each apart, in order."""


class Trained(Protocol):
    """A trained student; `consumer.students.student.Student`, which the base install can't import."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def family(self) -> str:
        """Its family."""

    @property
    def seed(self) -> int:
        """The seed of its training."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Those that were not the defaults."""

    @property
    def training(self) -> Mapping[str, Any]:
        """How it was trained."""

    @property
    def lineage(self) -> Descent:
        """What it learned from."""


@dataclass(frozen=True)
class Vouched:
    """A release that one of the roots vouches for.

    Attributes:
        statement: what the custodian signed.
        statement_sha256: digest (hex) of it.
        trusted_as: which of the roots vouches for it.
        expired: whether the release's validity has ended since; the chain holds all the same.
    """

    statement: Statement
    statement_sha256: str
    trusted_as: str
    expired: bool


@dataclass(frozen=True)
class VerifiedStudent:
    """A student whose chain holds, for each release that it names.

    Attributes:
        file: the ONNX file.
        sha256: its digest (hex).
        origins: the releases, in the order in which it names them.
        claims: how it was trained, as whoever trained it says.
    """

    file: Path
    sha256: str
    origins: tuple[Vouched, ...]
    claims: dict[str, Any]

    @property
    def release(self) -> Statement:
        """What was signed about the only release, or the first."""
        return self.origins[0].statement

    @property
    def trusted_as(self) -> str:
        """Which roots vouch for the releases, joined by ``+``."""
        return JOINT.join(origin.trusted_as for origin in self.origins)

    @property
    def expired(self) -> bool:
        """Whether the validity of any release has ended since."""
        return any(origin.expired for origin in self.origins)


def accompany(home: Home, student: Trained, onnx: Path, *, benchmark: Path | None = None) -> Path:
    """Write the lineage statement beside an exported ONNX file.

    Args:
        home: where the releases lie that the student was trained on.
        student: which one.
        onnx: the exported file.
        benchmark: the JSON of a benchmark, to be named by its digest.

    Raises:
        ConfigError: a release is not in the home any more, or a file can't be read.
    """
    lineage = student.lineage
    envelopes = [base64.b64encode(_envelope_of(home, origin)).decode() for origin in lineage.origins]
    document = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [{"name": onnx.name, "digest": {"sha256": _sha256(onnx)}}],
        "predicate": {
            "student": student.name,
            "family": student.family,
            "seed": student.seed,
            "parameters": dict(student.parameters),
            "training": dict(student.training),
            "release": lineage.release,
            "statementSha256": lineage.statement_sha256,
            "benchmarkSha256": None if benchmark is None else _sha256(benchmark),
            "envelope": envelopes[0] if len(envelopes) == 1 else envelopes,
        },
    }
    path = lineage_file(onnx)
    write_whole(path, canonical_json(document))
    return path


def _envelope_of(home: Home, origin: Origin) -> bytes:
    """The envelope of a release that is in the home; where two custodians gave the same id, of the one that is meant."""
    for folder in (home.releases / origin.release, *sorted(home.releases.glob(f"[!.]*.{origin.release}"))):
        if (folder / STATEMENT_FILE).is_file() and _sha256(folder / STATEMENT_FILE) == origin.statement_sha256:
            return _bounded(folder / ENVELOPE_FILE, MAX_ENVELOPE_BYTES)
    raise ConfigError(f"{origin.release} is not in {home.releases} any more; pull it, so that the lineage can be shown")


def lineage_file(onnx: Path) -> Path:
    """Where the lineage statement of an ONNX file lies."""
    return onnx.with_name(onnx.name + SUFFIX)


def verify_student(onnx: Path, roots: Sequence[tuple[str, TrustedRoot]]) -> VerifiedStudent:
    """Follow the chain from an ONNX file to one of the roots.

    Args:
        onnx: the file; its lineage statement must lie beside it.
        roots: whom to believe, each with a name.

    Raises:
        FileMissing: the ONNX file or its lineage statement is not there.
        ContentMismatch: the lineage is another file's, or the ONNX file names another release or window spec.
        UnknownSigner, SignatureInvalid: none of the roots vouches for a release.
        FormatError: a file is malformed or too large.
    """
    for path in (onnx, lineage_file(onnx)):
        if not path.is_file():
            raise FileMissing(f"{path} is missing; an ONNX file and its {SUFFIX} belong together")
    data = _bounded(onnx, MAX_ONNX_BYTES)
    digest, claims, envelopes = _read_lineage(_bounded(lineage_file(onnx), MAX_LINEAGE_BYTES))
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest:
        raise ContentMismatch(f"{onnx.name} is not the file that its lineage is about; get both again")
    origins = tuple(_vouched(envelope, roots) for envelope in envelopes)
    specs = [origin.statement.predicate.window_spec for origin in origins]
    if any(spec != specs[0] for spec in specs):
        raise ContentMismatch(f"{onnx.name}: the releases that it names differ in their window specs; no student descends from both")
    release = JOINT.join(origin.statement.predicate.release_id for origin in origins)
    signed = JOINT.join(origin.statement_sha256 for origin in origins)
    properties = properties_of(data)
    expected = {
        "stimset.release": release,
        "stimset.statement_sha256": signed,
        "stimset.window_spec": json.dumps(specs[0].to_document(), sort_keys=True, ensure_ascii=False),
        "stimset.labels": json.dumps(list(specs[0].labels), ensure_ascii=False),
        "stimset.family": str(claims["family"]),
    }
    for key, value in expected.items():
        if properties.get(key) != value:
            raise ContentMismatch(f"{onnx.name}: its property '{key}' is not what was signed; it descends from something else")
    if (claims["release"], claims["statementSha256"]) != (release, signed):
        raise ContentMismatch(f"{onnx.name}: its lineage names another release than the envelope in it")
    return VerifiedStudent(onnx, actual, origins, claims)


def properties_of(data: bytes) -> dict[str, str]:
    """The properties (``metadata_props``) of an ONNX file; the graph is skipped, not parsed.

    Raises:
        FormatError: it is no ONNX file within the documented bounds.
    """
    found: dict[str, str] = {}
    for number, value in _message(memoryview(data)):
        if number != _METADATA_PROPS:
            continue
        if value is None or len(value) > MAX_PROPERTY_BYTES or len(found) >= MAX_PROPERTIES:
            raise FormatError("ONNX: a property is malformed or too long, or there are too many")
        parts = {1: "", 2: ""}
        for field, text in _message(value):
            if field in parts and text is not None:
                try:
                    parts[field] = bytes(text).decode()
                except UnicodeDecodeError:
                    raise FormatError("ONNX: a property is not UTF-8") from None
        if parts[1] in found:
            raise FormatError("ONNX: a property is given twice")
        found[parts[1]] = parts[2]
    return found


def _message(data: memoryview) -> list[tuple[int, memoryview | None]]:
    """The fields of one protobuf message: number and bytes, or None for a number; nothing nested is looked at."""
    fields: list[tuple[int, memoryview | None]] = []
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise FormatError("ONNX: not a protobuf message")
        if kind == 0:
            _, position = _varint(data, position)
            fields.append((number, None))
            continue
        if kind == 2:
            length, position = _varint(data, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise FormatError("ONNX: not a protobuf message")
        if length > len(data) - position:
            raise FormatError("ONNX: the file is cut short")
        fields.append((number, data[position : position + length] if kind == 2 else None))
        position += length
    return fields


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise FormatError("ONNX: not a protobuf message")


def _read_lineage(data: bytes) -> tuple[str, dict[str, Any], list[bytes]]:
    """The subject's digest, the claims, and the envelope of each release."""
    what = "lineage"
    fields = Fields(load_json(data, limit=MAX_LINEAGE_BYTES, what=what), what, ("_type", "predicateType", "subject", "predicate"))
    fields.exactly("_type", STATEMENT_TYPE)
    fields.exactly("predicateType", PREDICATE_TYPE)
    (entry,) = fields.sequence("subject", least=1, most=1)
    subject = Fields(entry, f"{what}: subject", ("name", "digest"))
    subject.text("name", least=1, most=255)
    digest = Fields(subject.mapping("digest"), f"{what}: digest", ("sha256",)).text("sha256", pattern=_SHA256)
    document = fields.mapping("predicate")
    names = ("student", "family", "seed", "parameters", "training", "release", "statementSha256", "benchmarkSha256", "envelope")
    predicate = Fields(document, f"{what}: predicate", names)
    for name in ("student", "family"):
        predicate.text(name, least=1, most=300)
    predicate.text("release", least=1, most=MAX_RELEASES * 129)
    predicate.integer("seed", 0, 1 << 53)
    predicate.mapping("parameters", most=1000)
    predicate.mapping("training", most=1000)
    predicate.text("statementSha256", pattern=_SHA256_EACH)
    if document["benchmarkSha256"] is not None:
        predicate.text("benchmarkSha256", pattern=_SHA256)
    if isinstance(document["envelope"], list):
        encoded = predicate.sequence("envelope", least=2, most=MAX_RELEASES)
    else:
        encoded = [predicate.text("envelope", most=MAX_LINEAGE_BYTES)]
    try:
        envelopes = [base64.b64decode(each, validate=True) for each in encoded]
    except (binascii.Error, ValueError, TypeError):
        raise FormatError("lineage: 'envelope' is not base64") from None
    return digest, {name: value for name, value in document.items() if name != "envelope"}, envelopes


def _vouched(envelope: bytes, roots: Sequence[tuple[str, TrustedRoot]]) -> Vouched:
    for name, root in roots:
        try:
            # Whether the release has expired since is said, not refused: a student may outlive it.
            payload, statement = verify_envelope(envelope, root, now=EVER)
        except UnknownSigner:
            continue
        ends = datetime.fromisoformat(statement.predicate.expires.replace("Z", "+00:00"))
        return Vouched(statement, hashlib.sha256(payload).hexdigest(), name, datetime.now(UTC) >= ends)
    raise UnknownSigner("none of the trusted roots vouches for the release that this student names")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None


def _bounded(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None
    if len(data) > most:
        raise FormatError(f"{path.name}: longer than {most} bytes")
    return data
