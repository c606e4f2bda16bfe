"""The consumer's home folder: trusted custodians, received releases, students. It never holds a patient's recording.

::

    HOME/consumer.toml               who we are
    HOME/tls/                        our own key (never leaves), certificate request
    HOME/custodians/NAME/            root.json, ca.pem, client.pem, custodian.toml (address, pinned fingerprint)
    HOME/releases/RELEASE_ID/        verified copies
    HOME/students/NAME/              trained students, ONNX exports
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stimset.errors import ConfigError

HOME_VARIABLE = "CONSUMER_HOME"
SETTINGS_FILE = "consumer.toml"


@dataclass(frozen=True)
class Home:
    """The home folder: where each thing lies."""

    root: Path

    @classmethod
    def at(cls, root: Path | None) -> Home:
        """The home at `root` or ``CONSUMER_HOME``, whether it exists or not."""
        chosen = root or (Path(os.environ[HOME_VARIABLE]) if os.environ.get(HOME_VARIABLE) else None)
        if chosen is None:
            raise ConfigError(f"no home folder is named; give --home or set {HOME_VARIABLE}")
        return cls(chosen.expanduser().resolve())

    @classmethod
    def open(cls, root: Path | None) -> Home:
        """The existing home.

        Raises:
            ConfigError: none is named, or it was not made by ``consumer init``.
        """
        home = cls.at(root)
        if not home.settings_file.is_file():
            raise ConfigError(f"{home.root} is no consumer home (no {SETTINGS_FILE}); run 'consumer init --home {home.root}'")
        return home

    @property
    def settings_file(self) -> Path:
        """Settings, editable by hand."""
        return self.root / SETTINGS_FILE

    @property
    def tls(self) -> Path:
        """Our TLS key and certificate request."""
        return self.root / "tls"

    @property
    def custodians(self) -> Path:
        """One folder per trusted custodian."""
        return self.root / "custodians"

    @property
    def releases(self) -> Path:
        """Verified releases, one folder each."""
        return self.root / "releases"

    @property
    def students(self) -> Path:
        """Trained students, one folder each."""
        return self.root / "students"
