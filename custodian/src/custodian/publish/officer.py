"""The second person: the data-protection officer, whose keys lie in a home of their own, on another account or machine.

The two homes share nothing but folders that somebody carries. What comes from the other one is checked as a partner would,
shown, and signed only when the officer has compared its words by telephone.

::

    O/keys/officer.pem, officer-ml-dsa.pem     encrypted, never carried
    O/officer.keys.json                        the public keys, to be carried to the custodian
    O/root.json                                the root that this person has signed
    O/approved.json                            what was approved so far: version of the targets, and each release's statement

Usage::

    keys = create_officer(folder, "officer", passphrase)
    proposal = examine_root(data, folder); sign_root(proposal, folder, passphrase)
    proposal = examine(carried, folder); approve(proposal, folder, passphrase)
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root, Targets

from custodian.publish.channel import MAX_METADATA_BYTES, TARGETS_DAYS, target_name
from custodian.publish.keys import TOKEN_SUFFIX, create_person, load_person
from custodian.publish.publishing import RELEASE_FOLDER, TARGETS_FILE
from stimset.errors import ConfigError, ContentMismatch, Expired, FormatError, RollbackRefused, SignatureInvalid
from stimset.provenance import parse_statement
from stimset.release import ENVELOPE_FILE, STATEMENT_FILE, Statement, canonical_json
from stimset.roots import (
    MAX_ROOT_BYTES,
    TrustedRoot,
    fingerprint_of,
    public_key,
    read_metadata,
    read_root,
    sign_metadata,
)
from stimset.signing import ALGORITHMS, PublicKey, Signer, add_signatures
from stimset.strict import Fields, load_json
from stimset.verifying import check_files, check_proposal
from stimset.words import spoken

OFFICER, RECOVERY = "officer", "recovery"
KIND = "stimset-public-keys-v1"
ROOT_FILE, APPROVED_FILE = "root.json", "approved.json"
LONGEST_TARGETS_DAYS = TARGETS_DAYS + 15
_HEX = re.compile("[0-9a-f]+")
_MAX_KEYS_BYTES = 64 << 10


@dataclass(frozen=True)
class RootProposal:
    """A root that waits for this person's signature.

    Attributes:
        data: as it came.
        words: to be compared by telephone with those that the custodian reads out.
        roles: role -> (threshold, number of keys).
        expires: UTC.
    """

    data: bytes
    words: str
    roles: dict[str, tuple[int, int]]
    expires: datetime


@dataclass(frozen=True)
class Proposal:
    """What the other person proposes, checked as far as signatures allow.

    Attributes:
        folder: the carried folder.
        statement: of the new release; None where only the channel changes.
        digest: SHA-256 (hex) of what is to be signed (`digest_of_proposal`).
        words: of the digest, to be compared by telephone.
        withdraws: ids of releases that would no longer stand (their statement's digest, where this home never saw them).
        version: of the channel's targets.
        expires: of the targets, UTC.
        stands: statement digest -> release id, of all that would stand.
    """

    folder: Path
    statement: Statement | None
    digest: str
    words: str
    withdraws: tuple[str, ...]
    version: int
    expires: datetime
    stands: dict[str, str]

    @property
    def name(self) -> str:
        """The release's id; the folder's name where only the channel changes."""
        return self.folder.resolve().name if self.statement is None else self.statement.predicate.release_id


def create_officer(folder: Path, role: str, passphrase: str, *, token: bytes | None = None) -> Path:
    """Make a person's home with two keys, one of them in a PKCS#11 token where `token` names it (`stimset.tokens`).

    Returns:
        The file of the public keys.

    Raises:
        ConfigError: the folder is in use by something else, or the passphrase is too short or wrong.
    """
    if folder.exists() and any(p.name not in ("keys", f"{role}.keys.json") for p in folder.iterdir()):
        raise ConfigError(f"{folder} exists and is not empty; choose another --home")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if token is not None:
        (folder / "keys").mkdir(mode=0o700, exist_ok=True)
        _write(folder / "keys" / f"{role}{TOKEN_SUFFIX}", token)
    signers = create_person(folder / "keys", role, passphrase)
    document = {
        "kind": KIND,
        "role": role,
        "keys": [{"scheme": s.public.algorithm, "public": s.public.raw.hex()} for s in signers],
    }
    path = folder / f"{role}.keys.json"
    _write(path, canonical_json(document))
    return path


def read_keys(path: Path, role: str) -> tuple[PublicKey, ...]:
    """A person's public keys from the file that `create_officer` left: one of each algorithm.

    Raises:
        ConfigError: the file can't be read.
        FormatError: it is something else, or of another role.
    """
    data = _read(path, _MAX_KEYS_BYTES)
    what = "public keys"
    fields = Fields(load_json(data, limit=_MAX_KEYS_BYTES, what=what), what, ("kind", "role", "keys"))
    fields.exactly("kind", KIND)
    fields.exactly("role", role)
    keys = []
    for entry in fields.sequence("keys", least=len(ALGORITHMS), most=len(ALGORITHMS)):
        part = Fields(entry, what, ("scheme", "public"))
        raw = bytes.fromhex(part.text("public", pattern=_HEX, most=8192).ljust(2, "0"))
        keys.append(PublicKey(part.text("scheme"), raw))
    if {key.algorithm for key in keys} != set(ALGORITHMS):
        raise FormatError(f"{what}: one key of each of {', '.join(ALGORITHMS)} is needed")
    return tuple(keys)


def words_of_keys(keys: Sequence[PublicKey]) -> str:
    """The words of a person's public keys, for the telephone."""
    return spoken(hashlib.sha256(b"".join(key.raw for key in keys)).hexdigest())


def words_of_root(data: bytes) -> str:
    """The words of a root's content, whoever has signed it so far."""
    return spoken(hashlib.sha256(read_metadata(data, Root).signed_bytes).hexdigest())


def digest_of_proposal(targets: bytes, statement: bytes | None) -> str:
    """SHA-256 (hex) of what is to be signed: the statement, or the channel's targets where there is none."""
    content = statement if statement is not None else read_metadata(targets, Targets).signed_bytes
    return hashlib.sha256(content).hexdigest()


def words_of_proposal(targets: bytes, statement: bytes | None) -> str:
    """The words of what is to be signed."""
    return spoken(digest_of_proposal(targets, statement))


def examine_root(data: bytes, folder: Path) -> RootProposal:
    """Check that a proposed root gives this person what it promises, and needs it for every release.

    A first root, or the next one after the root that was signed here. Recovery keys sign a next root in place of a
    person whose keys are lost; they only must stand in the old one, which the custodian's side checks.

    Raises:
        FormatError: it is no root.
        ContentMismatch: this person's keys are not among those that must sign, or fewer than all must sign.
        RollbackRefused: a root of this version or a later one was signed here before.
        ConfigError: there are no keys here.
    """
    if len(data) > MAX_ROOT_BYTES:
        raise FormatError(f"root: longer than {MAX_ROOT_BYTES} bytes")
    root = read_metadata(data, Root).signed
    keys = {keyid: public_key(key) for keyid, key in root.keys.items()}
    own = {key.keyid for key in read_keys(folder / f"{_role(folder)}.keys.json", _role(folder))}
    targets = root.roles["targets"]
    if _role(folder) == OFFICER and not (own <= set(targets.keyids) and own <= set(root.roles["root"].keyids)):
        raise ContentMismatch("this root does not name your keys; the custodian must use your officer.keys.json")
    if targets.threshold != len(targets.keyids) or len(targets.keyids) <= len(own):
        raise ContentMismatch("this root does not need everybody's signature for a release; don't sign it")
    if set(root.roles["timestamp"].keyids) & set(targets.keyids) or not set(targets.keyids) <= set(keys):
        raise ContentMismatch("in this root the daemon's key could sign a release; don't sign it")
    if (folder / ROOT_FILE).exists():
        before = read_metadata(read_root(folder / ROOT_FILE), Root).signed
        if root.version != before.version + 1:
            raise RollbackRefused(f"root version {before.version} was signed here; {root.version} does not follow it")
    roles = {name: (role.threshold, len(role.keyids)) for name, role in root.roles.items()}
    return RootProposal(data, words_of_root(data), roles, root.expires.replace(tzinfo=UTC))


def sign_root(proposal: RootProposal, folder: Path, passphrase: str) -> tuple[bytes, str]:
    """Sign a root that was examined; an officer keeps it as the one that later proposals are held against.

    Returns:
        The root's bytes, to be given back or on to the next person, and their fingerprint.

    Raises:
        SignatureInvalid: the others' signatures are missing; the officer signs last.
        ConfigError: the passphrase is wrong.
    """
    data = sign_metadata(proposal.data, load_person(folder / "keys", _role(folder), passphrase))
    fingerprint = fingerprint_of(data)
    if _role(folder) == OFFICER:
        TrustedRoot.from_bytes(data, fingerprint)
        _write(folder / ROOT_FILE, data)
    return data, fingerprint


def _role(folder: Path) -> str:
    return RECOVERY if (folder / f"{RECOVERY}.keys.json").is_file() else OFFICER


def examine(carried: Path, folder: Path, *, now: datetime | None = None) -> Proposal:
    """Check a carried proposal: everything but the signatures that are still missing.

    Raises:
        SignatureInvalid: the other person has not signed both parts.
        ContentMismatch: a file was changed, or the channel's targets say more than the release's statement.
        RollbackRefused: the channel's targets go back behind what was approved here.
        Expired, FormatError: as for a release.
        ConfigError: there is no proposal, or no root was signed here.
    """
    moment = now or datetime.now(UTC)
    root_bytes = read_root(folder / ROOT_FILE)
    root = TrustedRoot.from_bytes(root_bytes, fingerprint_of(root_bytes))
    own = {key.keyid for key in read_keys(folder / f"{OFFICER}.keys.json", OFFICER)}
    targets_bytes = _read(carried / TARGETS_FILE, MAX_METADATA_BYTES)
    targets = _examine_targets(targets_bytes, root_bytes, set(root.keys) - own, moment)
    statement, name, data = None, None, None
    if (carried / RELEASE_FOLDER).exists():
        statement, signed_by = check_proposal(carried / RELEASE_FOLDER, root, now=moment)
        if missing := set(root.keys) - own - set(signed_by):
            raise SignatureInvalid(f"{len(missing)} of the other person's signatures are missing; propose again")
        data = (carried / RELEASE_FOLDER / STATEMENT_FILE).read_bytes()
        name = target_name(data)
    version, known = _approved(folder)
    if targets.version <= version:
        raise RollbackRefused(f"targets version {targets.version} were overtaken by {version}, approved here before")
    stands = {file.removesuffix(".json"): known.get(file.removesuffix(".json"), "") for file in targets.targets}
    if statement is not None and name is not None and data is not None:
        info = targets.targets.get(name)
        if info is None or info.length != len(data) or info.hashes != {"sha256": name.removesuffix(".json")}:
            raise ContentMismatch("the channel's targets do not vouch for this release's statement; propose again")
        stands[name.removesuffix(".json")] = statement.predicate.release_id
    if strangers := [digest for digest, release_id in stands.items() if not release_id]:
        raise ContentMismatch(f"the channel would vouch for something that you never approved ({strangers[0][:16]}...)")
    withdraws = tuple(sorted(release_id for digest, release_id in known.items() if digest not in stands))
    digest = digest_of_proposal(targets_bytes, data)
    expires = targets.expires.replace(tzinfo=UTC)
    return Proposal(carried, statement, digest, spoken(digest), withdraws, targets.version, expires, stands)


def approve(proposal: Proposal, folder: Path, passphrase: str) -> None:
    """Add this person's signatures to a proposal that was examined, and remember it.

    Raises:
        ContentMismatch: the folder was changed since it was examined.
        ConfigError: the passphrase is wrong, or the folder can't be written.
    """
    signers: Sequence[Signer] = load_person(folder / "keys", OFFICER, passphrase)
    again = examine(proposal.folder, folder)
    if again != proposal:
        raise ContentMismatch("the proposal was changed while you looked at it; look again")
    targets = proposal.folder / TARGETS_FILE
    signed = sign_metadata(_read(targets, MAX_METADATA_BYTES), signers)
    if proposal.statement is not None:
        envelope = proposal.folder / RELEASE_FOLDER / ENVELOPE_FILE
        _write(envelope, add_signatures(envelope.read_bytes(), signers))
    _write(targets, signed)
    _write(folder / APPROVED_FILE, canonical_json({"version": proposal.version, "stands": proposal.stands}))


def adopt(release: Path, folder: Path) -> str:
    """Remember a release that stood before this person held a key, so that the channel may go on vouching for it.

    Its files are held against its statement; who signed it is for the person to judge who says that it stood.

    Returns:
        The words of its statement, to be compared by telephone.

    Raises:
        ConfigError, FormatError, ContentMismatch: the folder is no complete release.
    """
    data = _read(release / STATEMENT_FILE, MAX_METADATA_BYTES)
    statement = parse_statement(data)
    check_files(release, statement)
    digest = hashlib.sha256(data).hexdigest()
    version, stands = _approved(folder)
    document = {"version": version, "stands": stands | {digest: statement.predicate.release_id}}
    _write(folder / APPROVED_FILE, canonical_json(document))
    return spoken(digest)


def _examine_targets(data: bytes, root: bytes, others: set[str], now: datetime) -> Targets:
    """The proposed targets: signed by all others, not too long-lived, and nothing in them but digests."""
    metadata = read_metadata(data, Targets)
    signed = metadata.signed
    role = read_metadata(root, Root).signed
    try:
        result = role.get_verification_result(Targets.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        raise SignatureInvalid("the channel's targets are not signed by the other person; propose again") from None
    if not others <= set(result.signed):
        raise SignatureInvalid("the channel's targets are not signed by the other person; propose again")
    expires = signed.expires.replace(tzinfo=UTC)
    if expires <= now:
        raise Expired("the channel's targets have expired; propose again")
    plain = not signed.unrecognized_fields and signed.delegations is None
    plain = plain and not any(info.unrecognized_fields for info in signed.targets.values())
    if not plain or expires > now + timedelta(days=LONGEST_TARGETS_DAYS):
        raise ContentMismatch(f"the channel's targets say more than digests, or live longer than {LONGEST_TARGETS_DAYS} days")
    return signed


def _approved(folder: Path) -> tuple[int, dict[str, str]]:
    """What was approved here so far: the targets' version, and statement digest -> release id."""
    if not (folder / APPROVED_FILE).exists():
        return 0, {}
    data = _read(folder / APPROVED_FILE, MAX_METADATA_BYTES)
    fields = Fields(load_json(data, limit=MAX_METADATA_BYTES, what=APPROVED_FILE), APPROVED_FILE, ("version", "stands"))
    stands = fields.mapping("stands")
    texts = Fields(stands, APPROVED_FILE, stands)
    return fields.integer("version", 0, 1 << 40), {digest: texts.text(digest, least=1) for digest in stands}


def _read(path: Path, most: int) -> bytes:
    try:
        if path.is_symlink():
            raise ContentMismatch(f"{path} is a link; plain files only")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None
    if len(data) > most:
        raise FormatError(f"{path.name}: longer than {most} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error.strerror})") from None
