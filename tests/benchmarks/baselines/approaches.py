"""What a hospital may let out instead of recordings: for each approach, how it is made from a cohort.

========== ============================================================================ ============
approach   how                                                                          what leaves
========== ============================================================================ ============
true       the training persons' windows with their labels: nothing is kept in          windows
noise      pink noise, labelled by the teacher                                          windows
stimuli    this project: teacher, inhibition, recipe                                    windows
copula     a tabular synthesiser on spectral features (`baselines.synthesiser`)         windows
dp-sgd-E   a student network trained by person-level DP-SGD within epsilon E            a model
federated  federated averaging over three sites, by Flower (`baselines.flower`)         a model
========== ============================================================================ ============

Noise and stimuli go by one teacher, whose training counts to the cost of the stimuli.

``dp-sgd-inf`` takes the same steps over the same clipped gradients with next to no noise: what clipping alone costs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from baselines.environments import Environment
from baselines.fedavg import ARCHITECTURE, Task, federate
from baselines.flower import train_by_flower
from baselines.synthesiser import synthesise

from custodian.cohort import Cohort
from custodian.excitation import engine
from custodian.excitation.recipe import Recipe, load_recipe
from custodian.inhibition import train_identity_networks
from custodian.teacher.accounting import PrivacyTarget
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.grouped import disjoint_groups
from custodian.teacher.regimes import NOISY_STEPS_PLAN
from custodian.teacher.training import train_teacher
from stimset.errors import ConfigError
from stimset.learning.training import soft_targets
from stimset.release import StimulusArrays

SITES = 3
DELTA = 1e-4
UNBOUNDED = 1e6
"""The epsilon that stands for none: its noise is a hundredth of a gradient's bound over all steps together."""
TEACHER = "teacher"


@dataclass(frozen=True)
class Form:
    """How much is made.

    Attributes:
        recipe: of the stimuli.
        count: windows of every synthetic set.
        steps: of DP-SGD.
        rounds: of federated averaging.
        per_person: windows of each person that are used at all.
    """

    recipe: str
    count: int
    steps: int
    rounds: int
    per_person: int


QUICK = Form("prior", count=800, steps=30, rounds=4, per_person=40)
FULL = Form("spectral", count=12_000, steps=120, rounds=20, per_person=540)


@dataclass(frozen=True)
class Ground:
    """Where an approach is made.

    Attributes:
        cohort: whose training persons it may use; the validation persons choose the teacher's epoch.
        form: how much.
        seed: of everything but the noise of DP-SGD, which is secret.
        folder: private; holds the teacher between approaches that share it.
        environments: where those of other libraries lie.
        shadow: whether this is a world of a membership attack: federated training then runs here, by the same arithmetic.
    """

    cohort: Cohort
    form: Form
    seed: int
    folder: Path
    environments: Path
    shadow: bool = False

    def teacher(self) -> TrainedNetwork:
        """The regularised teacher, trained once."""
        if not (self.folder / f"{TEACHER}.json").is_file():
            train_teacher(self.cohort, seed=self.seed).save(self.folder, TEACHER)
        return TrainedNetwork.load(self.folder, TEACHER)

    def excited(self, network: TrainedNetwork, recipe: Recipe, count: int, name: str) -> StimulusArrays:
        """Stimuli of any network by any recipe."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        try:
            identity = train_identity_networks(self.cohort, seed=self.seed + 1) if recipe.uses_inhibition else []
            return engine.excite(self.cohort, network, identity, recipe, count=count, seed=self.seed, folder=place).arrays()
        finally:
            shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class Made:
    """What leaves the hospital: one of `windows` and `network`.

    Attributes:
        windows: with soft or hard labels.
        network: a model.
        epsilon: proven for each person's recordings as a whole; None where nothing is proven.
    """

    windows: StimulusArrays | None = None
    network: TrainedNetwork | None = None
    epsilon: float | None = None


@dataclass(frozen=True)
class Approach:
    """One way.

    Attributes:
        name: as on the command line.
        title: for people.
        make: does it.
        environment: of the library that it needs, below a root; None where the project's own is enough.
    """

    name: str
    title: str
    make: Callable[[Ground], Made]
    environment: Callable[[Path], Environment] | None = None


def copulas(root: Path) -> Environment:
    """The synthesiser's environment."""
    return Environment("copulas", root)


