"""Changes of the channel that bring no new release: taking one back, and signing the targets anew before they expire.

A release that is withdrawn is served to nobody from that moment; consumers learn of it at their next contact, since the channel no
longer vouches for its statement. Where two people hold the root, the change is a proposal like a release is.

Usage::

    proposal = withdraw(home, "apnea-0001", load_signers(home, passphrase()))      # None: done
    publish_change(home, proposal_as_it_came_back)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from custodian.config import Home
from custodian.publish.channel import check_targets, draft_targets
from custodian.publish.deciding import settle
from custodian.publish.keys import own_root
from custodian.publish.publishing import TARGETS_FILE, approved_targets, update_channel
from custodian.publish.store import ReleaseStore
from custodian.publish.writing import series_lock, sync_folder, write_file
from stimset.errors import ConfigError, SignatureInvalid
from stimset.roots import read_root, sign_metadata
from stimset.signing import Signer


def withdraw(home: Home, release_id: str, signers: Sequence[Signer], *, now: datetime | None = None) -> Path | None:
    """Take a release back: serve it to nobody, and let the channel say so.

    Returns:
        The folder to be carried to the second person; None where these signers were enough.

    Raises:
        ConfigError: there is no such release, or the disk refuses.
    """
    own_root(home)
    with series_lock(home.releases):
        ReleaseStore(home.releases).summary(release_id)
        target = home.withdrawn / release_id
        if target.exists():
            raise ConfigError(f"{target} exists already; move it away first")
        try:
            home.withdrawn.mkdir(mode=0o700, exist_ok=True)
            (home.releases / release_id).rename(target)
            sync_folder(home.releases)
        except OSError as error:
            raise ConfigError(f"{release_id} can't be moved to {home.withdrawn} ({error.strerror})") from None
    settle(home)
    return renew(home, signers, label=f"withdraw-{release_id}", now=now)


def renew(home: Home, signers: Sequence[Signer], *, label: str = "renew", now: datetime | None = None) -> Path | None:
    """Sign the channel's targets anew, about the releases that stand now.

    Args:
        home: the custodian's.
        signers: of this side; where they are not enough, a proposal is left for the second person.
        label: the proposal folder's name.
        now: the moment; the clock's where None.

    Returns:
        The folder to be carried to the second person; None where these signers were enough.

    Raises:
        ConfigError: the disk refuses.
    """
    moment = now or datetime.now(UTC)
    targets = sign_metadata(draft_targets(home, moment), signers)
    try:
        check_targets(read_root(home.root_file), targets)
    except SignatureInvalid:
        folder = home.proposals / label
        shutil.rmtree(folder, ignore_errors=True)  # an earlier one that nobody signed; its version is overtaken
        try:
            folder.mkdir(mode=0o755, parents=True)
            write_file(folder / TARGETS_FILE, targets)
        except OSError as error:
            raise ConfigError(f"{folder} can't be written ({error.strerror})") from None
        return folder
    update_channel(home, targets, moment)
    return None


def publish_change(home: Home, carried: Path, *, now: datetime | None = None) -> None:
    """Install the channel's targets as the second person gave them back.

    Raises:
        SignatureInvalid: a signature is missing.
        ContentMismatch: these are not the targets that were proposed here.
        ConfigError: no such change was proposed here.
    """
    own = home.proposals / carried.resolve().name
    targets = approved_targets(home, own, carried)
    update_channel(home, targets, now or datetime.now(UTC))
    shutil.rmtree(own, ignore_errors=True)
