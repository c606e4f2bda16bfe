"""Train the teacher, in a regime chosen by name (`custodian.teacher.regimes`).

Usage::

    teacher = train_teacher(cohort, regime="regularised", seed=0)
    teacher.facts["guarantee"]                 # the sentence that stands in the card
"""

from __future__ import annotations

from dataclasses import asdict

from custodian.budget.mechanisms import Mechanism
from custodian.cohort import Cohort
from custodian.teacher.accounting import PrivacyTarget
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.lessons import Lesson, OnEpoch, unwatched
from custodian.teacher.regimes import PLAIN_PLAN, regime_of
from stimset.learning.training import TrainingPlan, predict

TEACHER_PLAN = PLAIN_PLAN
TEACHER_REGIME = "regularised"

# A network on samples and one on spectra: their mean belief teaches unlike students better than either. Three on samples are better on
# persons apart, and remember more of those they learned from (shared/adr/0005).
TEACHER_ARCHITECTURE = "cnn+spectral_mlp"

DEFAULT_TARGET = PrivacyTarget()


def train_teacher(
    cohort: Cohort, *, architecture: str = TEACHER_ARCHITECTURE, regime: str = TEACHER_REGIME, plan: TrainingPlan | None = None,
    privacy: PrivacyTarget = DEFAULT_TARGET, seed: int = 0, device: str = "cpu", on_epoch: OnEpoch | None = None,
) -> TrainedNetwork:  # fmt: skip
    """Train a teacher on the training persons.

    The members of an ensemble (``"cnn+tcn+gru"``) are trained one after another, each until its own best epoch on the validation persons.
    The same cohort, plan and seed give the same weights on the same kind of device, except in the regimes with a proof: their noise is
    secret and never comes back.

    Args:
        cohort: its training persons teach, its validation persons choose epochs (in the regimes with a proof, they choose nothing).
        architecture: networks of `stimset.learning.networks`, several joined by ``+``.
        regime: how memory of single patients is kept down; one of `custodian.teacher.regimes.REGIMES`.
        plan: how each network is trained; None takes the regime's.
        privacy: what the regimes with a proof keep to; the others ignore it.
        seed: of first weights, groups of persons, order and augmentation.
        device: a torch device.
        on_epoch: told the epoch, from 1 in each network's training, and a line about it.

    Raises:
        ConfigError: there is no such architecture or regime, or the cohort has too few persons for it.
    """
    chosen = regime_of(regime)
    lesson = _lesson(cohort, architecture, regime, plan, privacy, seed, device, on_epoch)
    taught = chosen.teach(lesson)
    facts = {
        "regime": regime, "guarantee": chosen.words(taught.facts), **taught.facts, "plan": asdict(lesson.plan), "seed": seed,
        "epochs": list(taught.epochs), "validationKappa": lesson.kappa(predict(taught.network, cohort.validation.values)),
        "trainingWindows": len(cohort.training), "trainingPersons": cohort.training_persons,
    }  # fmt: skip
    return TrainedNetwork(taught.network.cpu(), taught.architecture, cohort.spec, cohort.spec.classes, facts)


def privacy_drawn(
    cohort: Cohort, *, architecture: str = TEACHER_ARCHITECTURE, regime: str = TEACHER_REGIME, plan: TrainingPlan | None = None,
    privacy: PrivacyTarget = DEFAULT_TARGET,
) -> Mechanism | None:  # fmt: skip
    """What `train_teacher` will draw from the cohort's privacy budget: to be spent before it starts. None where nothing is proven.

    Raises:
        ConfigError: the guarantee can't be had for so few persons.
    """
    draws = regime_of(regime).draws
    return draws(_lesson(cohort, architecture, regime, plan, privacy, 0, "cpu", None)) if draws else None


def planned_rounds(
    cohort: Cohort, *, architecture: str = TEACHER_ARCHITECTURE, regime: str = TEACHER_REGIME, plan: TrainingPlan | None = None,
    seed: int = 0,
) -> list[int]:  # fmt: skip
    """Epochs at most of each training in a row that `train_teacher` goes through: what a progress bar counts to.

    Raises:
        ConfigError: as `train_teacher`.
    """
    return regime_of(regime).rounds(_lesson(cohort, architecture, regime, plan, DEFAULT_TARGET, seed, "cpu", None))


def _lesson(
    cohort: Cohort, architecture: str, regime: str, plan: TrainingPlan | None, privacy: PrivacyTarget, seed: int, device: str,
    on_epoch: OnEpoch | None,
) -> Lesson:  # fmt: skip
    return Lesson(cohort, architecture, plan or regime_of(regime).plan, privacy, seed, device, on_epoch or unwatched)
