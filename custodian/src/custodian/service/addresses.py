"""``HOST:PORT`` and back."""

from __future__ import annotations

from stimset.errors import ConfigError

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced by loopback, not listened on


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``; port 0 lets the system choose.

    Raises:
        ConfigError: it is neither.
    """
    host, separator, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not separator or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"'{address[:80]}' is no address; write HOST:PORT, such as 0.0.0.0:7443")
    if ":" in bare and not host.startswith("["):
        raise ConfigError(f"'{address[:80]}' is no address; write an IPv6 address as [ADDRESS]:PORT")
    return bare, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local(address: str) -> tuple[str, int]:
    """Where this machine itself reaches what listens on `address`."""
    host, port = split_address(address)
    return EVERY_ADDRESS.get(host, host), port
