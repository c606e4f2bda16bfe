"""What the demo does, step by step, and in which sizes.

`stages` gives the whole list; what a step learns for later ones is kept in `Facts`.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from referee import TRAINED_ON, Recordings
from shell import Shell
from stages import Stage

FAMILIES = ("cnn", "lstm", "mlp", "random_forest", "svm", "knn", "logistic_regression")
SEED = 1
READY_SECONDS = 60.0
OTHER_PERSONS = 1000  # the partner's simulated persons count from here; the hospital's count from 0
HELD_OUT_PERSONS = 5000  # and those on whom the hospital evaluates from here
HELD_OUT_MINUTES = 10


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        persons, minutes: of the hospital's simulated cohort.
        partner_persons: of the partner's simulated recordings, equally long.
        stimuli, noise, paper: how many of each kind are made.
        cap: training examples of any student, at most.
        held_out: simulated patients on whom the hospital evaluates the partner's student.
    """

    persons: int = 24
    minutes: int = 120
    partner_persons: int = 24
    stimuli: int = 4000
    noise: int = 4000
    paper: int = 300
    cap: int = 4000
    held_out: int = 500


SIMULATED = Sizes()
REAL = replace(SIMULATED, stimuli=8000, noise=8000, paper=1000, cap=8000)
QUICK = Sizes(persons=12, minutes=60, partner_persons=10, stimuli=1200, noise=1200, paper=60, cap=1200, held_out=60)


@dataclass(frozen=True)
class Source:
    """Where the recordings come from.

    Attributes:
        name: for the report.
        ingest: what ``custodian ingest`` gets.
        partner: the partner's own recordings.
        simulated: true where nobody lives behind them.
        series: what the release is called.
        note: what a reader of the numbers must know of the recordings.
    """

    name: str
    ingest: tuple[str, ...]
    partner: Recordings
    simulated: bool
    series: str
    note: str = ""


def simulated_source(sizes: Sizes, folder: Path) -> Source:
    """Persons who never lived, on both sides, and different ones."""
    recordings = Recordings(folder / "partner-recordings")
    ingest = ("--simulated", str(sizes.persons), "--minutes", str(sizes.minutes))
    return Source(
        f"simulated: {sizes.persons} persons at the hospital, {sizes.partner_persons} others at the partner",
        ingest, recordings, True, "simulated-apnea",
    )  # fmt: skip


def apnea_source(folder: Path) -> Source:
    """The Apnea-ECG database: its released records inside the hospital, its test records as the partner's own.

    Raises:
        FileNotFoundError: the folder does not hold it.
    """
    records = next((p for p in (folder / "wfdb", folder) if any(p.glob("a*.qrs"))), None)
    if records is None:
        raise FileNotFoundError(f"{folder} holds no Apnea-ECG records (a01.qrs, a01.apn, ...), nor does {folder}/wfdb")
    places = (folder / "wfdb-x-labels", folder.parent / "wfdb-x-labels", records)
    labels = next((p for p in places if any(p.glob("x*.apn"))), None)
    if labels is None:
        raise FileNotFoundError(f"{folder} holds no labels of the test records (wfdb-x-labels/x01.apn, ...)")
    released = [word for pattern in ("a*", "b*", "c*") for word in ("--only", pattern)]
    return Source(
        "Apnea-ECG database (PhysioNet): 35 released records at the hospital, 35 test records at the partner",
        (str(records), *released, "--preset", "apnea-5min"),
        Recordings(records, None if labels == records else labels, ("x*",)), False, "apnea",
        "Eighteen of the database's 32 persons have nights on both sides; that is the database's official split by record.",
    )  # fmt: skip


@dataclass
class Facts:
    """What the steps leave for later ones and for the report."""

    folder: Path
    source: Source
    sizes: Sizes
    families: tuple[str, ...] = FAMILIES
    passphrase: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    daemon: subprocess.Popen[bytes] | None = None
    documents: dict[str, Any] = field(default_factory=dict)

    @property
    def hospital(self) -> Path:
        """The custodian's home."""
        return self.folder / "hospital"

    @property
    def partner(self) -> Path:
        """The consumer's home."""
        return self.folder / "partner"

    @property
    def environments(self) -> dict[str, dict[str, str]]:
        """What each side's processes know: the partner's never see the hospital's folder or passphrase."""
        return {
            "hospital": {"CUSTODIAN_HOME": str(self.hospital), "CUSTODIAN_PASSPHRASE": self.passphrase},
            "partner": {"CONSUMER_HOME": str(self.partner)},
            "referee": {},
        }

    def rows_file(self, trained_on: str) -> Path:
        """The referee's rows for this kind of training data."""
        return self.folder / "referee" / f"{trained_on}.json"


