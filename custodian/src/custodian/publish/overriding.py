"""Two people let a refused set leave: who asks, who agrees, and what is kept.

The builder asks, with both names and a reason; the officer looks at what failed, compares the words by telephone and signs the same
bytes; the envelope goes back and is kept beside the set. Only then the gate makes an `AdmittedSet` of it
(`custodian.gate.verdict.readmit`), and the release that follows needs both people once more, and names them and every failed check.

Usage::

    path = request_override(home, "main", {"builder": "A. Meyer", "officer": "B. Holm"}, reason, load_signers(home, passphrase()))
    found = examine_override(carried, officer_home); sign_override(found, officer_home, passphrase)
    install_override(home, carried, partial(read_verdict, home))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from custodian.config import Home
from custodian.gate.override import (
    MAX_OVERRIDE_BYTES,
    OVERRIDE_FILE,
    OVERRIDE_TYPE,
    Request,
    check_approved,
    hold_against,
    parse_request,
    refuse_single,
    request_bytes,
    verdict_digest,
)
from custodian.publish.keys import load_person, own_root, write_whole
from custodian.publish.officer import OFFICER, ROOT_FILE, read_keys
from custodian.state.log import Entry, record, short
from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import ConfigError, ContentMismatch, ReleaseRefused, SignatureInvalid
from stimset.plainfiles import read_plain
from stimset.provenance import format_time
from stimset.release import GateResult
from stimset.roots import TrustedRoot, fingerprint_of, read_root
from stimset.signing import Signer
from stimset.verifying import check_signatures
from stimset.words import spoken

PROPOSED_FILE = "override.proposal.dsse.json"


@dataclass(frozen=True)
class OverrideProposal:
    """A request that waits for the officer's signature.

    Attributes:
        file: as it was carried here.
        data: its bytes.
        request: what is asked.
        words: of the signed bytes, to be compared by telephone.
        digest: SHA-256 (hex) of these bytes.
    """

    file: Path
    data: bytes
    request: Request
    words: str
    digest: str


def request_override(
    home: Home, set_name: str, judged: tuple[GateResult, str], people: Mapping[str, str], reason: str, signers: Sequence[Signer],
    *, now: datetime | None = None,
) -> tuple[Path, str]:  # fmt: skip
    """Sign a request as the first person.

    Args:
        home: of the custodian; its root must be held by two people.
        set_name: the refused set.
        judged: its verdict and its digest, as `custodian.gate.verdict.read_verdict` gives them.
        people: role -> name of the builder and of the officer.
        reason: 20 to 1,000 characters; it will be read by every recipient.
        signers: the builder's.
        now: the moment; the clock's where None.

    Returns:
        The file to be carried to the officer, and the words to be read out.

    Raises:
        ReleaseRefused: the set was not refused, or one person holds the root alone.
        FormatError: names or reason are out of bounds.
    """
    result, candidates = judged
    if result.admitted:
        raise ReleaseRefused(f"the gate admitted the set '{set_name}'; there is nothing to override")
    refuse_single(own_root(home))
    failed = {c.name: f"{_shown(c.value)}, allowed is {c.rule} {c.limit:g}. {c.meaning}" for c in result.checks if not c.passed}
    request = Request(
        home.settings().name, set_name, candidates, verdict_digest(result, candidates), result.policy, failed, dict(people), reason.strip(),
        format_time(now or datetime.now(UTC)),
    )  # fmt: skip
    data = request_bytes(request)
    message = pae(OVERRIDE_TYPE, data)
    envelope = Envelope(OVERRIDE_TYPE, data, tuple(Signature(s.keyid, s.sign(message)) for s in signers))
    path = home.candidates(set_name) / PROPOSED_FILE
    write_whole(path, envelope.to_bytes())
    return path, spoken(hashlib.sha256(data).hexdigest())


def examine_override(carried: Path, folder: Path) -> OverrideProposal:
    """Check a carried request as the officer: signed by everybody else whom the root names, and well-formed.

    Raises:
        SignatureInvalid, UnknownSigner: the builder has not signed it.
        FormatError, ConfigError: it is none, or no root was signed in this home.
    """
    root_bytes = read_root(folder / ROOT_FILE)
    root = TrustedRoot.from_bytes(root_bytes, fingerprint_of(root_bytes))
    own = {key.keyid for key in read_keys(folder / f"{OFFICER}.keys.json", OFFICER)}
    data = _read(carried)
    envelope = parse_envelope(data)
    signed_by = check_signatures(envelope, root, threshold=1, payload_type=OVERRIDE_TYPE)
    if missing := set(root.keys) - own - set(signed_by):
        raise SignatureInvalid(f"{len(missing)} of the other person's signatures are missing; ask for the override again")
    digest = hashlib.sha256(envelope.payload).hexdigest()
    return OverrideProposal(carried, data, parse_request(envelope.payload), spoken(digest), digest)


def sign_override(proposal: OverrideProposal, folder: Path, passphrase: str) -> None:
    """Add the officer's signatures to the carried file.

    Raises:
        ContentMismatch: it was changed since it was examined.
        ConfigError: the passphrase is wrong, the officer has signed before, or the file can't be written.
    """
    signers = load_person(folder / "keys", OFFICER, passphrase)
    if _read(proposal.file) != proposal.data:
        raise ContentMismatch("the override was changed while you looked at it; look again")
    envelope = parse_envelope(proposal.data)
    if {s.keyid for s in signers} & {s.keyid for s in envelope.signatures}:
        raise ConfigError("you have signed this override already; carry it back")
    added = tuple(Signature(s.keyid, s.sign(envelope.pae())) for s in signers)
    write_whole(proposal.file, Envelope(OVERRIDE_TYPE, envelope.payload, envelope.signatures + added).to_bytes())


def install_override(home: Home, carried: Path, judged: Callable[[str], tuple[GateResult, str]]) -> Request:
    """Keep an override that both people have signed beside the set that it names.

    Args:
        home: of the custodian.
        carried: the file as the officer gave it back.
        judged: answers for a set's name with its verdict and its digest, as `custodian.gate.verdict.read_verdict` does.

    Raises:
        SignatureInvalid, UnknownSigner: a signature is missing or wrong.
        ContentMismatch: the set was audited again since.
        ReleaseRefused: one person holds the root alone.
    """
    data = _read(carried)
    request, _ = check_approved(data, own_root(home))
    hold_against(request, *judged(request.set_name))
    folder = home.candidates(request.set_name)
    signers = [short(signature.keyid) for signature in parse_envelope(data).signatures]
    record(home, Entry("override", candidates=request.candidates, failed=len(request.failed), signers=signers))
    write_whole(folder / OVERRIDE_FILE, data)
    (folder / PROPOSED_FILE).unlink(missing_ok=True)
    return request


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _read(path: Path) -> bytes:
    return read_plain(path.parent, path.name, MAX_OVERRIDE_BYTES)
