"""Certificates that change under a running daemon: its own, a partner's next one, one of a partner's own authority."""

from __future__ import annotations

import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner

import wire_world
from consumer import enrolment as consumer_side
from consumer.cli import app as consumer_app
from consumer.client import Client
from custodian.cli import app
from custodian.service import enrolment, pki
from custodian.state.database import Partners
from stimset.errors import ConfigError, FormatError, PolicyDenied, TransportError
from stimset.v1 import release_service_pb2 as pb

RUN = CliRunner()
TIMEOUT = 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = wire_world.World.make(tmp_path_factory.mktemp("certificates"))
    made.start()
    yield made
    made.close()


@pytest.fixture
def table(world):
    opened = Partners.open(world.home)
    yield opened
    opened.close()


def lists(world, key, leaf):
    with wire_world.channel(world.home, world.daemons[0].address, key, leaf) as channel:
        return wire_world.stub(channel).ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT).releases


def code(world, key, leaf):
    with pytest.raises(grpc.RpcError) as caught:
        lists(world, key, leaf)
    return caught.value.code()


def shown_serial(address):
    host, _, port = address.rpartition(":")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode()).serial_number


class TestTheDaemonsOwn:
    def test_a_new_one_on_the_disk_is_shown_from_the_next_connection_on(self, world):
        address = world.daemons[0].address
        with world.client(address) as old:
            assert old.list_releases()
            before = shown_serial(address)
            renewed = pki.issue_server(world.home.tls, world.home.settings().hostnames)
            assert shown_serial(address) == renewed.serial_number != before
            assert old.list_releases()  # the open connection goes on
        with world.client(address) as new:
            assert new.list_releases()

    def test_openssl_believes_the_new_one(self, world):
        pki.issue_server(world.home.tls, world.home.settings().hostnames)
        command = ["openssl", "s_client", "-connect", world.daemons[0].address, "-CAfile", world.home.tls / "ca.pem"]
        done = subprocess.run(
            [*command, "-verify_return_error", "-verify_ip", "127.0.0.1", "-brief"],
            input=b"",
            capture_output=True,
            timeout=20,
        )
        assert b"Verification: OK" in done.stdout + done.stderr

    @pytest.mark.parametrize("damage", ["another key", "no PEM", "missing"])
    def test_a_broken_one_leaves_the_good_one_in_use(self, world, damage, tmp_path):
        address, path = world.daemons[0].address, world.home.tls / "server.pem"
        good = path.read_bytes()
        before = shown_serial(address)
        try:
            if damage == "missing":
                path.unlink()
            elif damage == "no PEM":
                path.write_bytes(b"nothing")
            else:
                pki.create_authority(tmp_path, "Elsewhere")
                pki.issue_server(tmp_path, ("127.0.0.1",))
                path.write_bytes((tmp_path / "server.pem").read_bytes())
            assert shown_serial(address) == before
            with world.client(address) as client:
                assert client.list_releases()
            assert world.daemons[0].events(event="certificates can't be read; the old ones stay in use")
        finally:
            path.write_bytes(good)


