"""Requests to let a refused set leave, among what lies on the officer's desk: the gravest thing that can be asked for.

There is no rejection to be signed: what the officer does not sign counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from custodian.gate.override import MAX_OVERRIDE_BYTES, OVERRIDE_TYPE
from custodian.publish.overriding import PROPOSED_FILE, OverrideProposal, examine_override, sign_override
from custodian.review.items import Decision, Item, Kind, State, found, hold_shown, hold_waiting, hold_words
from stimset.envelope import parse_envelope
from stimset.errors import ContentMismatch, StimsetError
from stimset.plainfiles import read_plain

CARRIED, BESIDE_SETS = "*.dsse.json", f"*/{PROPOSED_FILE}"
MAX_FILES = 50
INSTALL = "custodian override install"


class Overrides:
    """Overrides that wait, and the officer's hand.

    Args:
        places: folders and which files in them: what was carried here, and the custodian's sets where both homes lie on one machine.
        officer: the officer's home.
        passphrase: of the officer's keys.
        own: ids of these keys.
        lock: of the desk: one decision at a time.
        decisions: of the desk; what is decided here is added.
    """

    def __init__(
        self, places: Sequence[tuple[Path, str]], officer: Path, passphrase: str, own: frozenset[str], lock: Lock,
        decisions: list[Decision],
    ) -> None:  # fmt: skip
        self._places, self._officer, self._passphrase, self._own = tuple(places), officer, passphrase, own
        self._lock, self._decisions = lock, decisions

    def items(self) -> tuple[Item, ...]:
        """Those that lie here, by name; at most `MAX_FILES`. Envelopes about other things are left out."""
        lying = {
            ".".join(file.relative_to(folder).parts): file
            for folder, pattern in self._places
            for file in folder.glob(pattern)
            if file.is_file() and not file.is_symlink() and not file.name.startswith(".")
        }
        return tuple(item for name in sorted(lying)[:MAX_FILES] if (item := self._item(name, lying[name])) is not None)

    def item(self, name: str) -> Item:
        """One of them; raises FileMissing where it is none."""
        return found(self.items(), name, "override")

    def examine(self, name: str) -> OverrideProposal:
        """What is asked for, checked as `custodian.publish.overriding.examine_override` does, and raising what it raises."""
        return examine_override(self.item(name).folder, self._officer)

    def approve(self, name: str, digest: str, *, typed: str, words: str) -> Decision:
        """Sign an override.

        Args:
            name: which file.
            digest: of what was shown.
            typed: the set's name, by hand.
            words: the six words, as the other person read them out.

        Raises:
            ContentMismatch: name or words are others, or the file was changed since it was shown.
            VerificationError, ConfigError: as `custodian.publish.overriding.sign_override`.
        """
        with self._lock:
            item = self.item(name)
            hold_waiting(item)
            proposal = examine_override(item.folder, self._officer)
            hold_shown(name, proposal.digest, digest)
            if typed.strip() != proposal.request.set_name:
                raise ContentMismatch(f"the name does not match: type {proposal.request.set_name} to override the gate's refusal of it")
            hold_words(words, proposal.words, "don't sign,")
            sign_override(proposal, self._officer, self._passphrase)
            decision = Decision(f"the override for {proposal.request.set_name}", True, digest, proposal.file, INSTALL)
            self._decisions.append(decision)
            return decision

    def _item(self, name: str, file: Path) -> Item | None:
        try:
            envelope = parse_envelope(read_plain(file.parent, file.name, MAX_OVERRIDE_BYTES))
        except StimsetError:
            return Item(name, file, Kind.OVERRIDE, State.BROKEN)
        if envelope.payload_type != OVERRIDE_TYPE:
            return None
        signed = self._own <= {signature.keyid for signature in envelope.signatures}
        return Item(name, file, Kind.OVERRIDE, State.APPROVED if signed else State.WAITING)
