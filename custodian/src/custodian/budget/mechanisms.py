"""What a piece of work draws from the budget, and how draws compose.

The numbers come from `dp_accounting`: Gaussian noise by the analytic formula (B. Balle, Y.-X. Wang, "Improving the Gaussian Mechanism for
Differential Privacy", ICML 2018), everything else by privacy loss distributions (S. Meiser, E. Mohammadi, CCS 2018; J. Doroshenko et al.,
"Connect the Dots", PoPETs 2022), which bound the loss from above. Neighbours differ by one person added or removed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from stimset.errors import ConfigError

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Kind = Literal["gaussian", "laplace", "stated", "none"]
MAX_COUNT = 100_000_000
GRID = 1e-4
"""Step of the privacy loss's discretisation, at the least; it grows with the loss so that a sum stays quick."""

GRID_POINTS = 200_000


@dataclass(frozen=True)
class Mechanism:
    """One draw from the budget.

    Attributes:
        kind: ``gaussian`` or ``laplace`` noise, a guarantee that is ``stated`` by somebody else's proof, or ``none`` (nothing bounds it).
        noise: standard deviation (Gaussian) or scale (Laplace) over the sensitivity in that mechanism's norm.
        sampling: each person takes part in a step with this probability, independently of others (Poisson); 1 for all.
        count: how many times, each with fresh noise.
        epsilon, delta: what it costs by itself; None is unbounded.
    """

    kind: Kind
    noise: float = 0.0
    sampling: float = 1.0
    count: int = 1
    epsilon: float | None = None
    delta: float | None = None

    def document(self) -> dict[str, Any]:
        """Plain JSON values, as the ledger keeps them."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Mechanism:
        """The inverse of `document`.

        Raises:
            ConfigError: it describes no mechanism.
        """
        try:
            mechanism = cls(**document)
        except TypeError:
            raise ConfigError(
                "the ledger names a mechanism that this version does not know; update the software"
            ) from None
        if mechanism.kind not in get_args(Kind):
            raise ConfigError(
                f"the ledger names the mechanism '{mechanism.kind}', which this version does not know; update the software"
            )
        return mechanism


def gaussian(noise: float, delta: float, *, sampling: float = 1.0, count: int = 1) -> Mechanism:
    """Gaussian noise of standard deviation ``noise`` times the L2 sensitivity, ``count`` times; DP-SGD where ``sampling`` is below 1.

    Raises:
        ConfigError: a number is out of range.
    """
    _check(noise > 0 and math.isfinite(noise), "Gaussian noise must be positive")
    _check(0 < delta < 1, "delta must lie between 0 and 1")
    _check(0 < sampling <= 1 and 1 <= count <= MAX_COUNT, "sampling lies in (0, 1], count is at least 1")
    draft = Mechanism("gaussian", noise, sampling, count, math.inf, delta)
    return Mechanism("gaussian", noise, sampling, count, composed([draft], delta), delta)


def laplace(noise: float, *, count: int = 1) -> Mechanism:
    """Laplace noise of scale ``noise`` times the L1 sensitivity, ``count`` times: ``count / noise`` with delta 0."""
    _check(noise > 0 and math.isfinite(noise), "Laplace noise must be positive")
    _check(1 <= count <= MAX_COUNT, "count is at least 1")
    return Mechanism("laplace", noise, 1.0, count, count / noise, 0.0)


def stated(epsilon: float, delta: float = 0.0) -> Mechanism:
    """A guarantee proved elsewhere, about which nothing else is known."""
    _check(epsilon >= 0 and math.isfinite(epsilon) and 0 <= delta < 1, "epsilon must be finite, delta lie in [0, 1)")
    return Mechanism("stated", epsilon=epsilon, delta=delta)


def unbounded() -> Mechanism:
    """Something of patients without noise: it is entered, and no epsilon bounds it."""
    return Mechanism("none")


def calibrated(epsilon: float, delta: float) -> Mechanism:
    """The least Gaussian noise that keeps (epsilon, delta), once.

    Raises:
        ConfigError: a number is out of range.
    """
    _check(
        epsilon > 0 and math.isfinite(epsilon) and 0 < delta < 1,
        "epsilon must be positive and delta lie between 0 and 1",
    )
    from dp_accounting import get_sigma_gaussian

    return Mechanism("gaussian", float(get_sigma_gaussian(epsilon, delta)), 1.0, 1, epsilon, delta)


def naive(mechanisms: Iterable[Mechanism]) -> tuple[float, float]:
    """Sums of epsilon and delta: true, and far above what composition shows. Infinite with an unbounded one."""
    drawn = list(mechanisms)
    return sum((_or_inf(m.epsilon) for m in drawn), 0.0), sum((m.delta or 0.0 for m in drawn), 0.0)


def composed(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """The epsilon that all of them together keep at this delta; infinite where none does."""
    drawn = list(mechanisms)
    if any(m.kind == "none" for m in drawn):
        return math.inf
    if not drawn:
        return 0.0
    summed, at = naive(drawn)
    plain = [m for m in drawn if m.kind == "gaussian" and m.sampling == 1]
    rest = Counter(m for m in drawn if m not in plain)
    # Gaussian mechanisms compose to one: the squares of their signal-to-noise ratios add.
    together = 1 / math.sqrt(precision) if (precision := sum(m.count / m.noise**2 for m in plain)) else None
    if not rest and together:
        from dp_accounting import get_epsilon_gaussian

        found = float(get_epsilon_gaussian(together, delta)) if delta > 0 else math.inf
    else:
        found = _by_distributions(together, rest, delta)
    return min(found, summed) if at <= delta else found


def _by_distributions(gaussian_noise: float | None, rest: Mapping[Mechanism, int], delta: float) -> float:
    import numpy as np
    from dp_accounting.pld import privacy_loss_distribution as pld

    # How far a loss reaches, roughly; the grid is laid over that.
    reach = sum(
        n * m.count / m.noise if m.noise else _or_inf(m.epsilon) * n for m, n in rest.items() if m.kind != "gaussian"
    )
    reach += max((10 / m.noise + 0.5 / m.noise**2 for m in rest if m.kind == "gaussian"), default=0.0)
    reach += 10 / gaussian_noise + 0.5 / gaussian_noise**2 if gaussian_noise else 0.0
    grid = max(GRID, reach / GRID_POINTS)
    parts = [_distribution(m, grid).self_compose(n * m.count) for m, n in rest.items()]
    if gaussian_noise:
        parts.append(pld.from_gaussian_mechanism(gaussian_noise, value_discretization_interval=grid))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.compose(part)
    with np.errstate(over="ignore"):  # the library compares with infinity where the mass runs out
        return float(whole.get_epsilon_for_delta(delta))


def _distribution(m: Mechanism, grid: float) -> PrivacyLossDistribution:
    from dp_accounting.pld import common
    from dp_accounting.pld import privacy_loss_distribution as pld

    if m.kind == "gaussian":
        return pld.from_gaussian_mechanism(m.noise, sampling_prob=m.sampling, value_discretization_interval=grid)
    if m.kind == "laplace":
        return pld.from_laplace_mechanism(m.noise, value_discretization_interval=grid)
    stated = common.DifferentialPrivacyParameters(m.epsilon or 0.0, m.delta or 0.0)
    return pld.from_privacy_parameters(stated, value_discretization_interval=grid)


def _or_inf(epsilon: float | None) -> float:
    return math.inf if epsilon is None else epsilon


def _check(holds: bool, text: str) -> None:
    if not holds:
        raise ConfigError(f"privacy budget: {text}")
