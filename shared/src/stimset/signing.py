"""Keys and signatures.

A key's id is the SHA-256 (hex) of its raw public bytes, in the envelope and in ``root.json`` alike, so an id can't be
claimed for another key. Algorithms stand in one registry, Ed25519 and ML-DSA-65 (FIPS 204); an algorithm that is not
there is refused. A person holds one key of each, and signs with both: whoever breaks one of them has gained nothing.

Usage::

    signers = [generate_key(), generate_key(MLDSA65)]
    save_key(signers[0], Path("builder.pem"), passphrase)
    envelope = sign_statement(statement_bytes, [load_key(Path("builder.pem"), passphrase), signers[1]])
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import ConfigError, FormatError, SignatureInvalid
from stimset.release import MAX_STATEMENT_BYTES, PAYLOAD_TYPE

ED25519 = "ed25519"
MLDSA65 = "ml-dsa-65/1"  # TUF's name (TAP 21); the envelope signs the PAE raw, TUF metadata its SHA-512
MIN_PASSPHRASE = 8
_MAX_KEY_FILE = 64 << 10


class Algorithm(Protocol):
    """How signatures of one kind are checked."""

    public_size: int
    signature_size: int

    def verify(self, public: bytes, signature: bytes, data: bytes) -> None:
        """Return when `signature` over `data` holds.

        Raises:
            InvalidSignature: it does not hold (also for a point that is no public key).
        """


class _Ed25519:
    public_size = 32
    signature_size = 64

    def verify(self, public: bytes, signature: bytes, data: bytes) -> None:
        try:
            key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise InvalidSignature from None
        key.verify(signature, data)


class _MLDSA65:
    public_size = 1952
    signature_size = 3309

    def verify(self, public: bytes, signature: bytes, data: bytes) -> None:
        try:
            key = MLDSA65PublicKey.from_public_bytes(public)
        except ValueError:
            raise InvalidSignature from None
        key.verify(signature, data)


# Named as TUF names its schemes, since root.json says which algorithm a key is for.
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({ED25519: _Ed25519(), MLDSA65: _MLDSA65()})


@dataclass(frozen=True)
class PublicKey:
    """A public key: its algorithm's name in `ALGORITHMS`, and its raw bytes.

    Raises:
        FormatError: the algorithm is unknown here, or the bytes have the wrong length.
    """

    algorithm: str
    raw: bytes

    def __post_init__(self) -> None:
        known = ALGORITHMS.get(self.algorithm)
        if known is None:
            raise FormatError(f"key of unknown algorithm '{self.algorithm[:40]}'; known here: {', '.join(ALGORITHMS)}")
        if len(self.raw) != known.public_size:
            raise FormatError(f"{self.algorithm} key of {len(self.raw)} bytes; {known.public_size} are expected")

    @property
    def keyid(self) -> str:
        """SHA-256 (hex) of the raw public bytes."""
        return hashlib.sha256(self.raw).hexdigest()

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return when `signature` over `data` holds.

        Raises:
            SignatureInvalid: it does not.
        """
        algorithm = ALGORITHMS[self.algorithm]
        try:
            if len(signature) != algorithm.signature_size:
                raise InvalidSignature
            algorithm.verify(self.raw, signature, data)
        except InvalidSignature:
            raise SignatureInvalid(
                f"the signature of key {self.keyid[:16]} does not hold; what was signed has been changed, get it again"
            ) from None


class Signer(Protocol):
    """Something that signs: a key file here, a hardware module elsewhere."""

    @property
    def keyid(self) -> str:
        """The public key's id."""

    @property
    def public(self) -> PublicKey:
        """The public key."""

    def sign(self, data: bytes) -> bytes:
        """The raw signature over `data`."""


