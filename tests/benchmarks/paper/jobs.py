"""Single pieces of work, each of which leaves one file and is skipped when that file is there.

For each setting and seed: `prepare` trains a teacher; then each recipe is `excite`d; then attackers `attack` its stimuli, and each
family of `student` learns from each kind of training data. A seed changes everything random: which persons are kept apart, teacher,
identity networks, excitation, attackers, students.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from paper.settings import TRUE_SOFT, Setting, Source, digest_of
from referee import Lesson, lesson_of_stimuli, lesson_of_windows

from custodian.cohort import Cohort, pseudonymised, split_persons
from custodian.config import PSEUDONYM_KEY_FILE, SECRET_BYTES, Home, write_secret
from custodian.excitation.candidates import CandidateSet
from custodian.gate.attacks import attack_identity
from stimset.errors import ConfigError
from stimset.learning.families import build, family
from stimset.metrics import score

if TYPE_CHECKING:
    from custodian.pipeline import Teachers

DEFAULT_REGIME = "regularised"
METRICS = ("accuracy", "kappa", "sensitivity", "specificity", "auroc")
ATTACKERS = ("random_forest", "deep_cnn")
CODE = ("stimset.learning", "stimset.windowing", "custodian.cohort", "custodian.teacher", "custodian.excitation", "custodian.inhibition",
        "custodian.gate.attacks")  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One setting and one seed: the custodian's side in a home of its own, and students beside it.

    Attributes:
        setting: the windows.
        seed: of everything.
        cap: training examples of any student at most; None is no bound.
        device: of teachers, excitation and neural students.
        regime: of the teacher's training (`custodian.teacher.regimes`).
        architecture: of the teacher; empty is the custodian's own.
        code: digest of the code that runs (`code_digest`); every result carries it.
    """

    setting: Setting
    seed: int
    cap: int | None = None
    device: str = "cpu"
    code: str = ""
    regime: str = DEFAULT_REGIME
    architecture: str = ""

    @property
    def folder(self) -> Path:
        """Of this seed."""
        teacher = f"{self.regime}-{self.architecture}" if self.architecture else self.regime
        return self.setting.folder / teacher / f"seed-{self.seed}"

    @property
    def home(self) -> Home:
        """The custodian's home: cohort, teacher, candidate sets."""
        return Home(self.folder / "home")

    @cached_property
    def cohort(self) -> Cohort:
        """The windows under pseudonyms, with persons kept apart."""
        return Cohort.load(self.home.cohort)

    @cached_property
    def teachers(self) -> Teachers:
        """What `prepare` left."""
        from custodian import pipeline

        return pipeline.load_teachers(self.home, self.cohort)

    def prepare(self) -> dict[str, Any]:
        """Cohort and teachers."""
        from custodian import pipeline

        home = self.home
        home.create()
        if not (home.keys / PSEUDONYM_KEY_FILE).is_file():
            write_secret(home.keys / PSEUDONYM_KEY_FILE, secrets.token_bytes(SECRET_BYTES))
        windows = pseudonymised(self.setting.training(), home.secret(PSEUDONYM_KEY_FILE))
        cohort = Cohort(windows, split_persons(windows, seed=self.seed), simulated=self.setting.simulated)
        cohort.save(home.cohort)
        chosen = {"architecture": self.architecture} if self.architecture else {}
        teachers = pipeline.train(home, cohort, regime=self.regime, seed=self.seed, device=self.device, **chosen)
        facts = {"validation_kappa": teachers.teacher.facts.get("validationKappa"), "training_windows": len(cohort.training)}
        return {**facts, "training_persons": cohort.training_persons, "validation_persons": len(cohort.validation_persons)}

    def excite(self, source: Source) -> dict[str, Any]:
        """The candidate set of a recipe."""
        from custodian import pipeline

        if source.recipe is None:
            raise ConfigError(f"'{source.name}' is no recipe")
        made = pipeline.excite(
            self.home, self.cohort, self.teachers, source.recipe, name=source.key, count=source.count, seed=self.seed, device=self.device
        )
        return {"recipe": source.name, "stimuli": made.count, "aggregates": [dict(a) for a in made.aggregates]}

    def attack(self, source: Source, attacker: str) -> dict[str, Any]:
        """What a fresh attacker says of the stimuli's owners."""
        stimuli = CandidateSet.load(self.home.candidates(source.key)).arrays()
        return {"recipe": source.name, **asdict(attack_identity(attacker, stimuli, self.cohort, seed=self.seed + 7919))}

    def lesson(self, source: Source) -> Lesson:
        """What a student learns from."""
        if source.recipe is not None:
            return lesson_of_stimuli(CandidateSet.load(self.home.candidates(source.key)).arrays(), self.cap, self.seed)
        return lesson_of_windows(self.cohort, self.teachers.teacher if source.name == TRUE_SOFT else None, self.cap, self.seed)

    def student(self, source: Source, name: str) -> dict[str, Any]:
        """One student, scored on the test windows: all of them, and those of persons who occur nowhere in training."""
        taught, spec = self.lesson(source), self.cohort.spec
        # Not before everything else is ready: the test windows choose nothing.
        test = self.setting.test()
        device = {"device": self.device} if family(name).needs_torch and self.device != "cpu" else {}
        student = build(name, *spec.shape, spec.classes, self.seed, **device)
        student.fit(taught.values, taught.probabilities, (taught.held_values, taught.held_probabilities))
        found = student.predict_proba(test.values)
        return {
            "family": name, "trained_on": source.name, "examples": len(taught),
            "protocols": {
                protocol: {
                    "windows": int(rows.sum()), "persons": len(np.unique(test.person[rows])),
                    **{m: v for m, v in score(found[rows], test.labels[rows]).items() if m in METRICS},
                }
                for protocol, rows in self.setting.protocols(test).items()
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        bench: the setting and seed.
        kind: ``prepare``, ``excite``, ``attack`` or ``student``.
        source: the kind of training data; None to prepare.
        subject: family of the student or attacker.
    """

    bench: Bench
    kind: str
    source: Source | None = None
    subject: str = ""

    @property
    def file(self) -> Path:
        """Where the result lies once it is done; its name holds all that the result depends on and the folder's does not."""
        if self.source is None:
            return self.bench.folder / "prepare.json"
        if self.kind == "excite":
            return self.bench.folder / self.source.key / "excite.json"
        depends = digest_of((sorted(parameters(self.subject).items()), self.bench.cap if self.kind == "student" else None))
        return self.bench.folder / self.source.key / f"{self.kind}-{self.subject}-{depends}.json"

    @property
    def needs(self) -> tuple[Path, ...]:
        """Results that must be there before."""
        if self.source is None:
            return ()
        if self.kind == "excite" or self.source.recipe is None:
            return (Job(self.bench, "prepare").file,)
        return (Job(self.bench, "excite", self.source).file,)

    @property
    def title(self) -> str:
        """For people."""
        what = f"{self.source.name}" if self.source else ""
        return " ".join(word for word in (self.bench.setting.window, f"seed {self.bench.seed}", self.kind, what, self.subject) if word)

    def result(self) -> dict[str, Any] | None:
        """What was found, or None where it is not done yet (or not readable, which is as good)."""
        try:
            found: dict[str, Any] = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return None
        return found

    def run(self) -> None:
        """Do it, and leave the result in one step: a crash leaves nothing or everything."""
        began = time.perf_counter()
        bench, source = self.bench, self.source
        if source is None:
            found = bench.prepare()
        elif self.kind == "excite":
            found = bench.excite(source)
        else:
            found = (bench.attack if self.kind == "attack" else bench.student)(source, self.subject)
        about = {
            "seed": bench.seed, "window": bench.setting.window, "regime": bench.regime, "teacher": bench.architecture,
            "simulated": bench.setting.simulated, "code": bench.code,
        }  # fmt: skip
        whole = {**about, **found, "seconds": round(time.perf_counter() - began, 2)}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_name(f".{self.file.name}")
        partial.write_text(json.dumps(whole, indent=1, allow_nan=False))
        partial.replace(self.file)


def jobs(benches: list[Bench], kinds: list[Source], families: list[str], attackers: tuple[str, ...] = ATTACKERS) -> list[Job]:
    """Everything that the table needs, a seed after the other, so that an interrupted run has whole seeds."""
    ordered = []
    for bench in sorted(benches, key=lambda b: b.seed):
        ordered.append(Job(bench, "prepare"))
        ordered += [Job(bench, "excite", source) for source in kinds if source.recipe]
        ordered += [Job(bench, "student", source, name) for source in kinds for name in families]
        ordered += [Job(bench, "attack", source, name) for source in kinds if source.recipe for name in attackers]
    return ordered


def parameters(name: str) -> dict[str, Any]:
    """A family's parameters that decide its results."""
    return {key: value for key, value in build(name, 1, 2, 2).get_params().items() if key not in ("seed", "classes", "device")}


def code_digest() -> str:
    """Twelve hex digits over the sources that results depend on: tells results of other code apart."""
    digest = hashlib.sha256()
    for name in CODE:
        found = find_spec(name)
        if found is None or found.origin is None:
            continue
        origin = Path(found.origin)
        files = sorted([*origin.parent.rglob("*.py"), *origin.parent.rglob("*.toml")]) if origin.name == "__init__.py" else [origin]
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
