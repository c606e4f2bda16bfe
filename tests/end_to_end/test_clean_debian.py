"""The handbook's first sections, word by word, on a clean Debian: installed without network, a hardened daemon, a partner that pulls.

Nothing is planted but the medium with the wheelhouse and the partner's request. Minutes on an idle machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import handbook
from debian_machine import Machine, missing
from source_tree import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing()), reason=f"needs {missing()} (Debian: apt-get install mmdebstrap systemd-container)"
    ),
]
CONSUMER = Path(sys.executable).with_name("consumer")
HOME = "/var/lib/stimset/home"


def consumer(*words: object, within: tuple[str, ...] = ()) -> str:
    done = subprocess.run([*within, CONSUMER, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def partner(tmp_path_factory) -> Path:
    """The partner's home, with a request that was sent."""
    home = tmp_path_factory.mktemp("partner") / "acme"
    consumer("init", "--home", home, "--name", "Acme")
    return home


@pytest.fixture(scope="module")
def machine(tmp_path_factory, partner) -> Iterator[Machine]:
    """A machine on which the whole first section was typed."""
    folder = tmp_path_factory.mktemp("debian")
    medium = folder / "medium"
    build = ["sh", ROOT / "deploy/wheelhouse/build.sh", "--side", "custodian", "--out", medium]
    subprocess.run(
        build, check=True, capture_output=True, timeout=1800, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    )
    root = Machine.unpack(folder)
    first, *others = handbook.block("clean-debian")
    Machine.before_boot(root, first)
    shutil.copy(partner / "tls" / "client.csr", root / "srv" / "acme.csr")
    (root / "srv" / "acme.csr").chmod(0o644)
    machine = Machine.boot(root, medium=medium)
    try:
        for line in others:
            machine.call(line)
        yield machine
    finally:
        machine.stop()
        shutil.rmtree(folder, ignore_errors=True)


def daemon(machine: Machine, name: str) -> str:
    return machine.call(f"systemctl show -p {name} --value stimset-custodian").stdout.strip()


def test_the_daemon_serves_under_the_units_own_hardening(machine):
    assert daemon(machine, "ActiveState") == "active"
    status = Path(f"/proc/{machine.init}/root/proc/{daemon(machine, 'MainPID')}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    assert int(facts["VmRSS"].split()[0]) < 250 << 10


@pytest.mark.parametrize(
    "path", ["keys/online.pem", "keys/builder.pem", "tls/ca.key", "tls/server.key", "cohort", "/etc/stimset/passphrase"]
)
def test_the_daemon_does_not_see_what_it_does_not_need(machine, path):
    seen = f"nsenter -t {daemon(machine, 'MainPID')} -m -S $(id -u stimset) -- "
    name = path if path.startswith("/") else f"{HOME}/{path}"
    assert machine.call(f"{seen} cat {HOME}/root.json").stdout
    done = machine.call(f"{seen} sh -c 'cat {name} || ls {name}/'", check=False)
    assert done.returncode
    assert not done.stdout


def test_it_may_not_write_outside_its_home(machine):
    seen = f"nsenter -t {daemon(machine, 'MainPID')} -m -- "
    assert "Read-only" in machine.call(f"{seen} touch /opt/stimset/x /usr/x /etc/x", check=False).stderr


def test_a_new_key_restarts_the_daemon_with_it(machine):
    before = daemon(machine, "MainPID")
    machine.call("custodian certificate renew --now")
    machine.call(
        f"for i in $(seq 60); do test $(systemctl show -p MainPID --value stimset-custodian) != {before} && break; sleep 1; done"
    )
    machine.call("for i in $(seq 60); do systemctl is-active --quiet stimset-custodian && break; sleep 1; done")
    assert daemon(machine, "ActiveState") == "active"
    assert daemon(machine, "MainPID") not in (before, "0")
    given = (
        f"nsenter -t {daemon(machine, 'MainPID')} -m -- sha256sum /run/credentials/stimset-custodian.service/server.key"
    )
    assert machine.call(given).stdout.split()[0] == machine.call(f"sha256sum {HOME}/tls/server.key").stdout.split()[0]


def test_a_backup_is_made_by_the_unit_and_restored(machine):
    machine.call("systemctl start stimset-backup")
    made = machine.call("ls /var/backups/stimset/*.tar").stdout.split()
    assert len(made) == 1
    machine.call(f"custodian restore {made[0]} --with-keys --home /var/lib/stimset/rehearsal")
    machine.call("custodian log verify --home /var/lib/stimset/rehearsal")


def test_a_partner_pulls_the_first_release(machine, partner, tmp_path):
    """The second section, and then the partner's side from its own machine."""
    for line in handbook.block("first-release"):
        machine.call(line)
    folder = shutil.copytree(machine.root / "srv/stimset/for-acme", tmp_path / "for-acme")
    fingerprint = machine.call(f"sha256sum {HOME}/root.json").stdout.split()[0]
    consumer("trust", "add", folder, "--fingerprint", fingerprint, "--home", partner)
    network = tuple(machine.inside("-n"))
    consumer("pull", "latest", "--home", partner, "--address", "127.0.0.1:7443", within=network)
    verified = json.loads(consumer("verify", "apnea-0001", "--home", partner, "--format", "json"))
    assert verified["verified"] is True
