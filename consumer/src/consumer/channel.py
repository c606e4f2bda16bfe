"""What stands now, by the custodian's TUF channel: freshness, rollback, withdrawal.

A folder of a release proves who signed it; it can't prove that it still stands. That is said by the channel's metadata, which lives a
day and comes over the same connection; TUF's own client judges it, starting from the pinned root. It vouches for statements by
digest. The shards are fetched by `consumer.download` and held against the statement.

::

    HOME/custodians/NAME/channel/          the newest metadata that was verified, and the roots since the pinned one
    HOME/custodians/NAME/seen.json         what was accepted so far (`consumer.trust.Seen`)
    HOME/custodians/NAME/withdrawn.json    what we hold, or held, and does not stand any more
    HOME/custodians/NAME/witness.json      the newest checkpoint of the custodian's log (`consumer.witness`)

What is known of it offline is read by `consumer.standing`. Usage::

    release = pull(client, home, custodian, "apnea-0001")     # verified, standing, not rolled back
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from consumer.acceptance import DEFAULT
from consumer.config import Home
from consumer.download import OnProgress, ignore
from consumer.enrolment import Custodian
from consumer.standing import (
    CHANNEL_FOLDER,
    EVER,
    MAX_METADATA_BYTES,
    MAX_RECORD_BYTES,
    MAX_ROOTS,
    WITHDRAWN_FILE,
    Standing,
    bounded,
    known,
    place,
    roots,
    withdrawn,
    write_whole,
)
from consumer.trust import Seen
from consumer.witness import note
from stimset.errors import (
    ConfigError,
    ContentMismatch,
    Expired,
    FormatError,
    RollbackRefused,
    SignatureInvalid,
    StimsetError,
    TransportError,
    VerificationError,
)
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES, Predicate, Statement
from stimset.roots import MAX_ROOT_BYTES, TrustedRoot, read_root
from stimset.strict import load_json
from stimset.verifying import VerifiedRelease, verify_envelope

SEEN_FILE = "seen.json"
_BASE = "channel:///"
_CONFIG = UpdaterConfig(
    max_root_rotations=MAX_ROOTS,
    max_delegations=0,
    root_max_length=MAX_ROOT_BYTES,
    timestamp_max_length=16 << 10,
    snapshot_max_length=64 << 10,
    targets_max_length=MAX_METADATA_BYTES,
)


class MetadataSource(Protocol):
    """Where metadata comes from; `consumer.client.Client` is the one over gRPC."""

    def metadata(self, name: str) -> bytes | None:
        """One file of the repository, bounded, not verified; None where there is none."""

    def checkpoint(self, known_size: int) -> tuple[bytes, Sequence[bytes]] | None:
        """The newest checkpoint of the log (`consumer.witness.CheckpointSource`)."""


class ReleaseSource(MetadataSource, Protocol):
    """The same with releases."""

    def pull(
        self,
        release_id: str,
        destination: Path,
        root: TrustedRoot,
        on_progress: OnProgress = ignore,
        *,
        vouched: Vouch | None = None,
    ) -> VerifiedRelease:
        """Fetch and verify a release (`consumer.download.pull`)."""


class Vouch(Protocol):
    """Is asked about a release as soon as its envelope is verified, before its files are fetched."""

    def __call__(self, statement: Statement, payload: bytes) -> None:
        """Return, or raise a VerificationError."""


class _Fetcher(FetcherInterface):
    def __init__(self, source: MetadataSource) -> None:
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        # Everything is raised in the call itself: what a generator raised later, TUF would not map.
        name = url.removeprefix(_BASE)
        data = self._source.metadata(name)
        if data is None:
            raise DownloadHTTPError(f"there is no {name}", 404)
        return iter([data])


def check(source: MetadataSource, home: Home, custodian: Custodian) -> Standing:
    """Ask the custodian what stands now, note which of our releases does not, and keep its log's checkpoint as a witness.

    Raises:
        Expired: an answer is older than it may be: a freeze, or a daemon that can't sign.
        RollbackRefused: an answer is older than one that we had before.
        SignatureInvalid, ContentMismatch, FormatError: an answer is not what its keys signed.
        LogForked: its log does not go on from what we saw before.
        TransportError, PolicyDenied: the custodian can't be asked.
    """
    folder = custodian.folder / CHANNEL_FOLDER
    pinned = read_root(custodian.root_file)
    TrustedRoot.from_bytes(pinned, custodian.fingerprint)
    folder.mkdir(mode=0o700, exist_ok=True)
    with _lock(custodian):
        # A new one each time: a long-lived one would not notice a withdrawal.
        with _mapped():
            updater = Updater(str(folder), _BASE, fetcher=_Fetcher(source), config=_CONFIG, bootstrap=pinned)
            updater.refresh()
        standing = known(custodian.folder)
        if standing is None:
            raise FormatError("the channel's targets can't be read; tell the custodian")
        _note_withdrawn(home, custodian, standing)
        note(source, custodian, roots(custodian.folder, custodian.fingerprint)[0].online)
    return standing


def pull(
    source: ReleaseSource,
    home: Home,
    custodian: Custodian,
    release_id: str,
    *,
    deliberate: bool = True,
    on_progress: OnProgress = ignore,
    accept: Callable[[Predicate], None] = DEFAULT.hold,
) -> VerifiedRelease:
    """Fetch a release that stands, and remember that it was accepted.

    Args:
        source: the connection.
        home: ours.
        custodian: whose release it is.
        release_id: which one.
        deliberate: the user named this very release, so that an older one is no rollback.
        on_progress: is told how far it is.
        accept: is shown what was signed before any file is fetched; raises to refuse it.

    Raises:
        NotAccepted: `accept` refuses it.
        Withdrawn: it does not stand, or did not any more when it had been fetched.
        RollbackRefused: it is older than what was accepted before, and nobody named it.
        VerificationError, TransportError, PolicyDenied, ConfigError: as `check` and `consumer.download.pull`.
    """
    standing = check(source, home, custodian)

    def vouched(statement: Statement, payload: bytes) -> None:
        standing.vouch(statement, payload)
        accept(statement.predicate)

    destination = place(home, custodian, release_id)
    newest, *older = roots(custodian.folder, custodian.fingerprint)
    try:
        release = source.pull(release_id, destination, newest, on_progress, vouched=vouched)
    except SignatureInvalid:
        for root in older:  # signed before the keys were changed, and vouched for by the new ones
            with contextlib.suppress(SignatureInvalid):
                release = source.pull(release_id, destination, root, on_progress, vouched=vouched)
                break
        else:
            raise
    # Fetching may have taken hours.
    again = check(source, home, custodian)
    again.vouch(release.statement, (release.folder / "statement.json").read_bytes())
    accept(release.predicate)  # one that was here already was not asked about
    with _lock(custodian):
        seen = _seen(custodian).accept(release, deliberate=deliberate)
        write_whole(custodian.folder / SEEN_FILE, json.dumps(seen.to_document()).encode())
    return release


def _note_withdrawn(home: Home, custodian: Custodian, standing: Standing) -> None:
    """Everything that we accepted or hold of this custodian, and that does not stand."""
    met = {digest: release_id for release_id, digest in _seen(custodian).statements.items()}
    known_roots = roots(custodian.folder, custodian.fingerprint)
    for path in home.releases.glob(f"[!.]*/{ENVELOPE_FILE}"):
        for root in known_roots:
            # Another custodian's, or damaged: 'verify' says so.
            with contextlib.suppress(VerificationError, FormatError, ConfigError):
                payload, statement = verify_envelope(bounded(path, MAX_ENVELOPE_BYTES), root, now=EVER)
                met[hashlib.sha256(payload).hexdigest()] = statement.predicate.release_id
                break
    before = withdrawn(custodian.folder)
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    gone = {
        digest: before.get(digest, {"release": release_id, "noticed": now})
        for digest, release_id in {**{d: e["release"] for d, e in before.items()}, **met}.items()
        if digest not in standing.statements
    }
    if gone != before:
        write_whole(custodian.folder / WITHDRAWN_FILE, json.dumps(gone, indent=1).encode())


def _seen(custodian: Custodian) -> Seen:
    path = custodian.folder / SEEN_FILE
    if not path.is_file():
        return Seen()
    return Seen.from_document(load_json(bounded(path, MAX_RECORD_BYTES), limit=MAX_RECORD_BYTES, what=SEEN_FILE))


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """TUF's errors as ours; the most specific first."""
    try:
        yield
    except StimsetError:
        raise
    except DownloadError as error:
        if isinstance(error.__cause__, StimsetError):
            raise error.__cause__ from None
        if isinstance(error, DownloadLengthMismatchError):
            raise FormatError("the channel sends more than is allowed; refused") from None
        if isinstance(error, DownloadHTTPError):
            raise TransportError(f"the custodian's channel is incomplete ({error}); tell the custodian") from None
        raise TransportError(f"the channel can't be read ({str(error)[:200]}); try again") from None
    except ExpiredMetadataError as error:
        raise Expired(
            f"the custodian's channel is out of date ({error}): its daemon does not sign, or somebody holds news back"
        ) from None
    except BadVersionNumberError as error:
        raise RollbackRefused(f"the channel shows something older than before ({error}); tell the custodian") from None
    except UnsignedMetadataError as error:
        raise SignatureInvalid(f"the channel is not signed as the pinned root demands ({error}); refused") from None
    except LengthOrHashMismatchError as error:
        raise ContentMismatch(f"the channel's parts don't belong together ({error}); refused") from None
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"the channel's metadata is malformed ({type(error).__name__}); tell the custodian") from None
    except OSError as error:
        raise ConfigError(f"the channel's metadata can't be kept ({error.strerror}); look at the disk") from None


@contextlib.contextmanager
def _lock(custodian: Custodian) -> Iterator[None]:
    with (custodian.folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
