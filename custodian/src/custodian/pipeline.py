"""The custodian's main path, top to bottom: recordings in, a signed release out.

Each step takes what the step before it returns and nothing else; the types are the privacy boundary::

    records --ingest--> Cohort --train--> Teachers --excite--> CandidateSet --audit--> AdmittedSet --release--> SignedRelease

Everything up to the `AdmittedSet` is private and stays in the home folder. Only the gate makes an `AdmittedSet`, only an `AdmittedSet` is
signed, and only what is signed is served (`custodian.service`). The command line runs these same functions, one command each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from custodian.budget import Account, Ledger, Mechanism, cohort_id
from custodian.cohort import Cohort, attributes_of, pseudonymised, split_persons
from custodian.config import PSEUDONYM_KEY_FILE, Home
from custodian.excitation import engine
from custodian.excitation.candidates import CandidateSet
from custodian.excitation.pools import Pool
from custodian.excitation.recipe import Recipe
from custodian.gate import verdict
from custodian.gate.admitted import AdmittedSet
from custodian.gate.attacks.base import Finding
from custodian.gate.deep import kept_findings, write_deep
from custodian.gate.policy import Policy
from custodian.inhibition import train_identity_networks
from custodian.publish.publishing import SignedRelease, publish
from custodian.shadows.deep import DeepAudit
from custodian.shadows.plan import Plan
from custodian.state.log import Entry, record
from custodian.teacher.accounting import PrivacyTarget
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.training import (
    DEFAULT_TARGET,
    TEACHER_ARCHITECTURE,
    TEACHER_REGIME,
    privacy_drawn,
    train_teacher,
)
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan
from stimset.records import Record, is_simulated
from stimset.signing import Signer
from stimset.windowing import check_usable, make_windows
from stimset.windows import WindowSpec

TEACHER = "teacher"
IDENTITY = "identity-{}"
MAX_IDENTITY_NETWORKS = 8

OnStep = Callable[[float, str], None]


def _unwatched(done: float, note: str = "") -> None:
    """Nobody watches the progress."""


@dataclass(frozen=True)
class Teachers:
    """What `train` leaves: the teacher, and the identity networks that inhibition works against."""

    teacher: TrainedNetwork
    identity: tuple[TrainedNetwork, ...]


def ingest(
    home: Home, records: Sequence[Record], spec: WindowSpec, *, demographics: Mapping[str, Mapping[str, str]] | None = None,
    validation_share: float = 0.2, seed: int = 0, on_step: OnStep = _unwatched,
) -> Cohort:  # fmt: skip
    """Records to private windows under pseudonyms, split so that no patient stands on both sides; of the persons' table groups are kept."""
    simulated: list[bool] = []

    def watched(record: Record) -> Record:
        simulated.append(is_simulated(record))
        return record

    windows = make_windows((watched(r) for r in records), spec, on_record=on_step)
    check_usable(windows)
    key = home.secret(PSEUDONYM_KEY_FILE)
    windows = pseudonymised(windows, key)
    split = split_persons(windows, share=validation_share, seed=seed)
    cohort = Cohort(windows, split, any(simulated), attributes_of(windows, demographics or {}, key))
    persons, made = len(cohort.windows.person_names), len(cohort.windows)
    record(home, Entry("ingest", windows=made, persons=persons, simulated=cohort.simulated))
    cohort.save(home.cohort)
    return cohort


def train(
    home: Home, cohort: Cohort, *, architecture: str = TEACHER_ARCHITECTURE, regime: str = TEACHER_REGIME,
    plan: TrainingPlan | None = None, privacy: PrivacyTarget = DEFAULT_TARGET, seed: int = 0, device: str = "cpu",
    on_step: OnStep = _unwatched,
) -> Teachers:  # fmt: skip
    """The teacher and the identity networks, kept in the home. A regime with a proof spends the cohort's privacy budget first.

    Raises:
        PolicyDenied: the budget does not allow it; nothing was trained.
    """
    draw = privacy_drawn(cohort, architecture=architecture, regime=regime, plan=plan, privacy=privacy)
    with _spending(home, cohort, draw, regime):
        teacher = train_teacher(
            cohort, architecture=architecture, regime=regime, plan=plan, privacy=privacy, seed=seed, device=device, on_epoch=on_step
        )
    identity = train_identity_networks(cohort, seed=seed + 1, device=device, on_epoch=on_step)
    seal = cohort.seal(home.secret(PSEUDONYM_KEY_FILE))
    trained = Teachers(replace(teacher, facts={**teacher.facts, "cohort": seal}), tuple(identity))
    record(home, Entry("train", architecture=architecture, regime=regime))
    trained.teacher.save(home.teacher, TEACHER)
    for i, network in enumerate(identity):
        network.save(home.teacher, IDENTITY.format(i))
    return trained


