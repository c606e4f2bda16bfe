"""Signed checkpoints of the log, and holding the log against them.

Usage::

    checkpoint(home, database, online_key)                 # the daemon does it every few minutes
    findings = verify(database, home, keys)                # empty: the log is whole
    check_witness(database, partners_file, keys)           # raises LogForked
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from custodian.config import Home, write_secret
from custodian.state.base import stamp
from custodian.state.engine import Database
from custodian.state.log import NOTHING_BEFORE, CheckpointRow, LogRow, NodeRow, Nodes, length, records, state
from stimset.checkpoint import MAX_CHECKPOINT_BYTES, Checkpoint, read_checkpoint, sign_checkpoint, verify_checkpoint
from stimset.errors import FormatError, LogForked, StimsetError
from stimset.merkle import consistency, grown, leaf_hash, root_hash
from stimset.signing import PublicKey, Signer
from stimset.strict import load_json

MAX_FINDINGS = 20


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the log.

    Attributes:
        number: the first record that it is about.
        problem: one sentence.
    """

    number: int
    problem: str


def checkpoint(home: Home, database: Database, signer: Signer, now: datetime | None = None) -> Checkpoint | None:
    """Sign the log's state, if it grew since the last time; None where it did not.

    The newest one is also kept as a file in the home, apart from the database.
    """
    with database.writing() as session:
        newest = newest_checkpoint(session)
        size, root = state(session)
        if size == 0 or (newest is not None and read_checkpoint(newest).size >= size):
            return None
        made = Checkpoint(size, root, stamp(now or datetime.now(UTC)))
        envelope = sign_checkpoint(made, signer)
        session.execute(insert(CheckpointRow), [{"size": size, "envelope": envelope.decode()}])
    write_secret(home.checkpoint, envelope)
    return made


def newest_checkpoint(session: Session) -> bytes | None:
    """The newest signed checkpoint; None before the first."""
    text = session.scalar(select(CheckpointRow.envelope).order_by(CheckpointRow.size.desc()).limit(1))
    return None if text is None else text.encode()


def shown(database: Database, known: int) -> tuple[bytes | None, list[bytes]]:
    """What a partner is shown that knows a checkpoint of `known` records (0: none).

    Returns:
        The newest checkpoint (None before the first one), and the proof that its log begins with the known one. The proof is
        empty where our log is not longer; the partner draws its conclusions.
    """
    with database.reading() as session:
        envelope = newest_checkpoint(session)
        if envelope is None:
            return None, []
        size = read_checkpoint(envelope).size
        return envelope, consistency(known, size, Nodes(session).read) if 0 < known < size else []


def check_witness(database: Database, data: bytes, keys: Mapping[str, PublicKey]) -> Checkpoint:
    """Hold a partner's checkpoint against the log.

    Raises:
        LogForked: the log is not the one that this checkpoint, signed by our key, was made of.
        UnknownSigner, SignatureInvalid: our key did not sign it; it says nothing about our log.
        FormatError: it is no checkpoint.
    """
    witness = verify_checkpoint(data, keys)
    with database.reading() as session:
        _hold(session, witness, "the partner's checkpoint")
    return witness


def verify(database: Database, home: Home, keys: Mapping[str, PublicKey]) -> tuple[int, list[Finding]]:
    """Read the whole log, and hold it against everything that was signed.

    Args:
        database: where it lies.
        home: where the newest checkpoint is kept as a file.
        keys: those that may have signed checkpoints.

    Returns:
        How many records there are, and what is wrong, at most `MAX_FINDINGS`; none where the log is whole.
    """
    with database.reading() as session:
        findings = [*_check_records(session), *_check_checkpoints(session, home, keys)]
        return length(session), findings[:MAX_FINDINGS]


