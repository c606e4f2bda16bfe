"""What was published, withdrawn or signed lies on the disk; here it enters the log, each decision once.

A file that is renamed and a row that is written can't be one transaction. So nothing is recorded by the way: `settle` compares what lies
in the home with what the log knows, and enters what is missing. Every command that changes something ends with it, and the daemon
begins with it, so a crash in between neither loses a record nor doubles one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from custodian.config import Home
from custodian.publish import channel
from custodian.publish.store import ReleaseStore, ReleaseSummary
from custodian.state.log import Entry, record, short

MAX_RELEASE_IDS = 10_000


def settle(home: Home) -> None:
    """Enter in the log what stands, was withdrawn or proposed, and is not in it yet.

    Raises:
        ConfigError, TransportError: the database can't be used.
    """
    entries = [*_releases(home), *_withdrawn(home), *_channel(home)]
    if entries:
        record(home, *entries)


def _releases(home: Home) -> Iterator[Entry]:
    for summary in _list(home.releases):
        statement, signers = summary.statement_sha256, [short(keyid) for keyid in summary.signed_by]
        yield Entry(
            "publish",
            once=f"publish:{summary.release_id}:{statement}",
            release=summary.release_id,
            statement=statement,
            signers=signers,
        )


def _withdrawn(home: Home) -> Iterator[Entry]:
    for summary in _list(home.withdrawn):
        statement = summary.statement_sha256
        yield Entry(
            "withdraw",
            once=f"withdraw:{summary.release_id}:{statement}",
            release=summary.release_id,
            statement=statement,
        )


def _channel(home: Home) -> Iterator[Entry]:
    if version := channel.current_version(home):
        yield Entry("renew", once=f"renew:{version}", targets=version)


def _list(folder: Path) -> tuple[ReleaseSummary, ...]:
    return tuple(ReleaseStore(folder).list())[:MAX_RELEASE_IDS]
