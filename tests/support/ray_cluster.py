"""A real Ray cluster on this machine, with a token and encryption as a hospital's should have. Needs the extra ``[ray]``."""

import datetime
import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="needs stimset-custodian[ray]")


def running() -> Iterator[tuple[int, str]]:
    """Every process: its number and command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """The head's address; this process's environment is set so that it may speak to it."""
    port = free_port()
    token = folder / "token"
    token.write_text("f" * 64)
    token.chmod(0o600)
    settings = {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0", **encryption(folder),
    }  # fmt: skip
    # Ray's sockets need a short path.
    session = Path("/tmp") / f"ray-{os.getpid()}"
    command = [sys.executable, "-m", "ray.scripts.scripts"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        subprocess.run(
            [*command, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
             f"--temp-dir={session}", "--object-store-memory=200000000"], check=True, capture_output=True,
        )  # fmt: skip
        head = {pid for pid, line in running() if str(session) in line}
        try:
            yield f"127.0.0.1:{port}"
        finally:
            for how in (signal.SIGTERM, signal.SIGKILL):
                for pid in head | {pid for pid, line in running() if str(session) in line}:
                    with suppress(ProcessLookupError):
                        os.kill(pid, how)
                time.sleep(2)
            shutil.rmtree(session, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def encryption(folder: Path) -> dict[str, str]:
    """A certificate for this machine that signs itself, and Ray's settings that name it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ray")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        ).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ray.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ray.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "ray.key").chmod(0o600)
    return {
        "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": str(folder / "ray.crt"), "RAY_TLS_SERVER_KEY": str(folder / "ray.key"),
        "RAY_TLS_CA_CERT": str(folder / "ray.crt"),
    }  # fmt: skip
