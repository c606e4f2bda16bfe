"""What a scanner sees: every method, with every certificate that must not pass, and every bound.

The methods are read from the descriptors, so that a new one is among them the day it is written.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2

import stimset.v1
import tiny_release
import wire_world
from custodian.service import pki
from custodian.state.database import Partners
from stimset.v1 import release_service_pb2 as pb

TIMEOUT = 10


def _methods() -> list[MethodDescriptor]:
    modules = [importlib.import_module(f"stimset.v1.{m.name}") for m in pkgutil.iter_modules(stimset.v1.__path__)]
    files = [module.DESCRIPTOR for module in modules if hasattr(module, "DESCRIPTOR")] + [health_pb2.DESCRIPTOR]
    services = [service for file in files for service in file.services_by_name.values()]
    return [method for service in services for method in service.methods]


METHODS = sorted(_methods(), key=lambda method: method.full_name)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.full_name)


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def attempt(channel: grpc.Channel, method: MethodDescriptor, data: bytes = b"") -> tuple[grpc.StatusCode, str]:
    """Call a method by its name with these bytes; how it ended, and what it said."""
    kinds = {False: "unary", True: "stream"}
    call = getattr(channel, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}")(path(method))
    try:
        answer = call(iter([data]) if method.client_streaming else data, timeout=TIMEOUT)
        if method.server_streaming:
            next(answer, None)
            answer.cancel()
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = wire_world.World.make(tmp_path_factory.mktemp("scanner"), series="tiny")
    tiny_release.make(made.home.root, home=made.home, name="secret-series")
    with made.home.settings_file.open("a") as file:
        file.write("\n[limits]\ncalls_per_partner = 4\ncalls_per_minute = 60\nburst = 40\n")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def authority(world):
    return pki.load_authority(world.home.tls)


@pytest.fixture(scope="module")
def strangers(world, authority, tmp_path_factory):
    """Certificates that must not pass -> the codes that they may meet."""
    now = datetime.now(UTC)
    table = Partners.open(world.home)

    def known(name, **choices):
        key = wire_world.new_key()
        leaf = wire_world.certificate(authority, key, **{"uri": f"stimset:partner:{name}", **choices})
        table.add(name, leaf)
        return key, leaf

    foreign_authority = pki.create_authority(tmp_path_factory.mktemp("foreign"), "Elsewhere")
    foreign, unknown = wire_world.new_key(), wire_world.new_key()
    made = {
        "missing": (None, None),
        "foreign": (foreign, wire_world.certificate(foreign_authority, foreign)),
        "expired": known("late", begins=now - timedelta(days=2), ends=now - timedelta(minutes=1)),
        "not yet valid": known("early", begins=now + timedelta(hours=1), ends=now + timedelta(days=1)),
        "unknown": (unknown, wire_world.certificate(authority, unknown)),
        "another's name": known("mimic", uri="stimset:partner:acme"),
        "revoked": known("gone"),
    }
    table.revoke("gone")
    table.close()
    return made


SHUT_OUT = {grpc.StatusCode.UNAVAILABLE}
REFUSED = {
    "missing": SHUT_OUT,
    "foreign": SHUT_OUT,
    "expired": SHUT_OUT,
    "not yet valid": SHUT_OUT,
    "unknown": {grpc.StatusCode.UNAUTHENTICATED},
    "another's name": {grpc.StatusCode.UNAUTHENTICATED},
    "revoked": {grpc.StatusCode.PERMISSION_DENIED},
}


NOT_TOLD = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


class TestWhoIsRefused:
    @pytest.mark.parametrize("kind", REFUSED)
    def test_every_method_refuses(self, world, strangers, kind):
        key, leaf = strangers[kind]
        private = [str(world.root), "acme", "secret-series", "tiny-0001"]
        with wire_world.channel(world.home, world.daemons[0].address, key, leaf) as channel:
            for method in METHODS:
                code, text = attempt(channel, method, b"\xff\xff")
                assert code in REFUSED[kind], (method.full_name, text)
                assert not [word for word in private if word in text], text

    def test_every_method_is_served_to_a_partner(self, world):
        """Else the tests above would pass by refusing everybody."""
        with world.client(world.daemons[0].address) as client:
            for method in METHODS:
                code, _ = attempt(client._channel, method)
                shut = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE)
                assert code not in (*shut, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), method.full_name

    @pytest.mark.parametrize("kind", ["unknown", "revoked"])
    def test_who_is_refused_does_not_learn_which_methods_there_are(self, world, strangers, kind):
        with wire_world.channel(world.home, world.daemons[0].address, *strangers[kind]) as channel:
            call = channel.unary_unary("/stimset.v1.ReleaseService/NoSuchMethod")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=TIMEOUT)
        assert caught.value.code() in REFUSED[kind]


@pytest.fixture
def channel(world, authority):
    """A partner of its own for each test, since each has a quota."""
    name = f"p{threading.get_native_id()}-{time.monotonic_ns()}"
    key = wire_world.new_key()
    leaf = wire_world.certificate(authority, key, uri=f"stimset:partner:{name}")
    table = Partners.open(world.home)
    table.add(name, leaf, ("tiny",))
    table.close()
    with wire_world.channel(world.home, world.daemons[0].address, key, leaf) as opened:
        yield opened


class TestWhatIsNotGranted:
    def test_no_field_of_any_request_reaches_a_release_that_is_not_granted(self, world, channel):
        """Every text field that may name a release, in every method, is given the name of one that the partner may not see."""
        tried = 0
        for method in METHODS:
            for field in method.input_type.fields:
                if not field.name.startswith("release"):
                    continue
                message = getattr(importlib.import_module(_module(method)), method.input_type.name)()
                target = message if field.message_type is None else getattr(message, field.name)
                setattr(target, "release_id" if field.message_type else field.name, "secret-series-0001")
                for other in method.input_type.fields:
                    if other.name == "file_name":
                        setattr(message, other.name, "card.json")
                code, text = attempt(channel, method, message.SerializeToString())
                assert code in (*NOT_TOLD, grpc.StatusCode.UNIMPLEMENTED), method.full_name
                assert "secret" not in text
                tried += 1
        assert tried >= 2

    def test_the_catalogue_does_not_name_it(self, channel):
        answer = wire_world.stub(channel).ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
        assert {entry.name for entry in answer.releases} == {"tiny"}


def _module(method: MethodDescriptor) -> str:
    return method.input_type.file.name.removesuffix(".proto").replace("/", ".") + "_pb2"


class TestWhatIsBounded:
    @every_method
    def test_sizes(self, channel, method):
        code, _ = attempt(channel, method, b"\x0a\x80\x80\xc0\x02" + b"x" * (5 << 20))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    @every_method
    def test_bytes_that_are_no_message(self, channel, method):
        code, text = attempt(channel, method, b"\xff" * 64)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            pytest.skip("the daemon does not offer this method")
        assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "the request is no message of this method")

    def test_headers(self, channel):
        call = channel.unary_unary("/stimset.v1.ReleaseService/ListReleases")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=TIMEOUT, metadata=(("x", "y" * (20 << 10)),))
        assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)

    def test_the_rate_of_one_certificate(self, channel):
        calls = wire_world.stub(channel)
        refused = None
        for _ in range(60):
            try:
                calls.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
            except grpc.RpcError as error:
                refused = error
                break
        assert refused is not None
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "60 calls a minute" in refused.details()
        status = Status.FromString(dict(refused.trailing_metadata())["grpc-status-details-bin"])
        info = RetryInfo()
        assert status.details[0].Unpack(info)
        assert 0 < info.retry_delay.seconds + info.retry_delay.nanos / 1e9 <= 1.0
        time.sleep(1.1)
        assert calls.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT).releases

    def test_calls_at_once_of_one_partner(self, channel):
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        open_calls = [watch(b"", timeout=TIMEOUT) for _ in range(4)]
        for call in open_calls:
            next(call)
        with pytest.raises(grpc.RpcError) as caught:
            wire_world.stub(channel).ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "4 calls open" in caught.value.details()
        for call in open_calls:
            call.cancel()

    def test_one_partners_quota_is_not_anothers(self, world, channel):
        with pytest.raises(grpc.RpcError):
            for _ in range(60):
                wire_world.stub(channel).ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
        with world.client(world.daemons[0].address) as client:
            assert client.list_releases()

    def test_counts_in_an_answer(self, channel):
        for size, expected in ((1001, grpc.StatusCode.INVALID_ARGUMENT), (-1, grpc.StatusCode.INVALID_ARGUMENT)):
            with pytest.raises(grpc.RpcError) as caught:
                wire_world.stub(channel).ListReleases(pb.ListReleasesRequest(page_size=size), timeout=TIMEOUT)
            assert caught.value.code() is expected
