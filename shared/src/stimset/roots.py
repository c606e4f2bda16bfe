"""The pinned root: whose signatures count, and how many of them are needed.

A consumer pins one thing, the SHA-256 of ``root.json``, received out of band. The file is TUF root metadata
(https://theupdateframework.github.io/specification/): its role ``targets`` names the keys that sign releases.

Order of `TrustedRoot.from_bytes`: digest over the received bytes, before anything is parsed; TUF's own parser; the
keys; the root's signatures by its role ``root``. An id must be the SHA-256 of its key's bytes: one key under two ids
would satisfy a threshold of two, so such a root is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Key, SecretsHandler, SSlibKey
from securesystemslib.signer import Signature as TufSignature
from securesystemslib.signer import Signer as TufSignerBase
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from stimset.errors import ConfigError, ContentMismatch, FormatError, RollbackRefused, SignatureInvalid
from stimset.signing import ED25519, MLDSA65, PublicKey, Signer

MAX_ROOT_BYTES = 512 << 10
_FINGERPRINT = re.compile("[0-9a-f]{64}")

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class TrustedRoot:
    """A root whose digest was pinned and whose own signatures hold. `load` and `from_bytes` make it.

    Attributes:
        fingerprint: SHA-256 (hex) of the root file's bytes: what is pinned.
        version: TUF's version number of the root.
        expires: UTC; nothing is verified by this root from then on.
        keys: key id -> public key of the role ``targets``.
        threshold: how many of `keys` must sign a release.
        online: key id -> public key of the role ``timestamp``: what the daemon signs with.
    """

    fingerprint: str
    version: int
    expires: datetime
    keys: Mapping[str, PublicKey]
    threshold: int
    online: Mapping[str, PublicKey] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def persons(self) -> int:
        """How many people must sign a release, at least.

        A person holds one key of each algorithm, so it is the number of keys of the most frequent one, less those that
        the threshold can do without.
        """
        spare = len(self.keys) - self.threshold
        kinds = [key.algorithm for key in self.keys.values()]
        return max(1, max(kinds.count(kind) for kind in set(kinds)) - spare)

    @property
    def hybrid(self) -> bool:
        """Whether no release holds without a signature of each algorithm that is known here."""
        kinds = [key.algorithm for key in self.keys.values()]
        return all(len(kinds) - kinds.count(kind) < self.threshold for kind in (ED25519, MLDSA65))

    @classmethod
    def load(cls, path: Path | str, fingerprint: str) -> TrustedRoot:
        """Read the root file at `path`, which must have the pinned fingerprint.

        Raises:
            ConfigError: the file can't be read, or `fingerprint` is no SHA-256 in hex.
            ContentMismatch: the file is not the pinned one.
            SignatureInvalid: its own signatures do not reach its threshold.
            FormatError: it is no TUF root metadata that this version understands.
        """
        return cls.from_bytes(read_root(path), fingerprint)

    @classmethod
    def from_bytes(cls, data: bytes, fingerprint: str) -> TrustedRoot:
        """The same from received bytes; raises what `load` raises."""
        pinned = normal_fingerprint(fingerprint)
        if len(data) > MAX_ROOT_BYTES:
            raise FormatError(f"root: longer than {MAX_ROOT_BYTES} bytes")
        actual = fingerprint_of(data)
        if not hmac.compare_digest(actual, pinned):
            raise ContentMismatch(
                f"the root has the fingerprint {actual[:16]}..., {pinned[:16]}... is pinned; "
                "ask the custodian for both again, the fingerprint on another channel"
            )
        return _trusted(data, actual, None)

    def successor(self, current: bytes, data: bytes) -> TrustedRoot:
        """The root that follows: signed by this one's role ``root`` and by its own, numbered one higher.

        Args:
            current: this root's bytes.
            data: the new root's bytes.

        Returns:
            The new root; its `fingerprint` stays the pinned one, which vouches for it.

        Raises:
            SignatureInvalid: the old keys or the new ones have not signed.
            RollbackRefused: it is not the next version.
            FormatError: it is no TUF root metadata.
        """
        if len(data) > MAX_ROOT_BYTES:
            raise FormatError(f"root: longer than {MAX_ROOT_BYTES} bytes")
        following = _trusted(data, self.fingerprint, current)
        if following.version != self.version + 1:
            raise RollbackRefused(f"root version {following.version} does not follow {self.version}; get those between")
        return following


def _trusted(data: bytes, fingerprint: str, former: bytes | None) -> TrustedRoot:
    try:
        metadata = read_metadata(data, Root)
        root = metadata.signed
        keys = {keyid: public_key(key) for keyid, key in root.keys.items()}
        if former is not None:
            read_metadata(former, Root).signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        role = root.roles["targets"]
        chosen, online = ({keyid: keys[keyid] for keyid in sorted(root.roles[name].keyids)} for name in ("targets", "timestamp"))
    except UnsignedMetadataError as error:
        raise SignatureInvalid(f"the root is not signed as it demands ({error}); get it again") from None
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"root: no TUF root metadata ({type(error).__name__})") from None
    if not 1 <= role.threshold <= len(chosen):
        raise FormatError("root: the threshold of 'targets' can't be met by its keys")
    return TrustedRoot(
        fingerprint, root.version, root.expires.replace(tzinfo=UTC), MappingProxyType(chosen), role.threshold,
        MappingProxyType(online),
    )  # fmt: skip


def read_metadata(data: bytes, kind: type[S]) -> Metadata[S]:
    """TUF metadata of one kind from bytes; its signatures are still to be checked.

    Raises:
        FormatError: it is none, or of another kind.
    """
    try:
        metadata = cast("Metadata[S]", Metadata.from_bytes(data))
        found = isinstance(metadata.signed, kind)
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{kind.type}: no TUF metadata ({type(error).__name__})") from None
    if not found:
        raise FormatError(f"{kind.type}: TUF metadata of another role")
    return metadata


def read_root(path: Path | str) -> bytes:
    """The root file's bytes, at most one more than are allowed.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the root can't be read ({error.strerror})") from None


