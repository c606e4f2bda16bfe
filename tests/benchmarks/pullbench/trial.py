"""One measured pull in a process of its own: argv is what, the partner's home, the address, the release, and a folder; it prints JSON.

``stream`` throws the bytes away, ``written`` writes, hashes and syncs them (`consumer.download.fetch`), ``pull`` is all of it: the channel,
the files, the verification of the whole folder. With a number of seconds, `stream` says ``ready``, waits for a line, and reads so long.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from consumer import pipeline
from consumer.client import Client
from consumer.config import Home
from consumer.download import RetryPolicy, fetch
from consumer.enrolment import find
from stimset.release import FileEntry
from stimset.roots import TrustedRoot
from stimset.verifying import verify_envelope


def main(what: str, home_folder: str, address: str, release_id: str, folder: str, seconds: str = "0") -> None:
    """Measure one."""
    home = Home.open(Path(home_folder))
    custodian = find(home, None)
    root = TrustedRoot.load(custodian.root_file, custodian.fingerprint)
    if float(seconds):  # one of many that begin together
        print("ready", flush=True)
        sys.stdin.readline()
    began, used, received = time.perf_counter(), _cpu_s(), 0
    with Client.to(custodian, home, address=address) as client:
        if what == "pull":
            pipeline.pull(home, custodian, client, release_id)
        else:
            _, statement = verify_envelope(client.envelope(release_id), root)
            shards = [entry for entry in statement.subjects if entry.name in statement.predicate.shards]
            if what == "stream":
                received = _stream(client, release_id, shards, began + float(seconds) if float(seconds) else float("inf"))
            else:
                for entry in shards:
                    fetch(client, release_id, entry, Path(folder), RetryPolicy(), lambda size: None)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": _cpu_s() - used, "bytes": received}))


def _stream(client: Client, release_id: str, shards: list[FileEntry], end: float) -> int:
    """Read until all is read, or again and again until the moment `end`; how many bytes came."""
    received = 0
    while True:
        for entry in shards:
            for piece in client.read(release_id, entry.name, 0, entry.size):
                received += len(piece)
                if time.perf_counter() > end:
                    return received
        if end == float("inf"):
            return received


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main(*sys.argv[1:])
