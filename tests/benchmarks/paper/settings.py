"""What the paper's table is measured on: windows that are learnt from, windows that are tested on, and kinds of training data.

A `Setting` is one form of window of one data set. Its folder's name holds a digest of the windows, so that results of other data are
never taken for this one's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.recipe import Recipe, load_recipe, shipped
from stimset.errors import ConfigError, RecordError
from stimset.records import apnea_ecg, open_records, simulate
from stimset.serde import load_windows, save_windows
from stimset.windowing import make_windows
from stimset.windows import Windows, WindowSpec

WINDOW_SPECS = {"apnea-60s": apnea_ecg.SPEC_60S, "apnea-5min": apnea_ecg.SPEC_5MIN}
OFFICIAL, UNSEEN = "official", "unseen persons"
PROTOCOLS = (OFFICIAL, UNSEEN)
TRUE_HARD, TRUE_SOFT = "true_hard", "true_soft"

OWN_RECIPES = Path(__file__).parents[1] / "recipes"
OTHER_PERSONS = 1000  # simulated persons of whom nothing is learnt count from here
TRAINING_FILE, TEST_FILE = "training.safetensors", "test.safetensors"
SLOW_STEPS = 100
BY_PERSONS = " by persons"


@dataclass(frozen=True)
class Fold:
    """One part of a cross-validation over persons: nobody who is tested was learnt from.

    Attributes:
        number: from 1; after `of` parts the persons are dealt out anew.
        of: parts.
    """

    number: int
    of: int

    def tested(self, windows: Windows) -> NDArray[np.int64]:
        """The persons of this part, as indices: neighbours in their share of the last class are dealt to different parts."""
        deal, part = divmod(self.number - 1, self.of)
        rng = np.random.default_rng(deal)
        counts = np.zeros((len(windows.person_names), windows.spec.classes))
        np.add.at(counts, (windows.person, windows.labels), 1)
        share = counts[:, -1] / counts.sum(1)
        order = np.lexsort((rng.random(len(share)), share))
        parts = np.concatenate([rng.permutation(self.of) for _ in range(0, len(order), self.of)])[: len(order)]
        return np.sort(order[parts == part])


@dataclass(frozen=True)
class Setting:
    """One form of window of one data set, as it lies in its folder.

    Attributes:
        folder: of everything that is made of it; private, as it holds windows.
        window: name of the form.
        simulated: true where the persons are simulated.
    """

    folder: Path
    window: str
    simulated: bool

    @classmethod
    def make(
        cls, window: str, data: Path | None, work: Path, persons: int, minutes: int, seed: int = 0, fold: Fold | None = None
    ) -> Setting:
        """Read or simulate the windows, and keep them in a folder of their own below `work`.

        With a `fold` the official split is left: all records are put together, and the fold's persons are tested.

        Raises:
            RecordError: the folder does not hold the Apnea-ECG database.
        """
        spec = spec_of(window)
        training, test = _sides(spec, data, persons, minutes, seed, fold)
        window += BY_PERSONS if fold else ""
        digest = hashlib.sha256(f"{spec.digest()} {data is None}".encode())
        for windows in (training, test):
            for array in (windows.values, windows.labels, windows.person):
                digest.update(np.ascontiguousarray(array).tobytes())
        setting = cls(work / f"{window.replace(' ', '-')}-{digest.hexdigest()[:12]}", window, data is None)
        setting.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, windows in ((TRAINING_FILE, training), (TEST_FILE, test)):
            if not (setting.folder / name).is_file():
                save_windows(setting.folder / name, windows)
        return setting

    def training(self) -> Windows:
        """What the custodian has."""
        return load_windows(self.folder / TRAINING_FILE)

    def test(self) -> Windows:
        """What nobody learns from."""
        return load_windows(self.folder / TEST_FILE)

    def protocols(self, test: Windows) -> dict[str, NDArray[np.bool_]]:
        """Protocol -> ``(len(test),)``: the windows that it scores; those without any are left out."""
        apart = unseen(self.training(), test)
        whole = {} if apart.all() else {OFFICIAL: np.ones(len(test), bool)}
        return whole | ({UNSEEN: apart} if apart.any() else {})


def _sides(spec: WindowSpec, data: Path | None, persons: int, minutes: int, seed: int, fold: Fold | None) -> tuple[Windows, Windows]:
    """What is learnt from, and what is tested on."""
    if fold is None:
        return simulated_windows(spec, persons, minutes, seed) if data is None else apnea_windows(spec, data)
    recordings = list(simulate(persons, minutes, seed) if data is None else open_records(data))
    whole = make_windows(recordings, spec)
    tested = {whole.person_names[p] for p in fold.tested(whole)}
    training, test = (make_windows([r for r in recordings if (r.person in tested) is side], spec) for side in (False, True))
    return training, test


def spec_of(window: str) -> WindowSpec:
    """The window spec of this name.

    Raises:
        ConfigError: there is none.
    """
    if window not in WINDOW_SPECS:
        raise ConfigError(f"there is no window '{window}'; known are {', '.join(WINDOW_SPECS)}")
    return WINDOW_SPECS[window]


def apnea_windows(spec: WindowSpec, folder: Path) -> tuple[Windows, Windows]:
    """The Apnea-ECG database by its official split: released records, test records.

    Raises:
        RecordError: the folder does not hold both, or no label of the test records.
    """
    released, test = (make_windows(open_records(folder, only=only), spec) for only in (apnea_ecg.RELEASED, apnea_ecg.TEST))
    if not len(released) or not len(test):
        raise RecordError(f"{folder}: no labelled records a*, b*, c* or x*; name a folder with wfdb, wfdb-x-labels and records.csv")
    return released, test


def simulated_windows(spec: WindowSpec, persons: int, minutes: int, seed: int) -> tuple[Windows, Windows]:
    """Simulated persons; as in the database, some persons of the test have another night that is learnt from.

    The test side has as many persons as the training side; a third of them are training persons in later minutes.
    """
    spec = replace(spec, meaning="whether the simulated minute holds a simulated apnea; no patient and no expert")
    known = max(1, persons // 3)
    nights = simulate(persons, 2 * minutes, seed)
    whole = make_windows(nights, spec)
    others = simulate(persons - known, minutes, seed, OTHER_PERSONS)
    test = make_windows([*nights[:known], *others], spec)
    border = 60.0 * minutes
    # Windows reach into the minutes around them; around the border nothing is used.
    early = whole.start_s + spec.epoch_s + spec.after_s <= border
    returned = np.isin(test.person, [test.person_names.index(night.person) for night in nights[:known]])
    late = test.start_s - spec.before_s >= border
    return whole.select(early), test.select(~returned | late)


def unseen(training: Windows, test: Windows) -> NDArray[np.bool_]:
    """``(len(test),)`` true where the window's person does not occur in the training windows at all."""
    known = {training.person_names[p] for p in np.unique(training.person)}
    strangers = [i for i, name in enumerate(test.person_names) if name not in known]
    return np.isin(test.person, strangers)


