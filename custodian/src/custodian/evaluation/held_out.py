"""The patients that a partner's student meets: nobody trained on them.

By default they are the validation persons of the cohort. There are few of them, and noise does not care how few; so a custodian may declare
an evaluation cohort of its own, of other recordings in the same window spec (``custodian evaluation declare``)::

    HOME/evaluation      the declared cohort, under the same pseudonyms
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.budget import cohort_id
from custodian.cohort import COHORT_FILE, Cohort, pseudonymised
from custodian.config import PSEUDONYM_KEY_FILE, Home
from custodian.state.log import Entry, record
from stimset.errors import ConfigError
from stimset.records import Record, is_simulated
from stimset.windowing import check_usable, make_windows
from stimset.windows import Windows, WindowSpec


@dataclass(frozen=True)
class HeldOut:
    """The patients of an evaluation.

    Attributes:
        windows: theirs alone.
        simulated: true where they are simulated.
        account: whose budget is spent (`custodian.budget.cohort_id`).
        seal: a keyed digest of these very windows.
    """

    windows: Windows
    simulated: bool
    account: str
    seal: str

    @property
    def spec(self) -> WindowSpec:
        """How the windows were made."""
        return self.windows.spec

    @property
    def patients(self) -> int:
        """How many persons have windows here. It is not told to partners."""
        return len(np.unique(self.windows.person))

    def each(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Each patient's windows and labels."""
        order = np.argsort(self.windows.person, kind="stable")
        cuts = np.flatnonzero(np.diff(self.windows.person[order])) + 1
        for rows in np.split(order, cuts):
            yield self.windows.values[rows], self.windows.labels[rows]


def held_out(home: Home) -> HeldOut:
    """The declared evaluation cohort, or else the validation persons.

    Raises:
        ConfigError: there is neither.
    """
    key = home.secret(PSEUDONYM_KEY_FILE)
    cohort = Cohort.load(home.evaluation if declared(home) else home.cohort)
    return HeldOut(cohort.validation, cohort.simulated, cohort_id(cohort.windows.person_names, key), cohort.seal(key))


def declared(home: Home) -> bool:
    """Whether the custodian declared an evaluation cohort."""
    return (home.evaluation / COHORT_FILE).is_file()


def declare(home: Home, records: Sequence[Record], on_step: Callable[[float, str], None]) -> Cohort:
    """Make recordings the evaluation cohort, in the window spec of the cohort that was ingested.

    Raises:
        ConfigError: nothing was ingested, or a person stands on the training side already.
        FormatError: the recordings don't give usable windows.
    """
    trained = Cohort.load(home.cohort)
    simulated: list[bool] = []

    def watched(entry: Record) -> Record:
        simulated.append(is_simulated(entry))
        return entry

    windows = make_windows((watched(r) for r in records), trained.spec, on_record=on_step)
    check_usable(windows)
    windows = pseudonymised(windows, home.secret(PSEUDONYM_KEY_FILE))
    training = {trained.windows.person_names[i] for i in trained.training_person_indices}
    if shared := len(training & set(windows.person_names)):
        raise ConfigError(f"{shared} of these persons stand on the training side; declare recordings of persons whom nobody trained on")
    cohort = Cohort(windows, tuple(range(len(windows.person_names))), any(simulated))
    record(home, Entry("ingest", windows=len(windows), persons=len(windows.person_names), simulated=cohort.simulated))
    cohort.save(home.evaluation)
    return cohort
