"""``custodian certificate renew``, and where the daemon's keys are read when a service manager hands them over."""

from __future__ import annotations

import asyncio

import pytest

import tiny_release
from custodian.config import CREDENTIALS_VARIABLE, Home, Settings
from custodian.publish.keys import ONLINE_FILE, load_online
from custodian.service import notify, pki
from custodian.service.homes import create_home
from two_people import command


@pytest.fixture
def home(tmp_path) -> Home:
    made = Home.at(tmp_path / "home")
    create_home(made, Settings("Test Hospital"), tiny_release.PASSPHRASE)
    return made


def pair(home: Home) -> tuple[bytes, bytes]:
    return (home.tls / "server.key").read_bytes(), (home.tls / "server.pem").read_bytes()


def test_a_good_certificate_stays(home):
    before = pair(home)
    said = command("certificate", "renew", "--home", home.root)
    assert said["renewed"] is False
    assert said["hostnames"] == ["localhost", "127.0.0.1"]
    assert pair(home) == before


def test_a_stolen_key_is_replaced_at_once(home):
    before = pair(home)
    assert command("certificate", "renew", "--now", "--home", home.root)["renewed"] is True
    after = pair(home)
    assert not set(before) & set(after)
    pki.check_pair(*after, home.tls)


def test_another_host_name_is_reason_enough(home):
    settings = home.settings_file.read_text().replace('"localhost"', '"stimuli.example"')
    home.settings_file.write_text(settings)
    said = command("certificate", "renew", "--home", home.root)
    assert (said["renewed"], said["hostnames"]) == (True, ["stimuli.example", "127.0.0.1"])


def test_a_missing_certificate_is_made(home):
    (home.tls / "server.pem").unlink()
    assert command("certificate", "renew", "--home", home.root)["renewed"] is True
    pki.check_pair(*pair(home), home.tls)


def test_a_key_that_was_handed_over_comes_first(home, tmp_path, monkeypatch):
    own = load_online(home).keyid
    given = tmp_path / "credentials"
    given.mkdir()
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(given))
    assert load_online(home).keyid == own
    (home.keys / ONLINE_FILE).rename(given / ONLINE_FILE)
    assert load_online(home).keyid == own


def test_credentials_of_a_relative_folder_are_nobodys(home, tmp_path, monkeypatch):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / ONLINE_FILE).write_text("planted")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, "credentials")
    assert home.credential(home.keys / ONLINE_FILE) == home.keys / ONLINE_FILE


@pytest.mark.parametrize("interval", ["", "0", "soon"])
def test_without_a_watchdog_nothing_is_kept_alive(interval, monkeypatch):
    monkeypatch.setenv(notify.WATCHDOG_VARIABLE, interval)
    asyncio.run(asyncio.wait_for(notify.keep_alive(), 5))
