"""What a stimulus starts from. Never a patient's window: random numbers, shaped by a few averages over many patients at the most.

Each prior says which statistics of patients it reads (`Prior.aggregates`); they stand in the signed provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stimset.errors import ConfigError
from stimset.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

MAX_WINDOWS_PER_PERSON = 200
"""A person adds at most so many windows of a class to any statistic: the bound on one patient's part."""

QUANTILES = np.linspace(0.005, 0.995, 41)
"""Where a class's marginal distribution is read; extremes, which may belong to one patient, are not."""


class Prior(Protocol):
    """A source of starting points."""

    @property
    def spec(self) -> WindowSpec:
        """What the starts imitate."""
        ...

    def sample(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """``count`` starts ``(count, channels, samples)`` and the class that each was drawn for ``(count,)``."""
        ...

    @property
    def aggregates(self) -> Sequence[Mapping[str, Any]]:
        """The statistics of patients that were read: name, numbers, bound, epsilon, delta."""
        ...


@dataclass(frozen=True)
class NoisePrior:
    """Gaussian noise with power falling as ``frequency ** -exponent`` (0 white, 1 pink, 2 brown). It reads nothing of patients."""

    spec: WindowSpec
    exponent: float = 1.0
    aggregates: tuple[Mapping[str, Any], ...] = ()

    def sample(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Unit variance; classes are drawn uniformly."""
        frequency = np.arange(self.spec.samples // 2 + 1, dtype=float)
        power = np.where(frequency > 0, np.maximum(frequency, 1) ** -self.exponent, 0)
        amplitude = np.broadcast_to(np.sqrt(power), (self.spec.channels, len(power)))
        noise = _shaped(rng, count, np.einsum("cf,cd->fcd", amplitude, np.eye(self.spec.channels)), self.spec.samples)
        return _finished(_unit(noise), self.spec), rng.integers(self.spec.classes, size=count)


@dataclass(frozen=True)
class ClassStatistics:
    """What is known of one class.

    Attributes:
        share: of the class among the windows.
        factor: ``(frequencies, channels, channels)`` complex: Cholesky factor of the mean cross-spectral density of windows brought to
            unit energy; it carries each channel's spectrum and how the channels move together.
        level_mean, level_cov: ``(channels,)`` and ``(channels, channels)``: of the windows' means.
        energy_mean, energy_cov: the same of the logarithm of the windows' energy around their mean.
        marginal: ``(channels, len(QUANTILES))``: quantiles of the windows' values once each has mean 0 and energy 1; Gaussian noise lacks the
            skew that students such as forests live on.
    """

    share: float
    factor: NDArray[np.complex128]
    level_mean: Floats
    level_cov: Floats
    energy_mean: Floats
    energy_cov: Floats
    marginal: Floats

    @property
    def numbers(self) -> int:
        """How many real numbers were read from patients."""
        frequencies, c, _ = self.factor.shape
        return int(frequencies * c * c + 2 * (c + c * (c + 1) // 2) + 1 + self.marginal.size)


@dataclass(frozen=True)
class SpectralPrior:
    """Noise with the average spectrum, level, log-normal energy and marginal distribution of each class.

    With ``class_conditional=False`` all classes share one average: the baseline that shows what class-conditional statistics add.
    """

    spec: WindowSpec
    statistics: tuple[ClassStatistics, ...]
    class_conditional: bool = True

    @classmethod
    def measure(cls, windows: Windows, rng: np.random.Generator, *, class_conditional: bool = True) -> SpectralPrior:
        """Read the averages from the training persons' windows, at most `MAX_WINDOWS_PER_PERSON` per person and class."""
        statistics = []
        for k in range(windows.spec.classes):
            rows = np.flatnonzero(windows.labels == k) if class_conditional else np.arange(len(windows))
            bounded = _bounded(windows.person, rows, rng)
            share = float(np.mean(windows.labels == k))
            statistics.append(_statistics(windows.values[bounded].astype(np.float64), share))
        return cls(windows.spec, tuple(statistics), class_conditional)

    @property
    def aggregates(self) -> tuple[Mapping[str, Any], ...]:
        """One entry: the averages per class."""
        name = "spectrum, level, energy and marginal of each class" if self.class_conditional else "spectrum, level, energy and marginal"
        kinds = self.statistics if self.class_conditional else self.statistics[:1]
        bound = f"at most {MAX_WINDOWS_PER_PERSON} windows per person and class"
        return (
            {"name": name, "numbers": sum(s.numbers for s in kinds), "bound": bound, "epsilon": None, "delta": None},
        )  # fmt: skip

    def sample(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draws in the classes' own proportions."""
        shares = np.array([s.share for s in self.statistics])
        classes = rng.choice(len(shares), size=count, p=shares / shares.sum())
        values = np.empty((count, *self.spec.shape))
        for k, s in enumerate(self.statistics):
            rows = np.flatnonzero(classes == k)
            noise = _with_marginal(_unit(_shaped(rng, len(rows), s.factor, self.spec.samples)), s.marginal)
            energy = np.exp(_gaussian(rng, len(rows), s.energy_mean, s.energy_cov) / 2)
            level = _gaussian(rng, len(rows), s.level_mean, s.level_cov)
            values[rows] = noise * energy[:, :, None] + level[:, :, None]
        return _finished(values, self.spec), classes


def build_prior(kind: str, windows: Windows, rng: np.random.Generator) -> Prior:
    """The prior of this name, measured where it reads statistics.

    Raises:
        ConfigError: there is no such prior.
    """
    if kind == "white":
        return NoisePrior(windows.spec, exponent=0.0)
    if kind == "coloured":
        return NoisePrior(windows.spec, exponent=1.0)
    if kind in ("spectral", "class-spectral"):
        return SpectralPrior.measure(windows, rng, class_conditional=kind == "class-spectral")
    raise ConfigError(f"there is no prior '{kind}'; known are white, coloured, spectral, class-spectral")


def _bounded(person: NDArray[np.int64], rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `MAX_WINDOWS_PER_PERSON` of the rows of each person."""
    shuffled = rng.permutation(rows)
    order = shuffled[np.argsort(person[shuffled], kind="stable")]
    owners = person[order]
    place = np.arange(len(order)) - np.searchsorted(owners, owners)
    return np.asarray(order[place < MAX_WINDOWS_PER_PERSON])


def _statistics(values: Floats, share: float) -> ClassStatistics:
    """Averages over windows ``(n, channels, samples)``."""
    level = values.mean(-1)
    rest = values - level[:, :, None]
    log_energy = np.log(rest.var(-1) + 1e-6)
    unit = rest / np.exp(log_energy / 2)[:, :, None]
    spectrum = np.fft.rfft(unit, axis=-1)
    marginal = np.quantile(unit, QUANTILES, axis=(0, 2)).T
    density = np.einsum("ncf,ndf->fcd", spectrum, spectrum.conj()) / len(values)
    # A little white noise keeps the factor defined where channels repeat each other; it is far below any signal.
    floor = 1e-6 * np.trace(density, axis1=1, axis2=2).real.mean() * np.eye(values.shape[1])
    return ClassStatistics(
        share, np.linalg.cholesky(density + floor), level.mean(0), _cov(level), log_energy.mean(0), _cov(log_energy), marginal
    )


def _cov(x: Floats) -> Floats:
    """``(channels, channels)`` covariance of ``(n, channels)``, defined for a single row too."""
    centred = x - x.mean(0)
    return centred.T @ centred / max(1, len(x) - 1)  # type: ignore[no-any-return]


def _gaussian(rng: np.random.Generator, count: int, mean: Floats, cov: Floats) -> Floats:
    return rng.multivariate_normal(mean, cov, size=count, method="eigh")


def _shaped(rng: np.random.Generator, count: int, factor: NDArray[Any], samples: int) -> Floats:
    """Gaussian noise ``(count, channels, samples)`` with cross-spectral density ``factor @ factor^H``."""
    frequencies, channels, _ = factor.shape
    z = rng.standard_normal((count, frequencies, channels)) + 1j * rng.standard_normal((count, frequencies, channels))
    return np.fft.irfft(np.einsum("fcd,nfd->ncf", factor, z), n=samples, axis=-1)


def _with_marginal(values: Floats, marginal: Floats) -> Floats:
    """Values of a standard Gaussian marginal mapped, channel by channel, to the quantiles that were read."""
    gaussian = np.array([NormalDist().inv_cdf(q) for q in QUANTILES])
    mapped = [np.interp(values[:, c], gaussian, marginal[c]) for c in range(values.shape[1])]
    return np.stack(mapped, axis=1)


def _unit(values: Floats) -> Floats:
    """Each channel of each draw with mean 0 and energy 1."""
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)  # type: ignore[no-any-return]


def _finished(values: Floats, spec: WindowSpec) -> NDArray[np.float32]:
    return np.clip(values, -spec.clip, spec.clip).astype(np.float32)
