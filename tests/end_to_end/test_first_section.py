"""The handbook's first section without a machine of its own: its commands, the unit's own start line, and a partner that calls.

`test_clean_debian` types the same on a clean Debian; this one takes seconds and needs no root. Only paths are moved.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import handbook
from source_tree import ROOT

BIN = Path(sys.executable).parent
UNIT = (ROOT / "deploy/systemd/stimset-custodian.service").read_text()


def root_fingerprint(home: Path) -> str:
    """The root's, as 'custodian init' printed it: by the tool that anybody would use."""
    done = subprocess.run(["sha256sum", home / "root.json"], capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def test_from_nothing_to_a_serving_daemon_with_a_partner(tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("made at random by install.sh")
    environment = os.environ | {
        "CUSTODIAN_HOME": str(tmp_path / "home"), "CUSTODIAN_PASSPHRASE_FILE": str(passphrase), "OMP_NUM_THREADS": "1",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }  # fmt: skip

    def run(program: str, *words: str) -> str:
        done = subprocess.run([BIN / program, *words], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    partner = str(tmp_path / "acme")
    run("consumer", "init", "--home", partner, "--name", "Acme")
    shutil.copy(tmp_path / "acme/tls/client.csr", tmp_path / "acme.csr")
    lines = [re.sub(r"/srv(?:/stimset)?/", f"{tmp_path}/", line) for line in handbook.block("clean-debian")]
    typed = [shlex.split(line) for line in lines if line.startswith("custodian ")]
    typed[0][typed[0].index("--address") + 1] = "127.0.0.1:0"
    started = [shlex.split(line) for line in lines if line.startswith("systemctl ")]
    assert [words[:4] for words in started] == [["systemctl", "enable", "--now", "stimset-custodian"]]
    *making, doctor = typed
    for words in making:
        run(*words)
    start = re.search(r"^ExecStart=/opt/stimset/bin/(.*)$", UNIT, re.MULTILINE)
    assert start
    program, *words = start[1].split()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(environment["NOTIFY_SOCKET"])
        manager.settimeout(60)
        command = [BIN / program, *words, "--metrics", ""]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as daemon:
            try:
                assert manager.recv(100) == b"READY=1"
                assert daemon.stdout is not None
                address = daemon.stdout.readline().split()[-1]
                run(*doctor, "--address", address)
                fingerprint = root_fingerprint(tmp_path / "home")
                run(
                    "consumer",
                    "trust",
                    "add",
                    str(tmp_path / "for-acme"),
                    "--fingerprint",
                    fingerprint,
                    "--home",
                    partner,
                )
                run("consumer", "list", "--home", partner, "--address", address)
            finally:
                daemon.terminate()
