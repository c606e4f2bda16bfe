"""Whether a Ray cluster answers, and speaks as encrypted as we do: Ray itself waits without a word where certificates don't fit."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from stimset.errors import ConfigError, TransportError

ENCRYPTION = "RAY_USE_TLS"
OWN_CERTIFICATE, OWN_KEY, AUTHORITY = "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"
PATIENCE_S = 10.0


def encrypted() -> bool:
    """Whether the environment asks Ray for encryption."""
    return os.environ.get(ENCRYPTION) == "1"


def greet(address: str) -> None:
    """Shake hands with the cluster's head as Ray will.

    Args:
        address: ``host:port``.

    Raises:
        ConfigError: the address or a certificate is missing, or one side is encrypted and the other is not.
        TransportError: nobody answers, or the certificates don't fit.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--ray-address {address}: give HOST:PORT of the cluster's head")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S) as connection:
            if encrypted():
                _encrypted(connection, host.strip("[]"), address)
            else:
                _in_clear(connection, address)
    except OSError as error:
        raise TransportError(f"the Ray cluster at {address} can't be reached: {error}; is the head up?") from None


def _encrypted(connection: socket.socket, host: str, address: str) -> None:
    for name in (OWN_CERTIFICATE, OWN_KEY, AUTHORITY):
        if not Path(os.environ.get(name, "")).is_file():
            raise ConfigError(f"{name} must name a file where {ENCRYPTION}=1; it is '{os.environ.get(name, '')}'")
    try:
        context = ssl.create_default_context(cafile=os.environ[AUTHORITY])
        context.load_cert_chain(os.environ[OWN_CERTIFICATE], os.environ[OWN_KEY])
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(connection, server_hostname=host) as channel:
            channel.recv(1)  # by TLS 1.3 a server that refuses our certificate says so here
    except ssl.SSLError as error:
        raise TransportError(
            f"the Ray cluster at {address} and this machine don't trust each other's certificates: {error.reason or error}; "
            f"head, nodes and custodian need {ENCRYPTION}=1 and certificates of one authority ({AUTHORITY})"
        ) from None


def _in_clear(connection: socket.socket, address: str) -> None:
    """A head that answers a TLS handshake is encrypted; whose it is does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(connection):
            pass
    except OSError:
        return
    raise ConfigError(f"the Ray cluster at {address} is encrypted: set {ENCRYPTION}=1 with {OWN_CERTIFICATE}, {OWN_KEY} and {AUTHORITY}")