@contextmanager
def _spending(home: Home, cohort: Cohort, draw: Mechanism | None, subject: str) -> Iterator[None]:
    """The cohort's budget, charged before the work inside starts; nothing where nothing is drawn."""
    if draw is None:
        yield
        return
    with closing(Ledger.open(home)) as ledger:
        account = cohort_id(cohort.windows.person_names, home.secret(PSEUDONYM_KEY_FILE))
        with ledger.spend(account, draw, purpose="teacher", subject=subject):
            yield


def load_teachers(home: Home, cohort: Cohort) -> Teachers:
    """What `train` left, if it was trained on this very cohort.

    Raises:
        ConfigError: nothing was trained, or on another cohort.
    """
    teacher = TrainedNetwork.load(home.teacher, TEACHER)
    if teacher.facts.get("cohort") != cohort.seal(home.secret(PSEUDONYM_KEY_FILE)):
        raise ConfigError("the cohort has changed since the teacher was trained; run 'custodian train' again")
    names = [IDENTITY.format(i) for i in range(MAX_IDENTITY_NETWORKS)]
    present = [name for name in names if (home.teacher / f"{name}.json").is_file()]
    return Teachers(teacher, tuple(TrainedNetwork.load(home.teacher, name) for name in present))


def excite(
    home: Home, cohort: Cohort, teachers: Teachers, recipe: Recipe, *, name: str, count: int, seed: int = 0, batch: int = 500,
    device: str = "cpu", pool: Pool | None = None, on_step: OnStep = _unwatched,
) -> CandidateSet:  # fmt: skip
    """Stimuli, shard by shard, by the workers of a pool or by this process; goes on where an earlier call was interrupted."""
    with Account.open(home, cohort.windows.person_names, name) as account:
        return engine.excite(
            cohort, teachers.teacher, teachers.identity, recipe, count=count, seed=seed, folder=home.candidates(name), batch=batch,
            device=device, pool=pool, account=account, on_progress=lambda done: on_step(done, ""),
            on_preparation=lambda note: on_step(0, note),
        )  # fmt: skip


def audit(
    home: Home, cohort: Cohort, candidates: CandidateSet, policy: Policy, *, seed: int = 0, on_step: OnStep = _unwatched
) -> AdmittedSet:
    """The gate, with what a deep audit of the set found, if there was one. Raises `ReleaseRefused` with every failed check."""
    deep = kept_findings(home, candidates.folder.name)
    return verdict.admit(home, candidates, cohort, policy, deep=deep, seed=seed, on_progress=on_step)


def deepen(
    home: Home, cohort: Cohort, candidates: CandidateSet, plan: Plan, *, workers: int | None = 1, address: str | None = None,
    on_step: OnStep = _unwatched,
) -> Sequence[Finding]:  # fmt: skip
    """The deep audit: shadow worlds, made like the set, of halves of the persons. Goes on where an earlier call was interrupted."""
    deep = DeepAudit.of(home, cohort, plan, set_name=candidates.folder.name)
    deep.run(workers=workers, address=address, on_step=on_step)
    findings = deep.findings()
    write_deep(home, candidates, findings, deep.facts())
    return findings


def release(home: Home, admitted: AdmittedSet, signers: Sequence[Signer], *, name: str) -> SignedRelease:
    """Sign an admitted set as the next release of a series; from here on it may leave."""
    return publish(admitted, home, signers, name=name)


def main_path(
    home: Home, records: Sequence[Record], spec: WindowSpec, recipe: Recipe, policy: Policy, signers: Sequence[Signer], *, name: str,
    count: int,
) -> Path:  # fmt: skip
    """All of it at once, with the defaults."""
    cohort = ingest(home, records, spec)
    teachers = train(home, cohort)
    candidates = excite(home, cohort, teachers, recipe, name=name, count=count)
    admitted = audit(home, cohort, candidates, policy)
    return release(home, admitted, signers, name=name).folder
