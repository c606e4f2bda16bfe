"""A custodian with a real release, a daemon in its own process, an enrolled consumer: where the wire's tests start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import tiny_release
from consumer import enrolment
from consumer.client import Client
from consumer.config import Home as ConsumerHome
from consumer.download import RetryPolicy
from custodian.config import Home, Settings
from custodian.service import pki
from custodian.service.enrolment import enrol
from custodian.service.homes import create_home
from stimset.roots import TrustedRoot
from stimset.v1 import release_service_pb2_grpc as pb_grpc
from stimset.windows import SignalSpec, WindowSpec

# 64 KiB for each stimulus, so that a few hundred make a file that takes several messages.
LARGE_SPEC = WindowSpec(
    signals=(SignalSpec("rr"),), rate_hz=819.2, epoch_s=20.0, labels=("normal", "apnea"), normalisation="none"
)
QUICK = RetryPolicy(attempts=5, first_wait_s=0.05, longest_wait_s=0.5, call_s=20.0)

# Runs the command line, and leaves the names of all loaded modules behind as it ends.
_RUN = """
import atexit, os, sys
# PRELUDE
report = os.environ["MODULES_FILE"]
atexit.register(lambda: open(report, "w").write("\\n".join(sorted(sys.modules))))
from custodian.cli import main
main()
"""


@dataclass
class Daemon:
    """A running ``custodian serve``."""

    process: subprocess.Popen[bytes]
    address: str
    log_file: Path
    modules_file: Path

    @classmethod
    def start(
        cls, home: Home, folder: Path, *, address: str = "127.0.0.1:0", drain: float = 5.0, prelude: str = ""
    ) -> Daemon:
        """Start it and wait until it answers; `prelude` is code that runs first in the process, to plant a fault."""
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.log")))
        ready, log, modules = (folder / f"{number}.{suffix}" for suffix in ("ready", "log", "modules"))
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _RUN.replace("# PRELUDE", prelude),
                    "serve",
                    "--home",
                    home.root,
                    "--address",
                    address,
                    "--ready-file",
                    ready,
                    "--drain",
                    str(drain),
                ],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, "MODULES_FILE": str(modules), "OMP_NUM_THREADS": "1"},
            )
        deadline = time.monotonic() + 60
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"the daemon did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        return cls(process, ready.read_text().strip(), log, modules)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)

    def events(self, **wanted: str) -> list[dict[str, Any]]:
        """Lines of the log whose fields are as wanted."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]


@dataclass
class World:
    """Both sides, on one machine."""

    root: Path
    home: Home
    release: tiny_release.TinyRelease
    consumer: ConsumerHome
    custodian: enrolment.Custodian
    daemons: list[Daemon] = field(default_factory=list)

    @classmethod
    def make(
        cls, root: Path, *, shards: tuple[int, ...] = (3, 2), spec: WindowSpec = tiny_release.SPEC, series: str = "*"
    ) -> World:
        home = Home.at(root / "custodian")
        create_home(home, Settings("Test Hospital"), tiny_release.PASSPHRASE)
        release = tiny_release.make(home.root, home=home, shards=shards, spec=spec)
        consumer, custodian = enrol_consumer(root, home, "acme", series=(series,))
        return cls(root, home, release, consumer, custodian)

    def start(self, address: str = "127.0.0.1:0", drain: float = 5.0) -> Daemon:
        daemon = Daemon.start(self.home, self.root / "daemon", address=address, drain=drain)
        self.daemons.append(daemon)
        return daemon

    def close(self) -> None:
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()

    def client(self, address: str, policy: RetryPolicy = QUICK) -> Client:
        return Client.to(self.custodian, self.consumer, address=address, policy=policy)

    @property
    def trusted_root(self) -> TrustedRoot:
        return TrustedRoot.load(self.custodian.root_file, self.custodian.fingerprint)


def enrol_consumer(
    root: Path, home: Home, name: str, *, series: tuple[str, ...] = ("*",)
) -> tuple[ConsumerHome, enrolment.Custodian]:
    """A new consumer that has gone through the enrolment."""
    consumer = ConsumerHome.at(root / name)
    heard = enrolment.create_home(consumer, name)
    request = (consumer.tls / enrolment.REQUEST_FILE).read_bytes()
    done = enrol(home, name, request, root / f"for-{name}", series=series, key_fingerprint=heard)
    return consumer, enrolment.trust(consumer, done.folder, done.root_fingerprint)


def certificate(
    authority: pki.Authority,
    key: ec.EllipticCurvePrivateKey,
    *,
    uri: str = "stimset:partner:acme",
    begins: datetime | None = None,
    ends: datetime | None = None,
) -> x509.Certificate:
    """A client certificate with free choice of everything that `pki.issue_client` decides itself."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - timedelta(days=1))
        .not_valid_after(ends or now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def channel(
    home: Home, address: str, key: ec.EllipticCurvePrivateKey | None, leaf: x509.Certificate | None
) -> grpc.Channel:
    """A bare channel with these credentials, or without any."""
    authority = (home.tls / "ca.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(
        authority, None if key is None else key_pem(key), None if leaf is None else pki.pem(leaf)
    )
    return grpc.secure_channel(address, credentials, options=[("grpc.max_send_message_length", 64 << 20)])


def stub(bare: grpc.Channel) -> pb_grpc.ReleaseServiceStub:
    return pb_grpc.ReleaseServiceStub(bare)
