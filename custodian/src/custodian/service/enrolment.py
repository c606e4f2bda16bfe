"""A partner's certificates: from its request to the folder that it gets back, and the next one before the first one ends.

The folder holds nothing secret. Its one weak point is the way it travels, so the partner compares the fingerprint of
the root with the one that it heard on the telephone, and the custodian compares that of the partner's key.
"""

from __future__ import annotations

import hmac
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from custodian.config import Home
from custodian.publish.keys import own_root
from custodian.service import pki
from custodian.service.addresses import EVERY_ADDRESS, join_address, split_address
from custodian.state.database import Partner, Partners, check_series
from stimset.errors import ConfigError, FormatError
from stimset.roots import normal_fingerprint

CERTIFICATE_FILE = "client.pem"
AUTHORITY_FILE = "ca.pem"
ROOT_FILE = "root.json"
CUSTODIAN_FILE = "custodian.toml"
OVERLAP = timedelta(days=14)


@dataclass(frozen=True)
class Enrolment:
    """What `enrol`, `pin` or `renew` did.

    Attributes:
        partner: its row in the table.
        folder: what to send to the partner.
        key_fingerprint: of the partner's key, to be compared with what it reads out.
        root_fingerprint: of our root, to be read out to the partner.
        address: where the partner will find the daemon.
    """

    partner: Partner
    folder: Path
    key_fingerprint: str
    root_fingerprint: str
    address: str


def enrol(
    home: Home,
    name: str,
    request: bytes,
    out: Path,
    *,
    series: Sequence[str] = ("*",),
    address: str | None = None,
    key_fingerprint: str | None = None,
    days: int = pki.CLIENT_DAYS,
) -> Enrolment:
    """Certify a partner's key, enter it into the table, and leave the folder to send.

    Args:
        home: ours.
        name: the partner's name from now on.
        request: the partner's certificate request in PEM.
        out: the folder to make; it must not exist.
        series: which series the partner may see.
        address: what the partner connects to; the settings' address where None.
        key_fingerprint: what the partner read out, where that is known already.
        days: the certificate's life.

    Raises:
        FormatError: the request is malformed, or its key is not the one that was read out.
        ConfigError: a name, grant or address is malformed, the partner has a certificate, or `out` exists.
    """
    check_series(series)
    parsed = pki.read_request(request)
    _compare(parsed.fingerprint, key_fingerprint)
    certificate = pki.issue_client(pki.load_authority(home.tls), parsed, name, days)
    return _leave(
        home, name, out, certificate, parsed.fingerprint, address, lambda table: table.add(name, certificate, series)
    )


def pin(
    home: Home,
    name: str,
    certificate: bytes,
    out: Path,
    *,
    series: Sequence[str] = ("*",),
    address: str | None = None,
    key_fingerprint: str | None = None,
) -> Enrolment:
    """Enrol a partner by a client certificate that its own authority issued: this very one, none of its sisters.

    Raises:
        FormatError: it is malformed, no client's, an authority's, or its key is not the one that was read out.
        ConfigError: as `enrol`.
    """
    check_series(series)
    parsed, fingerprint = pki.read_pinned(certificate)
    _compare(fingerprint, key_fingerprint)
    return _leave(home, name, out, parsed, fingerprint, address, lambda table: table.add(name, parsed, series))


def renew(
    home: Home,
    name: str,
    out: Path,
    *,
    request: bytes | None = None,
    pinned: bytes | None = None,
    address: str | None = None,
    key_fingerprint: str | None = None,
    days: int = pki.CLIENT_DAYS,
    overlap: timedelta = OVERLAP,
) -> Enrolment:
    """Give a partner its next certificate with the same grants; the present one stays good for `overlap`, so that nothing stands still.

    Args:
        home: ours.
        name: the partner's.
        out: the folder to make; it must not exist.
        request: for another key; None keeps the key that the present certificate holds.
        pinned: the partner's own authority's next certificate, in place of one of ours.
        address: what the partner connects to; the settings' address where None.
        key_fingerprint: what the partner read out, where that is known already.
        days: the certificate's life.
        overlap: how long the present certificate stays good.

    Raises:
        FormatError: as `enrol` and `pin`.
        ConfigError: the partner has no certificate, or a pinned one and neither `request` nor `pinned` is given; and as `enrol`.
    """
    if pinned is not None:
        certificate, fingerprint = pki.read_pinned(pinned)
    else:
        parsed = _present(home, name) if request is None else pki.read_request(request)
        certificate, fingerprint = (
            pki.issue_client(pki.load_authority(home.tls), parsed, name, days),
            parsed.fingerprint,
        )
    _compare(fingerprint, key_fingerprint)
    return _leave(
        home, name, out, certificate, fingerprint, address, lambda table: table.renew(name, certificate, overlap)
    )


def _compare(found: str, heard: str | None) -> None:
    if heard is not None and not hmac.compare_digest(normal_fingerprint(heard), found):
        raise FormatError(f"the key has the fingerprint {found}, not the one given; call the partner")


def _present(home: Home, name: str) -> pki.Request:
    """The key of the partner's present certificate, which we issued; it is renewed without a new request."""
    with closing(Partners.open(home)) as table:
        held = [pem for partner, pem in table.certificates() if partner == name]
    if not held:
        raise ConfigError(f"partner '{name[:80]}' has no valid certificate; enrol it by 'custodian partner add'")
    certificate = x509.load_pem_x509_certificate(held[-1].encode())
    key = certificate.public_key()
    if not pki.partner_names(certificate) or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError(
            f"partner '{name}' has a certificate of its own authority; give its next one by --certificate"
        )
    return pki.Request(key, pki.key_fingerprint(key))


def _leave(
    home: Home,
    name: str,
    out: Path,
    certificate: x509.Certificate,
    key_fingerprint: str,
    address: str | None,
    enter: Callable[[Partners], Partner],
) -> Enrolment:
    """The folder to send, and the row in the table: both, or neither."""
    if out.exists():
        raise ConfigError(f"{out} exists already; choose another --out")
    settings = home.settings()
    public_address = address or reachable(settings.address, settings.hostnames)
    split_address(public_address)
    root = own_root(home)
    authority = pki.load_certificate(home.tls / AUTHORITY_FILE)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with closing(Partners.open(home)) as table:
            partial.mkdir(parents=True)
            (partial / CERTIFICATE_FILE).write_bytes(pki.pem(certificate))
            (partial / AUTHORITY_FILE).write_bytes(pki.pem(authority))
            (partial / ROOT_FILE).write_bytes(home.root_file.read_bytes())
            (partial / CUSTODIAN_FILE).write_text(_toml(settings.name, public_address, root.fingerprint, name))
            partial.rename(out)
            try:
                partner = enter(table)
            except BaseException:
                shutil.rmtree(out, ignore_errors=True)
                raise
    except OSError as error:
        raise ConfigError(f"{out} can't be written ({error.strerror}); choose another --out") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Enrolment(partner, out, key_fingerprint, root.fingerprint, public_address)


def reachable(address: str, hostnames: Sequence[str]) -> str:
    """The address that partners use: for "every address of this machine", the first host name that others can use."""
    host, port = split_address(address)
    if host in EVERY_ADDRESS:
        outward = [name for name in hostnames if name not in ("localhost", "127.0.0.1", "::1")]
        host = (outward or list(hostnames))[0]
    return join_address(host, port)


def _toml(name: str, address: str, fingerprint: str, partner: str) -> str:
    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)

    told = {"name": name, "address": address, "fingerprint": fingerprint, "partner": partner}
    return "".join(f"{field} = {text(value)}\n" for field, value in told.items())
