"""Getting to know a custodian: what is believed, and what is not."""

from __future__ import annotations

import hashlib
import shutil
import stat
from datetime import UTC, datetime, timedelta

import pytest

import tiny_release
import wire_world
from consumer import enrolment
from consumer.config import Home as ConsumerHome
from custodian.config import Home, Settings
from custodian.service import enrolment as custodian_enrolment
from custodian.service import pki
from custodian.service.homes import create_home
from stimset.errors import ConfigError, ContentMismatch, FormatError


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    home = Home.at(tmp_path_factory.mktemp("hospital") / "home")
    create_home(
        home,
        Settings('St. "Mary" Hospital é', address="0.0.0.0:7443", hostnames=("localhost", "mary.example")),
        tiny_release.PASSPHRASE,
    )
    return home


@pytest.fixture
def consumer(tmp_path):
    home = ConsumerHome.at(tmp_path / "acme")
    enrolment.create_home(home, "Acme")
    return home


@pytest.fixture
def answer(hospital, consumer, tmp_path, request):
    name = f"p{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]}"
    csr = (consumer.tls / enrolment.REQUEST_FILE).read_bytes()
    return custodian_enrolment.enrol(hospital, name, csr, tmp_path / "folder")


def test_the_whole_way(hospital, consumer, answer):
    spoken = " ".join(answer.root_fingerprint.upper()[i : i + 8] for i in range(0, 64, 8))
    trusted = enrolment.trust(consumer, answer.folder, spoken)
    assert trusted == enrolment.find(consumer, None) == enrolment.find(consumer, "st-mary-hospital")
    assert trusted.address == "mary.example:7443"
    assert trusted.name == 'St. "Mary" Hospital é'
    assert trusted.partner == answer.partner.name
    assert answer.key_fingerprint == enrolment.our_fingerprint(consumer)
    for path in consumer.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o700), path


def test_the_folder_holds_nothing_secret(answer):
    assert {p.name for p in answer.folder.iterdir()} == {"client.pem", "ca.pem", "root.json", "custodian.toml"}
    assert all(b"PRIVATE" not in p.read_bytes() for p in answer.folder.iterdir())


def test_another_fingerprint_is_refused_and_leaves_nothing(consumer, answer):
    with pytest.raises(ContentMismatch):
        enrolment.trust(consumer, answer.folder, "ab" * 32)
    assert enrolment.trusted(consumer) == ()
    with pytest.raises(ConfigError, match="64 hex digits"):
        enrolment.trust(consumer, answer.folder, "ab" * 31)


def test_a_changed_root_is_refused(consumer, answer):
    path = answer.folder / "root.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ContentMismatch):
        enrolment.trust(consumer, answer.folder, answer.root_fingerprint)


def test_a_certificate_for_another_key_is_refused(consumer, answer, tmp_path):
    other = ConsumerHome.at(tmp_path / "other")
    enrolment.create_home(other, "Other")
    with pytest.raises(FormatError, match="not for our key"):
        enrolment.trust(other, answer.folder, answer.root_fingerprint)


def test_a_certificate_of_another_authority_is_refused(consumer, answer, tmp_path):
    pki.create_authority(tmp_path / "tls", "Elsewhere")
    shutil.copy(tmp_path / "tls/ca.pem", answer.folder / "ca.pem")
    with pytest.raises(FormatError, match="not issued"):
        enrolment.trust(consumer, answer.folder, answer.root_fingerprint)


def test_a_certificate_that_has_ended_is_refused(hospital, consumer, answer):
    key = enrolment._load_key(consumer.tls / "client.key")
    ends = datetime.now(UTC) - timedelta(minutes=5)
    expired = wire_world.certificate(pki.load_authority(hospital.tls), key, ends=ends)
    (answer.folder / "client.pem").write_bytes(pki.pem(expired))
    with pytest.raises(ConfigError, match="not now"):
        enrolment.trust(consumer, answer.folder, answer.root_fingerprint)


@pytest.mark.parametrize("file", ["client.pem", "ca.pem", "root.json", "custodian.toml"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * (enrolment.MAX_FILE_BYTES + 1)])
def test_a_broken_folder_has_one_line_for_it(consumer, answer, file, content):
    path = answer.folder / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises((ConfigError, FormatError, ContentMismatch)) as caught:
        enrolment.trust(consumer, answer.folder, answer.root_fingerprint)
    assert "\n" not in str(caught.value)
    assert enrolment.trusted(consumer) == ()


def test_a_pinned_root_is_not_replaced(hospital, consumer, answer, tmp_path):
    enrolment.trust(consumer, answer.folder, answer.root_fingerprint, short_name="mary")
    other = Home.at(tmp_path / "impostor")
    create_home(other, Settings("Impostor"), tiny_release.PASSPHRASE)
    csr = (consumer.tls / enrolment.REQUEST_FILE).read_bytes()
    forged = custodian_enrolment.enrol(other, "acme", csr, tmp_path / "forged")
    with pytest.raises(ConfigError, match="another root is pinned"):
        enrolment.trust(consumer, forged.folder, forged.root_fingerprint, short_name="mary")
    renewed = enrolment.trust(
        consumer, answer.folder, answer.root_fingerprint, short_name="mary", address="127.0.0.1:1"
    )
    assert renewed.address == "127.0.0.1:1"
    enrolment.trust(consumer, forged.folder, forged.root_fingerprint)
    with pytest.raises(ConfigError, match="impostor, mary"):
        enrolment.find(consumer, None)


def test_a_partners_key_that_was_not_read_out_is_refused(hospital, consumer, tmp_path):
    csr = (consumer.tls / enrolment.REQUEST_FILE).read_bytes()
    with pytest.raises(FormatError, match="call the partner"):
        custodian_enrolment.enrol(hospital, "stranger", csr, tmp_path / "x", key_fingerprint="cd" * 32)
    assert not (tmp_path / "x").exists()


def test_a_home_is_never_overwritten(hospital, consumer):
    before = {p: p.read_bytes() for p in consumer.tls.iterdir()}
    with pytest.raises(ConfigError, match="not empty"):
        enrolment.create_home(consumer, "Again")
    assert {p: p.read_bytes() for p in consumer.tls.iterdir()} == before
    with pytest.raises(ConfigError, match="never overwritten"):
        create_home(hospital, Settings("Again"), tiny_release.PASSPHRASE)


def test_a_failed_init_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError):
        create_home(Home.at(tmp_path / "h"), Settings("X"), "short")
    assert not (tmp_path / "h").exists()


def test_nothing_is_trusted_on_first_use(tmp_path):
    from typer.testing import CliRunner

    from consumer.cli import app

    world = wire_world.World.make(tmp_path)
    shutil.rmtree(world.custodian.folder)
    sent = ["trust", "add", str(tmp_path / "for-acme"), "--home", str(world.consumer.root)]
    refused = CliRunner().invoke(app, sent)
    assert refused.exit_code == 3 and "compare it by telephone" in refused.output
    assert not world.custodian.folder.exists()
    assert CliRunner().invoke(app, [*sent, "--i-have-compared"]).exit_code == 0
    assert world.custodian.folder.exists()
