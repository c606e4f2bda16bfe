"""Several custodians with a release each, and one consumer that trusts them all: where the tests of unions start."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tiny_release
from consumer import enrolment
from consumer.config import Home as ConsumerHome
from custodian.config import Home, Settings
from custodian.service.enrolment import enrol
from custodian.service.homes import create_home
from stimset.verifying import VerifiedRelease, verify
from stimset.windows import WindowSpec


@dataclass(frozen=True)
class Hospitals:
    """One consumer, and by short name each hospital's home, its release, and what the consumer knows of it."""

    consumer: ConsumerHome
    homes: Mapping[str, Home]
    releases: Mapping[str, tiny_release.TinyRelease]
    custodians: Mapping[str, enrolment.Custodian]

    @classmethod
    def make(
        cls, root: Path, specs: Mapping[str, WindowSpec], *, shards: tuple[int, ...] = (80, 60), series: str | None = None
    ) -> Hospitals:
        """Hospitals of these short names, whose releases imitate these windows; each series is called after its hospital or `series`."""
        consumer = ConsumerHome.at(root / "acme")
        heard = enrolment.create_home(consumer, "Acme Diagnostics")
        request = (consumer.tls / enrolment.REQUEST_FILE).read_bytes()
        homes, releases, custodians = {}, {}, {}
        for name, spec in specs.items():
            homes[name] = Home.at(root / name)
            create_home(homes[name], Settings(f"Hospital {name.title()}"), tiny_release.PASSPHRASE)
            releases[name] = tiny_release.make(
                homes[name].root, home=homes[name], shards=shards, spec=spec, name=series or f"{name}-nights"
            )
            done = enrol(homes[name], "acme", request, root / f"for-acme-{name}", series=("*",), key_fingerprint=heard)
            custodians[name] = enrolment.trust(consumer, done.folder, done.root_fingerprint, short_name=name)
        return cls(consumer, homes, releases, custodians)

    def held(self, name: str) -> Path:
        """A hospital's release in the consumer's home, as a pull leaves it."""
        release = self.releases[name].release
        folder = self.consumer.releases / release.id
        if not folder.exists():
            shutil.copytree(release.folder, folder)
        return folder

    def verified(self, name: str) -> VerifiedRelease:
        """The same, verified against the pinned root."""
        return verify(self.held(name), self.releases[name].root)
