"""A PostgreSQL cluster of the tests' own: a temporary folder, a socket in it, a password, no TCP port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from custodian.config import Home

PASSWORD = "cluster of the tests"
USER = "stimset"


def binaries() -> Path | None:
    """Where initdb and postgres lie; None where PostgreSQL is not installed."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    if (initdb := shutil.which("initdb")) is not None:
        found.append(Path(initdb).resolve().parent)
    return next((folder for folder in reversed(found) if (folder / "postgres").exists()), None)


@dataclass
class Cluster:
    """A running cluster; `close` ends it and removes everything."""

    folder: Path
    process: subprocess.Popen[bytes]
    made: int = 0

    @classmethod
    def start(cls, programs: Path) -> Cluster:
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 bytes at most
        as_user = _unprivileged()
        if as_user:
            os.chown(folder, pwd.getpwnam(as_user["user"]).pw_uid, -1)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = folder / "data"
        command = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **as_user)
        with (folder / "log").open("wb") as log:
            command = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **as_user)
        cluster = cls(folder, process)
        deadline = time.monotonic() + 30
        while True:
            try:
                cluster.admin.execute("SELECT 1")
                return cluster
            except psycopg.OperationalError:
                cluster.__dict__.pop("admin", None)
                if process.poll() is not None or time.monotonic() > deadline:
                    cluster.close()
                    raise
                time.sleep(0.05)

    @cached_property
    def admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.folder), user=USER, password=PASSWORD, dbname="postgres", autocommit=True)

    def new_url(self) -> str:
        """The URL of an empty place, without the password: a schema of its own, which takes a millisecond, not a second."""
        name = f"t{self.made}"
        self.made += 1
        self.admin.execute(f"CREATE SCHEMA {name}")
        return f"postgresql+psycopg://{USER}@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    def close(self) -> None:
        if "admin" in self.__dict__:
            self.admin.close()
        self.process.send_signal(signal.SIGQUIT)  # "immediate": nothing of it is needed again
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def settle(home: Home, url: str) -> Home:
    """Name the database in the home's settings."""
    home.create()
    old = home.settings_file.read_text() if home.settings_file.exists() else 'name = "Test Hospital"\n'
    home.settings_file.write_text(old + (f'database = "{url}"\n' if url else ""))
    return home


def _unprivileged() -> dict[str, str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    return {"user": next(name for name in ("postgres", "nobody") if name in names)}
