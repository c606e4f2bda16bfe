"""What ends some day, and must be renewed before: for the metrics, ``custodian doctor`` and ``custodian status``.

Nothing here is secret or names a partner to others: `Expiry.what` is shown to the custodian's own people only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tuf.api.metadata import Targets, Timestamp

from custodian.config import Home
from custodian.publish import channel
from custodian.publish.keys import own_root
from custodian.publish.store import ReleaseStore
from custodian.service.pki import load_certificate
from custodian.state.base import moment
from custodian.state.database import Partners
from stimset.roots import read_metadata

SERVER, AUTHORITY, ROOT, TARGETS, TIMESTAMP, PARTNER, RELEASE = KINDS = (
    "server", "authority", "root", "targets", "timestamp", "partner", "release",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Expiry:
    """One end.

    Attributes:
        ends: UTC.
        kind: one of `KINDS`.
        what: which one, where there are several; else the file.
    """

    ends: datetime
    kind: str
    what: str

    def days(self, now: datetime | None = None) -> float:
        """Days that are left; negative once it is over."""
        return (self.ends - (now or datetime.now(UTC))).total_seconds() / 86_400


def expiries(home: Home, partners: Partners, releases: ReleaseStore | None = None) -> list[Expiry]:
    """All of them, the next one first.

    Raises:
        ConfigError, FormatError, TransportError: something can't be read.
    """
    return sorted(
        [
            *_certificates(home),
            *_channel(home),
            *_partners(partners),
            *_releases(releases or ReleaseStore(home.releases)),
        ]
    )


def _certificates(home: Home) -> Iterator[Expiry]:
    for kind, name in ((SERVER, "server.pem"), (AUTHORITY, "ca.pem")):
        yield Expiry(load_certificate(home.tls / name).not_valid_after_utc, kind, name)
    if home.root_file.is_file():  # it is only proposed where two people sign and one has not yet
        yield Expiry(own_root(home).expires, ROOT, home.root_file.name)


def _channel(home: Home) -> Iterator[Expiry]:
    version = channel.current_version(home)
    if not version:
        return
    targets, timestamp = f"{version}.targets.json", "timestamp.json"
    for kind, name, signed in (
        (TARGETS, targets, read_metadata(channel.read(home, targets) or b"", Targets).signed),
        (TIMESTAMP, timestamp, read_metadata(channel.read(home, timestamp) or b"", Timestamp).signed),
    ):
        yield Expiry(signed.expires.replace(tzinfo=UTC), kind, name)


def _partners(partners: Partners) -> Iterator[Expiry]:
    for partner in partners.list():
        if partner.revoked_at is None:
            yield Expiry(partner.expires, PARTNER, partner.name)


def _releases(store: ReleaseStore) -> Iterator[Expiry]:
    for summary in store.list():
        yield Expiry(moment(summary.expires), RELEASE, summary.release_id)
