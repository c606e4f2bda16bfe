"""Keys, root and passphrase of a custodian's home."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from custodian.config import Home
from custodian.publish.keys import create_keys, load_online, load_signers, own_root, passphrase
from stimset.errors import ConfigError
from stimset.roots import TrustedRoot

PASSPHRASE = "a passphrase for tests"


@pytest.fixture
def home(tmp_path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_keys_and_root_belong_together(home):
    fingerprint = create_keys(home, PASSPHRASE)
    root = TrustedRoot.load(home.root_file, fingerprint)
    builder, online = load_signers(home, PASSPHRASE), load_online(home)
    assert set(root.keys) == {signer.keyid for signer in builder}
    assert (root.threshold, root.persons, root.hybrid) == (2, 1, True)
    assert online.keyid not in root.keys
    assert own_root(home) == root
    assert timedelta(days=364) < root.expires - datetime.now(UTC) <= timedelta(days=365)
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in home.keys.iterdir())


def test_nothing_is_replaced_and_an_interrupted_call_goes_on(home):
    create_keys(home, PASSPHRASE)
    with pytest.raises(ConfigError, match="partners have pinned it"):
        create_keys(home, PASSPHRASE)
    keyids = [s.keyid for s in load_signers(home, PASSPHRASE)]
    home.root_file.unlink()
    (home.keys / "online.pem").unlink()
    create_keys(home, PASSPHRASE)
    assert [s.keyid for s in load_signers(home, PASSPHRASE)] == keyids
    home.root_file.unlink()
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        create_keys(home, "another passphrase")


def test_missing_root_and_keys(home):
    with pytest.raises(ConfigError, match="custodian init"):
        own_root(home)
    with pytest.raises(ConfigError, match=r"builder\.pem"):
        load_signers(home, PASSPHRASE)


def test_passphrase_comes_from_one_place(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("from a file\r\n")
    monkeypatch.delenv("CUSTODIAN_PASSPHRASE", raising=False)
    monkeypatch.delenv("CUSTODIAN_PASSPHRASE_FILE", raising=False)
    with pytest.raises(ConfigError, match="is needed"):
        passphrase()
    monkeypatch.setenv("CUSTODIAN_PASSPHRASE_FILE", str(file))
    assert passphrase() == "from a file"
    monkeypatch.setenv("CUSTODIAN_PASSPHRASE", "direct")
    with pytest.raises(ConfigError, match="not both") as caught:
        passphrase()
    assert "direct" not in str(caught.value)
    monkeypatch.delenv("CUSTODIAN_PASSPHRASE_FILE")
    assert passphrase() == "direct"
    monkeypatch.delenv("CUSTODIAN_PASSPHRASE")
    for content in (b"", b"\n", b"\xff"):
        file.write_bytes(content)
        monkeypatch.setenv("CUSTODIAN_PASSPHRASE_FILE", str(file))
        with pytest.raises(ConfigError):
            passphrase()
    monkeypatch.setenv("CUSTODIAN_PASSPHRASE_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="can't be read"):
        passphrase()
