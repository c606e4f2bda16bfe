"""Both sides as two organisations have them: the installed commands, a home each, a daemon between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from consumer import enrolment
from consumer.client import Client
from consumer.config import Home as ConsumerHome
from stimset.v1 import release_service_pb2 as pb

BIN = Path(sys.executable).parent
PASSPHRASE = "for the tests of both sides"
READY_SECONDS = 30
# What a curious partner might ask for.
REFUSED_FILES = ("../../../cohort/windows.safetensors", "../../teacher/teacher.safetensors", "cohort.json", "x" * 300)
REFUSED_RELEASES = ("../cohort", "main", "", "nobody-0001")


@dataclass(frozen=True)
class Side:
    """One organisation: its command, its home, and nothing of the other side's in its environment.

    Attributes:
        command: ``custodian`` or ``consumer``.
        home: its home folder.
        secrets: what only this side's environment holds.
    """

    command: str
    home: Path
    secrets: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CUSTODIAN_", "CONSUMER_", "COLUMNS"))}
        return {**kept, f"{self.command.upper()}_HOME": str(self.home), "OMP_NUM_THREADS": "1", **dict(self.secrets)}

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([BIN / self.command, *map(str, arguments)], env=self.environment, **options)

    def run(self, *arguments: object, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one command as a user types it."""
        done = subprocess.run(
            [BIN / self.command, *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        said = f"{self.command} {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == exit_code, said
        return done

    def json(self, *arguments: object) -> dict[str, Any]:
        """Run one command and read what it says to scripts."""
        return json.loads(self.run(*arguments, "--format", "json").stdout)


@dataclass(frozen=True)
class BothSides:
    """A hospital and a partner in one folder, strangers to each other until `enrol`."""

    folder: Path
    hospital: Side
    partner: Side

    @classmethod
    def make(cls, folder: Path, *, hospital: str = "Test Hospital", partner: str = "Test Partner") -> BothSides:
        """Both homes, by ``init``."""
        passphrase = (("CUSTODIAN_PASSPHRASE", PASSPHRASE),)
        both = cls(folder, Side("custodian", folder / "hospital", passphrase), Side("consumer", folder / "partner"))
        both.hospital.run("init", "--name", hospital)
        both.partner.run("init", "--name", partner)
        return both

    @property
    def log(self) -> Path:
        """What the daemon wrote on stdout and stderr."""
        return self.folder / "daemon.log"

    def enrol(self, address: str, *grants: str) -> None:
        """Certificate, grant, pinned root: with both telephone calls."""
        request = self.partner.home / "tls" / enrolment.REQUEST_FILE
        for_partner = self.folder / "for-partner"
        granted = [word for grant in grants for word in ("--grant", grant)]
        done = self.hospital.json(
            "partner", "add", "partner", "--csr", request, "--out", for_partner, "--address", address, *granted
        )  # fmt: skip
        self.partner.json("trust", "add", for_partner, "--fingerprint", done["root_fingerprint"], "--as", "hospital")

    @contextmanager
    def served(self) -> Iterator[str]:
        """The daemon in a process of its own, at the address that is yielded; it must end in good order."""
        ready = self.folder / "ready"
        with self.log.open("ab") as log:
            daemon = self.hospital.start("serve", "--address", "127.0.0.1:0", "--ready-file", ready, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not ready.exists():
                assert daemon.poll() is None and time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
            yield ready.read_text().strip()
            daemon.terminate()
            assert daemon.wait(20) == 0, self.log.read_text()
        finally:
            daemon.kill()
            daemon.wait(10)
            ready.unlink(missing_ok=True)

    def answers(self, address: str, release_id: str) -> bytes:
        """All that the daemon says to the partner: catalogue, envelope, every file, and its refusals, as received."""
        home = ConsumerHome(self.partner.home)
        received: list[bytes] = []
        with Client.to(enrolment.find(home, None), home, address=address) as client:
            stub = client._stub
            received.append(stub.ListReleases(pb.ListReleasesRequest(), timeout=20).SerializeToString())
            release = stub.GetRelease(pb.GetReleaseRequest(release_id=release_id), timeout=20)
            received.append(release.SerializeToString())
            for hint in release.files:
                wanted = pb.ReadFileRequest(release_id=release_id, file_name=hint.name, limit=hint.size)
                # The messages' payloads back to back, so that nothing hides across the border of two messages.
                received.append(b"".join(message.data for message in stub.ReadFile(wanted, timeout=60)))
            for name in REFUSED_FILES:
                wanted = pb.ReadFileRequest(release_id=release_id, file_name=name, limit=100)
                received.append(refusal(stub.ReadFile, wanted))
            received += [refusal(stub.GetRelease, pb.GetReleaseRequest(release_id=name)) for name in REFUSED_RELEASES]
        return b"\n".join(received)


def refusal(call: Any, request: Any) -> bytes:
    """Everything that comes back from a call that must be refused."""
    try:
        answer = call(request, timeout=20)
        answer = list(answer) if isinstance(answer, Iterator) else answer
    except grpc.RpcError as error:
        trailing = b"".join(f"{key}={value}".encode() for key, value in error.trailing_metadata() or ())
        return f"{error.code().name} {error.details()} {error.debug_error_string()}".encode() + trailing
    raise AssertionError(f"not refused, but answered with {answer!r:.200}")
