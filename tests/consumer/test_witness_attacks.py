"""What a custodian, or somebody with its TLS key, can try with the log's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.config import Home
from consumer.enrolment import Custodian
from consumer.witness import CONFLICT_FILE, WITNESS_FILE, accept, kept, note
from stimset.checkpoint import Checkpoint, sign_checkpoint
from stimset.errors import ConfigError, FormatError, LogForked, UnknownSigner
from stimset.merkle import consistency, grown, leaf_hash, root_hash
from stimset.signing import generate_key

ONLINE = generate_key()
KEYS = {ONLINE.keyid: ONLINE.public}


@dataclass
class Log:
    """A log in memory, and what it shows."""

    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    size: int = 0
    signer: object = ONLINE
    silent: bool = False

    def add(self, *texts: str) -> Log:
        for text in texts:
            for level, index, value in grown(self.size, leaf_hash(text.encode()), self.read):
                self.nodes[level, index] = value
            self.size += 1
        return self

    def read(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def checkpoint(self, known_size: int) -> tuple[bytes, list[bytes]] | None:
        if self.silent:
            return None
        data = sign_checkpoint(
            Checkpoint(self.size, root_hash(self.size, self.read), "2026-05-03T10:00:00Z"), self.signer
        )
        return data, consistency(known_size, self.size, self.read) if known_size <= self.size else []


@pytest.fixture
def custodian(tmp_path: Path) -> Custodian:
    folder = tmp_path / "custodians" / "hospital"
    folder.mkdir(parents=True)
    return Custodian("hospital", "Hospital", "localhost:1", "00" * 32, folder, "acme", datetime.now(UTC))


def test_a_log_that_grows_is_followed(custodian):
    log = Log()
    for size in (1, 2, 5, 8, 8, 13):
        log.add(*(f"r{i}" for i in range(log.size, size)))
        assert note(log, custodian, KEYS).size == kept(custodian).size == size
    assert not (custodian.folder / CONFLICT_FILE).exists()


def test_a_custodian_without_a_log_is_none(custodian):
    assert note(Log(silent=True), custodian, KEYS) is None
    assert kept(custodian) is None


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (Log().add("a", "b"), "records were removed"),
        (Log().add("a", "b", "X"), "does not go on"),
        (Log().add("a", "X", "c", "d", "e"), "does not go on"),
        (Log(silent=True), "shows no log any more"),
    ],
)
def test_another_past_is_refused_and_kept(custodian, shown, message):
    note(Log().add("a", "b", "c"), custodian, KEYS)
    before = (custodian.folder / WITNESS_FILE).read_bytes()
    with pytest.raises(LogForked, match=message):
        note(shown, custodian, KEYS)
    assert (custodian.folder / WITNESS_FILE).read_bytes() == before
    assert (custodian.folder / CONFLICT_FILE).exists() != shown.silent


def test_a_strangers_signature_changes_nothing(custodian):
    with pytest.raises(UnknownSigner):
        note(Log(signer=generate_key()).add("a"), custodian, KEYS)
    assert list(custodian.folder.iterdir()) == []


def test_a_damaged_witness_is_not_forgotten(custodian):
    (custodian.folder / WITNESS_FILE).write_bytes(b"{}")
    with pytest.raises(FormatError):
        note(Log().add("a"), custodian, KEYS)


def test_beginning_anew_needs_a_reason_and_throws_nothing_away(custodian, tmp_path):
    home = Home(tmp_path)
    with pytest.raises(ConfigError, match="nothing to accept"):
        accept(home, custodian, "a reason")
    note(Log().add("a", "b"), custodian, KEYS)
    with pytest.raises(ConfigError, match="--reason"):
        accept(home, custodian, " ")
    old = accept(home, custodian, "restored from a backup")
    assert old.is_file()
    assert "restored from a backup" in (tmp_path / "overrides.jsonl").read_text()
    assert note(Log().add("X"), custodian, KEYS).size == 1
