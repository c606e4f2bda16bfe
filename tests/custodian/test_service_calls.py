"""The daemon from outside: a process of its own, real certificates, every way in that must stay shut."""

from __future__ import annotations

import hashlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import tiny_release
import wire_world
from custodian.service import pki
from custodian.state.database import Partners
from custodian.state.log import short
from stimset.release import ENVELOPE_FILE
from stimset.v1 import release_service_pb2 as pb

TIMEOUT = 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = wire_world.World.make(tmp_path_factory.mktemp("service"), series="tiny")
    tiny_release.make(made.home.root, home=made.home, name="other")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def daemon(world):
    return world.daemons[0]


@pytest.fixture(scope="module")
def authority(world):
    return pki.load_authority(world.home.tls)


@pytest.fixture
def acme(world, daemon):
    with world.client(daemon.address) as client:
        yield client._stub


def partner(world, authority, name, series=("*",), **choices):
    """A partner in the table with a certificate of our making."""
    key = wire_world.new_key()
    leaf = wire_world.certificate(authority, key, **{"uri": f"stimset:partner:{name}", **choices})
    table = Partners.open(world.home)
    table.add(name, leaf, series)
    table.close()
    return key, leaf


def refusal(world, address, key, leaf):
    with wire_world.channel(world.home, address, key, leaf) as bare, pytest.raises(grpc.RpcError) as caught:
        wire_world.stub(bare).ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
    return caught.value


def code_of(call, *args):
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*args, timeout=TIMEOUT)
        if not hasattr(answer, "ByteSize"):
            list(answer)
    return caught.value.code(), caught.value.details()


class TestWhoMayCall:
    def test_nobody_without_a_certificate(self, world, daemon):
        assert refusal(world, daemon.address, None, None).code() is grpc.StatusCode.UNAVAILABLE

    def test_nobody_of_another_authority(self, world, daemon, tmp_path):
        foreign = pki.create_authority(tmp_path, "Elsewhere")
        key = wire_world.new_key()
        error = refusal(world, daemon.address, key, wire_world.certificate(foreign, key))
        assert error.code() is grpc.StatusCode.UNAVAILABLE

    def test_nobody_with_an_expired_certificate(self, world, daemon, authority):
        now = datetime.now(UTC)
        key, leaf = partner(world, authority, "late", begins=now - timedelta(days=2), ends=now - timedelta(minutes=1))
        assert refusal(world, daemon.address, key, leaf).code() is grpc.StatusCode.UNAVAILABLE

    def test_a_certificate_that_expires_ends_an_open_connection_too(self, world, daemon, authority):
        key, leaf = partner(world, authority, "brief", ends=datetime.now(UTC) + timedelta(seconds=3))
        with wire_world.channel(world.home, daemon.address, key, leaf) as bare:
            calls = wire_world.stub(bare)
            calls.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
            time.sleep(max(0.0, (leaf.not_valid_after_utc - datetime.now(UTC)).total_seconds() + 0.1))
            code, _ = code_of(calls.ListReleases, pb.ListReleasesRequest())
        assert code is grpc.StatusCode.PERMISSION_DENIED

    def test_nobody_whom_the_table_does_not_know(self, world, daemon, authority):
        key = wire_world.new_key()
        error = refusal(world, daemon.address, key, wire_world.certificate(authority, key))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "acme" not in error.details()

    def test_nobody_with_another_partners_uri_name(self, world, daemon, authority):
        key, leaf = partner(world, authority, "mimic", uri="stimset:partner:acme")
        assert refusal(world, daemon.address, key, leaf).code() is grpc.StatusCode.UNAUTHENTICATED

    def test_the_daemons_own_certificate_is_no_partners(self, world, daemon):
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key((world.home.tls / "server.key").read_bytes(), None)
        leaf = x509.load_pem_x509_certificate((world.home.tls / "server.pem").read_bytes())
        error = refusal(world, daemon.address, key, leaf)
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)

    def test_a_revoked_partner_is_refused_on_its_open_connection(self, world, daemon, authority):
        key, leaf = partner(world, authority, "gone")
        with wire_world.channel(world.home, daemon.address, key, leaf) as bare:
            calls = wire_world.stub(bare)
            assert calls.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT).releases
            table = Partners.open(world.home)
            table.revoke("gone")
            table.close()
            code, text = code_of(calls.ListReleases, pb.ListReleasesRequest())
            health = health_pb2_grpc.HealthStub(bare)
            assert code_of(health.Check, health_pb2.HealthCheckRequest())[0] is grpc.StatusCode.PERMISSION_DENIED
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert text == "your certificate was revoked or has expired"


