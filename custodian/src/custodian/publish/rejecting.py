"""The second person says no: a signed document with a reason, which goes back with the folder and ends the proposal.

It is a DSSE envelope of a type of its own (`rejection.dsse.json` in the carried folder), signed by both of the officer's keys, so that
the custodian can show later who said no, to what, and why. The reason stays between the two people: the log holds its digest.

Usage::

    rejection = reject(proposal, officer_home, passphrase, "The attack on linkage found ...")      # the officer
    rejection = install_rejection(home, carried)                                                   # the custodian
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from custodian.config import Home
from custodian.publish.keys import load_person, own_root, write_whole
from custodian.publish.officer import OFFICER, Proposal, digest_of_proposal, examine
from custodian.publish.publishing import RELEASE_FOLDER, TARGETS_FILE
from custodian.state.log import Entry, record, short
from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import ConfigError, ContentMismatch, FormatError, SignatureInvalid
from stimset.gate_entry import MAX_REASON, MIN_REASON
from stimset.plainfiles import read_plain
from stimset.provenance import format_time, parse_time
from stimset.release import STATEMENT_FILE, canonical_json
from stimset.signing import ALGORITHMS
from stimset.strict import Fields, load_json
from stimset.verifying import check_signatures

REJECTION_TYPE = "application/vnd.stimset.rejection+json"
REJECTION_FILE = "rejection.dsse.json"
REJECTED_FOLDER = "rejected"
KIND = "stimset-rejection-v1"
MAX_REJECTION_BYTES = 64 << 10
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,120}")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Rejection:
    """What the officer signs instead of a proposal.

    Attributes:
        proposal: the release's id, or the name of the channel's change.
        digest: SHA-256 (hex) of what was not signed (`custodian.publish.officer.digest_of_proposal`).
        reason: the officer's own words, 20 to 1,000 characters.
        created: UTC, as statements write it.
    """

    proposal: str
    digest: str
    reason: str
    created: str

    def to_bytes(self) -> bytes:
        """The canonical bytes that are signed.

        Raises:
            FormatError: a field is out of bounds.
        """
        document = {
            "kind": KIND, "proposal": self.proposal, "digest": self.digest, "reason": self.reason, "created": self.created,
        }  # fmt: skip
        data = canonical_json(document)
        parse_rejection(data)
        return data


def parse_rejection(data: bytes) -> Rejection:
    """Read a rejection from outside; whose signatures hold over it is another question.

    Raises:
        FormatError: it is none within the documented bounds.
    """
    what = "rejection"
    fields = Fields(load_json(data, limit=MAX_REJECTION_BYTES, what=what), what, ("kind", "proposal", "digest", "reason", "created"))
    fields.exactly("kind", KIND)
    reason = fields.text("reason", most=MAX_REASON)
    if len(reason.strip()) < MIN_REASON:
        raise FormatError(f"a reason of {MIN_REASON} to {MAX_REASON} characters is needed; the other person must learn what to change")
    parse_time(fields.text("created"))
    return Rejection(
        fields.text("proposal", pattern=_NAME), fields.text("digest", pattern=_SHA256), reason, fields.text("created")
    )


def reject(proposal: Proposal, folder: Path, passphrase: str, reason: str, *, now: datetime | None = None) -> Rejection:
    """Sign a rejection of a proposal that was examined, into the carried folder; a copy stays in the officer's home.

    Args:
        proposal: as `examine` gave it.
        folder: the officer's home.
        passphrase: of the officer's keys.
        reason: 20 to 1,000 characters, for the person who proposed; line breaks become spaces.
        now: the moment; the clock's where None.

    Raises:
        FormatError: the reason is too short or too long.
        ContentMismatch: the folder was changed since it was examined.
        ConfigError: the passphrase is wrong, or a file can't be written.
    """
    rejection = Rejection(proposal.name, proposal.digest, " ".join(reason.split()), format_time(now or datetime.now(UTC)))
    data = rejection.to_bytes()
    signers = load_person(folder / "keys", OFFICER, passphrase)
    if examine(proposal.folder, folder) != proposal:
        raise ContentMismatch("the proposal was changed while you looked at it; look again")
    message = pae(REJECTION_TYPE, data)
    envelope = Envelope(REJECTION_TYPE, data, tuple(Signature(s.keyid, s.sign(message)) for s in signers)).to_bytes()
    _keep(folder / REJECTED_FOLDER, rejection, envelope)
    try:
        write_whole(proposal.folder / REJECTION_FILE, envelope)
    except OSError as error:
        raise ConfigError(f"{proposal.folder} can't be written ({error.strerror})") from None
    return rejection


def install_rejection(home: Home, carried: Path) -> Rejection:
    """Take note of a rejection: record it, keep it, and end the proposal that it speaks of.

    Args:
        home: where it was proposed.
        carried: the folder as the officer gave it back.

    Raises:
        SignatureInvalid, UnknownSigner: nobody whom the root names has signed it with both keys.
        ContentMismatch: it speaks of something else than what was proposed here.
        FormatError: it is none.
        ConfigError: nothing of this name waits here, or the disk refuses.
    """
    data = read_plain(carried, REJECTION_FILE, MAX_REJECTION_BYTES)
    envelope = parse_envelope(data)
    root = own_root(home)
    signed_by = check_signatures(envelope, root, threshold=1, payload_type=REJECTION_TYPE)
    if {root.keys[keyid].algorithm for keyid in signed_by} != {key.algorithm for key in root.keys.values()}:
        raise SignatureInvalid(f"a rejection must be signed with a key of each algorithm ({', '.join(ALGORITHMS)}); ask for it again")
    rejection = parse_rejection(envelope.payload)
    own = home.proposals / rejection.proposal
    if not own.is_dir():
        raise ConfigError(f"{rejection.proposal} does not wait here; it was published, rejected or never proposed")
    if digest_of_folder(own) != rejection.digest:
        raise ContentMismatch(f"the rejection is not about the {rejection.proposal} that was proposed here; show the officer the new one")
    once = f"reject:{rejection.proposal}:{rejection.digest}"
    facts = {"release": rejection.proposal, "statement": rejection.digest, "rejection": hashlib.sha256(envelope.payload).hexdigest()}
    record(home, Entry("reject", once=once, signers=[short(keyid) for keyid in signed_by], **facts))
    _keep(home.root / REJECTED_FOLDER, rejection, data)
    shutil.rmtree(own)
    return rejection


def digest_of_folder(folder: Path) -> str:
    """`digest_of_proposal` of what lies in a proposal's folder.

    Raises:
        ConfigError: it can't be read.
        FormatError: it holds no proposal.
    """
    statement = folder / RELEASE_FOLDER / STATEMENT_FILE
    try:
        return digest_of_proposal((folder / TARGETS_FILE).read_bytes(), statement.read_bytes() if statement.is_file() else None)
    except OSError as error:
        raise ConfigError(f"{error.filename} can't be read ({error.strerror})") from None


def _keep(folder: Path, rejection: Rejection, envelope: bytes) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(folder / f"{rejection.proposal}-{rejection.digest[:12]}.dsse.json", envelope)
    except OSError as error:
        raise ConfigError(f"{folder} can't be written ({error.strerror})") from None
