"""A new root: later expiry, other keys, another officer. Partners follow it from the root that they pinned; nobody pins anew.

The new root is signed by the keys of the old one's role ``root`` and by its own. Where a person's keys are lost, the recovery keys sign
in that person's place: 4 of the old 6 are enough. What was released before stays valid: the channel's targets, signed by the new keys,
vouch for each statement.

Usage::

    proposal = propose_next_root(home, passphrase, new_keys=True)      # None: one person holds the root, all is done
    install_next_root(home, proposal_as_it_came_back, passphrase)      # then 'release renew', by the new keys
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Root

from custodian.config import Home
from custodian.publish.keys import (
    BUILDER,
    ONLINE_FILE,
    ROOT_PROPOSAL_FILE,
    ROOT_VALID_DAYS,
    create_online,
    create_person,
    load_online,
    load_person,
    load_signers,
    own_root,
    write_whole,
)
from stimset.errors import ConfigError, ContentMismatch, FormatError, SignatureInvalid, VerificationError
from stimset.roots import TrustedRoot, draft_root, fingerprint_of, public_key, read_metadata, read_root, sign_metadata
from stimset.signing import PublicKey, load_key
from stimset.verifying import VerifiedRelease, verify

NEXT_FOLDER = "next"


def propose_next_root(
    home: Home,
    passphrase: str,
    *,
    officer: Sequence[PublicKey] = (),
    recovery: Sequence[PublicKey] = (),
    new_keys: bool = False,
    new_online: bool = False,
    now: datetime | None = None,
    valid_days: int = ROOT_VALID_DAYS,
) -> Path | None:
    """Make the next root, signed by the builder's old and new keys.

    Args:
        home: the custodian's.
        passphrase: of the builder's keys, the old ones and the new ones.
        officer: another officer's keys, or those of a first one; empty: as before.
        recovery: other recovery keys; empty: as before.
        new_keys: make new builder's keys too; the old ones are kept in ``keys/old-VERSION``.
        new_online: make a new key for the daemon; the old one is kept beside those.
        now: the moment; the clock's where None.
        valid_days: until the new root expires.

    Returns:
        The proposal's file, to be signed by the others; None where the builder's signatures were enough and it is installed.

    Raises:
        ConfigError: there is no root yet, or a key stands twice.
    """
    trusted, old = own_root(home), read_metadata(read_root(home.root_file), Root).signed
    builder = load_signers(home, passphrase)
    mine = {signer.keyid for signer in builder}
    following = create_person(home.keys / NEXT_FOLDER, BUILDER, passphrase) if new_keys else builder
    others = list(officer) or [key for keyid, key in trusted.keys.items() if keyid not in mine]
    spare = list(recovery) or [
        public_key(old.keys[keyid]) for keyid in sorted(set(old.roles["root"].keyids) - set(trusted.keys))
    ]
    keys = [*(signer.public for signer in following), *others]
    if len({key.raw for key in (*keys, *spare)}) != len(keys) + len(spare):
        raise ConfigError("builder, officer and recovery must hold different keys; one key stands twice")
    expires = (now or datetime.now(UTC)) + timedelta(days=valid_days)
    online = create_online(home.keys / NEXT_FOLDER) if new_online else load_online(home)
    draft = draft_root(keys, online.public, expires=expires, version=old.version + 1, recovery=spare)
    signers = {signer.keyid: signer for signer in (*builder, *following)}
    data = sign_metadata(draft, list(signers.values()))
    path = home.root / ROOT_PROPOSAL_FILE
    write_whole(path, data)
    try:
        trusted.successor(read_root(home.root_file), data)
    except SignatureInvalid:
        return path
    install_next_root(home, data, passphrase)
    return None


def install_next_root(home: Home, data: bytes, passphrase: str) -> str:
    """Take the next root, signed by everybody who must; answers with its fingerprint, for partners who are enrolled from now on.

    The channel shows it with the next targets, which must be signed by its keys: ``custodian release renew``.

    Raises:
        ContentMismatch: it is not the one that was proposed here.
        SignatureInvalid: signatures of the old root or of the new one are missing.
        ConfigError: nothing was proposed here, or the passphrase is wrong.
    """
    proposal = home.root / ROOT_PROPOSAL_FILE
    if not proposal.is_file():
        raise ConfigError("no root was proposed here; 'custodian root renew' proposes one")
    if read_metadata(data, Root).signed != read_metadata(read_root(proposal), Root).signed:
        raise ContentMismatch("this is not the root that was proposed here; something was changed, compare the words")
    current = read_root(home.root_file)
    trusted = own_root(home)
    following = trusted.successor(current, data)
    coming = home.keys / NEXT_FOLDER
    if coming.is_dir():
        _take_over(home, coming, following, passphrase, home.keys / f"old-{trusted.version}")
        shutil.rmtree(coming)
    home.channel.mkdir(mode=0o700, exist_ok=True)
    write_whole(home.channel / f"{trusted.version}.root.json", current)
    write_whole(home.root_file, data)
    proposal.unlink()
    return fingerprint_of(data)


def _take_over(home: Home, coming: Path, root: TrustedRoot, passphrase: str, kept: Path) -> None:
    """Put those of the new keys that the root names in their place, and the old ones into `kept`."""
    online = coming / ONLINE_FILE
    person = sorted(path for path in coming.iterdir() if path != online)
    named = [online] if online.exists() and load_key(online, None).keyid in root.online else []
    if person and {signer.keyid for signer in load_person(coming, BUILDER, passphrase)} <= set(root.keys):
        named += person
    kept.mkdir(mode=0o700, exist_ok=True)
    for path in named:
        if (home.keys / path.name).exists():
            (home.keys / path.name).rename(kept / path.name)
        path.rename(home.keys / path.name)


def verify_own(home: Home, folder: Path) -> VerifiedRelease:
    """Verify a release of our own by our root, or by the one that it was signed under.

    Raises:
        VerificationError, FormatError: as `stimset.verifying.verify`, by the newest root.
    """
    newest = own_root(home)
    try:
        return verify(folder, newest)
    except SignatureInvalid as first:
        for version in range(newest.version - 1, 0, -1):
            path = home.channel / f"{version}.root.json"
            if path.is_file():
                data = read_root(path)
                try:
                    return verify(folder, TrustedRoot.from_bytes(data, fingerprint_of(data)))
                except (VerificationError, FormatError):
                    continue
        raise first from None
