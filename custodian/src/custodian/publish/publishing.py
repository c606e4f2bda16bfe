"""`AdmittedSet` + signers -> `SignedRelease`: the only way out of the custodian.

The release is written in a hidden folder beside its place, synced, verified by the code that consumers run, and
renamed; so a release that can be seen is complete and holds. Shards are written anew: of the candidate set nothing
but the arrays and its description crosses over, no name of a file and no path.

Usage::

    release = publish(admitted, home, load_signers(home, passphrase()), name="apnea")
    release.folder      # HOME/releases/apnea-0001

Where the root asks for a second person, the first one can only propose; `custodian.publish.officer` is the other side::

    proposal = propose(admitted, home, load_signers(home, passphrase()), name="apnea")
    release = publish_proposal(home, proposal_as_it_came_back)
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Targets

from custodian.config import Home, Settings
from custodian.excitation.candidates import CandidateSet
from custodian.gate.admitted import AdmittedSet
from custodian.publish.card import croissant_card, readable_card
from custodian.publish.channel import check_targets, draft_targets, install_targets, refresh
from custodian.publish.deciding import settle
from custodian.publish.keys import load_online, own_root
from custodian.publish.reports import carry_report
from custodian.publish.writing import (
    Progress,
    entries,
    next_sequence,
    record_sequence,
    series_lock,
    sync_folder,
    write_file,
    write_shards,
)
from custodian.state.log import Entry, record, short
from stimset.errors import ConfigError, ContentMismatch, ReleaseRefused
from stimset.provenance import MAX_SERIES_NAME, SERIES_NAME, format_time, statement_bytes
from stimset.release import ENVELOPE_FILE, STATEMENT_FILE, Predicate, Statement
from stimset.roots import TrustedRoot, read_metadata, read_root, sign_metadata
from stimset.sealed import Sealed
from stimset.signing import Signer, sign_statement
from stimset.verifying import check_proposal, verify

RELEASE_FOLDER, TARGETS_FILE = "release", "targets.json"
_SEAL = object()
_PATH = re.compile(r"(?:^|[\s\"'=(\[:])(?:~?/[\w.-]+/[\w./-]*|[A-Za-z]:\\[\w.-]+|\\\\[\w.-]+\\|file:)")

class SignedRelease(Sealed):
    """A release that lies signed and verified in the home. `publish` makes it; nothing else can.

    Attributes:
        folder: where it lies.
        statement: what was signed.
        signed_by: the signers' key ids, sorted.
        root_fingerprint: SHA-256 (hex) of the root that partners pin.
    """

    __slots__ = ("folder", "root_fingerprint", "signed_by", "statement")

    folder: Path
    statement: Statement
    signed_by: tuple[str, ...]
    root_fingerprint: str

    def __init__(
        self,
        folder: Path,
        statement: Statement,
        signed_by: tuple[str, ...],
        root_fingerprint: str,
        *,
        _seal: object = None,
    ) -> None:
        if _seal is not _SEAL:
            raise TypeError("a SignedRelease is made by custodian.publish.publishing.publish alone")
        self._store(folder=folder, statement=statement, signed_by=signed_by, root_fingerprint=root_fingerprint)

    @property
    def id(self) -> str:
        """The release's id, ``<name>-<sequence>``."""
        return self.statement.predicate.release_id


def publish(
    admitted: AdmittedSet,
    home: Home,
    signers: Sequence[Signer],
    *,
    name: str,
    now: datetime | None = None,
    on_progress: Progress | None = None,
) -> SignedRelease:
    """Sign an admitted set as the next release of a series.

    Args:
        admitted: what the gate let through.
        home: its settings name the custodian and the days of validity; the release goes to its ``releases``.
        signers: must meet the threshold of the root's role ``targets``.
        name: the series; 1 to 48 lower-case letters, digits and hyphens.
        now: the moment of creation; the clock's where None.
        on_progress: called with the number of stimuli written so far, and a note.

    Raises:
        ReleaseRefused: this is no admitted set, it changed since it was judged, or its description names a path.
        ConfigError: the series' name is malformed, keys or root are missing, the disk refuses.
        VerificationError, FormatError: what was written would not be accepted by a consumer; nothing is left behind.
    """
    root, moment = _ready(admitted, home, name, now)
    try:
        with series_lock(home.releases):
            sequence = next_sequence(home.releases, name)
            folder = home.releases / f"{name}-{sequence:04d}"
            with _partial(home.releases, folder.name) as partial:
                _assemble(partial, admitted, home, signers, (name, sequence), moment, on_progress or _silent)
                verified = verify(partial, root, now=moment)
                draft = draft_targets(home, moment, add=[(partial / STATEMENT_FILE).read_bytes()])
                targets = sign_metadata(draft, signers)
                check_targets(read_root(home.root_file), targets)
                record_sequence(home.releases, name, sequence)
                partial.rename(folder)
                sync_folder(home.releases)
            update_channel(home, targets, moment)
    except OSError as error:
        raise ConfigError(f"{home.releases}: the release can't be written ({error.strerror})") from None
    return SignedRelease(folder, verified.statement, verified.signed_by, verified.root_fingerprint, _seal=_SEAL)


