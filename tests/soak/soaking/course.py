"""The course of a soak: partners pull, and at marks along the way something is killed, cut, filled up or set to another time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from soaking import bad_line, puller, reckoning
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from soaking.daemon import Trial

_PRELOADED = ["soaking.puller"]
_JUMPS = ((48, 0.30), (-48, 0.60), (480, 0.80))  # hours; at -48 what the daemon signs is out of date at once
_JUMP_S = 5.0
_TICK_S = 0.1
_AGAIN_S = 1.0


@dataclass
class Partner:
    """One pull, over all the processes that it takes.

    Attributes:
        name: also of its diary.
        home: its consumer home.
        line: how it reaches the daemon.
        full: what stops its disk in the middle: "", "tmpfs" or "limit".
        process: the present one.
        tries, kills: how many processes, and how many of them were killed.
        again_at: when the next one may start (`time.monotonic`).
        outcome: "verified", or the error that it was left with.
    """

    name: str
    home: Path
    line: str = "direct"
    full: str = ""
    process: BaseProcess | None = None
    tries: int = 0
    kills: int = 0
    again_at: float = 0.0
    outcome: str = ""

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    def arrived(self) -> int:
        """Bytes of the release that lie on its disk."""
        with contextlib.suppress(OSError):
            folders = [path for path in self.releases.iterdir() if path.is_dir()]
            return sum(entry.stat().st_size for path in folders for entry in os.scandir(path))
        return 0


@dataclass
class Course:
    """A soak under way.

    Args:
        trial: the daemon.
        partners: who pulls.
        release_id, size: what, and its bytes.
        diaries: folder of the partners' diaries.
        client_kills, daemon_kills: how many of each, at marks drawn over the whole of the bytes.
        rng: of the marks and of who is killed.
        seconds, most_tries: where it ends in any case.
        say: is told how far it is: the share of the bytes, and a note.
    """

    trial: Trial
    partners: list[Partner]
    release_id: str
    size: int
    diaries: Path
    client_kills: int
    daemon_kills: int
    rng: random.Random
    seconds: float
    most_tries: int = 60
    say: Callable[[float, str], None] = lambda share, note: None
    stated: Counter[str] = field(default_factory=Counter)
    crashed: list[str] = field(default_factory=list)
    jumps: int = 0
    back_at: float = float("inf")
    cuts: int = 0
    largest_sum_mib: float = 0.0

    def run(self) -> float:
        """Until every pull has ended; the seconds that it took."""
        self.diaries.mkdir(parents=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        marks = self.marks()
        began = time.monotonic()
        with lines(self.trial.address, self.rng.randrange(2**31)) as (ports, asked):
            ports["direct"] = int(self.trial.address.rpartition(":")[2])
            while any(not partner.outcome for partner in self.partners):
                now = time.monotonic()
                if now - began > self.seconds:
                    self._give_up()
                    break
                for partner in self.partners:
                    self._look_after(context, partner, ports, now)
                if now >= self.back_at:
                    self.back_at = float("inf")
                    self.trial.shift_clock(0)
                share = self._share()
                while marks and marks[-1][0] <= share:
                    self._strike(marks.pop()[1])
                running = sum(p.process is not None for p in self.partners)
                self.say(share, f"{running} pulling, {sum(p.outcome == 'verified' for p in self.partners)} verified")
                time.sleep(_TICK_S)
            while marks:  # what came too late for the bytes still comes
                self._strike(marks.pop()[1])
            asked.send(None)
            self.cuts = asked.recv()
        self.trial.shift_clock(0)
        return time.monotonic() - began

    def diary(self, partner: Partner) -> Path:
        return self.diaries / f"{partner.name}.txt"

    def marks(self) -> list[tuple[float, str]]:
        """Share of the bytes -> what happens then; the next one last."""
        kills = ["client"] * self.client_kills + ["daemon"] * self.daemon_kills
        marks = [(self.rng.uniform(0.02, 0.92), kind) for kind in kills]
        marks += [(share, f"clock {hours}") for hours, share in _JUMPS]
        return sorted(marks, reverse=True)

    def _strike(self, what: str) -> None:
        if what == "daemon":
            self.trial.kill()
        elif what == "client":
            pulling = [p for p in self.partners if p.process is not None and p.process.is_alive() and p.arrived()]
            pulling = pulling or [p for p in self.partners if p.process is not None and p.process.is_alive()]
            if pulling:
                chosen = self.rng.choice(pulling)
                chosen.process.kill()
                chosen.kills += 1
        else:
            self.trial.shift_clock(float(what.partition(" ")[2]))
            self.jumps += 1
            self.back_at = time.monotonic() + _JUMP_S

    def _look_after(self, context: multiprocessing.context.ForkServerContext, partner: Partner, ports: dict[str, int], now: float) -> None:
        """Start the partner's pull, or see how it ended; an operator would try again after an error that says so."""
        if partner.full == "tmpfs" and partner.arrived() > self.size // 8:
            take_room(partner, self.size)
        if partner.outcome or (partner.process is not None and partner.process.is_alive()):
            return
        if partner.process is not None:
            self._ended(partner, now)
        elif now >= partner.again_at:
            partner.tries += 1
            limit = int(self.size * 0.12) if partner.full == "limit" else 0
            errand = puller.Errand(
                partner.home, f"127.0.0.1:{ports[partner.line]}", self.release_id, self.diary(partner), limit
            )
            partner.process = context.Process(target=puller.run, args=(errand,), daemon=True)
            partner.process.start()

    def _ended(self, partner: Partner, now: float) -> None:
        process, partner.process = partner.process, None
        process.join()
        end, message = reckoning.last_end(self.diary(partner))
        if process.exitcode == -9:
            pass  # by us; it goes on at once
        elif process.exitcode != 0 or not end:
            self.crashed.append(f"{partner.name}: exit code {process.exitcode}")
            partner.outcome = "crashed"
        elif end == "verified":
            partner.outcome = "verified"
            shutil.rmtree(partner.releases / self.release_id)  # 200 releases would not fit
        else:
            self.stated[f"{end}: {_kind(message)}"] += 1
            partner.again_at = now + _AGAIN_S
            if partner.full and "full" in message:
                make_room(partner)
            if partner.tries >= self.most_tries:
                partner.outcome = end

    def _share(self) -> float:
        arrived = [self.size if partner.outcome else min(self.size, partner.arrived()) for partner in self.partners]
        return sum(arrived) / (self.size * len(self.partners))

    def _give_up(self) -> None:
        for partner in self.partners:
            if partner.process is not None:
                partner.process.kill()
                partner.process.join()
            partner.outcome = partner.outcome or "out of time"