class TestAPartnersNext:
    def test_renewal_on_both_sides_without_a_gap(self, world, tmp_path, table):
        consumer, custodian = wire_world.enrol_consumer(tmp_path, world.home, "renewing")
        address = world.daemons[0].address
        before = table.list()
        with Client.to(custodian, consumer, address=address) as old:
            assert old.list_releases()
            done = enrolment.renew(world.home, "renewing", tmp_path / "next")
            assert old.list_releases()  # the old one is good for two weeks more
            renewed = consumer_side.trust(consumer, done.folder, custodian.fingerprint)
        assert renewed.expires >= custodian.expires
        with Client.to(renewed, consumer, address=address) as new:
            assert new.list_releases()
        former, present = [p for p in table.list() if p.name == "renewing"]
        assert former.fingerprint in {p.fingerprint for p in before}
        assert timedelta(days=13) < former.revoked_at - datetime.now(UTC) < timedelta(days=15)
        assert (former.revoked(), present.revoked_at) == (False, None)
        assert former.grants == present.grants

    def test_a_new_key_asked_for_by_the_consumer(self, world, tmp_path):
        consumer, custodian = wire_world.enrol_consumer(tmp_path, world.home, "rekeying")
        result = RUN.invoke(consumer_app, ["trust", "renew", "--home", str(consumer.root)])
        assert result.exit_code == 0, result.output
        request, heard = consumer_side.request_renewal(consumer, custodian)  # the second time, the same
        assert heard != consumer_side.our_fingerprint(consumer)
        arguments = [
            "partner",
            "renew",
            "rekeying",
            "--csr",
            request,
            "--out",
            tmp_path / "next",
            "--key-fingerprint",
            heard,
        ]
        result = RUN.invoke(app, [*map(str, arguments), "--overlap", "0", "--home", str(world.home.root)])
        assert result.exit_code == 0, result.output
        with Client.to(custodian, consumer, address=world.daemons[0].address) as old, pytest.raises(PolicyDenied):
            old.list_releases()
        renewed = consumer_side.trust(consumer, tmp_path / "next", custodian.fingerprint)
        with Client.to(renewed, consumer, address=world.daemons[0].address) as new:
            assert new.list_releases()
        assert not (renewed.folder / "next.key").exists()
        # Another renewal keeps the key that this custodian knows.
        again = enrolment.renew(world.home, "rekeying", tmp_path / "again")
        assert again.key_fingerprint == heard
        consumer_side.trust(consumer, again.folder, custodian.fingerprint)

    def test_a_revocation_takes_the_former_one_too(self, world, tmp_path, table):
        consumer, custodian = wire_world.enrol_consumer(tmp_path, world.home, "leaving")
        done = enrolment.renew(world.home, "leaving", tmp_path / "next")
        with Client.to(custodian, consumer, address=world.daemons[0].address) as old:
            assert old.list_releases()
            table.revoke("leaving")
            with pytest.raises(PolicyDenied):
                old.list_releases()
        assert all(p.revoked() for p in table.list() if p.name == "leaving")
        with pytest.raises(ConfigError, match="no valid certificate"):
            enrolment.renew(world.home, "leaving", tmp_path / "more")
        assert done.folder.exists()
        assert not (tmp_path / "more").exists()

    def test_a_short_overlap_ends_on_an_open_connection(self, world, tmp_path):
        consumer, custodian = wire_world.enrol_consumer(tmp_path, world.home, "hasty")
        with Client.to(custodian, consumer, address=world.daemons[0].address) as old:
            assert old.list_releases()
            enrolment.renew(world.home, "hasty", tmp_path / "next", overlap=timedelta(seconds=2))
            assert old.list_releases()
            time.sleep(2.1)
            with pytest.raises(PolicyDenied):
                old.list_releases()

    def test_the_log_of_decisions_knows_both_certificates(self, world, tmp_path, table):
        wire_world.enrol_consumer(tmp_path, world.home, "logged")
        enrolment.renew(world.home, "logged", tmp_path / "next")
        former, present = [p for p in table.list() if p.name == "logged"]
        result = RUN.invoke(
            app, ["log", "show", "--event", "recertify", "--format", "json", "--home", str(world.home.root)]
        )
        assert result.exit_code == 0, result.output
        assert former.fingerprint[:16] in result.stdout
        assert present.fingerprint[:16] in result.stdout
        assert "logged" not in result.stdout


