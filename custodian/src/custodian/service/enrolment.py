"""A new partner: from its certificate request to the folder that it gets back.

The folder holds nothing secret. Its one weak point is the way it travels, so the partner compares the fingerprint of
the root with the one that it heard on the telephone, and the custodian compares that of the partner's key.
"""

from __future__ import annotations

import hmac
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from custodian.config import Home
from custodian.publish.keys import own_root
from custodian.service import pki
from custodian.service.server import join_address, split_address
from custodian.state.database import Partner, Partners, check_series
from stimset.errors import ConfigError, FormatError
from stimset.roots import normal_fingerprint

CERTIFICATE_FILE = "client.pem"
AUTHORITY_FILE = "ca.pem"
ROOT_FILE = "root.json"
CUSTODIAN_FILE = "custodian.toml"
_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True)
class Enrolment:
    """What `enrol` did.

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
    if out.exists():
        raise ConfigError(f"{out} exists already; choose another --out")
    check_series(series)
    settings = home.settings()
    public_address = address or reachable(settings.address, settings.hostnames)
    split_address(public_address)
    root = own_root(home)
    parsed = pki.read_request(request)
    if key_fingerprint is not None and not hmac.compare_digest(normal_fingerprint(key_fingerprint), parsed.fingerprint):
        raise FormatError(
            f"the request's key has the fingerprint {parsed.fingerprint}, not the one given; call the partner"
        )
    authority = pki.load_authority(home.tls)
    certificate = pki.issue_client(authority, parsed, name, days)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    partners = Partners.open(home)
    try:
        partial.mkdir(parents=True)
        (partial / CERTIFICATE_FILE).write_bytes(pki.pem(certificate))
        (partial / AUTHORITY_FILE).write_bytes(pki.pem(authority.certificate))
        (partial / ROOT_FILE).write_bytes(home.root_file.read_bytes())
        (partial / CUSTODIAN_FILE).write_text(_toml(settings.name, public_address, root.fingerprint))
        partial.rename(out)
        try:
            partner = partners.add(name, certificate, series)
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError(f"{out} can't be written ({error.strerror}); choose another --out") from None
    finally:
        partners.close()
        shutil.rmtree(partial, ignore_errors=True)
    return Enrolment(partner, out, parsed.fingerprint, root.fingerprint, public_address)


def reachable(address: str, hostnames: Sequence[str]) -> str:
    """The address that partners use: for "every address of this machine", the first host name that others can use."""
    host, port = split_address(address)
    if host in _EVERY_ADDRESS:
        outward = [name for name in hostnames if name not in ("localhost", "127.0.0.1", "::1")]
        host = (outward or list(hostnames))[0]
    return join_address(host, port)


def _toml(name: str, address: str, fingerprint: str) -> str:
    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)

    return f"name = {text(name)}\naddress = {text(address)}\nfingerprint = {text(fingerprint)}\n"
