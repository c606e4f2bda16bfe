"""The reckoning: the log of decisions against the partners' own diaries.

A partner writes 'ask' before a call leaves and 'got' after its first piece came; the daemon records 'serve' in between. So for every
range, got <= serve <= ask: a serve less than a got is a lost record, one more than the asks is a double one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Range = tuple[str, str, int, int]  # partner, file, offset, bytes; an envelope's bytes are left out


@dataclass
class Diaries:
    """What all partners wrote down.

    Attributes:
        asked, got: how often each range.
        reread: for each diary, bytes that it asked for though they lay on its disk.
        peaks_mib: largest memory of each process that ended well.
        ends: how each process ended that was not killed.
    """

    asked: Counter[Range] = field(default_factory=Counter)
    got: Counter[Range] = field(default_factory=Counter)
    reread: dict[str, int] = field(default_factory=dict)
    peaks_mib: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def read(self, path: Path) -> None:
        """Add one diary."""
        partner, reread = "", 0
        for line in path.read_text().splitlines():
            kind, *words = line.split(" ")
            if kind == "begin":
                partner = words[0][:16]
            elif kind == "ask":
                name, offset, limit, held = words[0], *map(int, words[1:4])
                self.asked[partner, name, offset, limit] += 1
                reread += max(0, held - offset) if limit else 0
            elif kind == "got":
                self.got[partner, words[0], int(words[1]), int(words[2])] += 1
            else:
                self.ends[words[0]] += 1
                self.peaks_mib += [float(words[1])] if words[0] == "verified" else []
        self.reread[path.stem] = reread


def last_end(path: Path) -> tuple[str, str]:
    """How the last process of a diary ended: 'verified' or the class of an error, and its message; empty where it was killed."""
    lines = path.read_text().splitlines() if path.exists() else []
    kind, _, rest = lines[-1].partition(" ") if lines else ("", "", "")
    name, _, message = rest.partition(" ")
    return (name, message) if kind == "end" else ("", "")


def served(records: Iterable[Mapping[str, Any]], envelope: str) -> Counter[Range]:
    """How often the log says that each range was served."""
    found: Counter[Range] = Counter()
    for record in records:
        if record["event"] == "serve":
            facts = record["facts"]
            size = 0 if facts["file"] == envelope else facts["bytes"]
            found[facts["partner"], facts["file"], facts["offset"], size] += 1
    return found


def differences(diaries: Diaries, log: Counter[Range]) -> tuple[Sequence[Range], Sequence[Range]]:
    """Ranges whose record is lost, and ranges that are recorded more often than they were asked for."""
    lost = [key for key, count in diaries.got.items() if log[key] < count]
    double = [key for key, count in log.items() if count > diaries.asked[key]]
    return lost, double