def stages(facts: Facts) -> list[Stage]:
    """Every stage, in the order of the main path; background stages stand where they can start."""
    sizes, simulated = facts.sizes, facts.source.simulated
    who = "simulated persons" if simulated else "patients"
    main = [
        Stage("init", "hospital", "The hospital makes its home: signing keys, a private certificate authority, secrets. All that is "
              "private stays in this one folder.", lambda sh: _init(sh, facts)),
        Stage("ingest", "hospital", f"Recordings of {who} become labelled windows. Names give way to keyed pseudonyms, and some "
              "persons are set aside: nothing will be trained on them.", lambda sh: _ingest(sh, facts)),
        Stage("train", "hospital", "A teacher network learns from the windows. It remembers its patients, so it never leaves.",
              lambda sh: _custodian(sh, facts, "train", "--seed", SEED)),
        Stage("excite", "hospital", f"{sizes.stimuli} stimuli: noise that sounds like each class, changed until networks that know the "
              "patients answer 'could be anyone', while its power and the teacher's belief are held. That belief is the label.",
              lambda sh: _excite(sh, facts, "spectral", sizes.stimuli, "main")),
        Stage("audit", "hospital", "The gate attacks the stimuli with networks that the inhibition never saw, and trains students of "
              "another kind on them. One failed check, and nothing may leave.", lambda sh: _custodian(sh, facts, "audit", "--set", "main")),
        Stage("release", "hospital", "What the gate admitted is signed: the files' digests, the recipe, and every number that the gate "
              "measured.", lambda sh: _release(sh, facts)),
        Stage("serve", "hospital", "The daemon starts: a process of its own, mutual TLS, without signing keys or passphrase.",
              lambda sh: _serve(sh, facts)),
        Stage("enrol", "partner", "The partner makes a key and asks for a certificate; the hospital grants it; the partner pins the "
              "hospital's root by the fingerprint it heard on the telephone.", lambda sh: _enrol(sh, facts)),
        Stage("pull", "partner", "The partner looks at the catalogue and fetches the release, over loopback but in earnest.",
              lambda sh: _pull(sh, facts)),
        Stage("verify", "partner", "Offline, against the pinned root alone: signatures, digests, missing or added files, every tensor.",
              lambda sh: _verify(sh, facts)),
        Stage("students", "partner", f"{len(facts.families)} kinds of students learn from the stimuli and nothing else.",
              lambda sh: _students(sh, facts)),
        Stage("benchmark", "partner", "The students meet real recordings for the first time: the partner's own."
              if not simulated else "The students meet recordings of persons (simulated ones) for the first time: the partner's own.",
              lambda sh: _benchmark(sh, facts), after=("recordings",) if simulated else ()),
        Stage("export", "partner", "The best student leaves as one ONNX file, after onnxruntime was seen to answer as it does.",
              lambda sh: _export(sh, facts)),
    ]  # fmt: skip
    if simulated:
        main.append(Stage("submit", "partner", "The student goes to the hospital, which tries it on patients whom nobody trained on, in a "
                          "process that reaches nothing. What comes back is a signed report of noisy counts; anybody can verify it.",
                          lambda sh: _submit(sh, facts), after=("held-out",)))  # fmt: skip
    return _interleaved(main, _background(facts))


def _background(facts: Facts) -> list[Stage]:
    sizes, simulated = facts.sizes, facts.source.simulated
    beside: list[Stage] = []
    ready: tuple[str, ...] = ()
    if simulated:
        beside.append(Stage("recordings", "referee", "The partner's own recordings, of other simulated persons.",
                            lambda sh: _recordings(sh, facts), background=True))  # fmt: skip
        beside.append(Stage("held-out", "hospital", f"{sizes.held_out} further simulated patients, on whom partners' students are tried.",
                            lambda sh: _held_out(sh, facts), ("ingest",), True))  # fmt: skip
        ready = ("recordings",)
    for name, count in (("paper", sizes.paper), ("noise", sizes.noise)):
        beside.append(Stage(f"excite-{name}", "hospital", f"A baseline: {count} stimuli by the recipe '{name}'.",
                            lambda sh, n=name, c=count: _excite(sh, facts, n, c, n), ("train",), True))  # type: ignore[misc]  # fmt: skip
    needs = {"true_hard": "ingest", "true_soft": "train", "noise": "excite-noise", "paper": "excite-paper"}
    trainings = [
        Stage(f"referee-{kind}", "referee", f"Baseline students on '{kind}'.",
              lambda sh, k=kind: _referee(sh, facts, k), (*ready, needs[kind]), True)  # type: ignore[misc]
        for kind in TRAINED_ON
    ]  # fmt: skip
    return beside + trainings


