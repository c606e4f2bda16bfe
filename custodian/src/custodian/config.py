"""The custodian's home folder and its settings.

The home holds everything private: keys, windows, teachers, candidate sets. It is created with mode 0700 and every secret in it with
0600. Nothing outside this module builds a path inside it by hand.
"""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stimset import homes
from stimset.errors import ConfigError

HOME_VARIABLE = "CUSTODIAN_HOME"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
SETTINGS_FILE = "custodian.toml"
PSEUDONYM_KEY_FILE = "pseudonym.key"
GATE_KEY_FILE = "gate.key"
SECRET_BYTES = 32


@dataclass(frozen=True)
class Settings:
    """What ``custodian.toml`` may say.

    Attributes:
        name: the organisation's name, as partners read it in every release.
        address: host and port that the daemon listens on.
        hostnames: names and addresses that the server's certificate is valid for.
        valid_days: days until a new release expires.
        database: a PostgreSQL database as ``postgresql+psycopg://USER@HOST/NAME``, without its password
            (`custodian.state.engine`); empty for the SQLite file in the home.
        budget_epsilon, budget_delta: what a cohort may spend in all (`custodian.budget`); None is no limit.
        evaluation_queries, evaluation_advantage, evaluation_patients: what partners' models may learn of held-out patients
            (`custodian.evaluation.policy`); no queries offers no evaluation.
        metrics: host and port where the daemon shows its metrics to Prometheus, without TLS; empty is nowhere.
        limits: what the daemon allows, by the names of `custodian.service.limits.Limits`.
    """

    name: str
    address: str = "127.0.0.1:7443"
    hostnames: tuple[str, ...] = ("localhost", "127.0.0.1")
    valid_days: int = 365
    database: str = ""
    budget_epsilon: float | None = None
    budget_delta: float | None = None
    evaluation_queries: int = 4
    evaluation_advantage: float = 0.02
    evaluation_patients: int = 20
    metrics: str = "127.0.0.1:9464"
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Home:
    """The home folder: where each thing lies.

    Attributes:
        root: the folder itself.
    """

    root: Path

    @classmethod
    def open(cls, root: Path | None) -> Home:
        """The existing home at `root`, or at ``CUSTODIAN_HOME``.

        Raises:
            ConfigError: none is named, or it was not made by ``custodian init``.
        """
        return cls(homes.existing(root, HOME_VARIABLE, SETTINGS_FILE, "custodian"))

    @classmethod
    def at(cls, root: Path | None) -> Home:
        """The home at `root` or ``CUSTODIAN_HOME``, whether it exists or not."""
        return cls(homes.named(root, HOME_VARIABLE))

    @property
    def settings_file(self) -> Path:
        """Settings, editable by hand."""
        return self.root / SETTINGS_FILE

    @property
    def keys(self) -> Path:
        """Signing keys, the pseudonym key and the gate's seal."""
        return self.root / "keys"

    @property
    def tls(self) -> Path:
        """The private certificate authority and the server's certificate."""
        return self.root / "tls"

    @property
    def root_file(self) -> Path:
        """The TUF root metadata whose digest partners pin."""
        return self.root / "root.json"

    @property
    def cohort(self) -> Path:
        """The private windows."""
        return self.root / "cohort"

    @property
    def teacher(self) -> Path:
        """The teacher's checkpoint and identity networks."""
        return self.root / "teacher"

    @property
    def evaluation(self) -> Path:
        """The private windows of the declared evaluation cohort, where there is one."""
        return self.root / "evaluation"

    @property
    def evaluations(self) -> Path:
        """What partners submitted, and the reports that they were given."""
        return self.root / "evaluations"

    @property
    def releases(self) -> Path:
        """Signed releases, one folder each."""
        return self.root / "releases"

    @property
    def proposals(self) -> Path:
        """Releases and channel changes that a second person has still to sign; nobody else sees them."""
        return self.root / "proposals"

    @property
    def channel(self) -> Path:
        """TUF metadata, as the daemon serves it."""
        return self.root / "channel"

    @property
    def withdrawn(self) -> Path:
        """Releases that were taken back; they are kept, and served to nobody."""
        return self.root / "withdrawn"

    @property
    def database(self) -> Path:
        """The embedded database (SQLite): partners, grants, the log; unused where the settings name another one."""
        return self.root / "state.sqlite"

    @property
    def jobs(self) -> Path:
        """Long work in processes of its own, a folder each (`custodian.jobs`)."""
        return self.root / "jobs"

    @property
    def daemon_file(self) -> Path:
        """Where the running daemon answers; it goes with the daemon."""
        return self.root / "daemon.json"

    @property
    def checkpoint(self) -> Path:
        """The log's newest signed checkpoint, apart from the database that it vouches for."""
        return self.root / "log.checkpoint.json"

    def candidates(self, name: str) -> Path:
        """The candidate set of this name: shards, and the gate's sealed verdict beside them."""
        return self.root / "candidates" / name

    def credential(self, path: Path) -> Path:
        """Where to read a key that lies at `path`: what the service manager handed over (systemd's ``LoadCredential``) comes first."""
        given = Path(os.environ.get(CREDENTIALS_VARIABLE, "")) / path.name
        return given if given.is_absolute() and given.is_file() else path

    def secret(self, name: str) -> bytes:
        """One of the home's own random secrets (`PSEUDONYM_KEY_FILE`, `GATE_KEY_FILE`).

        Raises:
            ConfigError: it can't be read, or is cut short.
        """
        try:
            key = (self.keys / name).read_bytes()
        except OSError:
            key = b""
        if len(key) != SECRET_BYTES:
            raise ConfigError(f"{self.keys / name} can't be read or is damaged; restore it from a backup")
        return key

    def settings(self) -> Settings:
        """Read ``custodian.toml``.

        Raises:
            ConfigError: it is not readable, or a key is unknown or of the wrong type.
        """
        try:
            document = tomllib.loads(self.settings_file.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{self.settings_file}: {error}") from None
        types: dict[str, Any] = {
            "name": str, "address": str, "hostnames": list, "valid_days": int, "database": str, "budget_epsilon": int | float,
            "budget_delta": int | float, "evaluation_queries": int, "evaluation_advantage": float,
            "evaluation_patients": int, "metrics": str, "limits": dict,
        }  # fmt: skip
        for key, value in document.items():
            if key not in types or not isinstance(value, types[key]):
                raise ConfigError(f"{self.settings_file}: '{key}' is unknown or of the wrong type; known are {sorted(types)}")
        if "name" not in document:
            raise ConfigError(f"{self.settings_file}: 'name' is missing")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        return Settings(**values)

    def create(self) -> None:
        """Make the folder with its private subfolders (mode 0700)."""
        for folder in (self.root, self.keys, self.tls):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)


def change_settings(home: Home, values: Mapping[str, float | None]) -> None:
    """Set top-level numbers in ``custodian.toml``, or remove those that are None; every other line stays as it is."""
    named = re.compile(rf"\s*(?:{'|'.join(values)})\s*=")
    lines = [line for line in home.settings_file.read_text().splitlines() if not named.match(line)]
    # Top-level keys end where the first table begins.
    end = next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    lines[end:end] = [f"{name} = {value!r}" for name, value in values.items() if value is not None]
    write_secret(home.settings_file, ("\n".join(lines) + "\n").encode())


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, in one step: a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
