"""A new custodian's home: everything that later steps find there, made at once or not at all."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence

from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, SECRET_BYTES, Home, Settings, write_secret
from custodian.publish.keys import BUILDER, TOKEN_SUFFIX, create_keys, propose_root
from custodian.service import pki
from custodian.state.engine import Database
from stimset.errors import ConfigError
from stimset.signing import PublicKey

MAX_NAME = 80


def create_home(
    home: Home,
    settings: Settings,
    passphrase: str,
    *,
    officer: Sequence[PublicKey] = (),
    recovery: Sequence[PublicKey] = (),
    token: bytes | None = None,
) -> str | None:
    """Make the home: settings, secrets, signing keys and root, certificate authority, empty database.

    Args:
        home: a folder that does not exist or is empty.
        settings: what ``custodian.toml`` will say.
        passphrase: encrypts the signing keys.
        officer, recovery: further people's keys; with them the root is only proposed.
        token: names the PKCS#11 token that the builder's Ed25519 key is made in (`stimset.tokens`).

    Returns:
        The root's fingerprint: SHA-256 (hex) of ``root.json``, to be told to partners out of band; None where it is
        only proposed.

    Raises:
        ConfigError: the folder is in use, a setting is malformed, or the passphrase is too weak. Nothing is left.
    """
    if not 0 < len(settings.name.strip()) <= MAX_NAME or not settings.name.isprintable():
        raise ConfigError(f"the custodian's name must have 1 to {MAX_NAME} printable characters")
    if home.root.exists() and (not home.root.is_dir() or any(home.root.iterdir())):
        raise ConfigError(f"{home.root} exists and is not empty; a home is never overwritten, choose another --home")
    try:
        home.create()
        write_secret(home.settings_file, _toml(settings).encode())
        for name in (PSEUDONYM_KEY_FILE, GATE_KEY_FILE):
            write_secret(home.keys / name, secrets.token_bytes(SECRET_BYTES))
        pki.create_authority(home.tls, settings.name)
        pki.issue_server(home.tls, settings.hostnames)
        Database.open(home).close()
        home.releases.mkdir(mode=0o700)
        if token is not None:
            write_secret(home.keys / f"{BUILDER}{TOKEN_SUFFIX}", token)
        if officer:
            propose_root(home, passphrase, officer, recovery)
            return None
        return create_keys(home, passphrase)
    except BaseException:
        shutil.rmtree(home.root, ignore_errors=True)
        raise


def _toml(settings: Settings) -> str:
    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)

    return "\n".join(
        [
            "# What partners read in every release.",
            f"name = {text(settings.name.strip())}",
            "# Where the daemon listens, and the names and addresses that its certificate is valid for.",
            f"address = {text(settings.address)}",
            f"hostnames = [{', '.join(text(host) for host in settings.hostnames)}]",
            "# Days until a new release expires.",
            f"valid_days = {settings.valid_days}",
            "",
        ]
    )
