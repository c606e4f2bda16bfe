"""The daemon's life: listen with mutual TLS, bound everything, drain on SIGTERM or SIGINT.

Usage::

    asyncio.run(serve(Home.open(None), "0.0.0.0:7443", store=store, on_ready=print))

Limits stand in `custodian.service.limits`. No compression, no reflection unless asked for, and one listener: a second daemon on the same
port fails instead of sharing it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from custodian.config import Home, write_secret
from custodian.jobs import Jobs
from custodian.publish import channel
from custodian.publish.deciding import settle
from custodian.service import metadata
from custodian.service.addresses import join_address, split_address
from custodian.service.credentials import RENEW_CHECK_SECONDS, Credentials, renew
from custodian.service.evaluations import EvaluationServicer
from custodian.service.interceptors import Border
from custodian.service.journal import Journal
from custodian.service.limits import MESSAGE_BYTES, METADATA_BYTES, Limits
from custodian.service.metrics import HomeCollector, Listener, Metrics
from custodian.service.notify import keep_alive, notify
from custodian.service.servicers import ReleaseServicer, Store
from custodian.state.base import stamp
from custodian.state.database import Partners
from custodian.state.engine import Database
from custodian.state.log import Entry
from stimset.errors import ConfigError
from stimset.v1 import (
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    release_service_pb2,
    release_service_pb2_grpc,
)

SERVICE = release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
EVALUATIONS = evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"].full_name
JOBS_SECONDS = 2.0


async def serve(
    home: Home,
    address: str,
    *,
    store: Store,
    on_ready: Callable[[str], None],
    limits: Limits | None = None,
    metrics_address: str = "",
    reflection: bool = False,
) -> None:
    """Serve `store` on `address` until SIGTERM or SIGINT; `on_ready` is told the address with the actual port.

    Args:
        home: ours.
        address: ``HOST:PORT`` for partners.
        store: the releases.
        on_ready: called once calls are answered.
        limits: the settings' where None.
        metrics_address: ``HOST:PORT`` for Prometheus; empty is nowhere. If nobody can listen there, the log says so.
        reflection: describe the services to partners that ask (gRPC reflection).

    Raises:
        ConfigError: the home is incomplete, a limit is malformed, or nobody can listen on the address.
    """
    limits = limits or Limits.of(home.settings().limits)
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
        metrics = Metrics()
        metrics.queue(lambda: journal.waiting)
        metrics.registry.register(HomeCollector(home, database))
        server, checker = _build(Border(journal, limits, metrics), limits)
        names = _add_services(server, home, store, journal)
        for name in names:
            await checker.set(name, health_pb2.HealthCheckResponse.SERVING)
        if reflection:
            _reflect(server, names)
        bound = _listen(server, home, journal.partners, address)
        version = importlib.metadata.version("stimset-custodian")
        await journal.record(Entry("start", version=version))
        await journal.sign()
        await server.start()
        with _metrics_at(metrics_address, metrics) as listener, _announced(home, bound, listener, version):
            log.info("listening", address=bound, metrics=None if listener is None else listener.address)
            on_ready(bound)
            notify("READY=1")
            keeping = [asyncio.create_task(task) for task in _duties(home, journal, limits)]
            await stop.wait()
            notify("STOPPING=1")
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


def _add_services(server: grpc.aio.Server, home: Home, store: Store, journal: Journal) -> tuple[str, ...]:
    """Add every service that partners may call; answers with their full names."""
    releases = ReleaseServicer(store, partial(channel.read, home), journal)
    release_service_pb2_grpc.add_ReleaseServiceServicer_to_server(releases, server)  # type: ignore[no-untyped-call]
    evaluations = EvaluationServicer(home, store)
    evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server(evaluations, server)  # type: ignore[no-untyped-call]
    return SERVICE, EVALUATIONS


def _duties(home: Home, journal: Journal, limits: Limits) -> tuple[Coroutine[Any, Any, None], ...]:
    """What the daemon does besides answering, until it is told to stop."""
    jobs = Jobs(home)
    return (
        keep_alive(),
        metadata.keep_fresh(home),
        journal.keep(),
        _again(RENEW_CHECK_SECONDS, partial(renew, home)),
        _again(JOBS_SECONDS, partial(jobs.advance, limits.jobs)),
    )


async def _again(seconds: float, duty: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(duty)


def _build(border: Border, limits: Limits) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    server = grpc.aio.server(
        interceptors=(border,),
        maximum_concurrent_rpcs=limits.calls,
        compression=grpc.Compression.NoCompression,
        options=[
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_metadata_size", METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
            ("grpc.max_concurrent_streams", 2 * limits.calls_per_partner),
            # A peer that vanished is noticed within 80 s; one that pings more often than `ping_seconds` is cut off at the third time.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", int(1000 * limits.ping_seconds)),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.max_connection_idle_ms", 300_000),
            ("grpc.max_connection_age_ms", int(1000 * limits.connection_seconds)),
            ("grpc.max_connection_age_grace_ms", int(1000 * limits.call_seconds)),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.so_reuseport", 0),
            # Bit 0 is "identity": a compressed request is refused, so nothing small unfolds into something large.
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ],
    )
    checker = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    return server, checker


def _reflect(server: grpc.aio.Server, names: tuple[str, ...]) -> None:
    from grpc_reflection.v1alpha import reflection

    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)


def _listen(server: grpc.aio.Server, home: Home, partners: Partners, address: str) -> str:
    host, port = split_address(address)
    renew(home)
    credentials = Credentials(home, partners)
    try:
        actual = server.add_secure_port(join_address(host, port), credentials.bound)
    except RuntimeError:
        actual = 0
    if not actual:
        raise ConfigError(f"can't listen on {address}: it is in use, not allowed, or not an address of this machine")
    return join_address(host, actual)


@contextlib.contextmanager
def _metrics_at(address: str, metrics: Metrics) -> Iterator[Listener | None]:
    if not address:
        yield None
        return
    try:
        listener = metrics.listen(address)
    except OSError as error:
        structlog.get_logger("custodian.metrics").error("metrics can't be shown", address=address, reason=error.strerror)
        yield None
        return
    try:
        yield listener
    finally:
        listener.close()


@contextlib.contextmanager
def _announced(home: Home, address: str, listener: Listener | None, version: str) -> Iterator[None]:
    """Where the daemon is, for other commands on this machine."""
    document = {
        "address": address, "metrics": None if listener is None else listener.address, "pid": os.getpid(),
        "started": stamp(datetime.now(UTC)), "version": version,
    }  # fmt: skip
    write_secret(home.daemon_file, json.dumps(document, indent=2).encode() + b"\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(home.daemon_file.read_bytes()).get("pid") == os.getpid():  # not that of a daemon beside us
                home.daemon_file.unlink()
