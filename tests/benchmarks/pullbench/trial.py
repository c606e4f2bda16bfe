"""One measured pull in a process of its own: argv is what, the partner's home, the address, the release, and a folder; it prints JSON.

``stream`` throws the bytes away, ``written`` writes, hashes and syncs them (`consumer.download.fetch`), ``pull`` is all of it: the channel,
the files, the verification of the whole folder. With a number of seconds, `stream` says ``ready``, waits for a line, and reads so long.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from contextlib import suppress
from itertools import cycle
from pathlib import Path

from consumer import pipeline
from consumer.client import Client
from consumer.config import Home
from consumer.download import Interrupted, RetryPolicy, fetch
from consumer.enrolment import Custodian, find
from stimset.errors import FormatError
from stimset.release import FileEntry
from stimset.roots import TrustedRoot
from stimset.verifying import verify_envelope


def main(what: str, home_folder: str, address: str, release_id: str, folder: str, seconds: str = "0") -> None:
    """Measure one."""
    home = Home.open(Path(home_folder))
    custodian = find(home, None)
    root = TrustedRoot.load(custodian.root_file, custodian.fingerprint)
    if float(seconds):
        print(json.dumps(_share(home, custodian, address, release_id, root, float(seconds))))
        return
    began, used = time.perf_counter(), _cpu_s()
    with Client.to(custodian, home, address=address) as client:
        if what == "pull":
            pipeline.pull(home, custodian, client, release_id)
        else:
            for entry in _shards(client, release_id, root):
                if what == "stream":
                    deque(client.read(release_id, entry.name, 0, entry.size), maxlen=0)
                else:
                    fetch(client, release_id, entry, Path(folder), RetryPolicy(), lambda size: None)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": _cpu_s() - used}))


def _share(home: Home, custodian: Custodian, address: str, release_id: str, root: TrustedRoot, seconds: float) -> dict[str, float]:
    """What one of many gets that are connected and begin together: read again and again for so long."""
    received = 0
    with Client.to(custodian, home, address=address, policy=RetryPolicy(short_attempts=30, longest_wait_s=2.0)) as client:
        shards = _shards(client, release_id, root)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        for entry in cycle(shards):
            with suppress(Interrupted):  # as a pull would go on
                for piece in client.read(release_id, entry.name, 0, entry.size):
                    received += len(piece)
                    if time.perf_counter() - began > seconds:
                        return {"seconds": seconds, "bytes": received}
    raise FormatError(f"{release_id} has no shards")


def _shards(client: Client, release_id: str, root: TrustedRoot) -> list[FileEntry]:
    _, statement = verify_envelope(client.envelope(release_id), root)
    return [entry for entry in statement.subjects if entry.name in statement.predicate.shards]


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main(*sys.argv[1:])
