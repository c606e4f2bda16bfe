"""What lies on the officer's desk, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    """How far a proposal is, as its folder says; `Desk.examine` tells whether that is true."""

    WAITING = "waits for you"
    APPROVED = "signed by you"
    REJECTED = "rejected by you"
    BROKEN = "can't be read"


class Kind(StrEnum):
    """What is asked for."""

    RELEASE = "a release"
    CHANNEL = "a change of the channel, without a release"
    OVERRIDE = "an override: the gate refused this set"


@dataclass(frozen=True)
class Item:
    """One folder on the desk, or the file of an override.

    Attributes:
        name: the folder's or the file's.
        folder: where it lies.
        kind: what it asks for, in words.
        state: how far it is.
    """

    name: str
    folder: Path
    kind: Kind
    state: State


@dataclass(frozen=True)
class Decision:
    """What was decided while the page was open.

    Attributes:
        name: of the proposal.
        approved: or rejected.
        digest: SHA-256 (hex) of what it was about.
        folder: what goes back to the custodian; None where the custodian's home took note already and nothing is left to do.
        command: what follows there.
    """

    name: str
    approved: bool
    digest: str
    folder: Path | None
    command: str = "custodian release publish"
