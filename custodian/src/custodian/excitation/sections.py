"""The sections of a recipe file: what can be set, within which bounds, and what it means.

`custodian.excitation.recipe` puts them together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from stimset.errors import ConfigError
from stimset.learning.networks import member_names

Toward = Literal["base-rate", "uniform"]
Source = Literal["own", "dirichlet", "class", "similarity", "boundary"]
Form = Literal["time", "fourier"]
Rule = Literal["all", "threshold", "quantiles"]
Labels = Literal["teacher", "references"]

BATCH_NORM = "batchnorm"
"""Among the layers of `Features`: every BatchNorm layer of the teacher."""


@dataclass(frozen=True)
class Privacy:
    """How averages over patients are bounded, and hidden (`custodian.excitation.aggregates`).

    Attributes:
        epsilon: patient-level, of all averages together; None adds no noise.
        delta: the chance at which that bound may fail; well below one over the number of persons.
        norm: no person's contribution to the sums is longer.
    """

    epsilon: float | None = None
    delta: float | None = None
    norm: float = 1.0

    def __post_init__(self) -> None:
        _check(
            ((self.epsilon is None) != (self.delta is None), "privacy: epsilon and delta go together"),
            (self.epsilon is not None and not 0 < self.epsilon < 1e6, "privacy: epsilon must be positive and finite"),
            (self.delta is not None and not 0 < self.delta < 1, "privacy: delta lies between 0 and 1"),
            (not 0 < self.norm < 1e6, "privacy: norm must be positive and finite"),
        )

    @property
    def noisy(self) -> bool:
        """Whether noise is asked for."""
        return self.epsilon is not None


@dataclass(frozen=True)
class Belief:
    """The belief that each stimulus should evoke (`custodian.excitation.beliefs`).

    Attributes:
        source: ``own`` keeps what the teacher believes of the prior's draw; ``dirichlet`` draws anew around the draw's class; ``class`` is
            certainty of it; ``similarity`` draws around it, and the more of a class the more alike the teacher thinks the two;
            ``boundary`` makes pairs from one start on either side of the border between the teacher's two likeliest classes.
        own: parameter of the Dirichlet distribution for the draw's class (``similarity``: the concentration); `others` is shared by the
            rest.
        margin: ``boundary``: how far either side lies from even, in probability.
        temperature: the teacher's logits are divided by it before they are compared with what is wanted.
    """

    source: Source = "own"
    own: float = 4.0
    others: float = 1.0
    margin: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check(
            (self.source not in get_args(Source), f"belief: source must be one of {get_args(Source)}"),
            (min(self.own, self.others, self.temperature) <= 0, "belief: own, others and temperature must be positive"),
            (not 0 < self.margin < 0.5, "belief: margin lies between 0 and 0.5"),
        )


@dataclass(frozen=True)
class Ascent:
    """Steps of Adam; 0 steps leave the prior's draws as they are.

    Attributes:
        steps: how many.
        editor: steps of training of a network that makes the ascent's change in one pass, before the steps (`custodian.excitation.editor`);
            0 leaves it out.
        learning_rate: size of a step in normalised units.
        parametrisation: what is stepped: samples (``time``) or scaled Fourier coefficients (``fourier``).
        decay: ``fourier``: coefficients are scaled by ``frequency ** -decay``: 0 treats all alike, 1 prefers slow changes.
        group: consecutive stimuli whose costs may depend on each other, where the objective couples them (features, diversity).
    """

    steps: int = 0
    editor: int = 0
    learning_rate: float = 0.05
    parametrisation: Form = "time"
    decay: float = 1.0
    group: int = 50

    def __post_init__(self) -> None:
        _check(
            (not 0 <= self.steps <= 10_000, "ascent: steps must lie in 0 to 10000"),
            (not 0 <= self.editor <= 100_000, "ascent: editor lies in 0 to 100000"),
            (self.learning_rate <= 0, "ascent: learning_rate must be positive"),
            (self.parametrisation not in get_args(Form), f"ascent: parametrisation must be one of {get_args(Form)}"),
            (not 0 <= self.decay <= 3, "ascent: decay lies in 0 to 3"),
            (not 2 <= self.group <= 1000, "ascent: group lies in 2 to 1000"),
        )


@dataclass(frozen=True)
class Weights:
    """Weights of the drives (`custodian.excitation.objectives`, `custodian.inhibition`); a drive of weight 0 is left out.

    Attributes:
        belief: to the wanted belief.
        near: to the start, sample by sample.
        spectrum: to the start's spectrum (see `Spectrum`).
        moments: to the start's level, energy, roughness, skewness and kurtosis.
        correlation: to the start's autocorrelation.
        texture: to each class's channel Gram and autocorrelation (see `Texture`).
        features: to the statistics of the teacher's layers (see `Features`).
        diversity: away from the other stimuli of the group.
        agreement: to where an ensemble's members agree; `disagreement` to where they don't.
        variation: to few changes from sample to sample; `energy` to small values.
        identity: away from single patients (see `Inhibition`).
        forget: away from what the teacher alone remembers (see `Membership`).
    """

    belief: float = 0.0
    near: float = 0.0
    spectrum: float = 0.0
    moments: float = 0.0
    correlation: float = 0.0
    texture: float = 0.0
    features: float = 0.0
    diversity: float = 0.0
    agreement: float = 0.0
    disagreement: float = 0.0
    variation: float = 0.0
    energy: float = 0.0
    identity: float = 0.0
    forget: float = 0.0

    def __post_init__(self) -> None:
        _check((min(asdict(self).values()) < 0, "objective: weights can't be negative"))


@dataclass(frozen=True)
class Spectrum:
    """What power is held to.

    Attributes:
        of: the stimulus's ``own`` start, or the mean over the prior's draws of its ``class``.
        bands: they widen with frequency.
        tapered: the power of the tapered window is held too, in which high bands are not hidden by the window's edges.
    """

    of: Literal["own", "class"] = "own"
    bands: int = 24
    tapered: bool = True

    def __post_init__(self) -> None:
        _check(
            (self.of not in ("own", "class"), "spectrum: of must be 'own' or 'class'"),
            (not 2 <= self.bands <= 256, "spectrum: bands lie in 2 to 256"),
        )


@dataclass(frozen=True)
class Texture:
    """``lags``: how many samples apart channels are still compared."""

    lags: int = 16

    def __post_init__(self) -> None:
        _check((not 0 <= self.lags <= 256, "texture: lags lie in 0 to 256"))


@dataclass(frozen=True)
class Features:
    """Statistics of the teacher's layers.

    Attributes:
        layers: by name; ``batchnorm`` stands for all BatchNorm layers, whose running statistics are at hand. Others are measured.
    """

    layers: tuple[str, ...] = (BATCH_NORM,)

    def __post_init__(self) -> None:
        _check((not 1 <= len(set(self.layers)) == len(self.layers) <= 32, "features: layers are 1 to 32 different names"))


@dataclass(frozen=True)
class Acceptance:
    """Which stimuli are kept; more are made until a shard is full.

    Attributes:
        rule: ``all``; ``threshold``: the belief in the wanted class exceeds a draw from U(threshold_low, threshold_high), as published;
            ``quantiles``: the teacher is as sure, as often, as it is of the validation persons' windows.
        bins: ``quantiles``: of the teacher's certainty, per class.
        slack: ``quantiles``: share of a shard that may miss its bin when attempts run out.
        duplicates: a stimulus is left out when its nearest neighbour in the shard is nearer than this share of the typical distance between
            two, in the teacher's features; 0 keeps all.
        attempts: candidates per stimulus, at most.
    """

    rule: Rule = "all"
    threshold_low: float = 0.75
    threshold_high: float = 0.9999
    bins: int = 4
    slack: float = 0.05
    duplicates: float = 0.0
    attempts: int = 20

    def __post_init__(self) -> None:
        low, high = self.threshold_low, self.threshold_high
        _check(
            (self.rule not in get_args(Rule), f"acceptance: rule must be one of {get_args(Rule)}"),
            (not 0 < low < high <= 1, "acceptance: 0 < threshold_low < threshold_high <= 1 is needed"),
            (not 1 <= self.bins <= 20, "acceptance: bins lie in 1 to 20"),
            (not 0 <= self.slack < 1 or not 0 <= self.duplicates < 1, "acceptance: slack and duplicates lie in 0 to below 1"),
            (not 1 <= self.attempts <= 1000, "acceptance: attempts lie in 1 to 1000"),
        )


@dataclass(frozen=True)
class Inhibition:
    """Identity networks: what they are driven toward, and how they are trained.

    Attributes:
        toward: ``base-rate``: what the label alone says of the person; ``uniform``: any person, equally.
        architectures: networks to be trained for this set, one each for every level of noise; empty takes those that 'custodian train'
            left.
        epochs: of their training.
        mixup: parameter of the Beta distribution; with noise and shift (share of the window) it makes them sturdy.
        noise: levels, in normalised units.
        rounds: of re-training on the way: fresh networks learn to read what the inhibition so far leaves
            (`custodian.inhibition.retraining`).
        pilot: windows that each round inhibits for it.
        pool: draws of the prior per stimulus; those that identity networks recognise the least are taken (`custodian.excitation.pool`).
    """

    toward: Toward = "base-rate"
    architectures: tuple[str, ...] = ()
    epochs: int = 6
    mixup: float = 0.0
    noise: tuple[float, ...] = (0.1, 0.3)
    shift: float = 0.5
    rounds: int = 0
    pilot: int = 2000
    pool: int = 1

    def __post_init__(self) -> None:
        _check(
            (self.toward not in get_args(Toward), f"inhibition: toward must be one of {get_args(Toward)}"),
            (not 1 <= self.pool <= 64, "inhibition: pool lies in 1 to 64"),
            (len(self.architectures) > 8, "inhibition: architectures are 8 at most"),
            (not 1 <= len(self.noise) <= 4, "inhibition: noise is a list of 1 to 4 levels"),
            (not 1 <= self.epochs <= 100, "inhibition: epochs lie in 1 to 100"),
            (min((self.mixup, *self.noise)) < 0, "inhibition: mixup and noise can't be negative"),
            (not 0 <= self.shift <= 1, "inhibition: shift lies in 0 to 1"),
            (not 0 <= self.rounds <= 8, "inhibition: rounds lie in 0 to 8"),
            (not 50 <= self.pilot <= 100_000, "inhibition: pilot lies in 50 to 100000"),
        )
        for architecture in self.architectures:
            member_names(architecture)


@dataclass(frozen=True)
class Membership:
    """References: small teachers, each trained without a random part of the persons (`custodian.inhibition.membership`).

    Attributes:
        references: how many.
        share: of the training persons on whom each is trained.
        architecture: of each.
        epochs: of each one's training; few, so that they remember little.
        labels: whose belief labels the stimuli: the ``teacher``'s, or the mean of the ``references``'.
    """

    references: int = 4
    share: float = 0.5
    architecture: str = "cnn"
    epochs: int = 4
    labels: Labels = "teacher"

    def __post_init__(self) -> None:
        _check(
            (not 2 <= self.references <= 16, "membership: references lie in 2 to 16"),
            (not 0 < self.share < 1, "membership: share lies between 0 and 1"),
            (not 1 <= self.epochs <= 100, "membership: epochs lie in 1 to 100"),
            (self.labels not in get_args(Labels), f"membership: labels must be one of {get_args(Labels)}"),
        )
        member_names(self.architecture)


@dataclass(frozen=True)
class Generator:
    """The published recipe's settings (`custodian.excitation.generator`)."""

    latent: int = 512
    learning_rate: float = 1e-3
    steps: int = 50
    threshold_low: float = 0.75
    threshold_high: float = 0.9999

    def __post_init__(self) -> None:
        low, high = self.threshold_low, self.threshold_high
        _check(
            (not 0 < low < high <= 1, "generator: 0 < threshold_low < threshold_high <= 1 is needed"),
            (self.steps < 1 or self.latent < 1, "generator: steps and latent must be at least 1"),
            (self.learning_rate <= 0, "generator: learning_rate must be positive"),
        )


def _check(*problems: tuple[bool, str]) -> None:
    for holds, text in problems:
        if holds:
            raise ConfigError(text)
