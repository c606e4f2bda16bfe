"""What we know of a custodian without asking it: its roots, what stood at the last contact, what was withdrawn.

`consumer.channel` asks, and writes what is read here.

::

    HOME/custodians/NAME/channel/          the newest metadata that was verified, and the roots since the pinned one
    HOME/custodians/NAME/withdrawn.json    what we hold, or held, and does not stand any more
    HOME/overrides.jsonl                   each use of a withdrawn release that somebody insisted on, with the reason

Usage::

    release = verify_held(folder, custodian.folder, custodian.fingerprint)
    refuse_withdrawn(home, custodian.folder, release)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Targets

from consumer.config import Home
from consumer.enrolment import ROOT_FILE, Custodian
from consumer.trust import statement_digest
from stimset.errors import ConfigError, FormatError, SignatureInvalid, UnknownSigner, VerificationError, Withdrawn
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES, Statement
from stimset.roots import MAX_ROOT_BYTES, TrustedRoot, read_metadata, read_root
from stimset.strict import Fields, load_json
from stimset.verifying import VerifiedRelease, verify, verify_envelope

CHANNEL_FOLDER, WITHDRAWN_FILE, OVERRIDES_FILE = "channel", "withdrawn.json", "overrides.jsonl"
MAX_METADATA_BYTES = 3 << 20
MAX_RECORD_BYTES = 64 << 20
MAX_ROOTS = 64
EVER = datetime(1970, 1, 2, tzinfo=UTC)
"""Before any expiry: for asking who signed, not whether it is still valid."""


@dataclass(frozen=True)
class Standing:
    """What the channel vouches for.

    Attributes:
        statements: SHA-256 (hex) of every statement that stands.
        version: of the targets; it never goes back.
        expires: of the targets, UTC.
    """

    statements: frozenset[str]
    version: int
    expires: datetime

    def vouch(self, statement: Statement, payload: bytes) -> None:
        """Return when the statement stands.

        Raises:
            Withdrawn: it does not.
        """
        if hashlib.sha256(payload).hexdigest() not in self.statements:
            raise Withdrawn(
                f"{statement.predicate.release_id} does not stand any more: the custodian has withdrawn it; ask it why"
            )


def known(place: Path) -> Standing | None:
    """What stood at the last contact, by the custodian's folder in our home; None before the first one."""
    path = place / CHANNEL_FOLDER / "targets.json"
    if not path.is_file():
        return None
    targets = read_metadata(bounded(path, MAX_METADATA_BYTES), Targets).signed
    statements = frozenset(name.removesuffix(".json") for name in targets.targets)
    return Standing(statements, targets.version, targets.expires.replace(tzinfo=UTC))


def current_root(custodian: Custodian) -> TrustedRoot:
    """The custodian's newest root that we know of: the pinned one, or what it has handed its powers to.

    Raises:
        VerificationError, FormatError: the pinned file was changed.
        ConfigError: it can't be read.
    """
    return newest_root(custodian.folder, custodian.fingerprint)


def newest_root(folder: Path, fingerprint: str) -> TrustedRoot:
    """The same by the custodian's folder in our home and the pinned fingerprint; raises what `current_root` raises."""
    return roots(folder, fingerprint)[0]


def roots(folder: Path, fingerprint: str) -> tuple[TrustedRoot, ...]:
    """All roots from the newest back to the pinned one; raises what `current_root` raises.

    An older one says who signed before the keys were changed. It is valid as long as the newest is, but what it alone vouches for
    counts only where the channel, signed by the new keys, vouches for it too.
    """
    data = read_root(folder / ROOT_FILE)
    found = [TrustedRoot.from_bytes(data, fingerprint)]
    for _ in range(MAX_ROOTS):
        path = folder / CHANNEL_FOLDER / "root_history" / f"{found[0].version + 1}.root.json"
        if not path.is_file():
            break
        following = bounded(path, MAX_ROOT_BYTES)
        found.insert(0, found[0].successor(data, following))
        data = following
    return tuple(replace(root, expires=found[0].expires) for root in found)