def _interleaved(main: list[Stage], beside: list[Stage]) -> list[Stage]:
    """Background stages right after the last stage of the main path that they wait for."""
    names = [s.name for s in main]
    ordered: list[Stage] = [s for s in beside if not s.after]
    placed = {s.name for s in ordered}
    for name in names:
        ordered.append(next(s for s in main if s.name == name))
        placed.add(name)
        while fresh := [s for s in beside if s.name not in placed and set(s.after) <= placed]:
            ordered += fresh
            placed |= {s.name for s in fresh}
    return ordered


def _init(shell: Shell, facts: Facts) -> str:
    made = shell.json("custodian", "init", "--name", "Demo Hospital")
    facts.documents["init"] = made
    return f"root fingerprint {made['root_fingerprint'][:16]}..."


def _custodian(shell: Shell, facts: Facts, *arguments: object) -> str:
    name = shell.stage.name
    facts.documents[name] = shell.json("custodian", *arguments)
    return _in_words(name, facts.documents[name])


def _ingest(shell: Shell, facts: Facts) -> str:
    return _custodian(shell, facts, "ingest", *facts.source.ingest, "--seed", SEED)


def _excite(shell: Shell, facts: Facts, recipe: str, count: int, name: str) -> str:
    return _custodian(shell, facts, "excite", "--recipe", recipe, "--count", count, "--set", name, "--seed", SEED)


def _release(shell: Shell, facts: Facts) -> str:
    made = shell.json("custodian", "release", "build", "--set", "main", "--name", facts.source.series)
    facts.documents["release"] = made
    return f"{made['release']}, {made['stimuli']} stimuli, signed by key {', '.join(k[:12] for k in made['signed_by'])}"


def _serve(shell: Shell, facts: Facts) -> str:
    ready = facts.folder / "daemon.ready"
    facts.daemon = shell.spawn("custodian", "serve", "--address", "127.0.0.1:0", "--ready-file", ready)
    deadline = time.monotonic() + READY_SECONDS
    while not ready.is_file():
        if facts.daemon.poll() is not None or time.monotonic() > deadline:
            raise shell.failed("custodian serve", facts.daemon.poll() or 1)
        time.sleep(0.05)
    facts.documents["address"] = ready.read_text().strip()
    return f"listening on {facts.documents['address']}"


def _enrol(shell: Shell, facts: Facts) -> str:
    asked = shell.json("consumer", "init", "--name", "Demo Diagnostics")
    sent = facts.folder / "enrolment"
    added = shell.json(
        "custodian", "partner", "add", "demo-diagnostics", "--csr", asked["request"], "--out", sent,
        "--key-fingerprint", asked["key_fingerprint"], "--grant", facts.source.series,
        "--address", facts.documents["address"], side="hospital",
    )  # fmt: skip
    trusted = shell.json(
        "consumer", "trust", "add", sent, "--fingerprint", facts.documents["init"]["root_fingerprint"]
    )
    facts.documents["trust"] = trusted
    return f"'{added['partner']}' may fetch {', '.join(added['grants'])}; trusts '{trusted['custodian']}'"


def _pull(shell: Shell, facts: Facts) -> str:
    offers = shell.json("consumer", "list")["releases"]
    pulled = shell.json("consumer", "pull")
    facts.documents["pull"] = pulled
    return f"{len(offers)} on offer; {pulled['release']} is here, {offers[-1]['bytes'] / 1e6:.1f} MB"