@dataclass(frozen=True)
class Source:
    """One kind of training data.

    Attributes:
        name: as ``trained_on`` in the table.
        recipe: of stimuli; None for true windows.
        count: stimuli that are made; 0 for true windows.
    """

    name: str
    recipe: Recipe | None = None
    count: int = 0

    @property
    def key(self) -> str:
        """Name of a folder: equal keys stand for equal recipes and counts."""
        if self.recipe is None:
            return self.name
        return f"{self.name}-{self.count}-{self.recipe.document()['digest'][:8]}"


def sources(recipes: list[str], count: int, slow_count: int) -> list[Source]:
    """True windows with hard and with soft labels, then each recipe.

    Args:
        recipes: names of shipped recipes, names of this folder's recipes, or TOML files.
        count: stimuli of each.
        slow_count: stimuli of slow recipes: the published generator, and ascents of more than `SLOW_STEPS`.

    Raises:
        ConfigError: there is no such recipe, or two have the same name.
    """
    loaded = [load_recipe(str(own) if (own := OWN_RECIPES / f"{name}.toml").is_file() else name) for name in recipes]
    names = [recipe.name for recipe in loaded]
    if twice := sorted({name for name in names if names.count(name) > 1 or name in (TRUE_HARD, TRUE_SOFT)}):
        raise ConfigError(f"two kinds of training data are called '{twice[0]}'; give one of the recipes another name")
    made = [Source(r.name, r, slow_count if r.method == "generator" or r.ascent.steps > SLOW_STEPS else count) for r in loaded]
    return [Source(TRUE_HARD), Source(TRUE_SOFT), *made]


def every_recipe() -> list[str]:
    """All shipped recipes and this folder's own."""
    return [*shipped(), *sorted(path.stem for path in OWN_RECIPES.glob("*.toml"))]


def digest_of(document: Any) -> str:
    """Eight hex digits over a document's text."""
    return hashlib.sha256(repr(document).encode()).hexdigest()[:8]
