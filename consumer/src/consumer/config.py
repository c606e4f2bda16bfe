"""The consumer's home folder: trusted custodians, received releases, students. It never holds a patient's recording.

::

    HOME/consumer.toml               who we are
    HOME/tls/                        our own key (never leaves), certificate request
    HOME/custodians/NAME/            root.json, ca.pem, client.pem, custodian.toml (address, pinned fingerprint), witness.json
    HOME/releases/RELEASE_ID/        verified copies; NAME.RELEASE_ID where two custodians gave the same id
    HOME/students/NAME/              trained students, ONNX exports
    HOME/searches/                   journals of hyper-parameter searches, lines of JSON
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stimset import homes

HOME_VARIABLE = "CONSUMER_HOME"
SETTINGS_FILE = "consumer.toml"


@dataclass(frozen=True)
class Home:
    """The home folder: where each thing lies."""

    root: Path

    @classmethod
    def at(cls, root: Path | None) -> Home:
        """The home at `root` or ``CONSUMER_HOME``, whether it exists or not."""
        return cls(homes.named(root, HOME_VARIABLE))

    @classmethod
    def open(cls, root: Path | None) -> Home:
        """The existing home.

        Raises:
            ConfigError: none is named, or it was not made by ``consumer init``.
        """
        return cls(homes.existing(root, HOME_VARIABLE, SETTINGS_FILE, "consumer"))

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

    def release(self, named: str) -> Path:
        """The folder of a release that is named by its id in this home, or else by a path."""
        held = self.releases / named
        return held if named not in ("", ".", "..") and "/" not in named and held.is_dir() else Path(named)

    @property
    def students(self) -> Path:
        """Trained students, one folder each."""
        return self.root / "students"
