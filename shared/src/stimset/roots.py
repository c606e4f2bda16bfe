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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization.json import JSONSerializer

from stimset.errors import ConfigError, ContentMismatch, FormatError, SignatureInvalid
from stimset.signing import ED25519, Ed25519Signer, PublicKey

MAX_ROOT_BYTES = 512 << 10
_FINGERPRINT = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class TrustedRoot:
    """A root whose digest was pinned and whose own signatures hold. `load` and `from_bytes` make it.

    Attributes:
        fingerprint: SHA-256 (hex) of the root file's bytes: what is pinned.
        version: TUF's version number of the root.
        expires: UTC; nothing is verified by this root from then on.
        keys: key id -> public key of the role ``targets``.
        threshold: how many of `keys` must sign a release.
    """

    fingerprint: str
    version: int
    expires: datetime
    keys: Mapping[str, PublicKey]
    threshold: int

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
        try:
            metadata: Metadata[Root] = Metadata.from_bytes(data)
            root = metadata.signed
            if not isinstance(root, Root):
                raise ValueError("not the role root")
            keys = {keyid: _public_key(key) for keyid, key in root.keys.items()}
            root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
            role = root.roles["targets"]
            chosen = {keyid: keys[keyid] for keyid in sorted(role.keyids)}
        except UnsignedMetadataError as error:
            raise SignatureInvalid(f"the root is not signed as it demands ({error}); get it again") from None
        except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(f"root: no TUF root metadata ({type(error).__name__})") from None
        if not 1 <= role.threshold <= len(chosen):
            raise FormatError("root: the threshold of 'targets' can't be met by its keys")
        return cls(actual, root.version, root.expires.replace(tzinfo=UTC), MappingProxyType(chosen), role.threshold)


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
    release_signers: Sequence[Ed25519Signer], online: Ed25519Signer, *, expires: datetime, version: int = 1
) -> bytes:
    """TUF root metadata, signed by the role ``root``.

    Args:
        release_signers: hold the roles ``root`` and ``targets``; all of them must sign (threshold = their number).
        online: holds ``snapshot`` and ``timestamp``.
        expires: until when the root may be used.
        version: TUF's version number.
    """
    root = Root(version=version, expires=expires.astimezone(UTC).replace(microsecond=0), consistent_snapshot=True)
    for role, signers in (
        ("root", release_signers), ("targets", release_signers), ("snapshot", [online]), ("timestamp", [online]),
    ):  # fmt: skip
        for signer in signers:
            root.add_key(tuf_key(signer.public), role)
        root.roles[role].threshold = len({signer.keyid for signer in signers})
    metadata = Metadata(root)
    for signer in release_signers:
        metadata.sign(tuf_signer(signer), append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def tuf_key(key: PublicKey) -> SSlibKey:
    """The key as TUF metadata writes it, under our key id."""
    return SSlibKey(key.keyid, key.algorithm, key.algorithm, {"public": key.raw.hex()})


def tuf_signer(signer: Ed25519Signer) -> CryptoSigner:
    """The signer as python-tuf uses it (``Metadata.sign``)."""
    return CryptoSigner(signer.private, tuf_key(signer.public))


def _public_key(key: Key) -> PublicKey:
    """The key behind TUF's description.

    Raises:
        FormatError: its algorithm is unknown, or its id is not the SHA-256 of its bytes.
    """
    if key.keytype != key.scheme or key.keytype != ED25519 or not isinstance(key.keyval.get("public"), str):
        raise FormatError(f"root: a key of the unknown algorithm '{str(key.scheme)[:40]}'; a later version may know it")
    public = PublicKey(key.keytype, bytes.fromhex(key.keyval["public"]))
    if public.keyid != key.keyid:
        raise FormatError("root: a key's id is not the SHA-256 of its public bytes")
    return public
