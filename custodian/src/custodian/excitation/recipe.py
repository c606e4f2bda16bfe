"""A recipe says how stimuli are made, as a TOML file that a person can read, change and ablate. It is signed with the release.

Usage::

    recipe = load_recipe("spectral")            # shipped: spectral, prior, noise, paper, deepinversion, zskd
    recipe = load_recipe("my-recipe.toml")      # your own
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from custodian.excitation.sections import (
    BATCH_NORM,
    Acceptance,
    Ascent,
    Belief,
    Features,
    Generator,
    Inhibition,
    Membership,
    Privacy,
    Spectrum,
    Texture,
    Weights,
)
from stimset.errors import ConfigError
from stimset.release import canonical_json

Method = Literal["ascent", "generator"]
PRIORS = ("white", "coloured", "spectral", "class-spectral", "class-joint")
READING_PRIORS = {
    "spectral": "the average spectrum and its companions",
    "class-spectral": "each class's spectrum and its companions",
    "class-joint": "mean and covariance of each class's level, energy, power in bands and envelope",
}


@dataclass(frozen=True)
class Start:
    """What the ascent starts from (`custodian.excitation.priors`).

    Attributes:
        kind: ``white``, ``coloured``, ``spectral`` (one average for all classes), ``class-spectral``, or ``class-joint``: spectrum, energy
            and envelope of a class as one normal distribution (`custodian.excitation.joint`; it has no prototypes).
        prototypes: spectra per class, found by clustering; 1 is the class's average.
        segments: pieces of the window whose energies are matched too, so that a draw is not equally loud throughout; 0 leaves that out.
        splices: share of the draws that change over from one class's draw to another's at a random moment, as recordings do.
    """

    kind: str = "coloured"
    prototypes: int = 1
    segments: int = 0
    splices: float = 0.0


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
    spectrum: Spectrum = field(default_factory=Spectrum)
    texture: Texture = field(default_factory=Texture)
    features: Features = field(default_factory=Features)
    acceptance: Acceptance = field(default_factory=Acceptance)
    inhibition: Inhibition = field(default_factory=Inhibition)
    membership: Membership = field(default_factory=Membership)
    privacy: Privacy = field(default_factory=Privacy)
    generator: Generator = field(default_factory=Generator)

    def __post_init__(self) -> None:
        problems = [
            (self.method not in get_args(Method), f"method must be one of {get_args(Method)}"),
            (self.prior.kind not in PRIORS, f"prior: kind must be one of {PRIORS}"),
            (
                not (1 <= self.prior.prototypes <= 64 and 0 <= self.prior.segments <= 64 and 0 <= self.prior.splices <= 1),
                "prior: prototypes lie in 1 to 64, segments in 0 to 64, splices in 0 to 1",
            ),
            (self.ascends and max(asdict(self.objective).values()) == 0, "ascent: steps without any objective"),
            (self.ascent.editor > 0 and self.belief.source != "own", "ascent: an editor can only hold the belief of source = 'own'"),
            (self.inhibition.rounds > 0 and self.ascent.steps == 0, "inhibition: rounds of re-training need steps of ascent"),
        ]
        for holds, text in problems:
            if holds:
                raise ConfigError(f"recipe '{self.name}': {text}")

    @property
    def ascends(self) -> bool:
        """Whether draws are moved at all: by steps, or by an editor that learned them."""
        return self.ascent.steps > 0 or self.ascent.editor > 0

    def climbs(self, *drives: str) -> bool:
        """Whether the ascent follows one of these drives, by their names in `Weights`."""
        return self.method == "ascent" and self.ascends and any(getattr(self.objective, drive) > 0 for drive in drives)

    @property
    def uses_inhibition(self) -> bool:
        """Whether identity networks are needed."""
        return self.climbs("identity")

    @property
    def labelled_by_references(self) -> bool:
        """Whether the references' belief labels the stimuli."""
        return self.method == "ascent" and self.membership.labels == "references"

    @property
    def uses_references(self) -> bool:
        """Whether references are needed."""
        return self.climbs("forget") or self.labelled_by_references

    @property
    def trains_identity(self) -> bool:
        """Whether the set has identity networks of its own, in the place of those that 'custodian train' left."""
        return self.uses_inhibition and bool(self.inhibition.architectures)

    @property
    def couples(self) -> bool:
        """Whether a stimulus's cost depends on its group."""
        return self.climbs("features", "diversity")

    @property
    def taps_teacher(self) -> bool:
        """Whether a drive looks inside the teacher, whose layers must then stay as they were trained."""
        return self.climbs("features", "diversity", "agreement", "disagreement")

    @property
    def measured_layers(self) -> tuple[str, ...]:
        """Layers of the teacher whose statistics must be measured on the training persons."""
        return tuple(layer for layer in self.features.layers if layer != BATCH_NORM) if self.climbs("features") else ()

    @property
    def readings(self) -> int:
        """How many averages are read through the reader (`custodian.excitation.readings`), which share the recipe's epsilon."""
        ascends = self.method == "ascent"
        return sum((
            ascends and self.prior.kind in READING_PRIORS, bool(self.measured_layers), self.climbs("texture"),
            ascends and self.acceptance.rule == "quantiles",
        ))  # fmt: skip

    @property
    def reads(self) -> tuple[str, ...]:
        """The private aggregates that the recipe reads, in words; what exactly, with its bound, stands in a set's provenance."""
        ascends = self.method == "ascent"
        read = [
            (ascends and self.prior.kind in READING_PRIORS, READING_PRIORS.get(self.prior.kind, "")),
            (self.climbs("features") and BATCH_NORM in self.features.layers, "running statistics of the teacher's BatchNorm layers"),
            (bool(self.measured_layers), f"mean and variance of the teacher's layers {', '.join(self.measured_layers)}"),
            (self.climbs("texture"), "each class's channel Gram and autocorrelation"),
            (ascends and self.acceptance.rule == "quantiles", "quantiles of the teacher's certainty on the validation persons"),
            (self.uses_inhibition and self.inhibition.toward == "base-rate", "each training person's share of each class"),
        ]
        return tuple(name for holds, name in read if holds)

    def document(self) -> dict[str, Any]:
        """The recipe as it stands in the provenance: what its method uses, its name, what it reads, and its digest."""
        whole = asdict(self)
        sections = [f.name for f in fields(self) if is_dataclass(getattr(self, f.name))]
        for unused in [s for s in sections if s != "generator"] if self.method == "generator" else ["generator"]:
            del whole[unused]
        # Through JSON, so that a document read back from a disk is equal.
        whole = json.loads(canonical_json(whole))
        return {**whole, "reads": list(self.reads), "digest": hashlib.sha256(canonical_json(whole)).hexdigest()}


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