def _check_records(session: Session) -> list[Finding]:
    """Numbers without gaps, each record the leaf that the tree was built from, each the successor of the one before."""
    findings: list[Finding] = []
    tree: dict[tuple[int, int], bytes] = {}
    expected, previous, sound = 0, NOTHING_BEFORE, True
    for row in records(session):
        if row.number != expected:
            findings.append(Finding(expected, f"record {expected} is missing; the next one is {row.number}"))
            sound = False
        own = leaf_hash(row.record.encode())
        stored = session.scalar(select(NodeRow.hash).where(NodeRow.level == 0, NodeRow.position == row.number))
        findings += _check_record(row, own.hex() == stored, previous)
        leaf = (
            own if stored is None else bytes.fromhex(stored)
        )  # so that one changed record is named, not all that follow
        previous, expected = leaf.hex(), row.number + 1
        if sound:  # a gap shifts every subtree above; the records and leaves are still looked at
            findings += _grow(session, tree, row.number, leaf)
        if len(findings) >= MAX_FINDINGS:
            break
    beyond = session.scalar(select(NodeRow.position).where(NodeRow.level == 0, NodeRow.position >= expected).limit(1))
    if beyond is not None and len(findings) < MAX_FINDINGS:
        findings.append(Finding(expected, f"record {expected} and all after it were removed: the tree knows them"))
    return findings


def _check_record(row: LogRow, unchanged: bool, previous: str) -> list[Finding]:
    n = row.number
    if not unchanged:
        return [Finding(n, f"record {n} was changed: it is not what the tree was built from")]
    try:
        document = load_json(row.record.encode(), limit=MAX_CHECKPOINT_BYTES << 2, what=f"record {n}")
        told, follows = document.get("number"), document.get("previous")
    except (FormatError, AttributeError):
        return [Finding(n, f"record {n} can't be read")]
    if told != n:
        return [Finding(n, f"record {n} was moved: it says that it is number {str(told)[:20]}")]
    if follows != previous:
        return [
            Finding(n, f"record {n} does not follow from record {n - 1}: one of them was changed, removed or moved")
        ]
    return []


def _grow(session: Session, tree: dict[tuple[int, int], bytes], number: int, leaf: bytes) -> list[Finding]:
    """Build the tree anew beside the stored one; only the right edge is kept in memory."""
    findings = []
    for level, position, value in grown(number, leaf, lambda level, position: tree[level, position]):
        tree[level, position] = value
        if level:
            tree.pop((level - 1, position * 2), None)
            tree.pop((level - 1, position * 2 + 1), None)
            stored = session.scalar(select(NodeRow.hash).where(NodeRow.level == level, NodeRow.position == position))
            if stored != value.hex():
                findings.append(
                    Finding(position << level, f"the tree over records {position << level} to {number} was changed")
                )
    return findings


def _check_checkpoints(session: Session, home: Home, keys: Mapping[str, PublicKey]) -> list[Finding]:
    findings, whole = [], 0
    kept = [text.encode() for text in session.scalars(select(CheckpointRow.envelope).order_by(CheckpointRow.size))]
    if home.checkpoint.is_file():
        kept.append(home.checkpoint.read_bytes()[: MAX_CHECKPOINT_BYTES + 1])
    for data in kept:
        try:
            signed = verify_checkpoint(data, keys)
            _hold(session, signed, "a checkpoint that our own key signed")
            whole = max(whole, signed.size)
        except LogForked as error:
            where = f"; the fault lies at record {whole} or after it" if whole else ""
            findings.append(Finding(whole, f"{error}{where}"))
        except StimsetError as error:
            findings.append(Finding(whole, f"a checkpoint can't be believed: {error}"))
    return findings


def _hold(session: Session, witness: Checkpoint, what: str) -> None:
    size = length(session)
    if witness.size > size:
        raise LogForked(
            f"{what} of {witness.time} saw {witness.size} records, the log has {size}: record {size} and those after it were removed"
        )
    if not hmac.compare_digest(root_hash(witness.size, Nodes(session).read), witness.root):
        raise LogForked(
            f"{what} of {witness.time} saw other records than the first {witness.size} of the log: it was rewritten"
        )