def _verify(shell: Shell, facts: Facts) -> str:
    held = shell.json("consumer", "verify", facts.documents["pull"]["folder"])
    facts.documents["verify"] = held
    result = f"{len(held['files'])} files, {len(held['signed_by'])} signature(s), every promise holds"
    if shutil.which("openssl") and shutil.which("jq"):
        root = Path(facts.documents["trust"]["folder"]) / "root.json"
        shell.run(Path(__file__).parents[1] / "verify-release.sh", held["folder"], root, facts.documents["init"]["root_fingerprint"])
        result += "; openssl and jq alone say the same"
    return result


def _students(shell: Shell, facts: Facts) -> str:
    named = [word for family in facts.families for word in ("--family", family)]
    trained = shell.json("consumer", "train", facts.documents["pull"]["release"], *named)
    facts.documents["students"] = trained
    return ", ".join(f"{s['family']} {s['seconds']:.0f} s" for s in trained["students"])


def _benchmark(shell: Shell, facts: Facts) -> str:
    measured = shell.json(
        "consumer", "benchmark", *facts.source.partner.options(), "--out", facts.folder / "benchmark"
    )
    facts.documents["benchmark"] = measured
    best = measured["results"][0]
    return f"{measured['windows']} windows of {measured['persons']} persons; best kappa {best['metrics']['kappa']:.3f} ({best['family']})"


def _export(shell: Shell, facts: Facts) -> str:
    best = facts.documents["benchmark"]["results"][0]
    path = facts.folder / f"{best['family']}.onnx"
    made = shell.json("consumer", "export", best["student"], "--out", path)
    facts.documents["export"] = made["export"]
    return f"{path.name}, {made['export']['bytes'] / 1e3:.0f} kB, differs by {made['export']['max_difference']:.0e} at most"


def _held_out(shell: Shell, facts: Facts) -> str:
    shell.json("custodian", "evaluation", "limit", "--queries", 1)
    made = shell.json(
        "custodian", "evaluation", "declare", "--simulated", facts.sizes.held_out, "--minutes", HELD_OUT_MINUTES,
        "--first-person", HELD_OUT_PERSONS, "--seed", SEED,
    )  # fmt: skip
    return f"{made['windows']} windows of {made['persons']} persons"


def _submit(shell: Shell, facts: Facts) -> str:
    file = Path(facts.documents["export"]["path"])
    sent = shell.json("consumer", "submit", file)
    held = shell.json("consumer", "verify", sent["report"])
    spent = shell.json("consumer", "budget")
    facts.documents["submit"] = held
    kappa = held["measures"]["kappa"]
    interval = "" if kappa["low"] is None else f" ({kappa['low']:.2f} to {kappa['high']:.2f} by the noise)"
    value = "undefined" if kappa["value"] is None else f"{kappa['value']:.2f}"
    return f"kappa {value}{interval} on hidden patients; the report's signature holds; {spent['left']} of {spent['queries']} answers left"


def _recordings(shell: Shell, facts: Facts) -> str:
    sizes, folder = facts.sizes, facts.source.partner.folder
    script = Path(__file__).with_name("recordings.py")
    shell.run(
        sys.executable, script, folder, "--persons", sizes.partner_persons, "--minutes", sizes.minutes,
        "--first-person", OTHER_PERSONS, "--seed", SEED,
    )  # fmt: skip
    return f"{sizes.partner_persons} other simulated persons, {sizes.minutes} minutes each"


def _referee(shell: Shell, facts: Facts, kind: str) -> str:
    named = [word for family in facts.families for word in ("--family", family)]
    shell.run(
        sys.executable, Path(__file__).with_name("referee.py"), *facts.source.partner.options(), "--hospital", facts.hospital,
        "--trained-on", kind, *named, "--cap", facts.sizes.cap, "--seed", SEED, "--out", facts.rows_file(kind),
    )  # fmt: skip
    return f"{len(facts.families)} baseline students"


def _in_words(name: str, d: dict[str, Any]) -> str:
    """What a stage of the hospital's found, in a few words."""
    if name == "ingest":
        return f"{d['windows']} windows of {d['persons']} persons, {d['validation_persons']} of them kept apart"
    if name == "train":
        return f"teacher {d['architecture']}: kappa {d['validation_kappa']:.3f} on the persons kept apart"
    if name == "audit":
        return f"{'admitted' if d['admitted'] else 'refused'}: {sum(c['passed'] for c in d['checks'])} of {len(d['checks'])} checks passed"
    read = sum(a["numbers"] for a in d["aggregates"])
    return f"{d['stimuli']} stimuli; {read or 'no'} aggregate numbers of patients were read"
