"""A small real release, made by the real publisher with real keys, for every test that needs one.

The gate's verdict is the only thing invented: the `AdmittedSet` is made through its seal, which no code outside tests
touches.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from custodian.config import Home
from custodian.excitation.candidates import CandidateSet
from custodian.gate import admitted as gate
from custodian.gate.admitted import AdmittedSet
from custodian.publish.keys import create_keys, load_signers, own_root
from custodian.publish.publishing import SignedRelease, publish
from stimset.release import Budget, CheckResult, GateResult
from stimset.roots import TrustedRoot
from stimset.windows import SignalSpec, WindowSpec

PASSPHRASE = "a passphrase for tests"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),),
    rate_hz=0.5,
    epoch_s=20.0,
    labels=("normal", "apnea"),
    annotations={"N": "normal", "A": "apnea"},
    meaning="Apnea within the epoch, by a simulation.",
)
CHECKS = (
    CheckResult("identity-certainty", 0.41, 0.5, "<=", True, "How sure a fresh attacker is; not how sure any is."),
    CheckResult("utility-kappa-loss", 0.02, 0.05, "<=", True, "What a student of another architecture loses."),
)
RESULT = GateResult(True, "default", "ab" * 32, CHECKS, {"teacher-kappa": 0.66})


@dataclass(frozen=True)
class TinyRelease:
    """What `make` left: the custodian's home, the release in it, and the root that partners pin."""

    home: Home
    release: SignedRelease
    root: TrustedRoot

    @property
    def folder(self) -> Path:
        return self.release.folder

    @property
    def root_file(self) -> Path:
        return self.home.root_file

    @property
    def fingerprint(self) -> str:
        return self.root.fingerprint

    def copy(self, to: Path) -> Path:
        """A copy of the release that may be damaged."""
        shutil.copytree(self.folder, to)
        for path in to.iterdir():
            path.chmod(0o644)
        return to


def make_home(root: Path, *, now: datetime | None = None, valid_days: int = 365) -> Home:
    """A custodian's home with keys and root, ready to publish."""
    home = Home(root)
    home.create()
    home.settings_file.write_text(f'name = "Test Hospital"\nvalid_days = {valid_days}\n')
    create_keys(home, PASSPHRASE, now=now, valid_days=valid_days + 365)
    return home


def candidates(
    folder: Path, *, spec: WindowSpec = SPEC, shards: tuple[int, ...] = (3, 2), simulated: bool = True
) -> CandidateSet:
    """A finished candidate set of random stimuli, within the spec's clip."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    counts = {f"shard-{i:05d}.safetensors": count for i, count in enumerate(shards)}
    for name, count in counts.items():
        beliefs = rng.dirichlet(np.ones(spec.classes), size=count).astype(np.float32)
        values = np.clip(rng.normal(size=(count, *spec.shape)), -spec.clip, spec.clip).astype(np.float32)
        save_file({"values": values, "probabilities": beliefs}, folder / name)
    spectrum = {"name": "class spectrum", "numbers": 156, "bound": "32 windows", "epsilon": None, "delta": None}
    made = CandidateSet(
        folder,
        spec,
        counts,
        simulated,
        7,
        {"architecture": "cnn", "digest": "cd" * 32, "kappa": 0.66},
        {"name": "spectral", "digest": "ef" * 32, "document": {"steps": 12}},
        (spectrum,),
    )
    made.save()
    return made


def admit(made: CandidateSet, result: GateResult = RESULT, budget: Budget | None = None) -> AdmittedSet:
    """What the gate would give, through its seal."""
    return AdmittedSet(made, result, candidates_digest=made.digest(), budget=budget, _seal=gate._SEAL)


def make(
    root: Path,
    *,
    now: datetime | None = None,
    name: str = "tiny",
    shards: tuple[int, ...] = (3, 2),
    spec: WindowSpec = SPEC,
    home: Home | None = None,
) -> TinyRelease:
    """Publish a small release in a home at `root` (or in `home`, as the next of its series).

    Args:
        root: where the home is made.
        now: the moment of publishing; the clock's where None.
        name: the series.
        shards: stimuli per candidate shard.
        spec: what the stimuli imitate.
        home: an existing home from `make_home` or an earlier call.
    """
    home = home or make_home(root, now=now)
    number = sum(1 for _ in home.root.glob("candidates/*"))
    admitted = admit(candidates(home.candidates(f"{name}-{number}"), shards=shards, spec=spec))
    moment = (now or datetime.now(UTC)) + timedelta(seconds=1)
    release = publish(admitted, home, load_signers(home, PASSPHRASE), name=name, now=moment)
    return TinyRelease(home, release, own_root(home))
