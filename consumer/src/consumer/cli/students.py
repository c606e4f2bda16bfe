"""``consumer train``, ``benchmark`` and ``export``: from a verified release to a model that is measured and leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stimset.console import FORMAT_OPTION, Format, progress, reports_errors, show
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from consumer.benchmark import BenchmarkReport
    from consumer.students.student import Student

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]
REPORT_FILE, RESULT_FILE = "report.html", "benchmark.json"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("train")(train)
    app.command("benchmark")(run_benchmark)
    app.command("export")(export_student)


@reports_errors
def train(
    release: Annotated[str, typer.Argument(help="A release's id in the home, or its folder.")],
    family: Annotated[
        list[str] | None,
        typer.Option("--family", "-f", help="A family of models; may be repeated. 'list' shows them all."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every family that is installed.")] = False,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Students per family: seeds 1, 2, ...")] = 1,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Train students on a release, from its soft labels.

    Builds on 'pull'. The release is verified anew, against the roots in the home, each time. Leaves
    HOME/students/RELEASE-FAMILY-SEED with the student as ONNX and its lineage; a student of the same name is replaced.
    A tenth of the stimuli is held out; 'agreement' is the kappa between student and teacher on them. It says nothing
    about recordings: 'benchmark' does.

    Example: consumer train apnea-nights-0003 --family cnn --family random_forest --seeds 3
    """
    from consumer.config import Home
    from stimset.learning import families

    if family == ["list"]:
        listed = [
            {"family": f.name, "title": f.title, "extra": "torch" if f.needs_torch else "train"}
            for f in families.families()
        ]
        show(format, {"families": listed}, _families_table(listed))
        return
    opened = Home.open(home)
    wanted = _wanted_families(family or [], every)
    from consumer import pipeline
    from consumer.students.sources import open_release
    verified = open_release(opened, release)
    with progress(f"students of {verified.id}", len(wanted) * seeds) as step:
        students = pipeline.train(opened, verified, wanted, seeds=range(1, seeds + 1), on_step=step)
    rows = [_student_document(student) | {"folder": str(opened.students / student.name)} for student in students]
    result = {"release": verified.id, "simulated": verified.predicate.simulated, "students": rows}
    show(format, result, _students_table(rows, verified.predicate.simulated))


