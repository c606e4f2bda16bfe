"""``consumer train``: from a verified release to students."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.shared import mark, need
from stimset.console import FORMAT_OPTION, Format, progress, reports_errors, show
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from consumer.students.search import SearchResult
    from consumer.students.student import Student
    from stimset.verifying import VerifiedRelease

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("train")(train)


@reports_errors
def train(
    release: Annotated[
        list[str], typer.Argument(help="A release's id in the home, or its folder; several train every student together.")
    ],
    family: Annotated[
        list[str] | None,
        typer.Option("--family", "-f", help="A family of models; may be repeated. 'list' shows them all."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every family that is installed.")] = False,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Students per family: seeds 1, 2, ...")] = 1,
    trials: Annotated[
        int,
        typer.Option("--search", min=0, max=100_000, help="Search hyper-parameters first: so many trials per family."),
    ] = 0,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=1024, help="Students side by side, in processes of their own.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Don't train again what is there already.")] = False,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit a temperature on held-out stimuli.")] = False,
    prevalence: Annotated[
        list[str] | None,
        typer.Option("--prevalence", help="LABEL=SHARE where the student will work, e.g. apnea=0.2; may be repeated."),
    ] = None,
    despite_withdrawal: Annotated[
        str | None,
        typer.Option("--despite-withdrawal", help="Why a withdrawn release is used all the same; it is recorded."),
    ] = None,
    own: Annotated[
        Path | None, typer.Option("--own", help="A Python file of yours that registers families; it is run.")
    ] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Train students on a release, from its soft labels, or on the releases of several hospitals together.

    Builds on 'pull'. The release is verified anew, against the roots in the home, each time. Leaves
    HOME/students/RELEASE-FAMILY-SEED with the student as ONNX and its lineage; a student of the same name is replaced.
    A tenth of the stimuli is held out; 'agreement' is the kappa between student and teacher on them. It says nothing
    about recordings: 'benchmark' does.

    Several RELEASEs whose window specs are the same train each student together, whoever signed them: first a student of
    each, which then says what it would call the others' stimuli; the union's student learns the mean. Its name and its
    lineage name them all, joined by '+'. --jobs trains several students at once, each process with one core; what is
    finished is kept, and --resume goes on from there.

    --search tries hyper-parameters on a part of the stimuli and keeps every trial in HOME/searches: a search that broke
    off goes on, and the defaults are its first trial. --calibrate makes a student as certain as its teacher,
    --prevalence fits it to your own shares of the labels; such students get names of their own.

    Example: consumer train apnea-nights-0003 --family cnn --family random_forest --seeds 3 --jobs 4

    Example: consumer train north-nights-0001 south-nights-0002 --all --jobs 8 --resume
    """
    from consumer.config import Home
    from stimset.learning import families

    if own:
        from consumer.students.own import run_own

        run_own(own)
    if family == ["list"]:
        listed = [
            {"family": f.name, "title": f.title, "extra": "torch" if f.needs_torch else "train"}
            for f in families.families()
        ]
        return show(format, {"families": listed}, _families_table(listed))
    opened = Home.open(home)
    wanted = _wanted_families(family or [], every)
    shares = _shares(prevalence or [])
    from consumer import pipeline
    from consumer.students.sources import open_release
    from consumer.students.together import called, together

    first, *beside = [open_release(opened, one, despite_withdrawal=despite_withdrawal) for one in release]
    releases = together(first, beside)
    found = {name: _searched(opened.root, releases, name, trials) for name in wanted} if trials else {}
    with progress(f"students of {called(releases)}", len(wanted) * seeds) as step:
        students = pipeline.train(
            opened, first, wanted, beside=beside, seeds=range(1, seeds + 1), calibrate=calibrate, prevalence=shares, resume=resume,
            jobs=jobs, own=own, on_step=step, parameters={name: result.parameters for name, result in found.items()},
        )  # fmt: skip
    rows = [_student_document(student) | {"folder": str(opened.students / student.name)} for student in students]
    simulated = any(each.simulated for each in releases)
    result: dict[str, Any] = {"release": called(releases), "releases": _origins(releases), "simulated": simulated, "students": rows}
    if found:
        result["searches"] = {name: entry.to_document() for name, entry in found.items()}
    show(format, result, _students_table(rows, simulated), *_search_notes(found))
    return None


