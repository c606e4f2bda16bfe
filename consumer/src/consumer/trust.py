"""What a consumer believes, and what it refuses to believe: pure rules without I/O.

The rules, in the order in which a received release meets them:

    1. the root must be the one that was pinned, and the release must verify against it   (`stimset.verifying`) 2. one
    id means one content, for ever                                                 (`Seen.check`: ContentMismatch) 3.
    a series never goes back                                                           (`Seen.check`: RollbackRefused)

Rule 3 is about what a custodian offers now. A copy that is already held, or that the user asks for by its id, is
checked by rules 1 and 2 alone (``deliberate=True``): using an older release knowingly is no attack.

Usage::

    seen = Seen.from_document(document)             # or Seen() at the first meeting
    seen.check(release)
    document = seen.accept(release).to_document()
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from stimset.errors import ContentMismatch, RollbackRefused
from stimset.provenance import MAX_SEQUENCE, statement_bytes
from stimset.release import Statement
from stimset.strict import Fields
from stimset.verifying import VerifiedRelease

MAX_SERIES = 10_000


@dataclass(frozen=True)
class Seen:
    """What was accepted so far from one custodian (one pinned root).

    Attributes:
        highest: series -> the highest sequence number that was accepted.
        statements: release id -> SHA-256 (hex) of its statement.
    """

    highest: Mapping[str, int] = field(default_factory=dict)
    statements: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "highest", MappingProxyType(dict(self.highest)))
        object.__setattr__(self, "statements", MappingProxyType(dict(self.statements)))

    def check(self, release: VerifiedRelease, *, deliberate: bool = False) -> None:
        """Return when the release agrees with what was seen before.

        Args:
            release: verified against the custodian's pinned root.
            deliberate: the user named this very release, so an older one is no rollback.

        Raises:
            ContentMismatch: a release of this id was accepted with other content.
            RollbackRefused: a later one of the series was accepted before.
        """
        predicate = release.predicate
        known = self.statements.get(release.id)
        if known is not None and known != statement_digest(release.statement):
            raise ContentMismatch(f"{release.id} was accepted earlier with other content; ask the custodian about it")
        highest = self.highest.get(predicate.name, 0)
        if not deliberate and known is None and predicate.sequence < highest:
            raise RollbackRefused(
                f"{release.id} is older than {predicate.name}-{highest:04d}, which was accepted before; "
                "name it by its id if you want it all the same"
            )

    def accept(self, release: VerifiedRelease, *, deliberate: bool = False) -> Seen:
        """What was seen, this release included; raises what `check` raises."""
        self.check(release, deliberate=deliberate)
        name, sequence = release.predicate.name, release.predicate.sequence
        return Seen(
            {**self.highest, name: max(sequence, self.highest.get(name, 0))},
            {**self.statements, release.id: statement_digest(release.statement)},
        )

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values; `from_document` reads them back."""
        return {"highest": dict(sorted(self.highest.items())), "statements": dict(sorted(self.statements.items()))}

    @classmethod
    def from_document(cls, document: object) -> Seen:
        """Read what `to_document` gave.

        Raises:
            FormatError: it is not that; a consumer that goes on without it could be rolled back.
        """
        fields = Fields(document, "seen releases", ("highest", "statements"))
        highest, statements = fields.mapping("highest", most=MAX_SERIES), fields.mapping("statements", most=1_000_000)
        numbers, digests = Fields(highest, "seen releases", highest), Fields(statements, "seen releases", statements)
        return cls(
            {name: numbers.integer(name, 1, MAX_SEQUENCE) for name in highest},
            {name: digests.text(name, least=64, most=64) for name in statements},
        )


def statement_digest(statement: Statement) -> str:
    """SHA-256 (hex) of a statement's canonical bytes: one id must always have the same."""
    return hashlib.sha256(statement_bytes(statement)).hexdigest()