def recipe_of(document: Mapping[str, Any]) -> Recipe:
    """The recipe behind what `Recipe.document` wrote: the same stimuli can be made again.

    Raises:
        ConfigError: it is the document of another version.
    """
    known = {f.name for f in fields(Recipe)}
    table = {key: value for key, value in document.items() if key in known}
    # What is None was left out of the file, as TOML has no word for it.
    given = {key: {k: v for k, v in t.items() if v is not None} if isinstance(t, dict) else t for key, t in table.items()}
    return _build(Recipe, given, str(document.get("name")))  # type: ignore[no-any-return]


def _build(kind: type[Any], table: dict[str, Any], place: str) -> Any:
    """A dataclass from a TOML table; unknown, missing and ill-typed keys are named."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(table) - known):
        raise ConfigError(f"recipe '{place}': '{unknown[0]}' is unknown; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise ConfigError(f"recipe '{place}': '{key}' must be a table, [{key}]")
            values[key] = _section(hints[key], value, place, key)
        else:
            values[key] = _plain(hints[key], value, place, key)
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"recipe '{place}': {error}") from None


def _section(kind: Any, table: dict[str, Any], place: str, key: str) -> Any:
    """A section, whose own complaints are given the recipe's name."""
    try:
        return _build(kind, table, f"{place}, [{key}]")
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith("recipe ") else f"recipe '{place}': {text}") from None


def _plain(wanted: Any, value: Any, place: str, key: str) -> Any:
    """A value of TOML, or of a document, as the type that the dataclass names."""
    optional = [kind for kind in get_args(wanted) if kind is not type(None)]
    if value is None and type(None) in get_args(wanted):
        return None
    if get_origin(wanted) is tuple:
        item, words = get_args(wanted)[0], {str: "strings", float: "numbers"}
        fits = (int, float) if item is float else (item,)
        if item is float and type(value) in fits:
            value = [value]  # one level, as recipes before had it
        if not (isinstance(value, list) and all(type(v) in fits for v in value)):
            raise ConfigError(f"recipe '{place}': '{key}' must be a list of {words[item]}")
        return tuple(map(item, value))
    if type(None) in get_args(wanted) and len(optional) == 1:
        wanted = optional[0]
    plain = wanted if wanted in (str, int, float) else bool if wanted is bool else str
    number = plain is float and isinstance(value, int) and not isinstance(value, bool)
    if not (number or type(value) is plain):
        raise ConfigError(f"recipe '{place}': '{key}' must be of type {plain.__name__}")
    if plain is float and not math.isfinite(value):
        raise ConfigError(f"recipe '{place}': '{key}' must be a finite number")
    return plain(value)
