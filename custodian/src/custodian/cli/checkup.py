"""What ``custodian doctor`` looks at. Each check reads, none changes anything.

Here is what lies in the home; `checkup_network` looks at names, ports and the way to partners, `checkup_clock` at the time.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from custodian.config import Home
from custodian.service import expiries
from stimset.errors import ConfigError, StimsetError

WARN_FREE = 5 << 30
LEAST_FREE = 256 << 20
# Kind of end -> days before it that a warning begins, and the remedy. The daemon renews its own certificate at 30 days.
REMEDIES: dict[str, tuple[float, str]] = {
    expiries.SERVER: (20, "custodian certificate renew"),
    expiries.AUTHORITY: (180, "plan a new home: every partner has to enrol again"),
    expiries.ROOT: (60, "custodian root renew, then custodian release renew"),
    expiries.TARGETS: (10, "custodian release renew"),
    expiries.TIMESTAMP: (0.04, "start the daemon, which signs it anew; see its log if it runs"),
    expiries.PARTNER: (30, "custodian partner renew NAME --out FOLDER"),
    expiries.RELEASE: (30, "release a newer one: custodian release build"),
}


class State(StrEnum):
    """How a check ended, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        check: what was looked at.
        state: how it is.
        found: what is there.
        remedy: what to do; empty where all is well.
    """

    check: str
    state: State
    found: str
    remedy: str = ""


Check = tuple[str, Callable[[], Finding]]


def examine(
    home: Home, address: str | None = None, *, through: str | None = None, time_server: str | None = None
) -> list[Finding]:
    """Run every check on `home`; a check that can't run counts as failed.

    Args:
        home: ours.
        address: where the daemon listens; the settings' where None.
        through: ``HOST:PORT`` as partners see us, past proxies and firewalls; None leaves that check out.
        time_server: an NTP server to compare the clock with; None asks the kernel only.
    """
    from custodian.cli import checkup_clock, checkup_network

    checks: list[Check] = [
        ("settings", lambda: _settings(home)),
        ("home folder", lambda: _folders(home)),
        ("secrets", lambda: _secrets(home)),
        ("database", lambda: _database(home)),
        ("releases", lambda: _releases(home)),
        ("jobs", lambda: _jobs(home)),
        ("disk", lambda: _disk(home)),
        ("gpu", _gpu),
        *checkup_network.checks(home, address, through),
        *checkup_clock.checks(home, time_server),
    ]
    findings = [_run(name, check) for name, check in checks]
    try:
        return findings + _ends(home)
    except (StimsetError, OSError) as error:
        return [*findings, _broken("expiries", error)]


def worst(findings: Sequence[Finding]) -> State:
    """The worst of them."""
    return max((finding.state for finding in findings), key=list(State).index, default=State.OK)


def _run(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (StimsetError, OSError) as error:
        return _broken(name, error)


def _broken(name: str, error: Exception) -> Finding:
    return Finding(name, State.FAILED, str(error), "see the finding, then run doctor again")


def _settings(home: Home) -> Finding:
    from custodian.service.addresses import split_address
    from custodian.service.limits import Limits

    settings = home.settings()
    split_address(settings.address)
    Limits.of(settings.limits)
    return Finding("settings", State.OK, f"{settings.name}, {settings.address}")


def _folders(home: Home) -> Finding:
    for folder in (home.root, home.keys, home.tls):
        if not folder.is_dir():
            return Finding("home folder", State.FAILED, f"{folder} is missing", "restore it from a backup")
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077:
            return Finding("home folder", State.FAILED, f"{folder} has mode {mode:04o}", f"chmod 700 '{folder}'")
    return Finding("home folder", State.OK, f"{home.root}, mode 0700")


def _secrets(home: Home) -> Finding:
    from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE
    from custodian.publish.keys import BUILDER, BUILDER_FILE, ONLINE_FILE, TOKEN_SUFFIX

    builder = token if (token := f"{BUILDER}{TOKEN_SUFFIX}") and (home.keys / token).exists() else BUILDER_FILE
    names = [home.keys / n for n in (builder, ONLINE_FILE, PSEUDONYM_KEY_FILE, GATE_KEY_FILE)]
    secret = [*names, home.tls / "ca.key", home.tls / "server.key", home.database]
    for path in secret:
        if not path.is_file():
            return Finding("secrets", State.FAILED, f"{path} is missing", "restore it from a backup")
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return Finding("secrets", State.FAILED, f"{path} has mode {mode:04o}", f"chmod 600 '{path}'")
        with path.open("rb") as file:
            file.read(1)
    return Finding("secrets", State.OK, f"{len(secret)} files, each for its owner only")


def _ends(home: Home) -> list[Finding]:
    """One finding for each kind of end, about the next one of it."""
    from contextlib import closing

    from custodian.state.database import Partners

    with closing(Partners.open(home)) as partners:
        ends = expiries.expiries(home, partners)
    findings = []
    for kind, (warn_days, remedy) in REMEDIES.items():
        ours = [end for end in ends if end.kind == kind]
        if not ours:
            continue
        near = [end for end in ours if end.days() < warn_days]
        days = ours[0].days()
        # A timestamp lives a day: without a daemon it is over, and nobody is harmed.
        state = State.OK if not near else State.WARNING if days > 0 or kind == expiries.TIMESTAMP else State.FAILED
        names = ", ".join(end.what for end in near[:5]) or ours[0].what
        found = f"{names}: {'until' if days > 0 else 'expired on'} {ours[0].ends:%Y-%m-%d %H:%M} UTC"
        findings.append(Finding(f"{kind} expiry", state, found, remedy if near else ""))
    return findings


def _database(home: Home) -> Finding:
    from custodian.state.database import Partners
    from custodian.state.engine import HEAD

    if not home.settings().database and not home.database.is_file():
        return Finding("database", State.FAILED, f"{home.database} is missing", "restore it from a backup")
    partners = Partners.open(home)
    try:
        partners.check()
        everyone = partners.list()
    finally:
        partners.close()
    live = sum(not partner.revoked() for partner in everyone)
    return Finding("database", State.OK, f"revision {HEAD}, {live} valid certificates, {len(everyone) - live} revoked")


def _releases(home: Home) -> Finding:
    from custodian.publish.store import ReleaseStore

    store = ReleaseStore(home.releases)
    broken = store.broken()
    if broken:
        name, cause = next(iter(broken.items()))
        return Finding(
            "releases", State.FAILED, f"{len(broken)} can't be served; {name}: {cause}", "restore it, or remove it"
        )
    return Finding("releases", State.OK, f"{len(store.list())} can be served")


def _jobs(home: Home) -> Finding:
    from custodian.jobs import Jobs
    from custodian.jobs import State as JobState

    found = Jobs(home).list()
    crashed = [job.id for job in found if job.state is JobState.CRASHED]
    if crashed:
        return Finding(
            "jobs", State.WARNING, f"crashed: {', '.join(crashed[:5])}", f"custodian jobs resume {crashed[0]}"
        )
    return Finding("jobs", State.OK, f"{sum(not job.state.ended for job in found)} at work or waiting")


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.root).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE:
        return Finding("disk", State.FAILED, found, "make room on the home's disk")
    if free < WARN_FREE:
        return Finding("disk", State.WARNING, found, "make room on the home's disk")
    return Finding("disk", State.OK, found)


def _gpu() -> Finding:
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f"torch can't be loaded ({error}); pip install 'stimset[learning]'") from None
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name(0)
        return Finding("gpu", State.OK, f"{name}, {free >> 30} of {total >> 30} GiB free, torch {torch.__version__}")
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return Finding(
            "gpu",
            State.WARNING,
            f"there is a GPU, but torch {torch.__version__} sees none",
            "install a CUDA build of torch, or its driver",
        )
    return Finding("gpu", State.OK, f"none; torch {torch.__version__} on {torch.get_num_threads()} threads")
