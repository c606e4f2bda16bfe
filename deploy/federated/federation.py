"""What the federated demo does, step by step: three hospitals, one partner, and a referee who may see all of them.

`stages` gives the whole list; what a step learns for later ones is kept in `Facts`. The first hospital's steps are shown with their
commands; those of the others are the same and run beside them.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shell import Shell
from stages import Stage

HOSPITALS = ("north", "south", "west")
FAMILIES = ("cnn", "lstm", "mlp", "random_forest")
QUICK_FAMILIES = ("mlp", "random_forest")
PARTNER, REFEREE = "partner", "referee"
COLOURS = {"north": "cyan", "south": "blue", "west": "green", PARTNER: "magenta", REFEREE: "yellow"}
SEED = 1
READY_SECONDS = 60.0
TEST_PERSONS_FROM = 850
HIDDEN_PERSONS_FROM = 10_000
HIDDEN_MINUTES = 10
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        persons, minutes: of each hospital's simulated cohort.
        test_persons: of each hospital, held out from everything but the last benchmark; equally long.
        hidden: further persons of each hospital, on whom it evaluates students itself; ten minutes each.
        stimuli: of each hospital's release.
        seeds: students of each kind.
    """

    persons: int = 20
    minutes: int = 120
    test_persons: int = 12
    hidden: int = 300
    stimuli: int = 2000
    seeds: int = 3


FULL = Sizes()
QUICK = Sizes(persons=16, test_persons=3, hidden=40, stimuli=1500, seeds=1)
"""With much less than this the gate's own controls fail, and it refuses."""


@dataclass
class Facts:
    """What the steps leave for later ones and for the report."""

    folder: Path
    sizes: Sizes
    families: tuple[str, ...] = FAMILIES
    passphrases: dict[str, str] = field(default_factory=lambda: {h: secrets.token_urlsafe(24) for h in HOSPITALS}, repr=False)
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)

    @property
    def partner(self) -> Path:
        """The consumer's home."""
        return self.folder / PARTNER

    @property
    def test_recordings(self) -> Path:
        """Nights of persons of all three hospitals, by each hospital's own device."""
        return self.folder / "test-recordings"

    @property
    def spec_file(self) -> Path:
        """The window spec that the three hospitals have agreed on."""
        return self.folder / "windows.json"

    @property
    def environments(self) -> dict[str, dict[str, str]]:
        """What each side's processes know: no hospital another's home or passphrase, the partner none of them."""
        hospitals = {h: {"CUSTODIAN_HOME": str(self.home(h)), "CUSTODIAN_PASSPHRASE": self.passphrases[h]} for h in HOSPITALS}
        return {**hospitals, PARTNER: {"CONSUMER_HOME": str(self.partner)}, REFEREE: {}}

    def home(self, hospital: str) -> Path:
        """A custodian's home."""
        return self.folder / hospital

    def recordings(self, hospital: str) -> Path:
        """A hospital's own recordings."""
        return self.folder / f"{hospital}-recordings"

    def pooled_file(self, family: str) -> Path:
        """The referee's rows of this family."""
        return self.folder / REFEREE / f"{family}.json"

    def release(self, hospital: str) -> str:
        """The id of a hospital's release."""
        return str(self.documents[hospital]["release"]["release"])


def stages(facts: Facts) -> list[Stage]:
    """Every stage; `Runner` takes the first hospital's and the partner's in this order and the others beside them."""
    sizes, names = facts.sizes, ", ".join(HOSPITALS)
    begin = [
        Stage("recordings", REFEREE, f"{sizes.persons} simulated persons at each hospital ({names}), of whom each sees other cases, "
              f"recorded by devices that differ in clock, detector and resolution; and {sizes.test_persons} more of each, whom nobody "
              "learns from. The hospitals agree on one window spec.",
              lambda sh: _recordings(sh, facts)),
    ]  # fmt: skip
    chains = [stage for position, hospital in enumerate(HOSPITALS) for stage in _hospital(facts, hospital, beside=position > 0)]
    pooled = [
        Stage(f"pooled-{family}", REFEREE, f"'{family}' on the pooled true windows of all three, which nobody may do outside a demo.",
              lambda sh, f=family: _pooled(sh, facts, f), tuple(f"{h}-ingest" for h in HOSPITALS), True)  # type: ignore[misc]
        for family in facts.families
    ]  # fmt: skip
    served = tuple(f"{h}-serve" for h in HOSPITALS)
    end = [
        Stage("enrol", PARTNER, "One key and one request, three hospitals. Each grants a certificate of its own and reads out the "
              "fingerprint of its own root; the partner pins all three, each under a short name.", lambda sh: _enrol(sh, facts), served),
        Stage("pull", PARTNER, "Three catalogues, three releases. Each is verified against the root of the hospital that signed it, and "
              "no other.", lambda sh: _pull(sh, facts)),
        Stage("students-apart", PARTNER, f"{len(facts.families)} kinds of students x {sizes.seeds} seeds on each hospital's release "
              "alone, two processes side by side.", lambda sh: _apart(sh, facts)),
        Stage("students-together", PARTNER, "The same on the union: the releases' window specs agree, so they are one lesson. Name and "
              "lineage of each student name all three.", lambda sh: _together(sh, facts)),
        Stage("benchmark", PARTNER, "Every student meets the held-out persons of all three hospitals once.",
              lambda sh: _benchmark(sh, facts)),
        Stage("export", PARTNER, "A union's student leaves as one ONNX file with its lineage, and is followed back to three roots.",
              lambda sh: _export(sh, facts)),
        Stage("submit", PARTNER, "Each hospital tries it on hidden patients of its own, in a process that reaches nothing, and answers "
              "with a report of noisy counts under its own signature.", lambda sh: _submit(sh, facts)),
    ]  # fmt: skip
    return [*begin, *chains, *pooled, *end]