class TestOneOfTheirOwnAuthority:
    @pytest.fixture(scope="class")
    def company(self, tmp_path_factory):
        return pki.create_authority(tmp_path_factory.mktemp("company"), "Company")

    def leaf(self, company, key, **choices):
        return wire_world.certificate(company, key, uri="https://company.example/stimset", **choices)

    def test_it_is_let_in_and_none_of_its_sisters(self, world, company, tmp_path):
        key, sister = wire_world.new_key(), wire_world.new_key()
        leaf, other = self.leaf(company, key), self.leaf(company, sister)
        assert code(world, key, leaf) is grpc.StatusCode.UNAVAILABLE
        enrolment.pin(world.home, "company", pki.pem(leaf), tmp_path / "for-company")
        assert lists(world, key, leaf)
        assert code(world, sister, other) is grpc.StatusCode.UNAVAILABLE

    def test_a_revocation_shuts_it_out(self, world, company, tmp_path, table):
        key = wire_world.new_key()
        leaf = self.leaf(company, key)
        enrolment.pin(world.home, "pinned-then-gone", pki.pem(leaf), tmp_path / "folder")
        with wire_world.channel(world.home, world.daemons[0].address, key, leaf) as channel:
            calls = wire_world.stub(channel)
            assert calls.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT).releases
            table.revoke("pinned-then-gone")
            with pytest.raises(grpc.RpcError) as caught:
                calls.ListReleases(pb.ListReleasesRequest(), timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert code(world, key, leaf) is grpc.StatusCode.UNAVAILABLE  # TLS does not know it any more either

    def test_the_whole_way_with_a_consumer(self, world, company, tmp_path):
        from consumer.config import Home as ConsumerHome

        consumer = ConsumerHome.at(tmp_path / "consumer")
        consumer_side.create_home(consumer, "Company")
        request = x509.load_pem_x509_csr((consumer.tls / consumer_side.REQUEST_FILE).read_bytes())
        leaf = wire_world.certificate(
            company, consumer_side._load_key(consumer.tls / "client.key"), uri="https://company.example"
        )
        assert leaf.public_key() == request.public_key()
        (tmp_path / "leaf.pem").write_bytes(pki.pem(leaf))
        arguments = ["partner", "add", "own-ca", "--certificate", tmp_path / "leaf.pem", "--out", tmp_path / "folder"]
        result = RUN.invoke(app, [*map(str, arguments), "--home", str(world.home.root)])
        assert result.exit_code == 0, result.output
        heard = world.custodian.fingerprint
        known = consumer_side.trust(consumer, tmp_path / "folder", heard)
        assert known.partner == "own-ca"
        with Client.to(known, consumer, address=world.daemons[0].address) as client:
            assert client.list_releases()
        with pytest.raises(ConfigError, match="--certificate"):
            enrolment.renew(world.home, "own-ca", tmp_path / "next")

    def test_what_can_not_be_pinned(self, world, company, tmp_path):
        now, key = datetime.now(UTC), wire_world.new_key()
        named = wire_world.certificate(company, key, uri="stimset:partner:acme")
        late = self.leaf(company, key, begins=now - timedelta(days=2), ends=now - timedelta(days=1))
        server = pki.load_certificate(world.home.tls / "server.pem")
        for certificate, error in (
            (company.certificate, FormatError),
            (named, FormatError),
            (server, FormatError),
            (late, ConfigError),
        ):
            with pytest.raises(error) as caught:
                enrolment.pin(world.home, "refused", pki.pem(certificate), tmp_path / "refused")
            assert "\n" not in str(caught.value)
        for data in (b"", b"nothing", pki.pem(named) * 2, b"x" * (pki.MAX_REQUEST_BYTES + 1)):
            with pytest.raises(FormatError):
                enrolment.pin(world.home, "refused", data, tmp_path / "refused")
        assert not (tmp_path / "refused").exists()

    def test_the_same_one_twice(self, world, company, tmp_path):
        leaf = self.leaf(company, wire_world.new_key())
        enrolment.pin(world.home, "first", pki.pem(leaf), tmp_path / "first")
        with pytest.raises(ConfigError):
            enrolment.pin(world.home, "second", pki.pem(leaf), tmp_path / "second")
        assert not (tmp_path / "second").exists()
        assert leaf.fingerprint(hashes.SHA256())


def test_a_consumer_tells_a_shut_door_from_a_refusal(world, tmp_path):
    consumer, custodian = wire_world.enrol_consumer(tmp_path, world.home, "telling")
    with Client.to(custodian, consumer, address="127.0.0.1:1") as client, pytest.raises(TransportError):
        client.list_releases()
