"""The Python interface for a data scientist: a connection, releases as arrays, estimators that scikit-learn takes.

::

    with connect("~/acme") as hospital:
        for offered in hospital.releases():
            print(offered.release_id, offered.stimuli)
        release = hospital.pull()                    # the newest; verified, or an error says which promise is broken
    X, P = release.to_numpy()
    search = GridSearchCV(estimator("svm", release), {"cost": [0.1, 0.3, 1.0]}, cv=3).fit(X, P)

    student = hospital.train(release, "cnn", seed=1)             # kept in the home as ONNX with its lineage
    report = hospital.benchmark([student], "./our-own-nights")   # your own labelled recordings

Only a `VerifiedRelease` leaves a connection, and only a `VerifiedRelease` trains a student. A family of your own takes three lines::

    class Mine(torch.nn.Module): ...                 # Mine(channels, samples, classes): windows to logits
    consumer.register_network("mine", Mine)
    student = hospital.train(release, "mine")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from consumer.acceptance import DEFAULT, Acceptance
from consumer.client import Client, ReleaseSummary
from consumer.config import Home
from consumer.download import OnProgress, ignore
from consumer.enrolment import Custodian, find
from stimset.errors import ConfigError
from stimset.verifying import VerifiedRelease

if TYPE_CHECKING:
    from consumer.benchmark import BenchmarkReport
    from consumer.students.student import Student
    from stimset.learning.estimator import SoftLabelEstimator
    from stimset.records import Record
    from stimset.windows import Windows, WindowSpec

LATEST = "latest"


def connect(
    home: Path | str | None = None, custodian: str | None = None, *, address: str | None = None
) -> Connection:
    """A connection to a trusted custodian; nothing is sent before it is needed.

    Args:
        home: the consumer's home (``consumer init``); ``CONSUMER_HOME`` where None.
        custodian: its short name (``consumer trust``); may be left out where only one is trusted.
        address: ``HOST:PORT`` instead of the enrolled one, e.g. through a tunnel.

    Raises:
        ConfigError: no such home, or not one custodian is meant.
    """
    opened = Home.open(Path(home) if home is not None else None)
    return Connection(opened, find(opened, custodian), address=address)


class Connection:
    """One custodian as its partner sees it; close it, or use it in a ``with``. After closing, what needs no network still works.

    Attributes:
        home: where releases and students are kept.
        custodian: who is at the other end.
    """

    def __init__(self, home: Home, custodian: Custodian, *, address: str | None = None) -> None:
        self.home = home
        self.custodian = custodian
        self._address = address
        self._client: Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Connection({self.custodian.short_name!r}, home={str(self.home.root)!r})"

    def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def releases(self, series: str | None = None) -> tuple[ReleaseSummary, ...]:
        """What the custodian offers us, oldest first: its word, verified by `pull` only.

        Raises:
            TransportError, PolicyDenied, FormatError: as `consumer.client.Client.list_releases`.
        """
        return tuple(entry for entry in self._connected().list_releases() if series in (None, entry.name))

    def pull(
        self, release: str = LATEST, *, series: str | None = None, on_progress: OnProgress = ignore, acceptance: Acceptance = DEFAULT
    ) -> VerifiedRelease:
        """Fetch a release into the home and verify it; what is interrupted goes on where it stopped, what is here is not fetched.

        Args:
            release: its id, or ``"latest"``.
            series: which series ``"latest"`` speaks of.
            on_progress: is told bytes done, bytes in all (0 while unknown) and the file.
            acceptance: our own demands (`consumer.acceptance.load_acceptance`); unless told otherwise, that nobody overrode the gate.

        Raises:
            NotAccepted: every promise holds, but it does not meet our demands; nothing was fetched.
            ConfigError: nothing is offered, or several series are and none is named.
            Withdrawn, VerificationError: a promise does not hold.
            TransportError, PolicyDenied: the custodian can't be reached or says no.
        """
        from consumer import pipeline

        client = self._connected()
        named = release != LATEST
        wanted = release if named else latest(client.list_releases(), series)
        return pipeline.pull(self.home, self.custodian, client, wanted, deliberate=named, on_progress=on_progress, acceptance=acceptance)

    def release(self, release: str | Path = LATEST, *, despite_withdrawal: str | None = None) -> VerifiedRelease:
        """A release that is here already, verified anew against the custodians that are trusted; no network.

        Args:
            release: its id, a folder anywhere, or ``"latest"``.
            despite_withdrawal: why a withdrawn release is used all the same; the reason is recorded in the home.

        Raises:
            ConfigError: it is not here.
            Withdrawn: the custodian has taken it back.
            VerificationError: a promise does not hold.
        """
        from consumer.students.sources import open_release

        if release == LATEST:
            here = sorted(p.name for p in self.home.releases.glob("*-[0-9][0-9][0-9][0-9]") if p.is_dir())
            if len({name[:-5] for name in here}) != 1:
                raise ConfigError(f"name one of the releases in {self.home.releases}: {', '.join(here) or 'none; pull one'}")
            release = here[-1]
        return open_release(self.home, str(release), despite_withdrawal=despite_withdrawal)

    def train(
        self, release: VerifiedRelease, family: str, seed: int = 1, *, beside: Sequence[VerifiedRelease] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> Student:  # fmt: skip
        """Train a student and keep it in the home; see `consumer.students.training.train_student`.

        `beside` are releases of other custodians, from connections of their own, that it learns from as well.
        """
        from consumer.students.training import train_student

        student = train_student(release, family, seed, beside=beside, parameters=parameters)
        student.save(self.home.students)
        return student

    def students(self, names: Sequence[str] = ()) -> list[Student]:
        """The students of the home, or those of these names.

        Raises:
            ConfigError: there is none, or not one of this name.
        """
        from consumer.students.sources import open_students

        return open_students(self.home, names)

    def benchmark(self, students: Sequence[Student], data: Path | str | Windows, *, draws: int = 1000) -> BenchmarkReport:
        """Measure students on your own labelled recordings (a folder, or windows made of it); see `consumer.benchmark`.

        Raises:
            ConfigError: no student, or they expect different windows.
            FormatError: a recording can't be used.
        """
        from consumer.benchmark import benchmark
        from stimset.windows import Windows

        if not students:
            raise ConfigError("a benchmark needs at least one student; train one")
        if isinstance(data, Windows):
            return benchmark(students, data, draws)
        windows, simulated = _read(Path(data), students[0].spec, None)
        return benchmark(students, windows, draws, data=Path(data).resolve().name, simulated_data=simulated)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client.to(self.custodian, self.home, address=self._address)
        return self._client


def latest(offered: Iterable[ReleaseSummary], series: str | None = None) -> str:
    """The id of the newest of the releases offered.

    Raises:
        ConfigError: nothing is offered, or several series are and none is named.
    """
    found = [entry for entry in offered if series in (None, entry.name)]
    names = sorted({entry.name for entry in found})
    if len(names) != 1:
        several = f"several series are offered ({', '.join(names)}); choose one by --series"
        raise ConfigError(f"there is no latest release: {several if names else 'nothing is offered'}")
    return max(found, key=lambda entry: entry.sequence).release_id


def estimator(family: str, release: VerifiedRelease, seed: int = 0, **parameters: Any) -> SoftLabelEstimator:
    """An estimator for a release's windows, not fitted yet: scikit-learn's contract, ``fit(X, P)`` with soft labels or plain ones.

    Args:
        family: ``consumer train - --family list`` shows them; your own, once registered.
        release: says the shape of the windows and how many classes there are.
        seed: of everything random in it.
        parameters: the family's own (``get_params`` lists them).

    Raises:
        ConfigError: no such family or parameter, or a library is not installed.
    """
    from stimset.learning import families

    return families.build(family, *release.spec.shape, release.spec.classes, seed, **parameters)


def read_windows(folder: Path | str, like: VerifiedRelease | Student, *, labels: Path | str | None = None) -> Windows:
    """Your own labelled recordings (WFDB, EDF, NPZ, CSV) as windows, exactly as the release's signed window spec says.

    Args:
        folder: of recordings, or one recording.
        like: whose windows.
        labels: folder of annotations that lie elsewhere.

    Raises:
        RecordError: a recording can't be used.
    """
    return _read(Path(folder), like.spec, Path(labels) if labels else None)[0]


def _read(folder: Path, spec: WindowSpec, labels: Path | None) -> tuple[Windows, bool]:
    from stimset.records import is_simulated, open_records
    from stimset.windowing import make_windows

    simulated: list[bool] = []

    def watched() -> Iterator[Record]:
        for record in open_records(folder, labels=labels):
            simulated.append(is_simulated(record))
            yield record

    return make_windows(watched(), spec), any(simulated)
