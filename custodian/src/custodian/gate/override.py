"""Letting a refused set leave: a document that two named people sign, about one verdict on one set, with their reason.

It is a DSSE envelope of a type of its own, so that no signature on it can be shown as one on a release. The gate reads it here and holds it
against the sealed verdict; `custodian.publish.overriding` makes and signs it. It never hides anything: what it says stands in the signed
provenance (`stimset.release.Override`), and consumers refuse such a release unless they accept it by name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custodian.config import Home
from stimset.envelope import parse_envelope
from stimset.errors import ContentMismatch, FormatError, ReleaseRefused, SignatureInvalid
from stimset.gate_entry import MAX_CHECKS, MAX_PEOPLE, MAX_REASON, MIN_REASON, gate_document, read_people
from stimset.provenance import parse_time
from stimset.release import GateResult, Override, canonical_json
from stimset.roots import TrustedRoot, fingerprint_of, read_root
from stimset.strict import Fields, load_json
from stimset.verifying import check_signatures

OVERRIDE_TYPE = "application/vnd.stimset.override+json"
OVERRIDE_FILE = "override.dsse.json"
KIND = "stimset-override-v1"
PEOPLE = ("builder", "officer")
MAX_OVERRIDE_BYTES = 256 << 10
_SET = re.compile(r"[\w-]{1,80}")
_SHA256 = re.compile("[0-9a-f]{64}")
_FIELDS = ("kind", "custodian", "set", "candidates", "verdict", "policy", "failed", "people", "reason", "created")


@dataclass(frozen=True)
class Request:
    """What the two people sign.

    Attributes:
        custodian: the organisation's name.
        set_name: the candidate set, as the custodian calls it.
        candidates: `CandidateSet.digest` of the refused set.
        verdict: `verdict_digest` of what the gate said of it.
        policy: title of the policy.
        failed: one sentence for each failed check, by the check's name.
        people: role (`PEOPLE`) -> name.
        reason: their own words.
        created: UTC, as statements write it.
    """

    custodian: str
    set_name: str
    candidates: str
    verdict: str
    policy: str
    failed: dict[str, str]
    people: dict[str, str]
    reason: str
    created: str


def verdict_digest(result: GateResult, candidates: str) -> str:
    """SHA-256 (hex) over a verdict and the digest of the set that it speaks of."""
    return hashlib.sha256(canonical_json({"candidates": candidates, "result": gate_document(result)})).hexdigest()


def request_bytes(request: Request) -> bytes:
    """The canonical bytes that are signed.

    Raises:
        FormatError: a field is out of bounds.
    """
    r = request
    data = canonical_json({
        "kind": KIND, "custodian": r.custodian, "set": r.set_name, "candidates": r.candidates, "verdict": r.verdict, "policy": r.policy,
        "failed": r.failed, "people": r.people, "reason": r.reason, "created": r.created,
    })  # fmt: skip
    parse_request(data)
    return data


def parse_request(data: bytes) -> Request:
    """Read a request from outside; whose signatures hold over it is another question.

    Raises:
        FormatError: it is none within the documented bounds.
    """
    fields = Fields(load_json(data, limit=MAX_OVERRIDE_BYTES, what="override"), "override", _FIELDS)
    fields.exactly("kind", KIND)
    failed = fields.mapping("failed", most=MAX_CHECKS)
    sentences = Fields(failed, "override: failed", failed)
    people = read_people(fields.mapping("people", most=MAX_PEOPLE))
    reason = fields.text("reason", least=MIN_REASON, most=MAX_REASON)
    if set(people) != set(PEOPLE) or not failed or len(reason.strip()) < MIN_REASON:
        raise FormatError(f"override: it names the {' and the '.join(PEOPLE)}, the failed checks, and a reason of {MIN_REASON} characters")
    parse_time(fields.text("created"))
    return Request(
        fields.text("custodian", least=1, most=200), fields.text("set", pattern=_SET),
        fields.text("candidates", pattern=_SHA256), fields.text("verdict", pattern=_SHA256), fields.text("policy", least=1, most=200),
        {name: sentences.text(name, least=1) for name in failed}, people, reason, fields.text("created"),
    )  # fmt: skip


def check_approved(data: bytes, root: TrustedRoot) -> tuple[Request, bytes]:
    """The request that every key of the root has signed, and the bytes that were.

    Args:
        data: the envelope.
        root: must be held by two people at least.

    Raises:
        ReleaseRefused: one person holds this root alone; nobody can override the gate by himself.
        SignatureInvalid, UnknownSigner: a signature is missing or wrong.
        FormatError: it is no override.
    """
    refuse_single(root)
    if len(data) > MAX_OVERRIDE_BYTES:
        raise FormatError(f"override: longer than {MAX_OVERRIDE_BYTES} bytes")
    envelope = parse_envelope(data)
    signed_by = check_signatures(envelope, root, threshold=1, payload_type=OVERRIDE_TYPE)
    if missing := set(root.keys) - set(signed_by):
        raise SignatureInvalid(f"{len(missing)} of {len(root.keys)} signatures on the override are missing; both people must sign it")
    return parse_request(envelope.payload), envelope.payload


def refuse_single(root: TrustedRoot) -> None:
    """Raise ReleaseRefused where one person holds the root alone."""
    if root.persons < len(PEOPLE):
        raise ReleaseRefused("one person alone can't override the gate: the root must be held by two ('custodian root renew --officer')")


def overridden(home: Home, folder: Path, result: GateResult, candidates: str) -> Override | None:
    """The approval that lies beside a refused set, held against the verdict; None where there is none.

    Raises:
        ContentMismatch: it speaks of another set or of another verdict.
        ReleaseRefused, SignatureInvalid, FormatError: as `check_approved`.
    """
    file = folder / OVERRIDE_FILE
    if not file.is_file():
        return None
    root_bytes = read_root(home.root_file)
    with file.open("rb") as source:
        data = source.read(MAX_OVERRIDE_BYTES + 1)
    request, payload = check_approved(data, TrustedRoot.from_bytes(root_bytes, fingerprint_of(root_bytes)))
    hold_against(request, result, candidates)
    return Override(request.people, request.reason, result.failed, hashlib.sha256(payload).hexdigest())


def hold_against(request: Request, result: GateResult, candidates: str) -> None:
    """Raise ContentMismatch unless a request speaks of this very verdict on this very set."""
    expected: tuple[Any, ...] = (candidates, verdict_digest(result, candidates), set(result.failed))
    if (request.candidates, request.verdict, set(request.failed)) != expected:
        raise ContentMismatch("the override speaks of another set or another verdict; it counts for nothing, ask for a new one")
