"""The daemon as a hospital's IT sees it: metrics, log, memory, signals, the service manager, reflection."""

from __future__ import annotations

import asyncio
import json
import os
import re
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
from custodian.service.journal import Journal
from custodian.service.metrics import HomeCollector, Metrics
from custodian.state.engine import Database
from source_tree import ROOT

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
        assert 0 < found["stimset_expiry_days", "timestamp"] < 1.001  # the file states whole seconds
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
            found = {
                sample.name: sample.value for f in HomeCollector(made.home, database).collect() for sample in f.samples
            }
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
        return [rule["expr"] for rule in self.rules()] + [
            t["expr"] for panel in self.panels() for t in panel["targets"]
        ]

    def test_every_metric_that_is_named_exists(self):
        exposed = _exposed()
        named = {name for text in self.expressions() for name in self.NAME.findall(text)}
        assert named <= exposed, named - exposed
        told = set(re.findall(r"`(stimset_\w+)", (OBSERVABILITY / "README.md").read_text()))
        own = {
            n for n in exposed if n.startswith("stimset_") and not n.endswith(("_bucket", "_sum", "_count", "_created"))
        }
        assert told - {"stimset_call_seconds"} == own - {"stimset_call_seconds"}

    def test_labels_and_values_that_are_named_exist(self):
        from custodian.jobs import State
        from custodian.service.expiries import KINDS

        known = {
            "kind": set(KINDS),
            "state": {s.value for s in State},
            "reason": {"Unauthenticated", "PolicyDenied", "Busy", "NotFound"},
        }
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


def test_a_librarys_line_and_a_faults_line_are_json_too():
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


class TestOneDaemonsLife:
    """One daemon with everything asked for: reflection, a log for people, tight limits, a service manager. The last test ends it."""

    @pytest.fixture(scope="class")
    def life(self, tmp_path_factory):
        root = tmp_path_factory.mktemp("life")
        world = wire_world.World.make(root / "world")
        with world.home.settings_file.open("a") as file:
            file.write('metrics = ""\n[limits]\ncall_seconds = 3\nping_seconds = 60\ndrain_seconds = 1\n')
        command = [sys.executable, "-c", "from custodian.cli import main; main()", "serve", "--home", world.home.root]
        options = ["--address", "127.0.0.1:0", "--ready-file", root / "ready", "--log", "console", "--reflection"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NOTIFY_SOCKET": str(root / "notify")}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (root / "log").open("wb") as log:
            manager.bind(str(root / "notify"))
            manager.settimeout(60)
            process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=log, env=environment)
            try:
                assert manager.recv(100) == b"READY=1"
                yield world, process, manager, (root / "ready").read_text().strip(), root / "log"
            finally:
                process.kill()
                process.wait(10)

    def test_the_log_is_for_people(self, life):
        world, _, _, address, log = life
        with world.client(address) as client:
            client.list_releases()
        time.sleep(0.2)
        text = log.read_text()
        assert "{" not in text.splitlines()[0]
        assert re.search(r"call .*code=OK .*method=/stimset", text)
        assert "acme" not in text

    def test_reflection_when_asked_for(self, life):
        world, _, _, address, _ = life
        with world.client(address) as client:
            assert "stimset.v1.ReleaseService" in _reflected(client._channel)

    def test_a_call_that_lasts_too_long_is_ended(self, life):
        world, _, _, address, _ = life
        with world.client(address) as client:
            with pytest.raises(grpc.RpcError) as caught:
                list(client._channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=TIMEOUT))
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "a call may last 3 s" in caught.value.details()
            assert client.list_releases()

    def test_a_peer_that_pings_too_often_is_cut_off(self, life):
        world, _, _, address, _ = life
        asyncio.run(_ping(world, address))
        with world.client(address) as client:
            assert client.list_releases()

    def test_it_says_where_it_is_and_drains_within_the_bound(self, life):
        world, process, manager, address, _ = life
        assert (announced(world.home)["address"], announced(world.home)["pid"]) == (address, process.pid)
        with world.client(address) as client:
            watch = client._channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=TIMEOUT)
            next(watch)
            process.terminate()
            began = time.monotonic()
            assert manager.recv(100) == b"STOPPING=1"
            with pytest.raises(grpc.RpcError):
                list(watch)
        assert process.wait(20) == 0
        assert time.monotonic() - began < 10
        assert not world.home.daemon_file.exists()


def test_no_reflection_unless_asked_for(world):
    with world.client(world.daemons[0].address) as client:
        with pytest.raises(grpc.RpcError) as caught:
            _reflected(client._channel)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def _reflected(channel):
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]), timeout=TIMEOUT)
    return {service.name for service in answer.list_services_response.service}


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
