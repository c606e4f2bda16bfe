"""Keys in a PKCS#11 token, by SoftHSM2 where it is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stimset.errors import ConfigError
from stimset.signing import MLDSA65, generate_key, sign_statement
from stimset.tokens import TokenSigner

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
MODULE = next((path for path in MODULES if Path(path).exists()), None)
PIN = "123456"
needs_token = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None or importlib.util.find_spec("pkcs11") is None,
    reason="needs SoftHSM2 (Debian: softhsm2) and python-pkcs11",
)


@pytest.fixture(scope="module")
def token(tmp_path_factory) -> Path:
    """A fresh token; the module reads its configuration once per process."""
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", "custodian", "--pin", PIN, "--so-pin", "654321"]
    subprocess.run(command, check=True, capture_output=True)
    return named(folder / "builder.pkcs11.toml")


def named(file: Path, token: str = "custodian", key: str = "builder", module: str | None = None) -> Path:
    file.write_text(f'module = "{module or MODULE}"\ntoken = "{token}"\nkey = "{key}"\n')
    return file


@needs_token
def test_a_key_is_made_found_and_signs(token):
    with pytest.raises(ConfigError, match="no Ed25519 key"):
        TokenSigner.open(token, PIN)
    made = TokenSigner.open(token, PIN, create=True)
    again = TokenSigner.open(token, PIN, create=True)
    assert made.keyid == again.keyid == TokenSigner.open(token, PIN).keyid
    again.public.verify(made.sign(b"message"), b"message")
    assert sign_statement(b"{}", [made, generate_key(MLDSA65)])
    assert PIN not in repr(made)


@needs_token
def test_a_custodian_with_a_token_releases(token, tmp_path, monkeypatch):
    import tiny_release
    from custodian.config import Home, Settings
    from custodian.publish.keys import load_signers
    from custodian.service.homes import create_home

    monkeypatch.setenv("CUSTODIAN_PIN", PIN)
    named(token, key="hospital")
    home = Home(tmp_path / "home")
    create_home(home, Settings("Token Hospital"), tiny_release.PASSPHRASE, token=token.read_bytes())
    assert not (home.keys / "builder.pem").exists()
    assert isinstance(load_signers(home, tiny_release.PASSPHRASE)[0], TokenSigner)
    made = tiny_release.make(home.root, home=home)
    assert len(made.release.signed_by) == 2
    assert made.root.hybrid


@needs_token
def test_what_is_wrong_with_a_token(token, tmp_path):
    for file in (
        named(tmp_path / "token.toml", token="another"),
        named(tmp_path / "module.toml", module=str(tmp_path / "none.so")),
    ):
        with pytest.raises(ConfigError, match="can't be used"):
            TokenSigner.open(file, PIN)


@needs_token
def test_a_wrong_pin(token):
    """In a process of its own: a token logs a process in once."""
    code = "import sys; from pathlib import Path; from stimset.tokens import TokenSigner; TokenSigner.open(Path(sys.argv[1]), '999999')"
    done = subprocess.run([sys.executable, "-c", code, token], capture_output=True, text=True)
    assert "ConfigError: the PIN of the token 'custodian' is wrong" in done.stderr
    assert "999999" not in done.stderr.splitlines()[-1]


@pytest.mark.skipif(importlib.util.find_spec("pkcs11") is not None, reason="python-pkcs11 is installed")
def test_without_the_extra(tmp_path):
    with pytest.raises(ConfigError, match=r"stimset\[hsm\]"):
        TokenSigner.open(named(tmp_path / "x.toml"), PIN)


@pytest.mark.parametrize(
    "text", ["", "module = 1", 'module = "a"\ntoken = "b"', 'module = "a"\ntoken = "b"\nkey = "c"\nmore = "d"', "\x00"]
)
def test_malformed_files(tmp_path, text):
    from stimset.tokens import _read

    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ConfigError):
        _read(tmp_path / "x.toml")