class KeySigner:
    """A signer that holds its private key in memory."""

    def __init__(self, private: Ed25519PrivateKey | MLDSA65PrivateKey) -> None:
        self._private = private
        algorithm = ED25519 if isinstance(private, Ed25519PrivateKey) else MLDSA65
        self.public = PublicKey(algorithm, private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"KeySigner({self.public.algorithm}, {self.keyid[:16]})"

    @property
    def keyid(self) -> str:
        """The public key's id."""
        return self.public.keyid

    @property
    def private(self) -> Ed25519PrivateKey | MLDSA65PrivateKey:
        """The private key, to be written."""
        return self._private

    def sign(self, data: bytes) -> bytes:
        """The raw signature over `data`."""
        return self._private.sign(data)


def generate_key(algorithm: str = ED25519) -> KeySigner:
    """A new key from the system's randomness.

    Raises:
        ConfigError: the algorithm is unknown, or the installed cryptography can't do it.
    """
    try:
        if algorithm == ED25519:
            return KeySigner(Ed25519PrivateKey.generate())
        if algorithm == MLDSA65:
            return KeySigner(MLDSA65PrivateKey.generate())
    except UnsupportedAlgorithm:
        raise ConfigError(f"the installed cryptography can't do {algorithm}; install version 48 or later") from None
    raise ConfigError(f"no signing algorithm '{algorithm[:40]}'; known are {', '.join(ALGORITHMS)}")


def save_key(signer: KeySigner, path: Path, passphrase: str | None) -> None:
    """Write the private key as PKCS#8 PEM with mode 0600. An existing file is never replaced.

    Args:
        signer: whose key is written.
        path: the new file.
        passphrase: encrypts it; None only for a key that a daemon uses unattended.

    Raises:
        ConfigError: the passphrase is shorter than `MIN_PASSPHRASE`, the file exists, or it can't be written.
    """
    if passphrase is not None and len(passphrase) < MIN_PASSPHRASE:
        raise ConfigError(f"the passphrase must have at least {MIN_PASSPHRASE} characters")
    protection = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    pem = signer.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConfigError(f"{path} exists already; a key is never replaced, move it away first") from None
    except OSError as error:
        raise ConfigError(f"{path}: the key can't be written ({error.strerror})") from None


def load_key(path: Path, passphrase: str | None) -> KeySigner:
    """Read a key that `save_key` wrote.

    Args:
        path: its file.
        passphrase: as it was saved with; None where it was saved without.

    Raises:
        ConfigError: it is missing, open to others, not protected as expected, of another algorithm, or the passphrase
            is wrong.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            pem = file.read(_MAX_KEY_FILE)
    except OSError as error:
        raise ConfigError(f"{path}: the key can't be read ({error.strerror})") from None
    if mode & 0o077:
        raise ConfigError(f"{path} can be read by others than its owner; run 'chmod 600' and think about a new key")
    try:
        key = load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except TypeError:
        expected = "is encrypted, and nobody is there to give its passphrase" if passphrase is None else "is not encrypted"
        raise ConfigError(f"{path} {expected}; keys are kept as they were made") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} can't be opened: the passphrase is wrong, or the file is damaged") from None
    if not isinstance(key, Ed25519PrivateKey | MLDSA65PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 or ML-DSA-65 key")
    return KeySigner(key)


def sign_statement(statement: bytes, signers: Sequence[Signer]) -> bytes:
    """Sign the canonical bytes of a statement (`stimset.provenance.statement_bytes`).

    Returns:
        The DSSE envelope's bytes, ready to be written as ``provenance.dsse.json``.

    Raises:
        ConfigError: there is no signer, or one of them is given twice.
        FormatError: the statement is longer than a verifier would read.
    """
    if not signers or len({s.keyid for s in signers}) != len(signers):
        raise ConfigError("one or more different signers are needed")
    if len(statement) > MAX_STATEMENT_BYTES:
        raise FormatError(f"statement: longer than {MAX_STATEMENT_BYTES} bytes; make fewer files")
    message = pae(PAYLOAD_TYPE, statement)
    signatures = tuple(Signature(s.keyid, s.sign(message)) for s in signers)
    return Envelope(PAYLOAD_TYPE, statement, signatures).to_bytes()


def add_signatures(envelope: bytes, signers: Sequence[Signer]) -> bytes:
    """The same envelope with further signatures, as a second person adds them. Check what is signed before.

    Raises:
        ConfigError: there is no signer, or one of them has signed already.
        FormatError: these are no envelope's bytes.
    """
    parsed = parse_envelope(envelope)
    present = [s.keyid for s in parsed.signatures] + [s.keyid for s in signers]
    if not signers or len(set(present)) != len(present):
        raise ConfigError("one or more signers are needed who have not signed yet")
    added = tuple(Signature(s.keyid, s.sign(parsed.pae())) for s in signers)
    return Envelope(parsed.payload_type, parsed.payload, parsed.signatures + added).to_bytes()
