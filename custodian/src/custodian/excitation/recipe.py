"""A recipe says how stimuli are made, as a TOML file that a person can read, change and ablate. It is signed with the release.

Usage::

    recipe = load_recipe("spectral")            # shipped: spectral, prior, noise, paper
    recipe = load_recipe("my-recipe.toml")      # your own
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from stimset.errors import ConfigError
from stimset.release import canonical_json

Method = Literal["ascent", "generator"]
Toward = Literal["base-rate", "uniform"]
Source = Literal["own", "dirichlet"]
PRIORS = ("white", "coloured", "spectral", "class-spectral")


@dataclass(frozen=True)
class Start:
    """What the ascent starts from (`custodian.excitation.priors`).

    Attributes:
        kind: ``white``, ``coloured``, ``spectral`` (one average for all classes) or ``class-spectral``.
        prototypes: spectra per class, found by clustering; 1 is the class's average.
        segments: pieces of the window whose energies are matched too, so that a draw is not equally loud throughout; 0 leaves that out.
        splices: share of the draws that change over from one class's draw to another's at a random moment, as recordings do.
    """

    kind: str = "coloured"
    prototypes: int = 1
    segments: int = 0
    splices: float = 0.0


@dataclass(frozen=True)
class Belief:
    """The belief that each stimulus should evoke.

    Attributes:
        source: ``own`` keeps what the teacher believes of the prior's draw; ``dirichlet`` draws anew.
        own: parameter of the Dirichlet distribution for the draw's class; `others` is shared by the rest.
    """

    source: Source = "own"
    own: float = 4.0
    others: float = 1.0


@dataclass(frozen=True)
class Ascent:
    """Steps of Adam, and their size in normalised units; 0 steps leave the prior's draws as they are."""

    steps: int = 0
    learning_rate: float = 0.05


@dataclass(frozen=True)
class Weights:
    """Weights of the drives (`custodian.excitation.objectives`, `custodian.inhibition`)."""

    belief: float = 0.0
    near: float = 0.0
    identity: float = 0.0


@dataclass(frozen=True)
class Inhibition:
    """What identity networks are driven toward."""

    toward: Toward = "base-rate"


@dataclass(frozen=True)
class Generator:
    """The published recipe's settings (`custodian.excitation.generator`)."""

    latent: int = 512
    learning_rate: float = 1e-3
    steps: int = 50
    threshold_low: float = 0.75
    threshold_high: float = 0.9999


@dataclass(frozen=True)
class Recipe:
    """How stimuli are made.

    Attributes:
        name: as on the command line and in the provenance.
        summary: one sentence for people.
        method: ``ascent`` from a prior's draws, or the published ``generator``.
        prior: what the ascent starts from; ``generator`` ignores it.
    """

    name: str
    summary: str
    method: Method
    prior: Start = field(default_factory=Start)
    belief: Belief = field(default_factory=Belief)
    ascent: Ascent = field(default_factory=Ascent)
    objective: Weights = field(default_factory=Weights)
    inhibition: Inhibition = field(default_factory=Inhibition)
    generator: Generator = field(default_factory=Generator)

    def __post_init__(self) -> None:
        problems = [
            (self.method not in get_args(Method), f"method must be one of {get_args(Method)}"),
            (self.prior.kind not in PRIORS, f"prior: kind must be one of {PRIORS}"),
            (
                not (1 <= self.prior.prototypes <= 64 and 0 <= self.prior.segments <= 64 and 0 <= self.prior.splices <= 1),
                "prior: prototypes lie in 1 to 64, segments in 0 to 64, splices in 0 to 1",
            ),
            (self.belief.source not in get_args(Source), f"belief: source must be one of {get_args(Source)}"),
            (self.inhibition.toward not in get_args(Toward), f"toward must be one of {get_args(Toward)}"),
            (min(self.belief.own, self.belief.others) <= 0, "belief: own and others must be positive"),
            (not 0 <= self.ascent.steps <= 10_000, "ascent: steps must lie in 0 to 10000"),
            (self.ascent.learning_rate <= 0 or self.generator.learning_rate <= 0, "learning_rate must be positive"),
            (min(asdict(self.objective).values()) < 0, "objective: weights can't be negative"),
            (self.ascent.steps > 0 and max(asdict(self.objective).values()) == 0, "ascent: steps without any objective"),
            (
                not 0 < self.generator.threshold_low < self.generator.threshold_high <= 1,
                "generator: 0 < threshold_low < threshold_high <= 1 is needed",
            ),
            (self.generator.steps < 1 or self.generator.latent < 1, "generator: steps and latent must be at least 1"),
        ]
        for holds, text in problems:
            if holds:
                raise ConfigError(f"recipe '{self.name}': {text}")

    @property
    def uses_inhibition(self) -> bool:
        """Whether identity networks are needed."""
        return self.method == "ascent" and self.ascent.steps > 0 and self.objective.identity > 0

    def document(self) -> dict[str, Any]:
        """The recipe as it stands in the provenance: what its method uses, its name, and its digest."""
        whole = asdict(self)
        for unused in ("prior", "belief", "ascent", "objective", "inhibition") if self.method == "generator" else ("generator",):
            del whole[unused]
        return {**whole, "digest": hashlib.sha256(canonical_json(whole)).hexdigest()}


def shipped() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("custodian.excitation") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_file: str) -> Recipe:
    """A shipped recipe by name, or one from a TOML file.

    Raises:
        ConfigError: there is none, it is no TOML, or a key is unknown or out of range.
    """
    if name_or_file in shipped():
        text = (resources.files("custodian.excitation") / "recipes" / f"{name_or_file}.toml").read_text()
    elif Path(name_or_file).is_file():
        text = Path(name_or_file).read_text()
    else:
        raise ConfigError(f"there is no recipe '{name_or_file}'; shipped are {', '.join(shipped())}, or name a TOML file")
    try:
        return _build(Recipe, tomllib.loads(text), name_or_file)  # type: ignore[no-any-return]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe '{name_or_file}' is no TOML: {error}") from None


def _build(kind: type[Any], table: dict[str, Any], place: str) -> Any:
    """A dataclass from a TOML table; unknown, missing and ill-typed keys are named."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(table) - known):
        raise ConfigError(f"recipe '{place}': '{unknown[0]}' is unknown; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        wanted = hints[key]
        if isinstance(value, dict):
            values[key] = _build(wanted, value, f"{place}, [{key}]")
            continue
        plain = wanted if wanted in (str, int, float) else str
        number = plain is float and isinstance(value, int) and not isinstance(value, bool)
        if not (number or type(value) is plain):
            raise ConfigError(f"recipe '{place}': '{key}' must be of type {plain.__name__}")
        values[key] = plain(value)
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"recipe '{place}': {error}") from None