def place(home: Home, custodian: Custodian, release_id: str) -> Path:
    """Where a custodian's release lies in our home, or will lie.

    ``HOME/releases/RELEASE_ID``; ``HOME/releases/NAME.RELEASE_ID`` where another custodian's release of the same id lies there, since two
    custodians know nothing of each other's names.
    """
    plain, own = home.releases / release_id, home.releases / f"{custodian.short_name}.{release_id}"
    if own.is_dir():
        return own
    envelope = plain / ENVELOPE_FILE
    if not envelope.is_file():
        return plain
    data = bounded(envelope, MAX_ENVELOPE_BYTES)
    for root in roots(custodian.folder, custodian.fingerprint):
        try:
            verify_envelope(data, root, now=EVER)
        except UnknownSigner:
            continue
        except (VerificationError, FormatError):
            pass  # damaged perhaps, but ours to complain about
        return plain
    return own


def verify_held(folder: Path, place: Path, fingerprint: str) -> VerifiedRelease:
    """Verify a release's folder, offline, by the newest root or by the older one under which it was signed.

    Args:
        folder: the release.
        place: the custodian's folder in our home.
        fingerprint: of the pinned root.

    Raises:
        VerificationError, FormatError: as `stimset.verifying.verify`, by the newest root; also where an older root's keys signed
            and the channel did not vouch for the release at the last contact.
    """
    newest, *older = roots(place, fingerprint)
    try:
        return verify(folder, newest)
    except SignatureInvalid:
        standing = known(place)
        for root in older:
            with contextlib.suppress(SignatureInvalid):
                release = verify(folder, root)
                if standing is not None and statement_digest(release.statement) in standing.statements:
                    return release
        raise


def refuse_withdrawn(home: Home, folder: Path, release: VerifiedRelease, *, despite: str | None = None) -> None:
    """Return when nothing is known against the release, or when somebody insists; that is recorded.

    Args:
        home: ours.
        folder: of the custodian whose release it is.
        release: what is to be used.
        despite: why it is used although it was withdrawn.

    Raises:
        Withdrawn: it was withdrawn, by what was learned at the last contact.
    """
    digest = statement_digest(release.statement)
    noticed = withdrawn(folder).get(digest)
    if noticed is None:
        return
    if not despite or not despite.strip():
        raise Withdrawn(
            f"{release.id} was withdrawn by its custodian (noticed {noticed['noticed'][:10]}); delete it, or insist with "
            "--despite-withdrawal 'REASON', which is recorded"
        )
    entry = {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "release": release.id,
        "statement_sha256": digest,
        "custodian": folder.name,
        "reason": despite.strip()[:1000],
    }
    with (home.root / OVERRIDES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def withdrawn(folder: Path) -> Mapping[str, dict[str, str]]:
    """Statement digest -> ``release`` and ``noticed``, of all that we met and that stood no more at the last contact."""
    path = folder / WITHDRAWN_FILE
    if not path.is_file():
        return {}
    document = load_json(bounded(path, MAX_RECORD_BYTES), limit=MAX_RECORD_BYTES, what=WITHDRAWN_FILE)
    if not isinstance(document, dict):
        raise FormatError(f"{path} is damaged; 'consumer list' makes a new one after you removed it")
    entries = {digest: Fields(entry, WITHDRAWN_FILE, ("release", "noticed")) for digest, entry in document.items()}
    return {
        digest: {"release": entry.text("release"), "noticed": entry.text("noticed")} for digest, entry in entries.items()
    }


def bounded(path: Path, most: int) -> bytes:
    """A file of the home, of at most so many bytes.

    Raises:
        ConfigError: it can't be read.
        FormatError: it is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None
    if len(data) > most:
        raise FormatError(f"{path}: longer than {most} bytes")
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: a crash leaves the old one or the new one."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