def _hospital(facts: Facts, hospital: str, *, beside: bool) -> list[Stage]:
    """One hospital's way to a served release; each step waits for the one before."""
    sizes = facts.sizes
    steps: list[tuple[str, str, Callable[[Shell], str]]] = [
        ("ingest", f"Hospital {hospital.title()} makes its home and its keys, and its recordings become windows by the common spec.",
         lambda sh: _ingest(sh, facts, hospital)),
        ("train", "Its teacher learns from its own patients, and never leaves.",
         lambda sh: _custodian(sh, facts, hospital, "train", "--seed", SEED)),
        ("excite", f"{sizes.stimuli} stimuli out of its teacher.",
         lambda sh: _custodian(sh, facts, hospital, "excite", "--count", sizes.stimuli, "--set", "main", "--workers", 1, "--seed", SEED)),
        ("audit", "Its gate attacks them; one failed check, and nothing may leave.",
         lambda sh: _custodian(sh, facts, hospital, "audit", "--set", "main")),
        ("serve", "What was admitted is signed by its own keys and served by its own daemon.",
         lambda sh: _serve(sh, facts, hospital)),
    ]  # fmt: skip
    hidden = Stage(f"{hospital}-hidden", hospital, f"{sizes.hidden} further persons, on whom it will evaluate students by itself.",
                   lambda sh: _hidden(sh, facts, hospital), (f"{hospital}-ingest",), True)  # fmt: skip
    before = ["recordings"]
    made = []
    for name, why, work in steps:
        made.append(Stage(f"{hospital}-{name}", hospital, why, work, (before[-1], *([hidden.name] if name == "serve" else [])), beside))
        before.append(made[-1].name)
    return [*made, hidden]


def _recordings(shell: Shell, facts: Facts) -> str:
    from stimset.records.simulated import SPEC

    sizes = facts.sizes
    facts.spec_file.write_text(json.dumps(SPEC.to_document(), indent=1))
    for position, hospital in enumerate(HOSPITALS):
        first = 1000 * position
        for folder, persons, start in (
            (facts.recordings(hospital), sizes.persons, first),
            (facts.test_recordings, sizes.test_persons, first + TEST_PERSONS_FROM),
        ):
            shell.run(
                sys.executable, HERE / "devices.py", folder, "--device", hospital, "--persons", persons, "--minutes", sizes.minutes,
                "--first-person", start, "--seed", SEED,
            )  # fmt: skip
    return f"{len(HOSPITALS) * sizes.persons} persons for the hospitals, {len(HOSPITALS) * sizes.test_persons} others for the test"


def _custodian(shell: Shell, facts: Facts, hospital: str, command: str, *arguments: object) -> str:
    found = shell.json("custodian", command, *arguments)
    facts.documents.setdefault(hospital, {})[command] = found
    if command == "ingest":
        return f"{found['windows']} windows of {found['persons']} persons, {found['validation_persons']} of them kept apart"
    if command == "train":
        return f"teacher {found['architecture']}: kappa {found['validation_kappa']:.3f} on the persons kept apart"
    if command == "audit":
        passed = sum(check["passed"] for check in found["checks"])
        return f"{'admitted' if found['admitted'] else 'refused'}: {passed} of {len(found['checks'])} checks passed"
    return f"{found['stimuli']} stimuli"


def _ingest(shell: Shell, facts: Facts, hospital: str) -> str:
    made = shell.json("custodian", "init", "--name", f"Hospital {hospital.title()}")
    facts.documents.setdefault(hospital, {})["init"] = made
    return _custodian(shell, facts, hospital, "ingest", facts.recordings(hospital), "--spec", facts.spec_file, "--seed", SEED)


def _hidden(shell: Shell, facts: Facts, hospital: str) -> str:
    folder, first = facts.folder / f"{hospital}-hidden-recordings", HIDDEN_PERSONS_FROM * (1 + HOSPITALS.index(hospital))
    shell.run(
        sys.executable, HERE / "devices.py", folder, "--device", hospital, "--persons", facts.sizes.hidden, "--minutes", HIDDEN_MINUTES,
        "--first-person", first, "--seed", SEED,
    )  # fmt: skip
    shell.json("custodian", "evaluation", "limit", "--queries", 1)
    made = shell.json("custodian", "evaluation", "declare", folder)
    return f"{made['windows']} windows of {made['persons']} persons"