class TestWhatIsAnswered:
    def test_only_granted_series_are_listed(self, world, acme):
        answer = acme.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
        assert [entry.release_id for entry in answer.releases] == ["tiny-0001"]
        entry = answer.releases[0]
        assert (entry.name, entry.sequence, entry.stimuli, entry.simulated) == ("tiny", 1, 5, True)

    def test_an_ungranted_release_looks_like_a_missing_one(self, acme):
        answers = [
            code_of(acme.GetRelease, pb.GetReleaseRequest(release_id=name)) for name in ("other-0001", "missing-0001")
        ] + [
            code_of(acme.ReadFile, pb.ReadFileRequest(release_id=release, file_name=file))
            for release, file in (("other-0001", "card.json"), ("tiny-0001", "missing.json"))
        ]
        assert len(set(answers)) == 1
        assert answers[0][0] is grpc.StatusCode.NOT_FOUND

    def test_pages(self, world, daemon, authority):
        key, leaf = partner(world, authority, "pager")
        with wire_world.channel(world.home, daemon.address, key, leaf) as bare:
            calls = wire_world.stub(bare)
            first = calls.ListReleases(pb.ListReleasesRequest(page_size=1), timeout=TIMEOUT)
            second = calls.ListReleases(
                pb.ListReleasesRequest(page_size=1, page_token=first.next_page_token), timeout=TIMEOUT
            )
        assert [r.release_id for page in (first, second) for r in page.releases] == ["other-0001", "tiny-0001"]
        assert first.next_page_token
        assert not second.next_page_token

    def test_the_envelope_and_every_file_are_those_on_disk(self, world, acme):
        folder = world.release.folder
        answer = acme.GetRelease(pb.GetReleaseRequest(release_id="tiny-0001"), timeout=TIMEOUT)
        assert answer.envelope == (folder / ENVELOPE_FILE).read_bytes()
        assert answer.envelope_size == len(answer.envelope)
        for hint in answer.files:
            request = pb.ReadFileRequest(release_id="tiny-0001", file_name=hint.name)
            data = b"".join(m.data for m in acme.ReadFile(request, timeout=TIMEOUT))
            assert (len(data), hashlib.sha256(data).hexdigest()) == (hint.size, hint.sha256)
            assert data == (folder / hint.name).read_bytes()

    def test_ranges(self, world, acme):
        whole = (world.release.folder / "card.json").read_bytes()

        def read(offset, limit):
            request = pb.ReadFileRequest(release_id="tiny-0001", file_name="card.json", offset=offset, limit=limit)
            return b"".join(m.data for m in acme.ReadFile(request, timeout=TIMEOUT))

        assert read(7, 11) == whole[7:18]
        assert read(7, 0) == whole[7:]
        assert read(7, 2**63 - 1) == whole[7:]
        assert read(len(whole), 0) == b""

    def test_health(self, world, daemon, acme):
        with world.client(daemon.address) as client:
            check = health_pb2_grpc.HealthStub(client._channel).Check
            for service in ("", "stimset.v1.ReleaseService"):
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "name",
        [
            "../statement.json",
            "/etc/passwd",
            "..",
            ".",
            "",
            "a/b",
            "a\\b",
            ".hidden",
            "a\0b",
            "x" * 256,
            "é.json",
            "a\n",
        ],
    )
    def test_file_names_with_ways_out(self, acme, name):
        code, _ = code_of(acme.ReadFile, pb.ReadFileRequest(release_id="tiny-0001", file_name=name))
        assert code is grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "name", ["../tiny-0001", "", "Tiny-0001", "tiny-0001/", "tiny 1", "x" * 129, "tiny-0001\n"]
    )
    def test_release_ids_with_ways_out(self, acme, name):
        for call, request in (
            (acme.GetRelease, pb.GetReleaseRequest(release_id=name)),
            (acme.ReadFile, pb.ReadFileRequest(release_id=name, file_name="card.json")),
        ):
            assert code_of(call, request)[0] is grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "fields", [{"page_size": -1}, {"page_size": 1001}, {"page_token": "x" * 257}, {"page_token": "../.."}]
    )
    def test_pages_out_of_bounds(self, acme, fields):
        assert code_of(acme.ListReleases, pb.ListReleasesRequest(**fields))[0] is grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"offset": -1}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"limit": -1}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"offset": 2**63 - 1}, grpc.StatusCode.OUT_OF_RANGE),
            ({"offset": 2**63 - 1, "limit": 2**63 - 1}, grpc.StatusCode.OUT_OF_RANGE),
        ],
    )
    def test_offsets_out_of_bounds(self, acme, fields, expected):
        request = pb.ReadFileRequest(release_id="tiny-0001", file_name="card.json", **fields)
        assert code_of(acme.ReadFile, request)[0] is expected

    def test_a_message_above_four_mebibytes(self, world, daemon, authority):
        key, leaf = partner(world, authority, "loud")
        with wire_world.channel(world.home, daemon.address, key, leaf) as bare:
            request = pb.GetReleaseRequest(release_id="x" * (5 << 20))
            code, _ = code_of(wire_world.stub(bare).GetRelease, request)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_bytes_that_are_no_message(self, world, daemon):
        with world.client(daemon.address) as client:
            raw = client._channel.unary_unary("/stimset.v1.ReleaseService/GetRelease")
            code, text = code_of(raw, b"\xff" * 100)
        assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "the request is no message of this method")

    def test_methods_that_do_not_exist(self, world, daemon):
        with world.client(daemon.address) as client:
            for method in ("/stimset.v1.ReleaseService/Delete", "/grpc.reflection.v1.ServerReflection/List"):
                raw = client._channel.unary_unary(method)
                assert code_of(raw, b"")[0] is grpc.StatusCode.UNIMPLEMENTED

    def test_more_than_eight_calls_of_one_partner_at_once(self, world, daemon, authority):
        key, leaf = partner(world, authority, "greedy")
        with wire_world.channel(world.home, daemon.address, key, leaf) as bare:
            watch = health_pb2_grpc.HealthStub(bare).Watch
            open_calls = [watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT) for _ in range(8)]
            for call in open_calls:
                next(call)
            code, _ = code_of(wire_world.stub(bare).ListReleases, pb.ListReleasesRequest())
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            for call in open_calls:
                call.cancel()
            time.sleep(0.3)
            assert wire_world.stub(bare).ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT).releases


