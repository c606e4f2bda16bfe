"""What ``custodian doctor`` looks at. Each check reads, none changes anything."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from custodian.config import Home
from stimset.errors import ConfigError, StimsetError

WARN_DAYS = 30
WARN_FREE = 5 << 30
LEAST_FREE = 256 << 20
CLOCK_TOLERANCE_S = 300.0
PROBE_SECONDS = 3.0


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        check: what was looked at.
        state: how it is.
        found: what is there.
        remedy: what to do; empty where all is well.
    """

    check: str
    state: State
    found: str
    remedy: str = ""


def examine(home: Home, address: str | None = None) -> list[Finding]:
    """Run every check on `home`; a check that can't run counts as failed."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("settings", lambda: _settings(home)),
        ("home folder", lambda: _folders(home)),
        ("secrets", lambda: _secrets(home)),
        ("root", lambda: _root(home)),
        ("channel", lambda: _channel(home)),
        (
            "TLS authority",
            lambda: _certificate("TLS authority", home.tls / "ca.pem", "make a new home; partners enrol again"),
        ),
        ("TLS server", lambda: _server(home)),
        ("database", lambda: _database(home)),
        ("releases", lambda: _releases(home)),
        ("port", lambda: _port(home, address)),
        ("disk", lambda: _disk(home)),
        ("clock", lambda: _clock(home)),
        ("torch", _torch),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(check())
        except (StimsetError, OSError) as error:
            findings.append(Finding(name, State.FAILED, str(error), "see the finding, then run doctor again"))
    return findings


def _settings(home: Home) -> Finding:
    from custodian.service.server import split_address

    settings = home.settings()
    split_address(settings.address)
    return Finding("settings", State.OK, f"{settings.name}, {settings.address}")


def _folders(home: Home) -> Finding:
    for folder in (home.root, home.keys, home.tls):
        if not folder.is_dir():
            return Finding("home folder", State.FAILED, f"{folder} is missing", "restore it from a backup")
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077:
            return Finding("home folder", State.FAILED, f"{folder} has mode {mode:04o}", f"chmod 700 '{folder}'")
    return Finding("home folder", State.OK, f"{home.root}, mode 0700")


def _secrets(home: Home) -> Finding:
    from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE
    from custodian.publish.keys import BUILDER, BUILDER_FILE, ONLINE_FILE, TOKEN_SUFFIX

    builder = token if (token := f"{BUILDER}{TOKEN_SUFFIX}") and (home.keys / token).exists() else BUILDER_FILE
    names = [home.keys / n for n in (builder, ONLINE_FILE, PSEUDONYM_KEY_FILE, GATE_KEY_FILE)]
    secret = [*names, home.tls / "ca.key", home.tls / "server.key", home.database]
    for path in secret:
        if not path.is_file():
            return Finding("secrets", State.FAILED, f"{path} is missing", "restore it from a backup")
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return Finding("secrets", State.FAILED, f"{path} has mode {mode:04o}", f"chmod 600 '{path}'")
        with path.open("rb") as file:
            file.read(1)
    return Finding("secrets", State.OK, f"{len(secret)} files, each for its owner only")


def _root(home: Home) -> Finding:
    from custodian.publish.keys import own_root

    root = own_root(home)
    return _until(
        "root", root.expires, f"fingerprint {root.fingerprint[:16]}...", "make a new root; partners pin it again"
    )


def _channel(home: Home) -> Finding:
    from datetime import UTC

    from tuf.api.metadata import Targets

    from custodian.publish import channel
    from custodian.publish.keys import load_online
    from stimset.roots import read_metadata

    if not (version := channel.current_version(home)):
        return Finding("channel", State.OK, "nothing is released yet", "")
    load_online(home)
    targets = read_metadata(channel.read(home, f"{version}.targets.json") or b"", Targets).signed
    expires = targets.expires.replace(tzinfo=UTC)
    days = (expires - datetime.now(UTC)).days
    found = f"{len(targets.targets)} release(s) stand, signed until {expires:%Y-%m-%d}"
    if days < 0:
        return Finding("channel", State.FAILED, found, "custodian release renew")
    return Finding("channel", State.WARNING if days < 10 else State.OK, found, "" if days >= 10 else "custodian release renew")


def _certificate(name: str, path: Path, remedy: str) -> Finding:
    from custodian.service.pki import load_certificate

    certificate = load_certificate(path)
    return _until(name, certificate.not_valid_after_utc, path.name, remedy)


def _server(home: Home) -> Finding:
    from custodian.service.pki import load_authority

    load_authority(home.tls)
    # The daemon renews it by itself when it starts; a running one must be restarted for it.
    return _certificate(
        "TLS server", home.tls / "server.pem", "restart the daemon; it renews the certificate as it starts"
    )


def _until(name: str, end: datetime, what: str, remedy: str) -> Finding:
    left = end - datetime.now(UTC)
    found = f"{what}, valid until {end:%Y-%m-%d}"
    if left <= timedelta(0):
        return Finding(name, State.FAILED, f"{what}, expired on {end:%Y-%m-%d}", remedy)
    if left < timedelta(days=WARN_DAYS):
        return Finding(name, State.WARNING, found, remedy)
    return Finding(name, State.OK, found)


def _database(home: Home) -> Finding:
    from custodian.state.database import Partners

    if not home.settings().database and not home.database.is_file():
        return Finding("database", State.FAILED, f"{home.database} is missing", "restore it from a backup")
    partners = Partners.open(home)
    try:
        partners.check()
        everyone = partners.list()
    finally:
        partners.close()
    live = [p for p in everyone if p.revoked_at is None]
    soon = [p.name for p in live if p.expires - datetime.now(UTC) < timedelta(days=WARN_DAYS)]
    if soon:
        remedy = "enrol them again: partner revoke, then partner add"
        return Finding(
            "database", State.WARNING, f"certificates that end soon or have ended: {', '.join(soon)}", remedy
        )
    return Finding("database", State.OK, f"{len(live)} partners, {len(everyone) - len(live)} revoked certificates")


def _releases(home: Home) -> Finding:
    from custodian.publish.store import ReleaseStore

    store = ReleaseStore(home.releases)
    broken = store.broken()
    if broken:
        name, cause = next(iter(broken.items()))
        return Finding(
            "releases", State.FAILED, f"{len(broken)} can't be served; {name}: {cause}", "restore it, or remove it"
        )
    return Finding("releases", State.OK, f"{len(store.list())} can be served")


def _port(home: Home, address: str | None) -> Finding:
    """Free, or answered by our own daemon (which shows a certificate of our authority), or taken by something else."""
    from custodian.service.server import split_address

    chosen = address or home.settings().address
    host, port = split_address(chosen)
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - replaced, not listened on
    try:
        with socket.create_connection((local, port), timeout=PROBE_SECONDS) as connection:
            context = ssl.create_default_context(cafile=str(home.tls / "ca.pem"))
            context.check_hostname = False
            context.set_alpn_protocols(["h2"])
            with context.wrap_socket(connection):
                return Finding("port", State.OK, f"{chosen}: this custodian's daemon answers")
    except ssl.SSLError:
        return Finding("port", State.FAILED, f"{chosen}: something else answers", "stop it, or change 'address'")
    except ConnectionRefusedError:
        pass
    except OSError as error:
        return Finding("port", State.FAILED, f"{chosen}: {error}", "correct 'address' in custodian.toml")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding("port", State.FAILED, f"{chosen}: {error.strerror}", "change 'address' in custodian.toml")
    return Finding("port", State.OK, f"{chosen}: free, no daemon runs")


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.root).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE:
        return Finding("disk", State.FAILED, found, "make room on the home's disk")
    if free < WARN_FREE:
        return Finding("disk", State.WARNING, found, "make room on the home's disk")
    return Finding("disk", State.OK, found)


def _clock(home: Home) -> Finding:
    """Without a network there is no reference; but now can't lie before the home was made, nor before its files."""
    from custodian.service.pki import load_certificate

    made = load_certificate(home.tls / "ca.pem").not_valid_before_utc
    newest = datetime.fromtimestamp(max(p.stat().st_mtime for p in home.root.iterdir()), UTC)
    now = datetime.now(UTC)
    late = max(made, newest) - now
    if late > timedelta(seconds=CLOCK_TOLERANCE_S):
        return Finding(
            "clock", State.FAILED, f"{now:%Y-%m-%d %H:%M} UTC lies before the home's files", "set the clock (NTP)"
        )
    return Finding("clock", State.OK, f"{now:%Y-%m-%d %H:%M} UTC, {time.tzname[0]} locally")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f"torch can't be loaded ({error}); pip install 'stimset[learning]'") from None
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU only"
    return Finding("torch", State.OK, f"{torch.__version__}, {device}, {torch.get_num_threads()} threads")
