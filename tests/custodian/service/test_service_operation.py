"""The daemon as a hospital's IT sees it: metrics, log, memory, signals, the service manager, reflection."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

import wire_world
from custodian.service import limits as service_limits
from custodian.service.journal import Journal
from custodian.service.metrics import HomeCollector, Metrics
from custodian.state.engine import Database
from source_tree import ROOT
from stimset.v1 import release_service_pb2 as pb

TIMEOUT = 10
IDLE_BYTES = 250 << 20
OBSERVABILITY = ROOT / "deploy" / "observability"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = wire_world.World.make(tmp_path_factory.mktemp("operation"))
    with made.home.settings_file.open("a") as file:
        file.write('metrics = "127.0.0.1:0"\n')
    made.start()
    yield made
    made.close()


def announced(home):
    return json.loads(home.daemon_file.read_text())


def scraped(home):
    with urllib.request.urlopen(f"http://{announced(home)['metrics']}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }, text


class TestMetrics:
    def test_calls_bytes_and_refusals_are_counted(self, world):
        key = wire_world.new_key()
        from custodian.service import pki

        stranger = wire_world.certificate(pki.load_authority(world.home.tls), key)
        method = "/stimset.v1.ReleaseService/ListReleases"
        before, _ = scraped(world.home)
        with world.client(world.daemons[0].address) as client:
            for _ in range(3):
                client.list_releases()
        with wire_world.channel(world.home, world.daemons[0].address, key, stranger) as channel:
            for path in (method, "/stimset.v1.ReleaseService/NoSuchMethod"):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(path)(b"", timeout=TIMEOUT)
        after, text = scraped(world.home)

        def grew(*key):
            return after.get(key, 0) - before.get(key, 0)

        assert grew("stimset_calls_total", "OK", method) == 3
        assert grew("stimset_call_seconds_count", method) == 4
        assert grew("stimset_calls_total", "UNAUTHENTICATED", method) == 1
        assert grew("stimset_calls_total", "UNAUTHENTICATED", "unknown") == 1
        assert grew("stimset_refusals_total", "Unauthenticated") == 2
        assert grew("stimset_sent_bytes_total") > 0
        assert after["stimset_calls_open",] == 0
        assert "NoSuchMethod" not in text
        assert not [name for name in ("acme", "tiny", str(world.root)) if name in text]

    def test_the_home_is_seen(self, world):
        found, _ = scraped(world.home)
        assert found["stimset_home_readable",] == 1
        assert found["stimset_releases",] == 1
        assert found["stimset_partners",] == 1
        assert 300 < found["stimset_expiry_days", "server"] < 400
        assert 0 < found["stimset_expiry_days", "timestamp"] <= 1
        assert {key[1] for key in found if key[0] == "stimset_expiry_days"} == {
            "server", "authority", "root", "targets", "timestamp", "partner", "release",
        }  # fmt: skip
        assert found["stimset_log_records",] > 0
        assert 0 <= found["stimset_checkpoint_age_seconds",] < 120

    def test_only_loopback_hears_it_by_default(self, world):
        from custodian.config import Settings

        assert Settings("Test Hospital").metrics.startswith("127.0.0.1:")

    def test_a_taken_port_is_told_and_does_not_stop_the_serving(self, world, tmp_path):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            made = wire_world.World.make(tmp_path / "other")
            with made.home.settings_file.open("a") as file:
                file.write(f'metrics = "{address}"\n')
            daemon = made.start()
            try:
                with made.client(daemon.address) as client:
                    assert client.list_releases()
                assert daemon.events(event="metrics can't be shown")
                assert announced(made.home)["metrics"] is None
            finally:
                made.close()

    def test_a_damaged_home_becomes_a_metric_and_no_error(self, world, tmp_path):
        made = wire_world.World.make(tmp_path / "damaged")
        database = Database.open(made.home)
        try:
            (made.home.tls / "ca.pem").write_bytes(b"nothing")
            found = {sample.name: sample.value for f in HomeCollector(made.home, database).collect() for sample in f.samples}
        finally:
            database.close()
        assert found["stimset_home_readable"] == 0
        assert found["stimset_partners"] == 1


def _exposed() -> set[str]:
    """Every name that the daemon can show, without a daemon."""
    metrics = Metrics()
    metrics.queue(lambda: 0)
    names = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    names |= {f"{family.name}_total" for family in metrics.registry.collect() if family.type == "counter"}
    histograms = [family.name for family in metrics.registry.collect() if family.type == "histogram"]
    names |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    source = Path(sys.modules[HomeCollector.__module__].__file__ or "").read_text()
    return names | set(re.findall(r'GaugeMetricFamily\(\s*"(\w+)"', source)) | {"up"}


class TestWhatIsBuiltOnTheMetrics:
    NAME = re.compile(r"\b((?:stimset|process)_[a-z_]+|up)\b(?=[\s{\[),]|$)")

    def rules(self):
        (group,) = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"]
        return group["rules"]

    def panels(self):
        return json.loads((OBSERVABILITY / "dashboard.json").read_text())["panels"]

    def expressions(self):
        return [rule["expr"] for rule in self.rules()] + [t["expr"] for panel in self.panels() for t in panel["targets"]]

    def test_every_metric_that_is_named_exists(self):
        exposed = _exposed()
        named = {name for text in self.expressions() for name in self.NAME.findall(text)}
        assert named <= exposed, named - exposed
        told = set(re.findall(r"`(stimset_\w+)", (OBSERVABILITY / "README.md").read_text()))
        own = {n for n in exposed if n.startswith("stimset_") and not n.endswith(("_bucket", "_sum", "_count", "_created"))}
        assert told - {"stimset_call_seconds"} == own - {"stimset_call_seconds"}

    def test_labels_and_values_that_are_named_exist(self):
        from custodian.jobs import State
        from custodian.service.expiries import KINDS

        known = {"kind": set(KINDS), "state": {s.value for s in State}, "reason": {"Unauthenticated", "PolicyDenied", "Busy", "NotFound"}}
        for text in self.expressions():
            assert text.count("(") == text.count(")")
            for label, values in re.findall(r'(kind|state|reason)=~?"([^"]+)"', text):
                assert set(values.split("|")) <= known[label], text

    def test_every_alert_has_a_remedy_whose_commands_exist(self):
        import typer

        from custodian.cli import app

        commands = typer.main.get_command(app).commands
        for rule in self.rules():
            assert rule["labels"]["severity"] in ("page", "ticket")
            for words in re.findall(r"custodian ([a-z]+(?: [a-z]+)?)", rule["annotations"]["remedy"]):
                first, _, second = words.partition(" ")
                assert first in commands, rule["alert"]
                if hasattr(commands[first], "commands"):
                    assert second in commands[first].commands, rule["alert"]

    def test_panels_do_not_overlap_and_say_what_they_show(self):
        cells = set()
        for panel in self.panels():
            at = panel["gridPos"]
            mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not mine & cells
            cells |= mine
            assert at["x"] + at["w"] <= 24
            assert panel["description"]


class TestMemory:
    def test_idle_takes_less_than_250_mib_and_never_torch(self, world):
        with world.client(world.daemons[0].address) as client:
            client.list_releases()
        scraped(world.home)
        time.sleep(2.5)  # the jobs' keeper has looked once
        pid = world.daemons[0].process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) << 10
        assert resident < IDLE_BYTES, f"{resident >> 20} MiB"
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert not [name for name in ("libtorch", "sklearn", "onnxruntime", "matplotlib") if name in maps]

    def test_the_journal_counts_who_waits(self, world):
        database = Database.open(world.home)
        try:
            journal = Journal(world.home, database)
            assert journal.waiting == 0
        finally:
            database.close()


class TestTheLog:
    def test_a_line_for_people(self, world, tmp_path):
        ready, log = tmp_path / "ready", tmp_path / "log"
        process = _serve(world.home, ready, log, "--log", "console")
        try:
            with world.client(_address(process, ready)) as client:
                client.list_releases()
        finally:
            process.terminate()
            assert process.wait(20) == 0
        text = log.read_text()
        assert "{" not in text.splitlines()[0]
        assert re.search(r"call .*code=OK .*method=/stimset", text)
        assert "acme" not in text

    def test_a_librarys_line_and_a_faults_line_are_json_too(self):
        code = (
            "import logging, structlog\nfrom custodian.service.logs import configure_logging\nconfigure_logging()\n"
            "logging.getLogger('grpc').warning('hello %s', 'there')\n"
            "def inner(secret):\n    raise RuntimeError('cause')\n"
            "try:\n    inner('Jane Doe')\nexcept RuntimeError as error:\n    structlog.get_logger().error('fault', exc_info=error)\n"
            "try:\n    inner('Jane Doe')\nexcept RuntimeError:\n    logging.getLogger('lib').exception('oops')\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["event"] for line in lines] == ["hello there", "fault", "oops"]
        assert lines[0]["logger"] == "grpc"
        assert "Jane" not in done.stderr


def _serve(home, ready, log, *arguments, **environment):
    command = [sys.executable, "-m", "custodian", "serve", "--home", home.root, "--address", "127.0.0.1:0", "--metrics", ""]
    with log.open("wb") as stderr:
        return subprocess.Popen(
            [*command[:1], "-c", "from custodian.cli import main; main()", *command[3:], "--ready-file", ready, *arguments],
            stdout=subprocess.DEVNULL, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip


def _address(process, ready):
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return ready.read_text().strip()


class TestItsLife:
    def test_the_service_manager_is_told_and_a_stream_that_never_ends_is_cut_at_the_bound(self, world, tmp_path):
        path = tmp_path / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            manager.settimeout(20)
            ready = tmp_path / "ready"
            process = _serve(world.home, ready, tmp_path / "log", "--drain", "1", NOTIFY_SOCKET=str(path))
            try:
                assert manager.recv(100) == b"READY=1"
                with world.client(_address(process, ready)) as client:
                    watch = client._channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=TIMEOUT)
                    next(watch)
                    process.send_signal(signal.SIGTERM)
                    began = time.monotonic()
                    assert manager.recv(100) == b"STOPPING=1"
                    with pytest.raises(grpc.RpcError):
                        list(watch)
                    assert process.wait(20) == 0
                    assert time.monotonic() - began < 8
            finally:
                process.kill()

    def test_reflection_only_when_asked_for(self, world, tmp_path):
        from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

        def asked(address):
            with world.client(address) as client:
                stub = reflection_pb2_grpc.ServerReflectionStub(client._channel)
                request = reflection_pb2.ServerReflectionRequest(list_services="")
                (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT)
                return {service.name for service in answer.list_services_response.service}

        with pytest.raises(grpc.RpcError) as caught:
            asked(world.daemons[0].address)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        ready = tmp_path / "ready"
        process = _serve(world.home, ready, tmp_path / "log", "--reflection")
        try:
            assert "stimset.v1.ReleaseService" in asked(_address(process, ready))
        finally:
            process.terminate()
            process.wait(20)

    def test_a_call_that_lasts_too_long_is_ended_by_the_daemon(self, tmp_path):
        made = wire_world.World.make(tmp_path / "slow")
        with made.home.settings_file.open("a") as file:
            file.write('metrics = ""\n[limits]\ncall_seconds = 1\n')
        daemon = made.start()
        try:
            with made.client(daemon.address) as client:
                watch = client._channel.unary_stream("/grpc.health.v1.Health/Watch")
                with pytest.raises(grpc.RpcError) as caught:
                    list(watch(b"", timeout=TIMEOUT))
                assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                assert "a call may last 1 s" in caught.value.details()
                assert client._stub.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT).releases
        finally:
            made.close()

    def test_a_peer_that_pings_too_often_is_cut_off(self, tmp_path):
        made = wire_world.World.make(tmp_path / "pinged")
        with made.home.settings_file.open("a") as file:
            file.write('metrics = ""\n[limits]\nping_seconds = 60\n')
        daemon = made.start()
        try:
            asyncio.run(_ping(made, daemon.address))
            # gRPC's own client is told "too_many_pings" and connects anew; the daemon goes on.
            with made.client(daemon.address) as client:
                assert client.list_releases()
        finally:
            made.close()

    def test_the_address_file_goes_with_the_daemon(self, tmp_path):
        made = wire_world.World.make(tmp_path / "life")
        daemon = made.start()
        assert announced(made.home)["address"] == daemon.address
        assert announced(made.home)["pid"] == daemon.process.pid
        assert daemon.stop() == 0
        assert not made.home.daemon_file.exists()

    def test_a_malformed_limit_is_refused_at_the_start(self, tmp_path):
        made = wire_world.World.make(tmp_path / "wrong")
        with made.home.settings_file.open("a") as file:
            file.write("[limits]\ncalls = 0\n")
        with pytest.raises(RuntimeError, match=r"\[limits\] 'calls'"):
            made.start()
        assert service_limits.Limits().calls > 0


async def _ping(world, address):
    """A bare HTTP/2 connection over TLS that sends pings as fast as it can; the daemon must end it."""
    import ssl

    context = ssl.create_default_context(cafile=str(world.home.tls / "ca.pem"))
    context.check_hostname = False
    context.load_cert_chain(world.custodian.folder / "client.pem", world.consumer.tls / "client.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")  # preface, empty SETTINGS
    received = b""
    try:
        for _ in range(50):
            writer.write(b"\0\0\x08\x06\0\0\0\0\0" + b"pingping")
            await writer.drain()
            received += await asyncio.wait_for(reader.read(1 << 16), 5)
            if b"too_many_pings" in received or reader.at_eof():
                break
    except ConnectionError:
        pass
    finally:
        writer.close()
    assert b"too_many_pings" in received


def test_health_is_known_by_name(world):
    with world.client(world.daemons[0].address) as client:
        check = client._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert check(health_pb2.HealthCheckRequest(service="stimset.v1.ReleaseService"), timeout=TIMEOUT).status == 1
