"""The daemon's life: listen with mutual TLS, bound everything, drain on SIGTERM or SIGINT.

Usage::

    asyncio.run(serve(Home.open(None), "0.0.0.0:7443", on_ready=print))

Limits stand in `Limits`. No reflection, no compression, and one listener: a second daemon on the same port fails
instead of sharing it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TextIO

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from custodian.config import Home
from custodian.publish import channel
from custodian.publish.deciding import settle
from custodian.service import metadata, pki
from custodian.service.interceptors import Border
from custodian.service.journal import Journal
from custodian.service.servicers import ReleaseServicer, Store
from custodian.state.engine import Database
from custodian.state.log import Entry
from stimset.errors import ConfigError
from stimset.v1 import release_service_pb2, release_service_pb2_grpc

SERVICE = release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
MAX_METADATA_BYTES = 8 << 10


@dataclass(frozen=True)
class Limits:
    """What the daemon allows.

    Attributes:
        message_bytes: of one message, either way.
        calls: open at once, over all partners.
        calls_per_partner: open at once by one partner.
        call_seconds: one call's longest life; a longer read goes on with a new call.
        drain_seconds: how long open calls may go on after the signal to stop.
        connection_seconds: a connection's longest life, so that the TLS handshake looks at certificates again.
    """

    message_bytes: int = 4 << 20
    calls: int = 64
    calls_per_partner: int = 8
    call_seconds: float = 900.0
    drain_seconds: float = 10.0
    connection_seconds: float = 3600.0


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


def configure_logging(stream: TextIO | None = None) -> None:
    """One JSON object per line, to `stream` (default: stderr)."""
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(_JsonLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # A traceback in the log shows the lines of code, never the values of variables.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=True,
    )


class _JsonLine(logging.Formatter):
    """What a library says through the standard logging, in the form of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name})


async def serve(
    home: Home,
    address: str,
    *,
    store: Store,
    on_ready: Callable[[str], None],
    limits: Limits | None = None,
) -> None:
    """Serve `store` on `address` until SIGTERM or SIGINT; `on_ready` is told the address with the actual port.

    Raises:
        ConfigError: the home is incomplete, or nobody can listen on the address.
    """
    limits = limits or Limits()
    log = structlog.get_logger("custodian.daemon")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = Database.open(home)
    journal = Journal(home, database)
    try:
        await asyncio.to_thread(metadata.freshen, home)
        await asyncio.to_thread(settle, home)
        server, checker = _build(home, store, journal, limits)
        await checker.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        bound = _listen(server, home, address)
        version = importlib.metadata.version("stimset-custodian")
        await journal.record(Entry("start", version=version))
        await journal.sign()
        await server.start()
        log.info("listening", address=bound)
        on_ready(bound)
        keeping = [asyncio.create_task(metadata.keep_fresh(home)), asyncio.create_task(journal.keep())]
        await stop.wait()
        for task in keeping:
            task.cancel()
        log.info("draining", seconds=limits.drain_seconds)
        await checker.enter_graceful_shutdown()
        await server.stop(limits.drain_seconds)
        await journal.settle_refusals()
        await journal.record(Entry("stop", version=version))
        await journal.sign()
        log.info("stopped")
    finally:
        database.close()


def _build(
    home: Home, store: Store, journal: Journal, limits: Limits
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    border = Border(journal, calls_per_partner=limits.calls_per_partner, call_seconds=limits.call_seconds)
    server = grpc.aio.server(
        interceptors=(border,),
        maximum_concurrent_rpcs=limits.calls,
        compression=grpc.Compression.NoCompression,
        options=[
            ("grpc.max_send_message_length", limits.message_bytes),
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
            ("grpc.max_concurrent_streams", 2 * limits.calls_per_partner),
            # A peer that vanished is noticed within 80 s; a peer that pings more often than every 20 s is cut off.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
            ("grpc.max_connection_idle_ms", 300_000),
            ("grpc.max_connection_age_ms", int(1000 * limits.connection_seconds)),
            ("grpc.max_connection_age_grace_ms", int(1000 * limits.call_seconds)),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.so_reuseport", 0),
            # Bit 0 is "identity": a compressed request is refused, so nothing small unfolds into something large.
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ],
    )
    release_service_pb2_grpc.add_ReleaseServiceServicer_to_server(  # type: ignore[no-untyped-call]
        ReleaseServicer(store, partial(channel.read, home), journal), server
    )
    checker = health.aio.HealthServicer()

    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    return server, checker


def _listen(server: grpc.aio.Server, home: Home, address: str) -> str:
    host, port = split_address(address)
    pki.ensure_server(home.tls, home.settings().hostnames)
    try:
        key, chain, authority = ((home.tls / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; run 'custodian doctor'") from None
    credentials = grpc.ssl_server_credentials([(key, chain)], root_certificates=authority, require_client_auth=True)
    try:
        actual = server.add_secure_port(join_address(host, port), credentials)
    except RuntimeError:
        actual = 0
    if not actual:
        raise ConfigError(f"can't listen on {address}: it is in use, not allowed, or not an address of this machine")
    return join_address(host, actual)