def _search_notes(found: dict[str, SearchResult]) -> list[str]:
    """What each family's search found, a sentence each."""
    return [
        f"{name}: cross-entropy {e.cross_entropy:.4f}, by the defaults {e.default_cross_entropy:.4f}, "
        f"after {e.trials} trials ({e.new} new): {dict(e.parameters)}"
        for name, e in found.items()
    ]


def _wanted_families(named: list[str], every: bool) -> list[str]:
    """The families to train, each once.

    Raises:
        ConfigError: none or an unknown one is named, or nothing is installed.
    """
    from stimset.learning import families

    if every == bool(named):
        raise ConfigError("say which students: --family NAME (repeatable), or --all; '--family list' shows them")
    need("sklearn", "onnx", "onnxruntime")
    from consumer.students.training import require

    if not every:
        for name in named:
            require(families.family(name))
        return list(dict.fromkeys(families.family(name).name for name in named))
    installed = []
    for family in families.families():
        try:
            require(family)
        except ConfigError:
            continue
        installed.append(family.name)
    return installed


def _origins(releases: Sequence[VerifiedRelease]) -> list[dict[str, Any]]:
    """Each release with who signed it."""
    return [
        {"release": r.id, "custodian": r.predicate.custodian, "root_fingerprint": r.root_fingerprint, "stimuli": r.predicate.stimuli}
        for r in releases
    ]


def _searched(root: Path, releases: Sequence[VerifiedRelease], family: str, trials: int) -> SearchResult:
    """Run or go on with a family's search, with its progress shown."""
    from consumer.students.search import search
    from consumer.students.together import called
    from stimset.learning import families

    first, *beside = releases
    journal = root / "searches" / f"{called(releases)}-{families.family(family).name}.jsonl"
    with progress(f"search {family}", trials) as step:
        return search(
            first, family, trials=trials, journal=journal, beside=beside,
            on_trial=lambda done, best: step(done, f"best {best:.4f}"),
        )  # fmt: skip


def _shares(given: list[str]) -> dict[str, float]:
    """``LABEL=SHARE`` texts as numbers.

    Raises:
        ConfigError: one is malformed.
    """
    shares = {}
    for text in given:
        label, _, share = text.rpartition("=")
        try:
            shares[label] = float(share)
        except ValueError:
            label = ""
        if not label:
            raise ConfigError(f"--prevalence {text[:80]}: LABEL=SHARE is expected, such as apnea=0.2")
    return shares


def _student_document(student: Student) -> dict[str, Any]:
    training = student.training
    return {
        "student": student.name, "family": student.family, "seed": student.seed, "stimuli": training["stimuli"],
        "held_out": training["heldOut"], "agreement_kappa": training["agreementKappa"],
        "agreement_accuracy": training["agreementAccuracy"], "cross_entropy": training["crossEntropy"],
        "seconds": training["seconds"], "onnx_bytes": len(student.model),
    }  # fmt: skip


def _students_table(rows: list[dict[str, Any]], simulated: bool) -> Table:
    from rich.table import Column, Table

    head = f"trained{mark(simulated)}"
    table = Table(Column("student", overflow="fold"), "family", "stimuli", "agreement", "seconds", "ONNX", title=head)
    for row in rows:
        kappa = row["agreement_kappa"]
        table.add_row(
            row["student"], row["family"], str(row["stimuli"]), "–" if kappa is None else f"{kappa:.3f}",
            f"{row['seconds']:.1f}", f"{row['onnx_bytes'] / 1e6:.2f} MB",
        )  # fmt: skip
    return table


def _families_table(listed: list[dict[str, str]]) -> Table:
    from rich.table import Table

    table = Table("family", "what it is", "needs stimset-consumer[...]")
    for entry in listed:
        table.add_row(entry["family"], entry["title"], entry["extra"])
    return table