class TestWhatItTells:
    def test_a_damaged_release_says_nothing_of_the_disk(self, world, daemon, authority):
        made = tiny_release.make(world.home.root, home=world.home, name="lost")
        (made.folder / "card.json").unlink()
        key, leaf = partner(world, authority, "witness")
        with wire_world.channel(world.home, daemon.address, key, leaf) as bare:
            calls = wire_world.stub(bare)
            request = pb.ReadFileRequest(release_id="lost-0001", file_name="card.json")
            code, text = code_of(calls.ReadFile, request)
        assert code is grpc.StatusCode.DATA_LOSS
        assert str(world.root) not in text
        assert "card" not in text

    def test_an_unforeseen_error_is_a_reference_into_the_log(self, world):
        fault = "from custodian.publish.store import ReleaseStore\n"
        fault += "def files(self, release_id):\n    secret = 'Jane Doe'\n    raise RuntimeError('patient ' + secret)\n"
        fault += "ReleaseStore.files = files"
        daemon = wire_world.Daemon.start(world.home, world.root / "faulty", prelude=fault)
        with world.client(daemon.address) as client:
            stub = client._stub
            requests = (
                (stub.GetRelease, pb.GetReleaseRequest(release_id="tiny-0001")),
                (stub.ReadFile, pb.ReadFileRequest(release_id="tiny-0001", file_name="card.json")),
            )
            for call, request in requests:
                code, text = code_of(call, request)
                assert code is grpc.StatusCode.INTERNAL
                assert "Jane" not in text
                reference = text.rpartition(" ")[2]
                (fault_line,) = daemon.events(event="fault", reference=reference)
                assert "RuntimeError" in str(fault_line["exception"])
                assert "locals" not in fault_line["exception"][0]["frames"][0]
        assert daemon.stop() == 0

    def test_the_log_knows_the_partner_by_its_certificate_and_holds_no_name_and_no_secret(self, world, daemon, acme):
        acme.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
        time.sleep(0.2)
        table = Partners.open(world.home)
        (digits,) = {short(partner.fingerprint) for partner in table.list() if partner.name == "acme"}
        table.close()
        method = "/stimset.v1.ReleaseService/ListReleases"
        line = daemon.events(event="call", partner=digits, code="OK", method=method)[-1]
        assert line["sent_bytes"] > 0
        assert len(line["request"]) == 12
        text = daemon.log_file.read_text()
        assert "acme" not in text
        assert "PRIVATE KEY" not in text
        assert "BEGIN CERTIFICATE" not in text


class TestItsLife:
    def test_it_drains_on_sigterm_and_never_loads_torch(self, world):
        spec, name = wire_world.LARGE_SPEC, "stimuli-00000.safetensors"
        large = tiny_release.make(world.home.root, home=world.home, name="tiny", shards=(160,), spec=spec)
        daemon = world.start()
        with world.client(daemon.address) as client, ThreadPoolExecutor(1) as pool:
            watch = health_pb2_grpc.HealthStub(client._channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            request = pb.ReadFileRequest(release_id=large.folder.name, file_name=name)
            call = client._stub.ReadFile(request, timeout=TIMEOUT)
            received = [next(call).data]
            stopping = pool.submit(daemon.stop)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            received += [message.data for message in call]
            assert b"".join(received) == (large.folder / name).read_bytes()
            assert max(len(data) for data in received) == 1 << 20
            assert stopping.result() == 0
        loaded = set(daemon.modules_file.read_text().split())
        assert "custodian.service.server" in loaded
        assert not {name for name in loaded if name.split(".")[0] in ("torch", "sklearn", "wfdb", "matplotlib")}

    def test_a_second_daemon_on_the_same_port_is_refused(self, world, daemon):
        with pytest.raises(RuntimeError, match="can't listen"):
            wire_world.Daemon.start(world.home, world.root / "second", address=daemon.address)

    def test_it_shows_its_own_certificate(self, world, daemon):
        shown = subprocess.run(
            [
                "openssl",
                "s_client",
                "-connect",
                daemon.address,
                "-CAfile",
                world.home.tls / "ca.pem",
                "-verify_return_error",
                "-verify_ip",
                "127.0.0.1",
                "-brief",
            ],
            input=b"",
            capture_output=True,
            timeout=10,
        )
        text = (shown.stdout + shown.stderr).decode()
        assert "Verification: OK" in text
        assert "TLSv1.3" in text