def flower(root: Path) -> Environment:
    """Flower's environment; its sites train by the benchmark's own torch."""
    return Environment("flower", root, with_torch=True)


def _true(ground: Ground) -> Made:
    training = ground.cohort.training
    return Made(windows=StimulusArrays(training.values, soft_targets(training.labels, ground.cohort.spec.classes)))


def _noise(ground: Ground) -> Made:
    return Made(windows=ground.excited(ground.teacher(), load_recipe("noise"), ground.form.count, "noise"))


def _stimuli(ground: Ground) -> Made:
    return Made(windows=ground.excited(ground.teacher(), load_recipe(ground.form.recipe), ground.form.count, "stimuli"))


def _copula(ground: Ground) -> Made:
    environment = copulas(ground.environments)
    return Made(windows=synthesise(environment, ground.cohort.training, ground.form.count, seed=ground.seed))


def _noisy_steps(epsilon: float) -> Callable[[Ground], Made]:
    def make(ground: Ground) -> Made:
        plan = replace(NOISY_STEPS_PLAN, epochs=ground.form.steps)
        network = train_teacher(
            ground.cohort, architecture=ARCHITECTURE, regime="dp-sgd", plan=plan, privacy=PrivacyTarget(epsilon, DELTA), seed=ground.seed
        )
        return Made(network=network, epsilon=None if epsilon >= UNBOUNDED else float(network.facts["epsilon"]))

    return make


def _federated(ground: Ground) -> Made:
    cohort, spec = ground.cohort, ground.cohort.spec
    task = Task(*spec.shape, spec.classes, ground.form.rounds, ground.seed)
    parts = [cohort.windows.of_persons(persons) for persons in disjoint_groups(cohort, SITES, ground.seed)]
    sites = [(part.values, part.labels) for part in parts]
    network = federate(task, sites) if ground.shadow else train_by_flower(flower(ground.environments), task, sites)
    return Made(network=TrainedNetwork(network, ARCHITECTURE, spec, spec.classes, {"sites": SITES, "rounds": task.rounds}))


APPROACHES: dict[str, Approach] = {
    approach.name: approach
    for approach in (
        Approach("true", "true windows and labels", _true),
        Approach("noise", "pink noise, teacher's labels", _noise),
        Approach("stimuli", "stimuli (this project)", _stimuli),
        Approach("copula", "Gaussian copula on spectra", _copula, copulas),
        Approach("dp-sgd-1", "model by DP-SGD, epsilon 1", _noisy_steps(1.0)),
        Approach("dp-sgd-8", "model by DP-SGD, epsilon 8", _noisy_steps(8.0)),
        Approach("dp-sgd-inf", "model by DP-SGD, no noise", _noisy_steps(UNBOUNDED)),
        Approach("federated", f"model by Flower, {SITES} sites", _federated, flower),
    )
}


def chosen(names: Collection[str]) -> list[Approach]:
    """The approaches of these names, in the table's order.

    Raises:
        ConfigError: there is no such approach.
    """
    if unknown := set(names) - set(APPROACHES):
        raise ConfigError(f"there is no approach '{min(unknown)}'; known are {', '.join(APPROACHES)}")
    return [approach for name, approach in APPROACHES.items() if name in names]


def environments_of(names: Collection[str], root: Path) -> list[Environment]:
    """What the approaches of these names need besides the project's own environment."""
    return [made(root) for approach in chosen(names) if (made := approach.environment)]