def fingerprint_of(data: bytes) -> str:
    """SHA-256 (hex) of a root file's bytes."""
    return hashlib.sha256(data).hexdigest()


def normal_fingerprint(text: str) -> str:
    """A fingerprint as people write it (capitals, colons, spaces) in its one form.

    Raises:
        ConfigError: it is no SHA-256 in hex.
    """
    normal = re.sub(r"[\s:]", "", text).lower()
    if not _FINGERPRINT.fullmatch(normal):
        raise ConfigError("a root's fingerprint has 64 hex digits: the SHA-256 of root.json, as the custodian told it")
    return normal


def make_root(
    release_signers: Sequence[Signer], online: Signer, *, expires: datetime, version: int = 1
) -> bytes:
    """TUF root metadata of signers who are all at hand, signed by its role ``root``.

    Args:
        release_signers: hold the roles ``root`` and ``targets``; all of them must sign (threshold = their number).
        online: holds ``snapshot`` and ``timestamp``.
        expires: until when the root may be used.
        version: TUF's version number.
    """
    draft = draft_root([s.public for s in release_signers], online.public, expires=expires, version=version)
    return sign_metadata(draft, release_signers)


def draft_root(
    targets: Sequence[PublicKey],
    online: PublicKey,
    *,
    expires: datetime,
    version: int = 1,
    recovery: Sequence[PublicKey] = (),
) -> bytes:
    """TUF root metadata that nobody has signed yet; `sign_metadata` adds signatures, one person after the other.

    Args:
        targets: all of them must sign a release.
        online: holds ``snapshot`` and ``timestamp``.
        expires: until when the root may be used.
        version: TUF's version number.
        recovery: further keys of the role ``root``, for when a person's keys are lost; as many as they are need not
            sign.
    """
    root = Root(version=version, expires=expires.astimezone(UTC).replace(microsecond=0), consistent_snapshot=True)
    for role, keys in (
        ("root", [*targets, *recovery]), ("targets", targets), ("snapshot", [online]), ("timestamp", [online]),
    ):  # fmt: skip
        for key in keys:
            root.add_key(tuf_key(key), role)
        root.roles[role].threshold = len({key.keyid for key in keys})
    root.roles["root"].threshold -= len({key.keyid for key in recovery} - {key.keyid for key in targets})
    return Metadata(root).to_bytes(JSONSerializer(compact=True))


def sign_metadata(data: bytes, signers: Sequence[Signer]) -> bytes:
    """TUF metadata with further signatures; those that are there stay. Check what is signed before.

    Raises:
        FormatError: these are no TUF metadata.
    """
    try:
        metadata: Any = Metadata.from_bytes(data)
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"no TUF metadata ({type(error).__name__})") from None
    for signer in signers:
        metadata.sign(tuf_signer(signer), append=True)
    return bytes(metadata.to_bytes(JSONSerializer(compact=True)))


def tuf_key(key: PublicKey) -> SSlibKey:
    """The key as TUF metadata writes it, under our key id."""
    if key.algorithm == MLDSA65:
        try:
            loaded = MLDSA65PublicKey.from_public_bytes(key.raw)
        except (ValueError, UnsupportedAlgorithm):
            raise FormatError("an ML-DSA-65 key that can't be used") from None
        pem = loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return SSlibKey(key.keyid, "ml-dsa", MLDSA65, {"public": pem})
    return SSlibKey(key.keyid, key.algorithm, key.algorithm, {"public": key.raw.hex()})


class _TufSigner(TufSignerBase):
    """Any `Signer` of ours as python-tuf uses it."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._key = tuf_key(signer.public)

    @property
    def public_key(self) -> Key:
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> _TufSigner:
        raise ConfigError("keys are opened by stimset.signing.load_key, not by a URI")

    def sign(self, payload: bytes) -> TufSignature:
        # TAP 21: ML-DSA in TUF metadata signs a pre-hash.
        if self._signer.public.algorithm == MLDSA65:
            payload = b"tuf\x01" + hashlib.sha512(payload).digest()
        return TufSignature(self._signer.keyid, self._signer.sign(payload).hex())


def tuf_signer(signer: Signer) -> TufSignerBase:
    """The signer as python-tuf uses it (``Metadata.sign``)."""
    return _TufSigner(signer)


def public_key(key: Key) -> PublicKey:
    """The key behind TUF's description.

    Raises:
        FormatError: its algorithm is unknown, or its id is not the SHA-256 of its bytes.
    """
    text = key.keyval.get("public")
    if not isinstance(text, str) or (key.keytype, key.scheme) not in ((ED25519, ED25519), ("ml-dsa", MLDSA65)):
        raise FormatError(f"root: a key of the unknown algorithm '{str(key.scheme)[:40]}'; a later version may know it")
    if key.scheme == MLDSA65:
        try:
            loaded = load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm):
            loaded = None
        if not isinstance(loaded, MLDSA65PublicKey):
            raise FormatError("root: a key is no ML-DSA-65 key")
        raw = loaded.public_bytes_raw()
    else:
        raw = bytes.fromhex(text)
    public = PublicKey(key.scheme, raw)
    if public.keyid != key.keyid:
        raise FormatError("root: a key's id is not the SHA-256 of its public bytes")
    return public
