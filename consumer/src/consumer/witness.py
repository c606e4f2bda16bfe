"""A custodian's log as we were shown it: we can't read it, but we notice when it is changed, shortened, or shown differently to us.

At every contact the custodian shows a checkpoint of its log, signed by its daemon's key, and the proof that this log begins with the one
that we saw before (RFC 6962). The newest one is kept: given to the custodian, or compared between partners, it is a witness.

::

    HOME/custodians/NAME/witness.json             the newest checkpoint
    HOME/custodians/NAME/witness.conflict.json    one that does not go on from it: keep both, they prove it

Usage::

    note(client, custodian, current_root(custodian).online)      # raises LogForked
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from consumer.config import Home
from consumer.enrolment import Custodian
from consumer.standing import OVERRIDES_FILE, bounded, write_whole
from stimset.checkpoint import MAX_CHECKPOINT_BYTES, Checkpoint, read_checkpoint, verify_checkpoint
from stimset.errors import ConfigError, LogForked
from stimset.merkle import check_consistency
from stimset.signing import PublicKey

WITNESS_FILE, CONFLICT_FILE = "witness.json", "witness.conflict.json"


class CheckpointSource(Protocol):
    """Where checkpoints come from; `consumer.client.Client` is the one over gRPC."""

    def checkpoint(self, known_size: int) -> tuple[bytes, Sequence[bytes]] | None:
        """The newest checkpoint and its proof from `known_size` records on, bounded, not verified; None where there is none."""


def note(source: CheckpointSource, custodian: Custodian, keys: Mapping[str, PublicKey]) -> Checkpoint | None:
    """Ask for the log's checkpoint, hold it against the one that we keep, and keep it.

    Args:
        source: the connection.
        custodian: whose log it is.
        keys: those that may sign it, by the custodian's newest root.

    Returns:
        The newest checkpoint; None where the custodian has never shown one.

    Raises:
        LogForked: the log does not go on from what we saw; what was shown is kept beside our witness.
        UnknownSigner, SignatureInvalid, FormatError: what was shown is no checkpoint of this custodian.
        TransportError, PolicyDenied: it can't be asked.
    """
    known = kept(custodian)
    shown = source.checkpoint(0 if known is None else known.size)
    if shown is None:
        if known is not None:
            raise LogForked(
                f"the custodian shows no log any more; on {known.time} it had {known.size} records, ask it why"
            )
        return None
    envelope, proof = shown
    newest = verify_checkpoint(envelope, keys)
    if known is not None:
        try:
            _goes_on(known, newest, proof)
        except LogForked:
            write_whole(custodian.folder / CONFLICT_FILE, envelope)
            raise
    write_whole(custodian.folder / WITNESS_FILE, envelope)
    return newest


def kept(custodian: Custodian) -> Checkpoint | None:
    """The newest checkpoint that we keep; None before the first.

    Raises:
        FormatError, ConfigError: it is damaged, or can't be read.
    """
    path = custodian.folder / WITNESS_FILE
    return read_checkpoint(bounded(path, MAX_CHECKPOINT_BYTES)) if path.is_file() else None


def accept(home: Home, custodian: Custodian, reason: str) -> Path:
    """Begin anew with the custodian's log, because it explained why it changed; that is recorded, and nothing is thrown away.

    Returns:
        Where the old witness lies now.

    Raises:
        ConfigError: there is no witness, or no reason.
    """
    path = custodian.folder / WITNESS_FILE
    known = kept(custodian)
    if known is None:
        raise ConfigError("no witness is kept of this custodian; there is nothing to accept")
    if not reason.strip():
        raise ConfigError("say by --reason why the custodian's log may begin anew; it is recorded")
    old = custodian.folder / f"witness.{known.size}-{known.root.hex()[:8]}.json"
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    entry = {
        "time": now, "custodian": custodian.short_name, "log_size": known.size, "log_root": known.root.hex(),
        "reason": reason.strip()[:1000],
    }  # fmt: skip
    with (home.root / OVERRIDES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    path.rename(old)
    return old


def _goes_on(known: Checkpoint, newest: Checkpoint, proof: Sequence[bytes]) -> None:
    if newest.size < known.size:
        raise LogForked(
            f"the custodian's log has {newest.size} records, on {known.time} it had {known.size}: records were removed, or a backup was "
            "restored; ask the custodian, and keep the witness file"
        )
    check_consistency(known.size, known.root, newest.size, newest.root, proof)
