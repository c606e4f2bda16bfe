"""The officer's desk: the proposals in a folder, and the two decisions about each; overrides are `custodian.review.overrides`.

Everything is examined anew for every look and once more before a signature (`custodian.publish.officer`), so what is signed is what was
shown. The passphrase stays in memory for as long as the page is open; keys are opened for a decision only.

Usage::

    desk = Desk(stick, officer_home, passphrase())
    desk.items(); found = desk.examine("apnea-0001")
    desk.approve("apnea-0001", found.digest, typed="apnea-0001", words=heard)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from tuf.api.metadata import Targets

from custodian.config import Home
from custodian.publish.channel import MAX_METADATA_BYTES
from custodian.publish.keys import load_person
from custodian.publish.officer import OFFICER, Proposal, approve, examine, read_keys
from custodian.publish.publishing import RELEASE_FOLDER, TARGETS_FILE, record_approval
from custodian.publish.rejecting import REJECTION_FILE, install_rejection, reject
from custodian.publish.reports import read_report, report_carried
from custodian.review.items import Decision, Item, Kind, State, found, hold_shown, hold_waiting, hold_words
from custodian.review.overrides import BESIDE_SETS, CARRIED, Overrides
from stimset.envelope import parse_envelope
from stimset.errors import ConfigError, ContentMismatch, FileMissing, StimsetError
from stimset.plainfiles import read_plain
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES
from stimset.roots import read_metadata

MAX_ITEMS = 200


class Desk:
    """Proposals that wait, and the officer's hand; safe to use from many threads, one decision at a time.

    Args:
        waiting: a folder of proposals as they were carried here, or one of them.
        officer: the officer's home.
        passphrase: of the officer's keys.
        home: the custodian's, where both homes lie on one machine: decisions enter its log at once. None where the folder is carried back.

    Raises:
        ConfigError: the folder or the keys are missing, or the passphrase is wrong.
    """

    def __init__(self, waiting: Path, officer: Path, passphrase: str, home: Home | None = None) -> None:
        if not waiting.is_dir():
            raise ConfigError(f"{waiting} is no folder; name the one that the custodian carried to you")
        load_person(officer / "keys", OFFICER, passphrase)
        self._own = frozenset(key.keyid for key in read_keys(officer / f"{OFFICER}.keys.json", OFFICER))
        self._waiting, self._officer, self._passphrase, self._home = waiting, officer, passphrase, home
        self._lock = Lock()
        self.decisions: list[Decision] = []
        places = [(waiting, CARRIED), *([(home.candidates(""), BESIDE_SETS)] if home else [])]
        self.overrides = Overrides(places, officer, passphrase, self._own, self._lock, self.decisions)

    def items(self) -> tuple[Item, ...]:
        """What lies here, by name; at most `MAX_ITEMS`.

        Raises:
            ConfigError: the folder can't be listed.
        """
        if (self._waiting / TARGETS_FILE).is_file():
            return (self._item(self._waiting.resolve()),)
        try:
            paths = sorted(path for path in self._waiting.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise ConfigError(f"{self._waiting} can't be listed ({error.strerror})") from None
        folders = [path for path in paths if path.is_dir() and not path.is_symlink() and (path / TARGETS_FILE).exists()]
        return tuple(self._item(path) for path in folders[:MAX_ITEMS])

    def item(self, name: str) -> Item:
        """One of them; raises FileMissing where it is none."""
        return found(self.items(), name, "proposal")

    def examine(self, name: str) -> Proposal:
        """What is proposed, checked as `custodian.publish.officer.examine` does, and raising what it raises."""
        return examine(self.item(name).folder, self._officer)

    def has_report(self, proposal: Proposal) -> bool:
        """Whether the gate's report was carried along; raises ContentMismatch where it is not the signed one."""
        return proposal.statement is not None and report_carried(proposal.folder, proposal.statement.predicate.gate.report)

    def report(self, name: str) -> bytes:
        """The gate's report as HTML.

        Raises:
            FileMissing: none was carried along.
            ContentMismatch: it is not the one whose digest is signed.
        """
        proposal = self.examine(name)
        digests = None if proposal.statement is None else proposal.statement.predicate.gate.report
        if digests is None:
            raise FileMissing(f"{name} comes without a report of the gate")
        return read_report(proposal.folder, digests)

    def approve(self, name: str, digest: str, *, typed: str, words: str) -> Decision:
        """Sign a proposal.

        Args:
            name: which one.
            digest: of what was shown.
            typed: the release's id once more, by hand.
            words: the six words, as the other person read them out.

        Raises:
            ContentMismatch: name or words are others, or the folder was changed since it was shown.
            VerificationError, ConfigError: as `custodian.publish.officer.approve`.
        """
        with self._deciding(name, digest) as proposal:
            if typed.strip() != proposal.name:
                raise ContentMismatch(f"the name does not match: type {proposal.name} to approve it")
            hold_words(words, proposal.words, "reject it, or")
            self.has_report(proposal)
            approve(proposal, self._officer, self._passphrase)
            self._note(lambda home: record_approval(home, proposal.name, digest, _signers(proposal.folder)))
            return self._decided(Decision(proposal.name, True, digest, proposal.folder))

    def reject(self, name: str, digest: str, *, reason: str) -> Decision:
        """Sign a rejection with a reason.

        Raises:
            FormatError: the reason is too short or too long.
            ContentMismatch: the folder was changed since it was shown.
            VerificationError, ConfigError: as `custodian.publish.rejecting.reject`.
        """
        with self._deciding(name, digest) as proposal:
            reject(proposal, self._officer, self._passphrase, reason)
            noted = self._note(lambda home: install_rejection(home, proposal.folder))
            return self._decided(Decision(proposal.name, False, digest, None if noted else proposal.folder))

    @contextmanager
    def _deciding(self, name: str, digest: str) -> Iterator[Proposal]:
        """The proposal that was shown, while nothing else is decided."""
        with self._lock:
            item = self.item(name)
            hold_waiting(item)
            proposal = examine(item.folder, self._officer)
            hold_shown(name, proposal.digest, digest)
            yield proposal

    def _note(self, tell: Callable[[Home], object]) -> bool:
        """Let the custodian's home on this machine know at once, where there is one.

        The decision stands either way: what can't be noted now, 'release publish' notes from what was signed.
        """
        if self._home is None:
            return False
        try:
            tell(self._home)
        except StimsetError:
            return False
        return True

    def _decided(self, decision: Decision) -> Decision:
        self.decisions.append(decision)
        return decision

    def _item(self, folder: Path) -> Item:
        kind = Kind.RELEASE if (folder / RELEASE_FOLDER).is_dir() else Kind.CHANNEL
        try:
            targets = read_metadata(read_plain(folder, TARGETS_FILE, MAX_METADATA_BYTES), Targets)
            state = State.APPROVED if self._own <= set(targets.signatures) else State.WAITING
        except StimsetError:
            state = State.BROKEN
        if (folder / REJECTION_FILE).exists():
            state = State.REJECTED
        return Item(folder.name, folder, kind, state)


def _signers(folder: Path) -> list[str]:
    """Ids of the keys that have signed a proposal, sorted."""
    if (folder / RELEASE_FOLDER).is_dir():
        envelope = parse_envelope(read_plain(folder / RELEASE_FOLDER, ENVELOPE_FILE, MAX_ENVELOPE_BYTES))
        return sorted(signature.keyid for signature in envelope.signatures)
    targets = read_metadata(read_plain(folder, TARGETS_FILE, MAX_METADATA_BYTES), Targets)
    return sorted(targets.signatures)
