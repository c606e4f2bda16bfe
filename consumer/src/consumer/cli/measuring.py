"""``consumer benchmark``, ``export`` and ``predict``: students are measured, leave, and work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.shared import mark, need
from stimset.console import FORMAT_OPTION, Format, progress, reports_errors, show
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from consumer.benchmark import BenchmarkReport
    from consumer.config import Home
    from consumer.export import ExportReport
    from consumer.students.student import Student

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]
REPORT_FILE, RESULT_FILE = "report.html", "benchmark.json"


class Kind(StrEnum):
    """How a table is written."""

    CSV = "csv"
    JSON = "json"


class Picture(StrEnum):
    """How a picture is written."""

    SVG = "svg"
    PNG = "png"
    NONE = "none"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("benchmark")(run_benchmark)
    app.command("export")(export_student)
    app.command("predict")(predict)


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
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="Students side by side.")] = 1,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Measure students on your own labelled recordings.

    Builds on 'train'. Recordings become windows exactly as the release's signed window spec says. Accuracy, kappa,
    sensitivity, specificity and AUROC (in the page and as JSON also AUPRC, F1, calibration error and the rate of events
    per recording) come with 95 % intervals over persons; every pair of students is tested. With --out it leaves a
    self-contained HTML page and the numbers as JSON. Nothing is uploaded, and nothing here chooses a model.

    Example: consumer benchmark ./our-nights --student apnea-nights-0003-cnn-1 --out ./benchmark
    """
    from consumer.config import Home
    from consumer.students.sources import open_students

    need("onnxruntime", *(["matplotlib", "jinja2"] if out else []))
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
            students, windows, draws, data=data.resolve().name, simulated_data=True in simulated, jobs=jobs, on_student=step
        )
    document = report.to_document()
    if out:
        document |= _write(report, out)
    show(format, document, _board(report), *_first(report), *report.reading, *([f"report: {out / REPORT_FILE}"] if out else []))


