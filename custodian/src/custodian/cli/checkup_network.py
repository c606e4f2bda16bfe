"""The doctor's checks of names, ports, the TLS chain, and the way that partners come."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from custodian.cli.checkup import Check, Finding, State
from custodian.config import Home
from custodian.service import pki
from custodian.service.addresses import local, split_address
from stimset.errors import ConfigError

PROBE_SECONDS = 3.0
HTTP2 = "h2"


def checks(home: Home, address: str | None, through: str | None) -> list[Check]:
    """This module's checks; `address` and `through` as in `custodian.cli.checkup.examine`."""
    found: list[Check] = [
        ("dns", lambda: _names(home)),
        ("port", lambda: _port(home, address or home.settings().address)),
        ("metrics port", lambda: _metrics(home)),
        ("tls chain", lambda: _chain(home)),
    ]
    if through is not None:
        found.append(("way in", lambda: _way_in(home, through)))
    return found


def daemon_answers(home: Home, address: str) -> bool | None:
    """Whether this custodian's daemon answers at the address on this machine; None where nothing does.

    Raises:
        OSError: the address can't be used.
    """
    try:
        with _handshake(home, *local(address)):
            return True
    except ssl.SSLError:
        return False
    except ConnectionRefusedError:
        return None


@contextmanager
def _handshake(home: Home, host: str, port: int, name: str | None = None) -> Iterator[ssl.SSLSocket]:
    """A TLS connection that is checked against our authority, and against a host name where one is given."""
    context = ssl.create_default_context(cafile=str(home.tls / "ca.pem"))
    context.check_hostname = name is not None
    context.set_alpn_protocols([HTTP2])
    with (
        socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=name) as secured,
    ):
        yield secured


def _names(home: Home) -> Finding:
    """Whether this machine can look up the names that its certificate is valid for; partners ask other servers, so it is only a hint."""
    lost = []
    names = [name for name in home.settings().hostnames if not name.startswith("*.")]
    for name in names:
        try:
            socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError:
            lost.append(name)
    if lost:
        remedy = "enter the name in the hospital's DNS, or correct 'hostnames' in custodian.toml"
        return Finding("dns", State.WARNING, f"can't be looked up here: {', '.join(lost[:5])}", remedy)
    return Finding("dns", State.OK, f"{len(names)} names of the certificate can be looked up")


def _port(home: Home, address: str) -> Finding:
    """Free, or answered by our own daemon, or taken by something else."""
    try:
        answers = daemon_answers(home, address)
    except OSError as error:
        return Finding("port", State.FAILED, f"{address}: {error}", "correct 'address' in custodian.toml")
    if answers is not None:
        if answers:
            return Finding("port", State.OK, f"{address}: this custodian's daemon answers")
        return Finding("port", State.FAILED, f"{address}: something else answers", "stop it, or change 'address'")
    return _free("port", address, "change 'address' in custodian.toml")


def _metrics(home: Home) -> Finding:
    address = home.settings().metrics
    if not address:
        return Finding("metrics port", State.OK, "metrics are off")
    host, port = local(address)
    with suppress(OSError), socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b""
        while b"stimset_build" not in answer and len(answer) < 1 << 20 and (data := connection.recv(1 << 16)):
            answer += data
        if b"stimset_build" in answer:
            return Finding("metrics port", State.OK, f"{address}: a custodian's daemon answers")
        return Finding("metrics port", State.WARNING, f"{address}: something else answers", "change 'metrics'")
    return _free("metrics port", address, "change 'metrics' in custodian.toml")


def _free(check: str, address: str, remedy: str) -> Finding:
    host, port = split_address(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(check, State.FAILED, f"{address}: {error.strerror}", remedy)
    return Finding(check, State.OK, f"{address}: free, no daemon runs")


def _chain(home: Home) -> Finding:
    """Key, certificate and authority on the disk belong together, and the names are those of the settings."""
    from cryptography.exceptions import InvalidSignature

    authority = pki.load_certificate(home.tls / "ca.pem")
    certificate = pki.load_certificate(home.tls / "server.pem")
    key = home.credential(home.tls / "server.key")
    pki.check_pair(key.read_bytes(), pki.pem(certificate), home.tls)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise ConfigError("server.pem was not issued by ca.pem; run 'custodian certificate renew --now'") from None
    if not pki.names_of(certificate, home.settings().hostnames):
        return Finding(
            "tls chain", State.WARNING, "server.pem is for other names than 'hostnames'", "custodian certificate renew"
        )
    begins = certificate.not_valid_before_utc
    if begins > datetime.now(UTC):
        return Finding(
            "tls chain", State.FAILED, f"server.pem begins only on {begins:%F %H:%M} UTC", "set the clock (NTP)"
        )
    return Finding("tls chain", State.OK, "key, certificate and authority belong together")


def _way_in(home: Home, through: str) -> Finding:
    """As a partner comes: our own certificate must be seen through every proxy, and HTTP/2 be agreed on."""
    host, port = split_address(through)
    try:
        with _handshake(home, host, port, host) as secured:
            protocol = secured.selected_alpn_protocol()
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "way in", State.FAILED, f"{through}: another certificate is seen ({error.verify_message})",
            "something ends TLS on the way: let the proxy pass TCP through; or the name is not in 'hostnames'",
        )  # fmt: skip
    except OSError as error:
        return Finding(
            "way in",
            State.FAILED,
            f"{through}: {error.strerror or error}",
            "open the port in the firewall; is the daemon running?",
        )
    if protocol != HTTP2:
        return Finding(
            "way in",
            State.FAILED,
            f"{through}: HTTP/2 was not agreed on (ALPN: {protocol or 'none'})",
            "let the proxy pass TCP through",
        )
    return Finding("way in", State.OK, f"{through}: our own certificate, HTTP/2")
