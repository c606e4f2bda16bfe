"""The daemon's TLS credentials, read anew as each connection begins: a certificate that is replaced on disk holds from the next one on.

Whom TLS lets in: certificates of our own authority, and those that are pinned from a partner's own authority, each for itself (that
authority's other certificates stay outside). Who it is, and whether it may call, is the border's question (`interceptors`).
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

import grpc
import structlog
from cryptography import x509

from custodian.config import Home
from custodian.service import pki
from custodian.state.database import Partners
from stimset.errors import ConfigError, StimsetError

RENEW_CHECK_SECONDS = 3600.0


class Credentials:
    """The server's credentials of one home; `bound` is what gRPC listens with.

    Raises:
        ConfigError: a file can't be read, or does not fit the others.
    """

    def __init__(self, home: Home, partners: Partners) -> None:
        self._tls = home.tls
        self._key = home.credential(home.tls / "server.key")
        self._partners = partners
        self._lock = threading.Lock()
        self._log = structlog.get_logger("custodian.tls")
        self._shown = self._read()

    @property
    def bound(self) -> grpc.ServerCredentials:
        """For `grpc.aio.Server.add_secure_port`."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._shown), self._fetch, require_client_authentication=True
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What to use from now on; None leaves what is in use, and so does a fault, since serving must go on."""
        try:
            found = self._read()
        except (StimsetError, OSError) as error:
            self._log.error("certificates can't be read; the old ones stay in use", reason=str(error)[:300])
            return None
        with self._lock:
            if found == self._shown:
                return None
            renewed, self._shown = found[1] != self._shown[1], found
        if renewed:
            self._log.info("server certificate loaded")
        return _configuration(found)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        key, chain, authority = map(_bytes, (self._key, self._tls / "server.pem", self._tls / "ca.pem"))
        pki.check_pair(key, chain, self._tls)
        pinned = [pem for _, pem in self._partners.certificates() if _is_pinned(pem)]
        return key, chain, authority + "".join(pinned).encode()


def renew(home: Home) -> None:
    """Issue the server's certificate anew where it is due; a failure goes to the log, since serving must go on."""
    log = structlog.get_logger("custodian.tls")
    try:
        pki.ensure_server(home.tls, home.settings().hostnames)
    except (StimsetError, OSError) as error:
        log.error("server certificate can't be renewed", reason=str(error)[:300])


@lru_cache(maxsize=1024)
def _is_pinned(pem: str) -> bool:
    return not pki.partner_names(x509.load_pem_x509_certificate(pem.encode()))


def _configuration(read: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    key, chain, roots = read
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; run 'custodian doctor'") from None
