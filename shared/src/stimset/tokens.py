"""An Ed25519 key in a PKCS#11 token: it signs there and never leaves it (extra ``[hsm]``).

Which token, and which key in it, stands in a small file beside the other keys; the PIN comes from the environment::

    module = "/usr/lib/softhsm/libsofthsm2.so"
    token = "custodian"                # the token's label
    key = "builder"                    # the key's label

Tokens in use today don't do ML-DSA; a person's second key stays an encrypted file.

Usage::

    signer = TokenSigner.open(Path("builder.pkcs11.toml"), pin, create=True)
    sign_statement(statement_bytes, [signer, mldsa_signer])
"""

from __future__ import annotations

import threading
import tomllib
from pathlib import Path
from typing import Any

from stimset.errors import ConfigError
from stimset.signing import ED25519, PublicKey

_ED25519_OID = "1.3.101.112"
_FIELDS = ("module", "token", "key")
_MAX_FILE = 64 << 10


class TokenSigner:
    """A signer whose private key is in a token. `open` makes it; it holds a session until the process ends."""

    def __init__(self, private: Any, public: PublicKey, mechanism: Any) -> None:
        self._private = private
        self._mechanism = mechanism
        self._turn = threading.Lock()  # a session signs one thing at a time
        self.public = public

    def __repr__(self) -> str:
        return f"TokenSigner({self.keyid[:16]})"

    @property
    def keyid(self) -> str:
        """The public key's id."""
        return self.public.keyid

    def sign(self, data: bytes) -> bytes:
        """The raw signature over `data` (64 bytes).

        Raises:
            ConfigError: the token refuses, or was taken out.
        """
        import pkcs11.exceptions

        try:
            with self._turn:
                return bytes(self._private.sign(data, mechanism=self._mechanism))
        except pkcs11.exceptions.PKCS11Error as error:
            raise ConfigError(f"the token does not sign ({type(error).__name__}); is it still there?") from None

    @classmethod
    def open(cls, file: Path, pin: str, *, create: bool = False) -> TokenSigner:
        """The key that `file` names.

        Args:
            file: names module, token and key.
            pin: the token's user PIN; never logged.
            create: make the key where the token has none of this label.

        Raises:
            ConfigError: the extra is not installed, the file is malformed, the token is absent, the PIN is wrong, or the token has
                no such key or can't do Ed25519.
        """
        try:
            import pkcs11
            import pkcs11.exceptions
        except ModuleNotFoundError:
            raise ConfigError("keys in a token need python-pkcs11; run: pip install 'stimset[hsm]'") from None
        module, token, label = _read(file)
        try:
            slot = pkcs11.lib(module).get_token(token_label=token)
            try:
                session = slot.open(rw=create, user_pin=pin)
            except pkcs11.exceptions.UserAlreadyLoggedIn:  # a token logs a process in once, for all its sessions
                session = slot.open(rw=create)
            private, point = _find(session, label) or (_create(session, label) if create else (None, b""))
        except pkcs11.exceptions.PinIncorrect:
            raise ConfigError(f"the PIN of the token '{token}' is wrong; a token locks itself after a few attempts") from None
        except (pkcs11.exceptions.PKCS11Error, OSError, RuntimeError) as error:
            raise ConfigError(f"the token '{token}' can't be used ({type(error).__name__}); is {module} right?") from None
        if private is None:
            raise ConfigError(f"the token '{token}' has no Ed25519 key '{label}'")
        signer = cls(private, PublicKey(ED25519, point[-32:]), pkcs11.Mechanism.EDDSA)
        signer.public.verify(signer.sign(b"stimset"), b"stimset")  # the two halves belong together
        return signer


def _read(file: Path) -> tuple[str, str, str]:
    try:
        with file.open("rb") as source:
            document = tomllib.loads(source.read(_MAX_FILE).decode())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} can't be read as TOML ({type(error).__name__})") from None
    if set(document) != set(_FIELDS) or not all(isinstance(document[name], str) and document[name] for name in _FIELDS):
        raise ConfigError(f"{file} must name exactly {', '.join(_FIELDS)}, each as a text")
    return document["module"], document["token"], document["key"]


def _find(session: Any, label: str) -> tuple[Any, bytes] | None:
    """The pair of this label: the private key's handle and the public point."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    found = []
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        query = {Attribute.CLASS: kind, Attribute.LABEL: label, Attribute.KEY_TYPE: KeyType.EC_EDWARDS}
        found.append(list(session.get_objects(query)))
    if any(len(keys) > 1 for keys in found):
        raise ConfigError(f"the token has several keys '{label}'; remove all but one")
    return (found[0][0], bytes(found[1][0][Attribute.EC_POINT])) if all(found) else None


def _create(session: Any, label: str) -> tuple[Any, bytes]:
    """A new pair that can't be taken out of the token."""
    from pkcs11 import Attribute, KeyType, Mechanism
    from pkcs11.util.ec import encode_named_curve_parameters

    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_ED25519_OID)}
    parameters = session.create_domain_parameters(KeyType.EC_EDWARDS, curve, local=True)
    public, private = parameters.generate_keypair(
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        store=True,
        label=label,
        private_template={Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True},
    )
    return private, bytes(public[Attribute.EC_POINT])
