"""``custodian doctor`` and ``custodian status``: every kind of trouble is found and named, with its remedy."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

import tiny_release
import wire_proxy
import wire_world
from custodian.cli import app, checkup, checkup_clock, checkup_network
from custodian.cli.checkup import REMEDIES, State
from custodian.config import Home, Settings
from custodian.jobs import Job
from custodian.jobs import State as JobState
from custodian.service import expiries, pki
from custodian.service.homes import create_home
from custodian.state.database import Partners
from stimset.errors import TransportError
from strange_servers import listener, time_server, tls_server

RUN = CliRunner()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = wire_world.World.make(tmp_path_factory.mktemp("doctor"))
    with made.home.settings_file.open("a") as file:
        file.write('metrics = ""\n')
    made.start()
    yield made
    made.close()


@pytest.fixture
def home(tmp_path):
    made = Home.at(tmp_path / "home")
    create_home(made, Settings("Test Hospital", address="127.0.0.1:0"), tiny_release.PASSPHRASE)
    return made


def found(home, check, **options):
    return {finding.check: finding for finding in checkup.examine(home, **options)}[check]


def document(home, *arguments):
    result = RUN.invoke(app, [*map(str, arguments), "--home", str(home.root), "--format", "json"])
    return json.loads(result.stdout), result.exit_code


class TestTheWhole:
    def test_a_sound_home(self, world):
        made, code = document(world.home, "doctor", "--address", world.daemons[0].address)
        states = {check["check"]: check["state"] for check in made["checks"]}
        assert code == 0, made
        assert made["failed"] == 0
        assert states["port"] == states["tls chain"] == states["clock"] == states["database"] == "ok"
        assert {f"{kind} expiry" for kind in REMEDIES} <= set(states)
        assert set(REMEDIES) == set(expiries.KINDS)
        assert all(check["remedy"] for check in made["checks"] if check["state"] != "ok")

    def test_the_exit_code_says_the_worst(self, home):
        assert document(home, "doctor")[1] == 0
        (home.keys / "pseudonym.key").chmod(0o644)
        made, code = document(home, "doctor")
        assert (made["worst"], code) == ("failed", 3)

    def test_a_warning_counts_when_asked(self, home):
        crashed(home)
        made, code = document(home, "doctor")
        assert (made["worst"], code) == ("warning", 0)
        assert document(home, "doctor", "--strict")[1] == 3

    def test_nothing_is_changed(self, home):
        def state():
            return {
                path: (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
                for path in home.root.rglob("*") if not path.name.startswith("state.sqlite")
            }  # fmt: skip

        before = state()
        checkup.examine(home)
        assert state() == before


def crashed(home):
    home.jobs.mkdir()
    job = Job.make(home.jobs / "20260503-142501-train-4f1c", "train", (), "/", False)
    from dataclasses import replace

    job.stand(replace(job.standing, state=JobState.RUNNING, pid=2**22 + 1, born="gone"))
    return job


class TestFindings:
    @pytest.mark.parametrize(
        ("name", "mode"),
        [("keys/gate.key", 0o640), ("tls/ca.key", 0o604), ("tls/server.key", 0o660), ("state.sqlite", 0o644)],
    )
    def test_secrets_that_others_can_read(self, home, name, mode):
        (home.root / name).chmod(mode)
        finding = found(home, "secrets")
        assert finding.state is State.FAILED
        assert finding.remedy == f"chmod 600 '{home.root / name}'"

    def test_a_folder_that_others_can_enter(self, home):
        home.root.chmod(0o755)
        assert "chmod 700" in found(home, "home folder").remedy

    def test_a_database_of_another_revision(self, home):
        import sqlite3

        with sqlite3.connect(home.database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        finding = found(home, "database")
        assert finding.state is State.FAILED
        assert "custodian migrate" in finding.found

    def test_a_database_that_is_away(self, home):
        with home.settings_file.open("a") as file:
            file.write('database = "postgresql+psycopg://nobody@127.0.0.1:1/none"\n')
        assert found(home, "database").state is State.FAILED

    def test_a_certificate_of_another_authority(self, home, tmp_path):
        pki.create_authority(tmp_path / "other", "Elsewhere")
        pki.issue_server(tmp_path / "other", ("localhost",))
        for name in ("server.key", "server.pem"):
            (home.tls / name).write_bytes((tmp_path / "other" / name).read_bytes())
        finding = found(home, "tls chain")
        assert finding.state is State.FAILED
        assert "not issued by ca.pem" in finding.found

    def test_a_key_without_its_certificate(self, home):
        old = (home.tls / "server.key").read_bytes()
        pki.issue_server(home.tls, ("localhost", "127.0.0.1"))
        (home.tls / "server.key").write_bytes(old)
        assert "belong together" in found(home, "tls chain").found

    def test_names_that_the_certificate_lacks(self, home):
        text = home.settings_file.read_text().replace('"localhost"', '"localhost", "other.invalid"')
        home.settings_file.write_text(text)
        assert found(home, "tls chain").state is State.WARNING
        dns = found(home, "dns")
        assert dns.state is State.WARNING
        assert "other.invalid" in dns.found

    @pytest.mark.parametrize(("days", "state"), [(400, State.OK), (5, State.WARNING), (-1, State.FAILED)])
    def test_a_partner_whose_certificate_ends(self, home, days, state):
        now = datetime.now(UTC)
        leaf = wire_world.certificate(
            pki.load_authority(home.tls),
            wire_world.new_key(),
            begins=now - timedelta(days=9),
            ends=now + timedelta(days=days),
        )
        table = Partners.open(home)
        table.add("acme", leaf)
        table.close()
        finding = found(home, "partner expiry")
        assert finding.state is state
        assert "acme" in finding.found
        assert bool(finding.remedy) == (state is not State.OK)

    def test_a_full_disk(self, home, monkeypatch):
        import shutil
        from collections import namedtuple

        usage = namedtuple("usage", "total used free")
        for free, state in ((10 << 30, State.OK), (1 << 30, State.WARNING), (1 << 20, State.FAILED)):
            monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(1 << 40, 0, free))
            assert found(home, "disk").state is state

    def test_a_crashed_job(self, home):
        job = crashed(home)
        finding = found(home, "jobs")
        assert (finding.state, finding.remedy) == (State.WARNING, f"custodian jobs resume {job.id}")

    def test_a_malformed_limit(self, home):
        with home.settings_file.open("a") as file:
            file.write("[limits]\ncalls = 0\n")
        assert found(home, "settings").state is State.FAILED


class TestTheNetwork:
    def test_something_else_on_our_port(self, home):
        with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
            finding = found(home, "port", address=address)
            assert (finding.state, checkup_network.daemon_answers(home, address)) == (State.FAILED, False)

    def test_a_free_port_and_one_that_can_not_be_had(self, home):
        assert "free" in found(home, "port", address="127.0.0.1:0").found
        assert found(home, "port", address="192.0.2.1:7443").state is State.FAILED

    def test_the_metrics_port(self, home):
        def settle(value):
            lines = [line for line in home.settings_file.read_text().splitlines() if not line.startswith("metrics")]
            home.settings_file.write_text("\n".join([*lines, f'metrics = "{value}"', ""]))
            return found(home, "metrics port")

        assert settle("").found == "metrics are off"
        with listener(b"HTTP/1.0 200 OK\r\n\r\nstimset_build 1") as address:
            assert settle(address).state is State.OK
        with listener(b"HTTP/1.0 200 OK\r\n\r\nhello") as address:
            assert settle(address).state is State.WARNING

    def test_the_way_in(self, world):
        assert found(world.home, "way in", through=world.daemons[0].address).state is State.OK

    def test_a_proxy_that_passes_tcp_through_is_fine(self, world):
        with _passing(world.daemons[0].address) as address:
            assert found(world.home, "way in", through=address).state is State.OK

    def test_a_proxy_that_ends_tls(self, world, tmp_path):
        pki.create_authority(tmp_path, "Proxy")
        pki.issue_server(tmp_path, ("127.0.0.1",))
        with tls_server(tmp_path / "server.pem", tmp_path / "server.key", ["h2"]) as address:
            finding = found(world.home, "way in", through=address)
        assert finding.state is State.FAILED
        assert "something ends TLS" in finding.remedy

    @pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
    def test_a_proxy_without_http2(self, world, protocols):
        with tls_server(world.home.tls / "server.pem", world.home.tls / "server.key", protocols) as address:
            finding = found(world.home, "way in", through=address)
        assert finding.state is State.FAILED
        assert "HTTP/2" in finding.found

    def test_a_shut_door_and_no_address(self, world):
        assert found(world.home, "way in", through="127.0.0.1:1").state is State.FAILED
        assert found(world.home, "way in", through="nowhere").state is State.FAILED


@contextmanager
def _passing(upstream):
    proxy = wire_proxy.Proxy(upstream)
    try:
        yield proxy.address
    finally:
        proxy.close()


class TestTheClock:
    @pytest.mark.parametrize(
        ("ahead", "state"),
        [(0.0, State.OK), (1.5, State.OK), (60.0, State.WARNING), (-400.0, State.FAILED), (86_400.0, State.FAILED)],
    )
    def test_against_a_time_server(self, ahead, state):
        with time_server(ahead) as server:
            finding = checkup_clock._against_server(server)
        assert finding.state is state
        assert finding.state is State.OK or finding.remedy
        with time_server(ahead) as server:
            assert checkup_clock.offset(server) == pytest.approx(ahead, abs=0.2)

    @pytest.mark.parametrize("answer", [{"mode": 3}, {"stratum": 0}, {"stratum": 16}])
    def test_a_server_that_is_not_synchronised(self, answer):
        with time_server(0.0, **answer) as server, pytest.raises(TransportError, match="no synchronised"):
            checkup_clock.offset(server)

    def test_a_server_that_is_silent(self, monkeypatch):
        monkeypatch.setattr(checkup_clock, "PROBE_SECONDS", 0.2)
        with time_server(0.0, silent=True) as server, pytest.raises(TransportError, match="does not answer"):
            checkup_clock.offset(server)

    def test_a_clock_before_what_the_home_remembers(self, home):
        assert found(home, "clock").state is State.OK
        ahead = time.time() + 3600
        os.utime(home.settings_file, (ahead, ahead))
        finding = found(home, "clock")
        assert finding.state is State.FAILED
        assert "custodian.toml was written" in finding.found

    def test_the_kernel_is_asked(self):
        assert checkup_clock._kernel().state in (State.OK, State.WARNING)


class TestStatus:
    def test_one_screen_of_a_custodian_that_serves(self, world):
        made, code = document(world.home, "status")
        assert code == 0
        assert made["daemon"]["up"]
        assert made["daemon"]["address"] == world.daemons[0].address
        assert made["releases"]["served"] == 1
        assert made["partners"] == {"revoked": 0, "valid": 1}
        assert made["log"]["records"] > 0
        assert made["log"]["checkpoint"]
        ends = [end["days"] for end in made["expiries"]]
        assert ends == sorted(ends)
        text = RUN.invoke(app, ["status", "--home", str(world.home.root)])
        assert len(text.stdout.splitlines()) <= 24
        assert "up since" in text.stdout

    def test_a_home_without_a_daemon(self, home):
        crashed(home)
        made, code = document(home, "status")
        assert code == 0
        assert not made["daemon"]["up"]
        assert made["jobs"]["states"] == {"crashed": 1}
        assert made["releases"] == {"bytes": 0, "newest": None, "served": 0, "stimuli": 0, "waiting": 0}

    def test_a_daemon_that_was_killed_is_not_taken_for_one_that_lives(self, home):
        home.daemon_file.write_text(json.dumps({"address": "127.0.0.1:1", "started": "2026-05-03T00:00:00Z"}))
        made, _ = document(home, "status")
        assert made["daemon"] == {
            "up": False,
            "address": "127.0.0.1:1",
            "started": None,
            "version": None,
            "metrics": None,
        }
        home.daemon_file.write_text("nothing")
        assert document(home, "status")[1] == 0