def fill_up(partner: Partner, size: int, kind: str) -> None:
    """Give the partner a disk that is full in the middle of the release; "limit" where no file system can be mounted."""
    partner.full = kind
    if kind == "tmpfs":
        partner.releases.mkdir(exist_ok=True)
        # The room that a pull asks for is there when it begins; the ballast takes it afterwards, as another program would.
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + (96 << 20)}", "none", partner.releases], capture_output=True)
        partner.full = "tmpfs" if done.returncode == 0 else "limit"


def take_room(partner: Partner, size: int) -> None:
    """Fill the partner's file system up to half of the release."""
    with contextlib.suppress(OSError), (partner.releases / ".ballast").open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, (96 << 20) + size // 2)


def make_room(partner: Partner) -> None:
    """What an operator does about a full disk."""
    if partner.full == "tmpfs":
        (partner.releases / ".ballast").unlink(missing_ok=True)
    partner.full = ""


def check_room(folder: Path, needed: int) -> None:
    """Refuse to fill the machine's own disk.

    Raises:
        ConfigError: less than the pulls need, and 8 GiB more, is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + (8 << 30):
        raise ConfigError(f"{needed >> 30} GiB and 8 more are needed at {folder}, {free >> 30} are free; lower --pulls or --mib")


def raise_limits() -> None:
    """Several hundred processes and their pipes need more than 1024 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))


@contextlib.contextmanager
def lines(address: str, seed: int) -> Iterator[tuple[dict[str, int], Connection]]:
    """The relays in a process of their own: name -> port, and the pipe that asks it for the cuts."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=bad_line.run, args=(address, seed, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield dict(zip((line.name for line in bad_line.LINES), ours.recv(), strict=True)), ours
    finally:
        process.terminate()
        process.join(10)


def _kind(message: str) -> str:
    """The part of a message that is the same for all partners."""
    for sign in ("can't be reached or broke off", "is full", "are needed at", "refuses", "out of date", "valid until", "malformed"):
        if sign in message:
            return sign
    return message[:60]
