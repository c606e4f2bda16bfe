"""Two homes that share nothing but a folder that somebody carries: the custodian's and the officer's."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import tiny_release
from custodian.cli import app
from custodian.config import Home
from custodian.publish.keys import load_signers
from custodian.publish.publishing import propose

OFFICER_PASSPHRASE = "the officer's own passphrase"


def command(*arguments: object, passphrase: str = tiny_release.PASSPHRASE, exit_code: int = 0) -> dict[str, Any]:
    """One command as a user runs it; what it says to scripts, or its complaint."""
    environment = {"CUSTODIAN_HOME": "", "OFFICER_HOME": "", "CUSTODIAN_PASSPHRASE_FILE": "", "CUSTODIAN_PASSPHRASE": passphrase}
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], env=environment)
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout) if exit_code == 0 else {"said": result.output}


@dataclass(frozen=True)
class TwoPeople:
    """The custodian's home, the officer's, and the stick."""

    home: Home
    officer: Path
    stick: Path

    @classmethod
    def make(cls, folder: Path) -> TwoPeople:
        """Both homes and the root that both hold, by the commands."""
        home, officer, stick, safe = (folder / name for name in ("hospital", "officer", "stick", "safe"))
        stick.mkdir(parents=True)
        keys = command("officer", "init", "--home", officer, passphrase=OFFICER_PASSPHRASE)
        spare = command("officer", "init", "--home", safe, "--recovery", passphrase="the passphrase in the safe")
        for path in (keys["keys"], spare["keys"]):
            shutil.copy(path, stick)
        said = command(
            "init", "--home", home, "--name", "Test Hospital", "--officer", stick / "officer.keys.json",
            "--recovery", stick / "recovery.keys.json",
        )  # fmt: skip
        assert said["officer_words"] == keys["words"]
        shutil.copy(said["proposal"], stick)
        proposal = stick / "root.proposal.json"
        shown = command("officer", "sign-root", proposal, "--home", officer, passphrase=OFFICER_PASSPHRASE)
        assert shown["words"] == said["words"] and not shown["signed"]
        signed = command(
            "officer", "sign-root", proposal, "--home", officer, "--words", said["words"], "--out", stick / "root.json",
            passphrase=OFFICER_PASSPHRASE,
        )  # fmt: skip
        installed = command("root", "install", stick / "root.json", "--home", home)
        assert installed["root_fingerprint"] == signed["root_fingerprint"]
        return cls(Home(home), officer, stick)

    def propose(self, name: str = "apnea", **options: Any) -> Path:
        """A release that the custodian alone has signed, in its home."""
        number = len(list(self.home.root.glob("candidates/*")))
        admitted = tiny_release.admit(tiny_release.candidates(self.home.candidates(f"{name}-{number}")))
        return propose(admitted, self.home, load_signers(self.home, tiny_release.PASSPHRASE), name=name, **options)

    def carry(self, proposal: Path) -> Path:
        """The proposal on the stick, free to be changed by whoever holds it."""
        target = self.stick / proposal.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(proposal, target)
        for path in target.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return target

    def approve(self, carried: Path, *, exit_code: int = 0, words: str | None = None) -> dict[str, Any]:
        """The officer looks, compares the words, signs."""
        base = ("release", "approve", carried, "--home", self.officer)
        if words is None and exit_code == 0:
            words = command(*base, passphrase=OFFICER_PASSPHRASE)["words"]
        more = ("--words", words) if words else ()
        return command(*base, *more, passphrase=OFFICER_PASSPHRASE, exit_code=exit_code)

    def publish(self, carried: Path, *, exit_code: int = 0) -> dict[str, Any]:
        """The custodian takes it back."""
        return command("release", "publish", carried, "--home", self.home.root, exit_code=exit_code)

    def release(self, name: str = "apnea") -> Path:
        """A whole release."""
        carried = self.carry(self.propose(name))
        self.approve(carried)
        return Path(self.publish(carried)["folder"])
