"""What lies on the officer's desk, and what was decided about it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stimset.errors import ConfigError, ContentMismatch, FileMissing
from stimset.words import same_words


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


def found(items: Sequence[Item], name: str, what: str) -> Item:
    """The item of this name; raises FileMissing where there is none."""
    for item in items:
        if item.name == name:
            return item
    raise FileMissing(f"no {what} of the name '{name[:80]}' lies here any more")


def hold_waiting(item: Item) -> None:
    """Raise ConfigError where this was decided already."""
    if item.state is not State.WAITING:
        raise ConfigError(f"{item.name} is decided already: {item.state}")


def hold_shown(name: str, lies: str, shown: str) -> None:
    """Raise ContentMismatch where the digest of what lies here is not that of what was shown."""
    if not hmac.compare_digest(lies.encode(), shown.encode()):
        raise ContentMismatch(f"{name} was changed while you looked at it; read it again")


def hold_words(words: str, wanted: str, instead: str) -> None:
    """Raise ContentMismatch where other words were heard; `instead` is what to do then."""
    if not same_words(words, wanted):
        raise ContentMismatch(
            "the words are not those of what lies here. Ask for them again; if they still differ, somebody changed it on the way: "
            f"{instead} call the custodian"
        )
