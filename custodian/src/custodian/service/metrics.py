"""What Prometheus reads, on a port of its own: plain HTTP, on loopback unless the settings say otherwise; no names in it.

Counters grow with the calls; what lies in the home (ends of certificates, age of the log's checkpoint, jobs) is looked up at each scrape.
`deploy/observability` holds a dashboard and alert rules over these names.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from custodian.config import Home
from custodian.jobs import Jobs
from custodian.publish.store import ReleaseStore
from custodian.service.addresses import join_address, split_address
from custodian.service.expiries import expiries
from custodian.state.base import moment
from custodian.state.database import Partners
from custodian.state.engine import Database
from custodian.state.log import length
from custodian.state.witnesses import newest_checkpoint
from stimset.checkpoint import read_checkpoint
from stimset.errors import StimsetError

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0)


class Metrics:
    """The daemon's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.calls = Counter(
            "stimset_calls", "Calls that ended, by method and gRPC status.", ["method", "code"], **made
        )
        self.seconds = Histogram("stimset_call_seconds", "How long calls took.", ["method"], buckets=_SECONDS, **made)
        self.sent = Counter("stimset_sent_bytes", "Bytes of answers.", **made)
        self.open = Gauge("stimset_calls_open", "Calls that are being answered.", **made)
        self.refusals = Counter("stimset_refusals", "Calls that were refused, by reason.", ["reason"], **made)
        self.quotas = Counter("stimset_quota_refusals", "Calls beyond a partner's quota.", ["quota"], **made)
        self.faults = Counter("stimset_faults", "Errors that nobody foresaw.", **made)
        build = Gauge("stimset_build", "1, with the version.", ["version"], **made)
        build.labels(importlib.metadata.version("stimset-custodian")).set(1)
        ProcessCollector(registry=self.registry)

    def queue(self, length: Callable[[], int]) -> None:
        """Say who knows how many records wait to be written into the log."""
        Gauge("stimset_log_queue", "Groups of records that wait to be written.", registry=self.registry).set_function(
            length
        )

    def listen(self, address: str) -> Listener:
        """Answer Prometheus on this address, in a thread.

        Raises:
            OSError: nobody can listen there.
        """
        host, port = split_address(address)
        server, _ = start_http_server(port, addr=host, registry=self.registry)
        return Listener(join_address(host, server.server_port), server)


class _Server(Protocol):
    def shutdown(self) -> None: ...

    def server_close(self) -> None: ...


@dataclass(frozen=True)
class Listener:
    """The metrics' port: its address, with the actual port, and how to close it."""

    address: str
    server: _Server

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()


class HomeCollector(Collector):
    """What lies in the home and in its database, read at each scrape; a fault becomes ``stimset_home_readable 0``."""

    def __init__(self, home: Home, database: Database) -> None:
        self._home = home
        self._database = database
        self._releases = ReleaseStore(home.releases)  # it keeps what it has read
        self._log = structlog.get_logger("custodian.metrics")

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering reads nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        readable = True
        for read in (self._expiries, self._partners, self._recorded, self._jobs, self._disk):
            try:
                yield from read()
            except (StimsetError, OSError, ValueError) as error:
                readable = False
                self._log.error("home can't be read", part=read.__name__.strip("_"), reason=str(error)[:300])
        yield GaugeMetricFamily("stimset_home_readable", "Whether all of the home could be read.", float(readable))

    def _expiries(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(
            "stimset_expiry_days", "Days until the next end of each kind; negative is past.", labels=["kind"]
        )
        tally: Tally[str] = Tally()
        for end in expiries(self._home, Partners(self._database), self._releases):
            if not tally[end.kind]:  # sorted: the first of a kind ends first
                found.add_metric([end.kind], end.days())
            tally[end.kind] += 1
        yield found
        yield GaugeMetricFamily("stimset_releases", "Releases that are served.", tally["release"])

    def _partners(self) -> Iterator[Metric]:
        live = sum(not partner.revoked() for partner in Partners(self._database).list())
        yield GaugeMetricFamily("stimset_partners", "Certificates of partners that are not revoked.", live)

    def _recorded(self) -> Iterator[Metric]:
        with self._database.reading() as session:
            size, newest = length(session), newest_checkpoint(session)
        yield GaugeMetricFamily("stimset_log_records", "Records in the log of decisions.", size)
        if newest is not None:
            signed = read_checkpoint(newest)
            age = (datetime.now(UTC) - moment(signed.time)).total_seconds()
            yield GaugeMetricFamily("stimset_checkpoint_age_seconds", "Age of the log's newest checkpoint.", age)
            yield GaugeMetricFamily("stimset_log_unsigned", "Records after the newest checkpoint.", size - signed.size)

    def _jobs(self) -> Iterator[Metric]:
        found = GaugeMetricFamily("stimset_jobs", "Jobs, by state.", labels=["state"])
        for state, number in sorted(Tally(job.state.value for job in Jobs(self._home).list()).items()):
            found.add_metric([state], number)
        yield found

    def _disk(self) -> Iterator[Metric]:
        free = shutil.disk_usage(self._home.root).free
        yield GaugeMetricFamily("stimset_disk_free_bytes", "Room that is left on the home's disk.", free)