@reports_errors
def run_benchmark(
    data: Annotated[Path, typer.Argument(help="A folder of labelled recordings: WFDB, EDF, NPZ or CSV.")],
    student: Annotated[
        list[str] | None,
        typer.Option("--student", "-s", help="A student's name or folder; may be repeated. Default: all."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help=f"Folder for {REPORT_FILE} and {RESULT_FILE}.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder of annotations that lie elsewhere.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Names or patterns of recordings, e.g. 'x*'; may be repeated.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, max=100_000, help="Resamples behind each interval.")] = 1000,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Measure students on your own labelled recordings.

    Builds on 'train'. Recordings become windows exactly as the release's signed window spec says. Accuracy, kappa,
    sensitivity, specificity and AUROC come with 95 % intervals over persons. With --out it leaves a self-contained HTML
    page and the numbers as JSON. Nothing is uploaded, and nothing here chooses a model.

    Example: consumer benchmark ./our-nights --student apnea-nights-0003-cnn-1 --out ./benchmark
    """
    from consumer.config import Home
    from consumer.students.sources import open_students

    _need("onnxruntime", *(["matplotlib", "jinja2"] if out else []))
    from consumer.benchmark import benchmark
    from stimset.records import is_simulated, open_records
    from stimset.windowing import make_windows

    students = open_students(Home.at(home), student or [])
    records = open_records(data, labels=labels, only=only)
    simulated: set[bool] = set()
    with progress(f"reading {len(records)} recordings", len(records)) as step:

        def watched() -> Any:
            for i, record in enumerate(records):
                simulated.add(is_simulated(record))
                step(i + 1, record.name)
                yield record

        windows = make_windows(watched(), students[0].spec)
    with progress("students", len(students)) as step:
        report = benchmark(
            students, windows, draws, data=data.resolve().name, simulated_data=True in simulated, on_student=step
        )
        step(len(students), "")
    document = report.to_document()
    if out:
        document |= _write(report, out)
    show(format, document, _board(report), *report.reading, *([f"report: {out / REPORT_FILE}"] if out else []))


@reports_errors
def export_student(
    student: Annotated[str, typer.Argument(help="A student's name in the home, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")],
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Write a student as one ONNX file, for onnxruntime anywhere.

    Builds on 'train'. The graph is checked, and its answers are compared with the trained model's on held-out stimuli;
    a difference of 1e-4 or more is an error and nothing is written. Input 'windows' (batch, channels, samples) float32,
    output 'probabilities' (batch, classes) float32; the window spec, the labels and the lineage are in the file's
    properties.

    Example: consumer export apnea-nights-0003-cnn-1 --out apnea.onnx
    """
    from rich.table import Table

    from consumer.config import Home
    from consumer.students.sources import open_students

    _need("onnx", "onnxruntime")
    from consumer.export import export

    chosen = open_students(Home.at(home), [student])[0]
    report = export(chosen, out)
    table = Table("checked", "result", title=f"{chosen.name}{_mark(chosen.lineage.simulated)}")
    table.add_row("file", f"{report.path} ({report.bytes / 1e6:.2f} MB)")
    table.add_row("SHA-256", report.sha256)
    table.add_row("largest difference", f"{report.max_difference:.1e} on {report.stimuli} held-out stimuli")
    table.add_row("one window", f"{report.window_ms:.2f} ms on one CPU thread")
    table.add_row("in a batch", f"{report.batch_ms:.3f} ms per window")
    table.add_row("ONNX operator set", str(report.opset))
    show(format, {"student": chosen.to_document(), "export": report.to_document()}, table)


def _wanted_families(named: list[str], every: bool) -> list[str]:
    """The families to train, each once.

    Raises:
        ConfigError: none or an unknown one is named, or nothing is installed.
    """
    from stimset.learning import families

    if every == bool(named):
        raise ConfigError("say which students: --family NAME (repeatable), or --all; '--family list' shows them")
    _need("sklearn", "onnx", "onnxruntime")
    from consumer.students.training import require

    if not every:
        for name in named:
            require(families.family(name))
        return list(dict.fromkeys(named))
    installed = []
    for family in families.families():
        try:
            require(family)
        except ConfigError:
            continue
        installed.append(family.name)
    return installed


def _need(*modules: str) -> None:
    """Return when the libraries of the extra ``[train]`` are installed.

    Raises:
        ConfigError: one is not.
    """
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this needs {', '.join(missing)}; run: pip install 'stimset-consumer[torch]', or [train] without networks"
        )


def _student_document(student: Student) -> dict[str, Any]:
    training = student.training
    return {
        "student": student.name, "family": student.family, "seed": student.seed, "stimuli": training["stimuli"],
        "held_out": training["heldOut"], "agreement_kappa": training["agreementKappa"],
        "agreement_accuracy": training["agreementAccuracy"], "cross_entropy": training["crossEntropy"],
        "seconds": training["seconds"], "onnx_bytes": len(student.model),
    }  # fmt: skip


def _students_table(rows: list[dict[str, Any]], simulated: bool) -> Table:
    from rich.table import Table

    table = Table("student", "family", "stimuli", "agreement", "seconds", "ONNX", title=f"trained{_mark(simulated)}")
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


def _board(report: BenchmarkReport) -> Table:
    from rich.table import Table

    from consumer.benchmark import SHOWN, TITLES, cell

    head = f"{report.windows} windows, {report.records} recordings, {report.persons} persons{_mark(report.simulated)}"
    table = Table("student", *(TITLES[name] for name in SHOWN), title=head)
    for result in report.results:
        table.add_row(result.student, *(cell(result, name).replace("[", r"\[") for name in SHOWN))
    return table


def _write(report: BenchmarkReport, folder: Path) -> dict[str, str]:
    """The report's files; returns their paths."""
    import json

    from consumer.report import html
    from consumer.students.student import write_whole

    write_whole(folder / REPORT_FILE, html(report).encode())
    text = json.dumps(report.to_document(), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(folder / RESULT_FILE, text.encode())
    return {"report_file": str(folder / REPORT_FILE), "result_file": str(folder / RESULT_FILE)}


def _mark(simulated: bool) -> str:
    return " (SIMULATED patients)" if simulated else ""