def _serve(shell: Shell, facts: Facts, hospital: str) -> str:
    series = f"{hospital}-nights"
    release = shell.json("custodian", "release", "build", "--set", "main", "--name", series)
    facts.documents[hospital]["release"] = release
    ready = facts.folder / f"{hospital}.ready"
    daemon = shell.spawn("custodian", "serve", "--address", "127.0.0.1:0", "--ready-file", ready)
    facts.daemons.append(daemon)
    deadline = time.monotonic() + READY_SECONDS
    while not ready.is_file():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise shell.failed("custodian serve", daemon.poll() or 1)
        time.sleep(0.05)
    facts.documents[hospital]["address"] = ready.read_text().strip()
    return f"{release['release']}, {release['stimuli']} stimuli, at {facts.documents[hospital]['address']}"


def _enrol(shell: Shell, facts: Facts) -> str:
    asked = shell.json("consumer", "init", "--name", "Demo Diagnostics")
    for hospital in HOSPITALS:
        known, sent = facts.documents[hospital], facts.folder / "enrolment" / hospital
        shell.json(
            "custodian", "partner", "add", "demo-diagnostics", "--csr", asked["request"], "--out", sent,
            "--key-fingerprint", asked["key_fingerprint"], "--grant", f"{hospital}-nights", "--address", known["address"], side=hospital,
        )  # fmt: skip
        shell.json("consumer", "trust", "add", sent, "--fingerprint", known["init"]["root_fingerprint"], "--as", hospital)
    trusted = shell.json("consumer", "trust", "list")["custodians"]
    return f"{len(trusted)} custodians are trusted, each by a root of its own: {', '.join(c['custodian'] for c in trusted)}"


def _pull(shell: Shell, facts: Facts) -> str:
    pulled = {hospital: shell.json("consumer", "pull", "--from", hospital) for hospital in HOSPITALS}
    facts.documents["pull"] = pulled
    return ", ".join(f"{p['release']} ({p['stimuli']})" for p in pulled.values())


def _train(shell: Shell, facts: Facts, *releases: str) -> list[dict[str, Any]]:
    named = [word for family in facts.families for word in ("--family", family)]
    trained = shell.json("consumer", "train", *releases, *named, "--seeds", facts.sizes.seeds, "--jobs", 2)
    return list(trained["students"])


def _apart(shell: Shell, facts: Facts) -> str:
    for hospital in HOSPITALS:
        facts.documents.setdefault("students", {})[hospital] = _train(shell, facts, facts.release(hospital))
    return f"{sum(len(s) for s in facts.documents['students'].values())} students"


def _together(shell: Shell, facts: Facts) -> str:
    students = _train(shell, facts, *(facts.release(hospital) for hospital in HOSPITALS))
    facts.documents["students"]["union"] = students
    return f"{len(students)} students, each of {students[0]['stimuli'] + students[0]['held_out']} stimuli"


def _benchmark(shell: Shell, facts: Facts) -> str:
    measured = shell.json("consumer", "benchmark", facts.test_recordings, "--jobs", 2, "--draws", 200)
    facts.documents["benchmark"] = measured
    best = measured["results"][0]
    return f"{measured['windows']} windows of {measured['persons']} persons; best kappa {best['metrics']['kappa']:.3f} ({best['student']})"


def _export(shell: Shell, facts: Facts) -> str:
    union = [r for r in facts.documents["benchmark"]["results"] if "+" in r["release"]]
    file = facts.folder / f"union-{union[0]['family']}.onnx"
    shell.json("consumer", "export", union[0]["student"], "--out", file)
    followed = shell.json("consumer", "verify", file)
    facts.documents["export"] = {"file": str(file), "student": union[0]["student"], "origins": followed["origins"]}
    return f"{file.name} descends from {followed['release'].replace('+', ', ')}"


def _submit(shell: Shell, facts: Facts) -> str:
    found = {}
    for hospital in HOSPITALS:
        report = facts.folder / f"{hospital}.evaluation.json"
        shell.json(
            "consumer", "submit", facts.documents["export"]["file"], "--from", hospital, "--release", facts.release(hospital),
            "--out", report,
        )  # fmt: skip
        found[hospital] = shell.json("consumer", "verify", report)
    facts.documents["submit"] = found
    kappas = {hospital: held["measures"]["kappa"]["value"] for hospital, held in found.items()}
    return "kappa on hidden patients: " + ", ".join(f"{h} {'undefined' if k is None else format(k, '.2f')}" for h, k in kappas.items())


def _pooled(shell: Shell, facts: Facts, family: str) -> str:
    homes = [word for hospital in HOSPITALS for word in ("--hospital", facts.home(hospital))]
    shell.run(
        sys.executable, HERE / "pooled.py", facts.test_recordings, *homes, "--family", family, "--seeds", facts.sizes.seeds,
        "--out", facts.pooled_file(family),
    )  # fmt: skip
    return f"{facts.sizes.seeds} students on pooled true windows"
