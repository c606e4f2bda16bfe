"""The independent check: deploy/verify-release.sh agrees with `stimset.verifying` on every cause."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import tiny_release
from custodian.publish.keys import load_signers
from custodian.publish.publishing import publish
from stimset.envelope import Envelope, Signature, parse_envelope
from stimset.errors import StimsetError
from stimset.release import PAYLOAD_TYPE, CheckResult, Override
from stimset.signing import generate_key, sign_statement
from stimset.verifying import verify
from tiny_release import TinyRelease, make

SCRIPT = Path(__file__).parents[2] / "deploy/verify-release.sh"
SHARD = "stimuli-00000.safetensors"

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("bash", "openssl", "jq")), reason="bash, openssl and jq are needed"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> TinyRelease:
    return make(tmp_path_factory.mktemp("script") / "home")


def run(folder: Path, root: Path, fingerprint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [SCRIPT, folder, root, fingerprint]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environment}
    )


def test_a_good_release(tiny):
    result = run(tiny.folder, tiny.root_file, tiny.fingerprint)
    assert result.returncode == 0, result.stderr
    assert "verified: tiny-0001" in result.stdout
    assert "SIMULATED" in result.stdout


def test_an_overridden_release_is_refused_unless_it_is_accepted(tiny):
    failed = CheckResult("linkage", None, 0.1, "<=", False, "")
    people = {"builder": "Ada Meyer", "officer": "Bo Holm"}
    override = Override(people, "A rehearsal with a partner on noise.", ("linkage",), "ab" * 32)
    result = replace(tiny_release.RESULT, admitted=False, checks=(*tiny_release.RESULT.checks, failed), override=override)
    made = tiny_release.candidates(tiny.home.candidates("forced"))
    signers = load_signers(tiny.home, tiny_release.PASSPHRASE)
    folder = publish(tiny_release.admit(made, result), tiny.home, signers, name="forced").folder
    refused = run(folder, tiny.root_file, tiny.fingerprint)
    assert refused.returncode == 19
    assert "OVERRIDDEN by Ada Meyer (builder) and Bo Holm (officer), failed: linkage" in refused.stderr
    accepted = run(folder, tiny.root_file, tiny.fingerprint, ACCEPT_OVERRIDE="1")
    assert accepted.returncode == 0 and "OVERRIDDEN" in accepted.stderr
    data = bytearray((folder / "CARD.md").read_bytes())
    (folder / "CARD.md").chmod(0o644)
    (folder / "CARD.md").write_bytes(b"?" + data[1:])
    assert run(folder, tiny.root_file, tiny.fingerprint, ACCEPT_OVERRIDE="1").returncode == 6


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def forge(folder: Path) -> None:
    envelope = parse_envelope((folder / "provenance.dsse.json").read_bytes())
    forged = Signature(envelope.signatures[0].keyid, bytes(64))
    (folder / "provenance.dsse.json").write_bytes(Envelope(PAYLOAD_TYPE, envelope.payload, (forged,)).to_bytes())


DAMAGE = {
    "changed shard": lambda f: flip(f / SHARD, -1),
    "changed card": lambda f: flip(f / "CARD.md", 10),
    "changed statement": lambda f: flip(f / "statement.json", 100),
    "changed payload": lambda f: flip(f / "provenance.dsse.json", 100),
    "missing shard": lambda f: (f / SHARD).unlink(),
    "missing envelope": lambda f: (f / "provenance.dsse.json").unlink(),
    "missing statement": lambda f: (f / "statement.json").unlink(),
    "extra file": lambda f: (f / ".hidden").write_text(""),
    "extra folder": lambda f: (f / "sub").mkdir(),
    "truncated shard": lambda f: (f / SHARD).write_bytes((f / SHARD).read_bytes()[:-1]),
    "truncated statement": lambda f: (f / "statement.json").write_bytes(b"{}"),
    "forged signature": forge,
    "swapped key": lambda f: (f / "provenance.dsse.json").write_bytes(
        sign_statement((f / "statement.json").read_bytes(), [generate_key()])
    ),
    "no envelope": lambda f: (f / "provenance.dsse.json").write_text("{}"),
    "link": lambda f: ((f / "card.json").unlink(), (f / "card.json").symlink_to(f / "CARD.md")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_both_verifiers_name_the_same_cause(tiny, tmp_path, damage):
    folder = tiny.copy(tmp_path / "copy")
    damage(folder)
    with pytest.raises(StimsetError) as caught:
        verify(folder, tiny.root)
    result = run(folder, tiny.root_file, tiny.fingerprint)
    assert result.returncode == caught.value.exit_code, result.stderr
    assert result.stderr.startswith("refused: ")


def test_expired_and_another_root(tmp_path):
    old = make(tmp_path / "old", now=datetime(2020, 1, 1, tzinfo=UTC))
    assert run(old.folder, old.root_file, old.fingerprint).returncode == 7
    assert run(old.folder, old.root_file, "0" * 64).returncode == 6
    assert run(old.folder, tmp_path / "none", "0" * 64).returncode == 3