@reports_errors
def export_student(
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write; with --all a folder.")],
    student: Annotated[str | None, typer.Argument(help="A student's name in the home, or its folder.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every student in the home.")] = False,
    measured: Annotated[
        Path | None, typer.Option("--benchmark", help=f"A {RESULT_FILE}, whose kappa is to stand in the table.")
    ] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Write a student as one ONNX file, for onnxruntime anywhere.

    Builds on 'train'. The graph is checked, and its answers are compared with the trained model's on held-out stimuli;
    a difference of 1e-4 or more is an error and nothing is written. Input 'windows' (batch, channels, samples) float32,
    output 'probabilities' (batch, classes) float32; the window spec, the labels and the lineage are in the file's
    properties, and FILE.lineage.json beside it lets 'consumer verify FILE' follow it back to the custodian's root. With
    --all it leaves NAME.onnx of every student, and compares their kappa, size and latency in a table.

    Example: consumer export apnea-nights-0003-cnn-1 --out apnea.onnx
    """
    from consumer.config import Home
    from consumer.students.sources import open_students

    need("onnx", "onnxruntime")
    from consumer.export import export, kappas_of

    if every == bool(student):
        raise ConfigError("say which student, or --all")
    kappas = kappas_of(measured) if measured else {}
    chosen = open_students(Home.at(home), [student] if student else [])
    opened = Home.at(home)
    if not every:
        report = export(chosen[0], out)
        accompany_or_say(opened, chosen[0], out, measured)
        show(format, *_exported(chosen[0], report))
        return
    rows = []
    with progress("exporting", len(chosen)) as step:
        for done, one in enumerate(chosen):
            step(done, one.name)
            report = export(one, out / f"{one.name}.onnx")
            accompany_or_say(opened, one, report.path, measured)
            rows.append({
                "student": one.name, "family": one.family, "kappa": kappas.get(one.name),
                "agreement_kappa": one.training.get("agreementKappa"), **report.to_document(),
            })  # fmt: skip
        step(len(chosen), "")
    rows.sort(key=lambda row: (-(row["kappa"] if row["kappa"] is not None else row["agreement_kappa"] or -2.0), row["student"]))
    show(format, {"students": rows}, _sizes(rows, any(one.lineage.simulated for one in chosen)))


def accompany_or_say(home: Home, student: Student, onnx: Path, benchmark: Path | None) -> None:
    """The lineage beside the file; where the release is not here any more, a line on stderr says that there is none."""
    from consumer.lineage import accompany
    from stimset.console import err

    try:
        accompany(home, student, onnx, benchmark=benchmark)
    except ConfigError as error:
        err.print(f"no lineage file: {error}")


def _exported(student: Student, report: ExportReport) -> tuple[dict[str, Any], Table]:
    from rich.table import Table

    table = Table("checked", "result", title=f"{student.name}{mark(student.lineage.simulated)}")
    table.add_row("file", f"{report.path} ({report.bytes / 1e6:.2f} MB)")
    table.add_row("SHA-256", report.sha256)
    table.add_row("largest difference", f"{report.max_difference:.1e} on {report.stimuli} held-out stimuli")
    table.add_row("one window", f"{report.window_ms:.2f} ms on one CPU thread")
    table.add_row("in a batch", f"{report.batch_ms:.3f} ms per window")
    table.add_row("ONNX operator set", str(report.opset))
    return {"student": student.to_document(), "export": report.to_document()}, table


def _sizes(rows: list[dict[str, Any]], simulated: bool) -> Table:
    from rich.table import Column, Table

    heads = ("kappa", "agreement", "difference", "size", "a window", "in a batch")
    table = Table(Column("student", overflow="fold"), *heads, title=f"exported{mark(simulated)}")
    for row in rows:
        kappa, agreement = (("–" if row[k] is None else f"{row[k]:.3f}") for k in ("kappa", "agreement_kappa"))
        table.add_row(
            row["student"], kappa, agreement, f"{row['max_difference']:.0e}", f"{row['bytes'] / 1e6:.2f} MB",
            f"{row['window_ms']:.2f} ms", f"{row['batch_ms']:.3f} ms",
        )  # fmt: skip
    return table


@reports_errors
def predict(
    model: Annotated[Path, typer.Argument(help="An ONNX file of 'export'.")],
    recording: Annotated[Path, typer.Argument(help="A recording (WFDB, EDF, NPZ, CSV), or a folder of them.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for a table and a picture of each recording.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder of annotations that lie elsewhere.")] = None,
    table: Annotated[Kind, typer.Option("--table", help="Format of the tables.")] = Kind.CSV,
    picture: Annotated[Picture, typer.Option("--picture", help="Format of the pictures.")] = Picture.SVG,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Names or patterns of recordings, e.g. 'x*'; may be repeated.")
    ] = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Label every epoch of a recording with an exported model.

    Builds on 'export'; needs no home and no release. The recording becomes windows as the model's own properties say,
    and needs no labels; where it has some, they stand beside the model's. With --out it leaves NAME.csv (begin, end,
    label, probabilities, share of valid data) and NAME.svg, a hypnogram. Research use: it is no diagnosis.

    Example: consumer predict apnea.onnx ./night.edf --out ./night
    """
    need("onnxruntime", *(["matplotlib"] if out and picture is not Picture.NONE else []))
    from rich.table import Table

    from consumer.predict import Model, file_name, write_picture, write_table
    from consumer.predict import predict as label
    from stimset.records import is_simulated, open_records

    loaded = Model.load(model)
    records = open_records(_with_suffix(recording), labels=labels, only=only)
    documents = []
    board = Table("recording", "epochs", *loaded.spec.labels, "no data", "an hour", "kappa")
    with progress(f"{loaded.name} on recordings", len(records)) as step:
        for done, record in enumerate(records):
            step(done, record.name)
            night = label(loaded, record)
            found = night.summary()
            document = found | {"simulated_recording": is_simulated(record), "rows": night.rows()}
            if out:
                places = {"table_file": out / f"{file_name(record.name)}.{table}"}
                write_table(night, places["table_file"])
                if picture is not Picture.NONE:
                    places["picture_file"] = out / f"{file_name(record.name)}.{picture}"
                    write_picture(night, places["picture_file"])
                document |= {name: str(place) for name, place in places.items()}
            documents.append(document)
            numbers = (("–" if found[k] is None else f"{found[k]:.{d}f}") for k, d in (("per_hour", 1), ("kappa", 3)))
            board.add_row(
                record.name, str(found["epochs"]), *(str(found["counts"][name]) for name in loaded.spec.labels),
                str(found["without_data"]), *numbers,
            )  # fmt: skip
        step(len(records), "")
    board.title = f"{loaded.name}, learned from {loaded.release}{mark(loaded.simulated)}"
    result = {"model": loaded.name, "release": loaded.release, "simulated": loaded.simulated, "recordings": documents}
    show(format, result, board, *([f"tables{'' if picture is Picture.NONE else ' and pictures'}: {out}"] if out else []))


def _with_suffix(recording: Path) -> Path:
    """A WFDB record may be named without its ending."""
    header = recording.with_name(f"{recording.name}.hea")
    return header if not recording.exists() and header.is_file() else recording


def _board(report: BenchmarkReport) -> Table:
    from rich.table import Column, Table

    from consumer.benchmark import SHOWN, TITLES, cell

    head = f"{report.windows} windows, {report.records} recordings, {report.persons} persons{mark(report.simulated)}"
    table = Table(Column("student", overflow="fold"), *(TITLES[name] for name in SHOWN), title=head)
    for result in report.results:
        table.add_row(result.student, *(cell(result, name).replace("[", r"\[") for name in SHOWN))
    return table


def _first(report: BenchmarkReport) -> list[str]:
    """A sentence on how sure it is that the first student is the best."""
    from consumer.report import leading

    against = leading(report)
    if not against:
        return []
    same = [c.worse for c in against if not c.differ]
    pairs = f"paired over resampled {report.clustered_by}, corrected for {len(report.comparisons)} pairs"
    if not same:
        return [f"{against[0].better} has a higher kappa than every other student ({pairs})."]
    return [f"This data does not say that {against[0].better} is better than {', '.join(same)} ({pairs})."]


def _write(report: BenchmarkReport, folder: Path) -> dict[str, str]:
    """The report's files; returns their paths."""
    import json

    from consumer.report import html
    from consumer.students.student import write_whole

    write_whole(folder / REPORT_FILE, html(report).encode())
    text = json.dumps(report.to_document(), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(folder / RESULT_FILE, text.encode())
    return {"report_file": str(folder / REPORT_FILE), "result_file": str(folder / RESULT_FILE)}