def propose(
    admitted: AdmittedSet,
    home: Home,
    signers: Sequence[Signer],
    *,
    name: str,
    now: datetime | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Sign an admitted set as the first of several people; nobody but the next one sees it.

    Args and errors are those of `publish`, but the signers need not reach the threshold.

    Returns:
        ``HOME/proposals/RELEASE_ID``, to be carried to the next person: the release, the channel's next targets, the gate's report.
    """
    root, moment = _ready(admitted, home, name, now)
    try:
        with series_lock(home.releases):
            sequence = next_sequence(home.releases, name)
            folder = home.proposals / f"{name}-{sequence:04d}"
            home.proposals.mkdir(mode=0o700, exist_ok=True)
            with _partial(home.proposals, folder.name) as partial:
                release = partial / RELEASE_FOLDER
                release.mkdir()
                _assemble(release, admitted, home, signers, (name, sequence), moment, on_progress or _silent)
                check_proposal(release, root, now=moment)
                draft = draft_targets(home, moment, add=[(release / STATEMENT_FILE).read_bytes()])
                write_file(partial / TARGETS_FILE, sign_metadata(draft, signers))
                carry_report(admitted.candidates.folder, admitted.result.report, partial)
                record_sequence(home.releases, name, sequence)
                statement = (release / STATEMENT_FILE).read_bytes()
                record(home, Entry("propose", release=folder.name, statement=hashlib.sha256(statement).hexdigest()))
                partial.rename(folder)
                sync_folder(home.proposals)
    except OSError as error:
        raise ConfigError(f"{home.proposals}: the proposal can't be written ({error.strerror})") from None
    return folder


def publish_proposal(home: Home, carried: Path, *, now: datetime | None = None) -> SignedRelease:
    """Publish what was proposed here, once everybody has signed.

    Args:
        home: where it was proposed.
        carried: the proposal's folder as the last person gave it back; only signatures are taken from it.
        now: the moment; the clock's where None.

    Raises:
        SignatureInvalid: a signature is missing.
        ContentMismatch: something was changed on the way, or this is not what was proposed here.
        ConfigError: nothing of this name was proposed here.
    """
    root, moment = own_root(home), now or datetime.now(UTC)
    given = verify(carried / RELEASE_FOLDER, root, now=moment)
    own = home.proposals / given.id
    if not own.is_dir():
        raise ConfigError(f"{given.id} was not proposed here; 'custodian release build' proposes")
    statement = (own / RELEASE_FOLDER / STATEMENT_FILE).read_bytes()
    if (carried / RELEASE_FOLDER / STATEMENT_FILE).read_bytes() != statement:
        raise ContentMismatch(f"this is not the {given.id} that was proposed here; compare the words, and propose again")
    targets = approved_targets(home, own, carried)
    try:
        with series_lock(home.releases):
            folder = home.releases / given.id
            if folder.exists():
                raise ConfigError(f"{given.id} is published already")
            with _partial(home.releases, given.id) as partial:
                for path in sorted((own / RELEASE_FOLDER).iterdir()):
                    source = carried / RELEASE_FOLDER / ENVELOPE_FILE if path.name == ENVELOPE_FILE else path
                    write_file(partial / path.name, source.read_bytes())
                verified = verify(partial, root, now=moment)
                record_approval(home, given.id, hashlib.sha256(statement).hexdigest(), verified.signed_by)
                update_channel(home, targets, moment)
                partial.rename(folder)
                sync_folder(home.releases)
            settle(home)
            shutil.rmtree(own)
    except OSError as error:
        raise ConfigError(f"{home.releases}: the release can't be written ({error.strerror})") from None
    return SignedRelease(folder, verified.statement, verified.signed_by, verified.root_fingerprint, _seal=_SEAL)


def record_approval(home: Home, release_id: str, digest: str, signed_by: Sequence[str]) -> None:
    """Record who approved a statement of this digest: the keys of everybody who signed. A second attempt is the same approval."""
    signers = [short(keyid) for keyid in signed_by]
    record(home, Entry("approve", once=f"approve:{release_id}:{digest}", release=release_id, statement=digest, signers=signers))


def approved_targets(home: Home, own: Path, carried: Path) -> bytes:
    """The channel's next targets as they came back, if they are those that were proposed here and all have signed.

    Raises:
        SignatureInvalid: a signature is missing.
        ContentMismatch: they were changed on the way.
        ConfigError: a file is missing.
    """
    try:
        data, proposed = ((folder / TARGETS_FILE).read_bytes() for folder in (carried, own))
    except OSError as error:
        raise ConfigError(f"{error.filename} can't be read ({error.strerror})") from None
    if check_targets(read_root(home.root_file), data) != read_metadata(proposed, Targets).signed:
        raise ContentMismatch("the channel's targets are not those that were proposed here; propose again")
    return data


def update_channel(home: Home, targets: bytes, now: datetime) -> None:
    """Install signed targets and let the daemon's key vouch for them at once; the daemon may do the rest later."""
    install_targets(home, targets)
    settle(home)
    with contextlib.suppress(ConfigError):  # a home of an early version has no key that signs unattended
        refresh(home, load_online(home), now)


def _ready(admitted: AdmittedSet, home: Home, name: str, now: datetime | None) -> tuple[TrustedRoot, datetime]:
    """Everything that can be refused before anything is written; raises what `publish` raises."""
    if not isinstance(admitted, AdmittedSet):
        raise ReleaseRefused("only a set that the gate admitted can be released; run 'custodian audit'")
    if not SERIES_NAME.fullmatch(name) or len(name) > MAX_SERIES_NAME:
        raise ConfigError(f"a series' name has 1 to {MAX_SERIES_NAME} lower-case letters, digits and single hyphens")
    _refuse_changed(admitted)
    _refuse_paths(admitted.candidates, home)
    root, moment = own_root(home), now or datetime.now(UTC)
    if moment >= root.expires:
        raise ConfigError(f"the root expired on {root.expires:%Y-%m-%d}; nothing signed now could be verified")
    return root, moment


@contextlib.contextmanager
def _partial(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder that is renamed at the end, or gone."""
    partial = parent / f".partial-{name}-{secrets.token_hex(4)}"
    partial.mkdir(mode=0o755)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _assemble(
    folder: Path,
    admitted: AdmittedSet,
    home: Home,
    signers: Sequence[Signer],
    number: tuple[str, int],
    moment: datetime,
    on_progress: Progress,
) -> None:
    """Shards, cards, statement and envelope of the release of this series and sequence."""
    shards = write_shards(admitted.candidates, folder, on_progress)
    predicate = _predicate(admitted, shards, *number, home.settings(), moment)
    _complete(folder, predicate, admitted, signers, home)


def _predicate(
    admitted: AdmittedSet, shards: dict[str, int], name: str, sequence: int, settings: Settings, moment: datetime
) -> Predicate:
    candidates = admitted.candidates
    return Predicate(
        release_id=f"{name}-{sequence:04d}",
        name=name,
        sequence=sequence,
        custodian=settings.name,
        created=format_time(moment),
        expires=format_time(moment + timedelta(days=settings.valid_days)),
        simulated=candidates.simulated,
        window_spec=candidates.spec,
        stimuli=sum(shards.values()),
        shards=shards,
        teacher=candidates.teacher,
        recipe=candidates.recipe,
        aggregates=candidates.aggregates,
        gate=admitted.result,
        software=_software(),
        budget=admitted.budget,
    )


def _complete(
    folder: Path, predicate: Predicate, admitted: AdmittedSet, signers: Sequence[Signer], home: Home
) -> None:
    """Add cards, statement and envelope to the shards; all is on the disk afterwards."""
    write_file(folder / "CARD.md", readable_card(predicate, own_root(home).persons).encode())
    write_file(folder / "card.json", croissant_card(predicate, entries(folder)))
    statement = statement_bytes(Statement(entries(folder), predicate))
    _refuse_changed(admitted)  # what was read in the meantime is what was judged
    write_file(folder / STATEMENT_FILE, statement)
    write_file(folder / ENVELOPE_FILE, sign_statement(statement, signers))
    sync_folder(folder)


def _silent(done: float, note: str) -> None:
    """For callers that don't watch."""


def _software() -> dict[str, str]:
    """Versions of what made the release; only what is installed is named."""
    versions = {"python": platform.python_version()}
    for package in ("stimset", "stimset-custodian", "numpy", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _refuse_changed(admitted: AdmittedSet) -> None:
    try:
        digest = admitted.candidates.digest()
    except OSError as error:
        raise ReleaseRefused(f"the admitted set can't be read ({error.strerror}); excite and audit again") from None
    if digest != admitted.candidates_digest:
        raise ReleaseRefused("the candidate set is not the one that the gate judged; run 'custodian audit' again")


def _refuse_paths(candidates: CandidateSet, home: Home) -> None:
    """The description is signed as it stands, so nothing in it may tell where things lie inside the custodian."""
    pending: list[tuple[str, Any]] = [
        ("teacher", candidates.teacher),
        ("recipe", candidates.recipe),
        ("aggregates", candidates.aggregates),
        ("windowSpec.meaning", candidates.spec.meaning),
    ]
    while pending:
        where, value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend((f"{where}.{key}", key) for key in value)
            pending.extend((f"{where}.{key}", inner) for key, inner in value.items())
        elif isinstance(value, list | tuple):
            pending.extend((where, inner) for inner in value)
        elif isinstance(value, str) and (_PATH.search(value) or str(home.root) in value):
            raise ReleaseRefused(f"'{where}' of the candidate set names a path on this machine; excite without it")
