"""A backup taken while others write, what is in it, and every way in which a damaged one is refused."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import threading

import pytest
from typer.testing import CliRunner

import tiny_release
from custodian.cli import app
from custodian.config import Home, Settings
from custodian.publish.keys import checkpoint_keys, load_online, load_signers
from custodian.service.homes import create_home
from custodian.state import backup as taking
from custodian.state.archive import MANIFEST
from custodian.state.copying import dump, load
from custodian.state.engine import Database
from custodian.state.log import Entry, append, length, record
from custodian.state.witnesses import checkpoint, verify
from stimset.errors import ConfigError, ContentMismatch, FormatError, StimsetError

PASSPHRASE = "a passphrase for the backup"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A home with a release and a signed log."""
    home = Home(tmp_path_factory.mktemp("hospital") / "home")
    create_home(home, Settings("Test Hospital"), tiny_release.PASSPHRASE)
    tiny_release.make(home.root, home=home)
    for name in ("cohort", "teacher"):
        (home.root / name).mkdir()
        (home.root / name / "windows.bin").write_bytes(b"Wilhelmina, born 1931")
    database = Database.open(home)
    checkpoint(home, database, load_online(home))
    database.close()
    return home


@pytest.fixture(scope="module")
def saved(hospital, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    taking.backup(hospital, folder / "plain.tar")
    taking.backup(hospital, folder / "keys.tar", passphrase=PASSPHRASE)
    return folder


def members(path):
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def test_what_is_in_it_and_what_never(saved, hospital):
    plain, keys = members(saved / "plain.tar"), members(saved / "keys.tar")
    assert {
        "custodian.toml",
        "root.json",
        "state.jsonl",
        "log.checkpoint.json",
        "channel/timestamp.json",
        "releases/.series/tiny.last",
    } <= set(plain)
    assert "releases/tiny-0001/provenance.dsse.json" in plain
    assert not [name for name in plain if name.startswith(("keys", "cohort", "teacher")) or name.endswith(".key")]
    secrets = [path.read_bytes() for path in (*hospital.keys.iterdir(), hospital.tls / "ca.key")]
    for content in (*plain.values(), *keys.values()):
        assert b"Wilhelmina, born 1931" not in content
        assert not any(secret in content for secret in secrets)
    assert set(keys) - set(plain) == {"keys.sealed"}
    assert stat.S_IMODE((saved / "plain.tar").stat().st_mode) == 0o600


def test_a_whole_custodian_comes_back(saved, hospital, tmp_path):
    home = Home(tmp_path / "again")
    done = taking.restore(home, saved / "keys.tar", passphrase=PASSPHRASE)
    assert done.keys
    assert (home.releases / "tiny-0001" / "statement.json").read_bytes() == (
        hospital.releases / "tiny-0001" / "statement.json"
    ).read_bytes()
    load_signers(home, tiny_release.PASSPHRASE)
    assert {stat.S_IMODE(p.stat().st_mode) for p in home.keys.iterdir()} == {0o600}
    database = Database.open(home)
    size, findings = verify(database, home, checkpoint_keys(home))
    assert findings == []
    assert size > 1
    database.close()
    tiny_release.make(home.root, home=home, name="next")
    assert (home.releases / "next-0001").is_dir()


def test_an_occupied_home_is_moved_aside_and_hands_on_what_the_backup_lacks(saved, tmp_path):
    home = Home(tmp_path / "home")
    taking.restore(home, saved / "keys.tar", passphrase=PASSPHRASE)
    (home.root / "cohort").mkdir()
    (home.root / "cohort" / "windows.bin").write_bytes(b"Wilhelmina, born 1931")
    with pytest.raises(ConfigError, match="--force"):
        taking.restore(home, saved / "plain.tar")
    done = taking.restore(home, saved / "plain.tar", force=True)
    assert done.replaced is not None
    assert (done.replaced / "root.json").is_file()
    load_signers(home, tiny_release.PASSPHRASE)
    assert (home.root / "cohort" / "windows.bin").read_bytes() == b"Wilhelmina, born 1931"


@pytest.mark.parametrize("wrong", ["a wrong passphrase here", "short"])
def test_a_wrong_passphrase_leaves_nothing(saved, tmp_path, wrong):
    with pytest.raises(ConfigError, match="wrong"):
        taking.restore(Home(tmp_path / "home"), saved / "keys.tar", passphrase=wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_weak_passphrase_and_an_existing_file(hospital, tmp_path):
    with pytest.raises(ConfigError, match="at least 12"):
        taking.backup(hospital, tmp_path / "a.tar", passphrase="short")
    (tmp_path / "a.tar").write_text("an older one")
    with pytest.raises(ConfigError, match="never replaces"):
        taking.backup(hospital, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_text() == "an older one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def rewritten(source, out, change):
    """The same tar after `change(name, data)` of each member; None leaves it out."""
    with tarfile.open(source) as old, tarfile.open(out, "w") as new:
        for info in old:
            found = change(info.name, old.extractfile(info).read())
            if found is None:
                continue
            info.name, data = found
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    return out


def _escape(name, data):
    if name != MANIFEST:
        return name.replace("root.json", "../root.json") if name == "root.json" else name, data
    document = json.loads(data)
    for member in document["members"]:
        member["name"] = "../root.json" if member["name"] == "root.json" else member["name"]
    return name, json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda n, d: (n, d.replace(b"Hospital", b"Hostel__") if n == "custodian.toml" else d), ContentMismatch),
        (lambda n, d: (n, d[:-1] if n == "root.json" else d), FormatError),
        (lambda n, d: None if n == "root.json" else (n, d), FormatError),
        (lambda n, d: ("other" if n == "root.json" else n, d), FormatError),
        (lambda n, d: (n, b"{}" if n == MANIFEST else d), FormatError),
        (_escape, FormatError),
    ],
)
def test_a_damaged_backup_leaves_nothing(saved, tmp_path, change, error):
    mutant = rewritten(saved / "plain.tar", tmp_path / "mutant.tar", change)
    with pytest.raises(error):
        taking.restore(Home(tmp_path / "home"), mutant)
    assert [p.name for p in tmp_path.iterdir()] == ["mutant.tar"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_cut_backup_leaves_nothing(saved, tmp_path, share):
    data = (saved / "plain.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(StimsetError):
        taking.restore(Home(tmp_path / "home"), tmp_path / "cut.tar")
    assert [p.name for p in tmp_path.iterdir()] == ["cut.tar"]


def test_it_is_of_one_moment_while_others_write(home, database, tmp_path):
    """On both databases: whole transactions only, and what was restored verifies."""
    stop, started = threading.Event(), threading.Event()

    def write():
        own = Database.open(home)
        while not stop.is_set():
            with own.writing() as session:
                append(session, [Entry("train", regime="plain"), Entry("renew", targets=1)])
            started.set()
        own.close()

    writer = threading.Thread(target=write)
    writer.start()
    started.wait(20)
    try:
        for number in range(3):
            dump(database, tmp_path / f"{number}.jsonl")
    finally:
        stop.set()
        writer.join(20)
    for number in range(3):
        other = Home(tmp_path / f"restored{number}")
        other.create()
        restored = Database.at(other.database)
        load(restored, tmp_path / f"{number}.jsonl")
        size, findings = verify(restored, other, {})
        assert findings == []
        assert size % 2 == 0
        restored.close()


def test_from_sqlite_to_the_other_database_and_on(saved, bare_home, tmp_path):
    """A home moves to PostgreSQL by its backup; numbers of new rows go on behind those that were brought."""
    with tarfile.open(saved / "plain.tar") as tar:
        (tmp_path / "state.jsonl").write_bytes(tar.extractfile("state.jsonl").read())
    database = Database.unchecked(bare_home)
    rows = load(database, tmp_path / "state.jsonl")
    assert rows > 1
    record(bare_home, Entry("train", regime="plain"))
    with database.reading() as session:
        before = length(session)
    with pytest.raises(ConfigError, match="not empty"):
        load(database, tmp_path / "state.jsonl")
    load(database, tmp_path / "state.jsonl", replace=True)
    with database.reading() as session:
        assert length(session) == before - 1
    database.close()


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"{}\n",
        b'{"revision":"9999"}\n',
        b'{"revision":"0001"}\n{"row":{},"table":"sqlite_master"}\n',
        b'{"revision":"0001"}\n{"row":{"id":1},"table":"partners"}\n',
        b'{"revision":"0003"}\n{"row":{"key":null,"number":[1],"record":"{}"},"table":"log"}\n',
        b"\xff\n",
    ],
)
def test_a_damaged_copy_of_the_database(tmp_path, lines):
    (tmp_path / "state.jsonl").write_bytes(lines)
    database = Database.at(tmp_path / "state.sqlite")
    with pytest.raises(StimsetError) as caught:
        load(database, tmp_path / "state.jsonl")
    assert "\n" not in str(caught.value)
    database.close()


def test_the_commands(hospital, tmp_path, monkeypatch):
    monkeypatch.setenv("CUSTODIAN_BACKUP_PASSPHRASE", PASSPHRASE)
    file, again = str(tmp_path / "b.tar"), str(tmp_path / "again")
    done = CliRunner().invoke(app, ["backup", file, "--with-keys", "--home", str(hospital.root), "--format", "json"])
    assert done.exit_code == 0, done.stderr
    done = CliRunner().invoke(app, ["restore", file, "--with-keys", "--home", again, "--format", "json"])
    assert done.exit_code == 0, done.stderr
    verified = CliRunner().invoke(app, ["log", "verify", "--home", again, "--format", "json"])
    assert (verified.exit_code, json.loads(verified.stdout)["problems"]) == (0, [])
    shown = CliRunner().invoke(app, ["log", "show", "--event", "restore", "--home", again, "--format", "json"])
    assert [r["event"] for r in json.loads(shown.stdout)["records"]] == ["restore"]
