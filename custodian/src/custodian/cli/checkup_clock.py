"""The doctor's checks of the clock: certificates, timestamps and records of the log are only as true as it is."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from datetime import UTC, datetime, timedelta

from custodian.cli.checkup import Check, Finding, State
from custodian.config import Home
from stimset.errors import TransportError

TOLERANCE_S = 300.0
WARN_OFFSET_S = 5.0
PROBE_SECONDS = 3.0
NTP_PORT = 123
REMEDY = "set the clock, and keep it by NTP (chrony, systemd-timesyncd)"
_NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


def checks(home: Home, time_server: str | None) -> list[Check]:
    """This module's checks."""
    found: list[Check] = [("clock", lambda: _against_files(home)), ("clock synchronisation", _kernel)]
    if time_server is not None:
        found.append(("time server", lambda: _against_server(time_server)))
    return found


def offset(server: str) -> float:
    """Seconds by which a server's clock is ahead of ours (SNTP, RFC 4330, one question).

    Args:
        server: ``HOST`` or ``HOST:PORT``.

    Raises:
        TransportError: it does not answer, or not as a synchronised server does.
    """
    host, _, port = server.partition(":")
    question = struct.pack("!B47x", 0x23)  # version 4, client
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(PROBE_SECONDS)
            asking.connect((host, int(port or NTP_PORT)))
            sent = time.time()
            asking.send(question)
            answer = asking.recv(1024)
            received = time.time()
    except (OSError, ValueError) as error:
        raise TransportError(
            f"the time server {server[:80]} does not answer ({error}); give another --time-server"
        ) from None
    if len(answer) < 48 or answer[0] & 7 != 4 or not 0 < answer[1] < 16:
        raise TransportError(f"{server[:80]} is no synchronised time server; give another --time-server")
    arrived, left = (_seconds(answer, at) for at in (32, 40))
    return ((arrived - sent) + (left - received)) / 2


def _seconds(packet: bytes, at: int) -> float:
    whole, part = struct.unpack_from("!II", packet, at)
    return float(whole - _NTP_EPOCH + part / 2**32)


def _against_server(server: str) -> Finding:
    ahead = offset(server)
    found = f"ours is {abs(ahead):.3f} s {'behind' if ahead > 0 else 'ahead of'} {server}"
    state = State.FAILED if abs(ahead) > TOLERANCE_S else State.WARNING if abs(ahead) > WARN_OFFSET_S else State.OK
    return Finding("time server", state, found, "" if state is State.OK else REMEDY)


def _against_files(home: Home) -> Finding:
    """Now can't lie before the home was made, nor before its files, its releases, or the log's newest checkpoint."""
    now = datetime.now(UTC)
    newest, what = max(_witnesses(home))
    if newest - now > timedelta(seconds=TOLERANCE_S):
        return Finding(
            "clock", State.FAILED, f"{now:%Y-%m-%d %H:%M} UTC lies before {what} ({newest:%Y-%m-%d %H:%M})", REMEDY
        )
    return Finding("clock", State.OK, f"{now:%Y-%m-%d %H:%M} UTC, {time.tzname[0]} locally; after {what}")


def _witnesses(home: Home) -> list[tuple[datetime, str]]:
    from custodian.publish.store import ReleaseStore
    from custodian.service.pki import load_certificate
    from custodian.state.base import moment
    from stimset.checkpoint import read_checkpoint

    found = [(load_certificate(home.tls / "ca.pem").not_valid_before_utc, "the home was made")]
    found += [(datetime.fromtimestamp(p.stat().st_mtime, UTC), f"{p.name} was written") for p in home.root.iterdir()]
    found += [(moment(s.created), f"release {s.release_id} was made") for s in ReleaseStore(home.releases).list()]
    if home.checkpoint.is_file():
        found.append((moment(read_checkpoint(home.checkpoint.read_bytes()).time), "the log's checkpoint was signed"))
    return found


def _kernel() -> Finding:
    """What the kernel's clock discipline says; adjtimex(2) with nothing to change only reads."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return Finding("clock synchronisation", State.OK, "this system can't say; give --time-server")
    state = libc.adjtimex(ctypes.create_string_buffer(512))  # struct timex has 208 bytes; modes = 0
    if state == _UNSYNCHRONISED:
        return Finding("clock synchronisation", State.WARNING, "the kernel's clock is not synchronised", REMEDY)
    return Finding("clock synchronisation", State.OK, "the kernel's clock is synchronised" if state >= 0 else "unknown")
