"""``custodian ingest``, ``train``, ``excite``, ``audit``: from recordings to a set that the gate has judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError, FormatError, ReleaseRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from custodian.cohort import Cohort
    from stimset.records import Record
    from stimset.release import GateResult
    from stimset.windows import WindowSpec

HomeOption = Annotated[Path | None, typer.Option("--home", help="The custodian's home folder; else CUSTODIAN_HOME.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, or cuda.")]
SetOption = Annotated[str, typer.Option("--set", help="Name of the candidate set.")]

PRESETS = ("apnea-5min", "apnea-60s")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (ingest, train, excite, audit):
        app.command()(command)


@console.reports_errors
def ingest(
    source: Annotated[Path | None, typer.Argument(help="A folder or file of recordings: WFDB, EDF/EDF+, NPZ or CSV.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder with annotations that lie apart from the signals.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Record name or pattern, e.g. 'a*'; may be repeated.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help=f"A known window spec: {', '.join(PRESETS)}.")] = None,
    spec: Annotated[Path | None, typer.Option("--spec", help="A window spec as JSON (--dry-run prints one to start from).")] = None,
    simulated: Annotated[int, typer.Option("--simulated", min=0, help="Simulate so many persons instead of reading recordings.")] = 0,
    minutes: Annotated[int, typer.Option("--minutes", min=10, help="Minutes per simulated person.")] = 120,
    download: Annotated[str | None, typer.Option("--download", help="Fetch a public database first, into the home: apnea-ecg.")] = None,
    validation: Annotated[float, typer.Option("--validation", min=0.05, max=0.5, help="Share of the persons kept apart.")] = 0.2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and report, keep nothing; prints the window spec.")] = False,
    seed: SeedOption = 0,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Turn recordings into private, pseudonymous windows.

    Builds on 'custodian init'. Leaves HOME/cohort: labelled windows, persons under keyed hashes, split so that no person stands on both
    sides. Without --preset or --spec the window spec is guessed from the recordings and shown; check it. Ingesting again replaces the
    cohort, and asks for a new teacher.

    Examples:

        custodian ingest ./recordings

        custodian ingest ./apnea-ecg --only 'a*' --only 'b*' --only 'c*' --preset apnea-5min

        custodian ingest ./edf --spec windows.json

        custodian ingest --download apnea-ecg

        custodian ingest --simulated 24
    """
    opened = Home.open(home)
    if download and source is None:
        source = opened.root / "downloads" / download
    records = _records(source, labels, only, simulated, minutes, download, seed)
    chosen = _spec(spec, preset, records, simulated, download)
    from custodian import pipeline

    if dry_run:
        _dry_run(records, chosen)
        return
    with console.progress("reading recordings", len(records)) as step:
        cohort = pipeline.ingest(opened, records, chosen, validation_share=validation, seed=seed, on_step=step)
    console.show(format, _cohort_document(cohort), *_cohort_text(cohort))


@console.reports_errors
def train(
    architecture: Annotated[
        str, typer.Option("--architecture", help="Of the teacher: cnn, deep_cnn, tcn, lstm, gru, ...; several joined by +.")
    ] = "cnn+spectral_mlp",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, max=1000, help="At most; validation persons choose the best.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Train the teacher, and the identity networks that inhibition works against.

    Builds on 'custodian ingest'. Leaves HOME/teacher, which never leaves the home. Persons kept apart choose the epoch by Cohen's kappa;
    the same seed gives the same teacher.

    Example: custodian train --architecture cnn+tcn+gru
    """
    from dataclasses import replace

    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.device import choose_device
    from custodian.inhibition import IDENTITY_ARCHITECTURES, IDENTITY_PLAN
    from custodian.teacher.training import TEACHER_PLAN
    from stimset.learning.networks import member_names

    opened = Home.open(home)
    cohort = Cohort.load(opened.cohort)
    plan = replace(TEACHER_PLAN, epochs=epochs, steps_at_least=0) if epochs else TEACHER_PLAN
    rounds = [plan.with_enough_steps(len(cohort.training)).epochs] * len(member_names(architecture))
    rounds += [IDENTITY_PLAN.with_enough_steps(len(cohort.training)).epochs] * len(IDENTITY_ARCHITECTURES)
    with console.progress("training", sum(rounds)) as step:
        watched = _in_sequence(step, rounds)
        teachers = pipeline.train(
            opened, cohort, architecture=architecture, plan=plan, seed=seed, device=choose_device(device), on_step=watched
        )
    kappa = float(teachers.teacher.facts["validationKappa"])
    document = {
        "architecture": architecture, "validation_kappa": kappa, "epochs": teachers.teacher.facts["epochs"],
        "digest": teachers.teacher.digest(), "identity_networks": [n.architecture for n in teachers.identity],
    }  # fmt: skip
    console.show(
        format, document, f"teacher           {architecture}, kappa {kappa:.3f} on {len(cohort.validation_persons)} persons kept apart",
        f"identity networks {', '.join(n.architecture for n in teachers.identity)}",
        "next              custodian excite --recipe spectral --count 8000 --set main",
    )  # fmt: skip


@console.reports_errors
def excite(
    recipe: Annotated[str, typer.Option("--recipe", help="A shipped recipe (spectral, prior, noise, paper) or a TOML file.")] = "spectral",
    count: Annotated[int, typer.Option("--count", min=1, max=10_000_000, help="How many stimuli.")] = 8000,
    set_name: SetOption = "main",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Stimuli at once: bounds the memory.")] = 500,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what lies in the set and begin anew.")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Excite the teacher's neurons into artificial stimuli, and inhibit what points at single patients.

    Builds on 'custodian train'. Leaves HOME/candidates/SET: shards of 1,000 stimuli with soft labels. Interrupted work goes on
    where it was. Nothing of it may leave before 'custodian audit' admits it.

    Example: custodian excite --recipe spectral --count 8000 --set main
    """
    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.device import choose_device
    from custodian.excitation.recipe import load_recipe

    opened = Home.open(home)
    chosen = load_recipe(recipe)
    cohort = Cohort.load(opened.cohort)
    teachers = pipeline.load_teachers(opened, cohort)
    folder = _set_folder(opened, set_name)
    if restart and folder.exists():
        shutil.rmtree(folder)
    with console.progress(f"exciting ({chosen.name})", count) as step:
        candidates = pipeline.excite(
            opened, cohort, teachers, chosen, name=set_name, count=count, seed=seed, batch=batch, device=choose_device(device), on_step=step
        )
    read = [f"{a['numbers']} numbers: {a['name']} ({a['bound']})" for a in candidates.aggregates] or ["nothing"]
    document = {
        "set": set_name, "folder": str(folder), "stimuli": candidates.count, "recipe": chosen.name, "digest": candidates.digest(),
        "aggregates": [dict(a) for a in candidates.aggregates],
    }  # fmt: skip
    console.show(
        format, document, f"set               {set_name}: {candidates.count} stimuli by the recipe '{chosen.name}'",
        f"read of patients  {'; '.join(read)}", f"next              custodian audit --set {set_name}",
    )  # fmt: skip


@console.reports_errors
def audit(
    set_name: SetOption = "main",
    policy: Annotated[Path | None, typer.Option("--policy", help="Your policy as TOML; else the shipped one.")] = None,
    seed: SeedOption = 0,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """The gate: attack a candidate set, try it on students, and admit or refuse it.

    Builds on 'custodian excite'. Leaves the sealed verdict beside the set. Every check must pass; one that could not run counts as failed.
    Exit code 0: admitted; 10: refused, each failed check on its own line.

    Example: custodian audit --set main --policy strict.toml
    """
    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.excitation.candidates import CandidateSet
    from custodian.gate.policy import load_policy
    from custodian.gate.verdict import checks_to_run, read_verdict

    opened = Home.open(home)
    chosen = load_policy(policy)
    cohort = Cohort.load(opened.cohort)
    pipeline.load_teachers(opened, cohort)  # the gate compares with the very cohort that the teacher saw
    candidates = CandidateSet.load(_set_folder(opened, set_name))
    refused: ReleaseRefused | None = None
    with console.progress("auditing", checks_to_run(chosen)) as step:
        try:
            pipeline.audit(opened, cohort, candidates, chosen, seed=seed, on_step=step)
        except ReleaseRefused as error:
            refused = error
    result, _ = read_verdict(opened, set_name)
    failed = [f"[bold]{c.name}[/]: {c.meaning}" for c in result.checks if not c.passed]
    console.show(format, _verdict_document(result), _verdict_table(result), *failed)
    if refused:
        raise refused
    console.err.print(f"admitted; next: custodian release build --set {set_name} --name SERIES")


def _records(
    source: Path | None, labels: Path | None, only: list[str] | None, simulated: int, minutes: int, download: str | None, seed: int
) -> Sequence[Record]:
    """The recordings that the options ask for."""
    from stimset.records import apnea_ecg, open_records, simulate

    if sum((bool(simulated), source is not None)) != 1:
        raise ConfigError("name either a folder of recordings or --simulated N; see 'custodian ingest --help'")
    if simulated:
        return simulate(persons=simulated, minutes=minutes, seed=seed)
    if source is None:
        raise ConfigError("name a folder of recordings")
    if download == apnea_ecg.DATABASE:
        apnea_ecg.download(source)
        only = only or list(apnea_ecg.RELEASED)
    elif download:
        raise ConfigError(f"'{download}' can't be downloaded; known is {apnea_ecg.DATABASE}")
    return open_records(source, labels=labels, only=only)


def _spec(file: Path | None, preset: str | None, records: Sequence[Record], simulated: int, download: str | None) -> WindowSpec:
    """The window spec that the options ask for, or a guess."""
    from stimset.records import apnea_ecg, guess_spec
    from stimset.records.simulated import SPEC
    from stimset.strict import load_json
    from stimset.windows import WindowSpec

    presets = dict(zip(PRESETS, (apnea_ecg.SPEC_5MIN, apnea_ecg.SPEC_60S), strict=True))
    if file and preset:
        raise ConfigError("give --spec or --preset, not both")
    if file:
        try:
            return WindowSpec.from_document(load_json(file.read_bytes(), limit=1 << 20, what=str(file)))
        except OSError as error:
            raise FormatError(f"{file}: {error.strerror}") from None
    if preset:
        if preset not in presets:
            raise ConfigError(f"there is no preset '{preset}'; known are {', '.join(PRESETS)}")
        return presets[preset]
    if simulated:
        return SPEC
    if download:
        return apnea_ecg.SPEC_5MIN
    guessed = guess_spec(records)
    console.err.print("window spec guessed from the recordings; look at it with --dry-run, change it with --spec")
    return guessed


def _dry_run(records: Sequence[Record], spec: WindowSpec) -> None:
    from stimset.windowing import make_windows

    with console.progress("reading recordings", len(records)) as step:
        windows = make_windows(records, spec, on_record=step)
    counts = zip(spec.labels, windows.class_counts(), strict=True)
    console.err.print(f"{len(windows)} windows of {len(windows.person_names)} persons: {', '.join(f'{n} {c}' for n, c in counts)}")
    typer.echo(json.dumps(spec.to_document(), indent=2))


def _in_sequence(step: console.Step, rounds: list[int]) -> Any:
    """Progress of several trainings in a row, each of which counts its epochs from 1 and may stop early."""
    state = {"round": -1}

    def on_step(epoch: float, note: str) -> None:
        if epoch == 1:
            state["round"] += 1
        step(sum(rounds[: state["round"]]) + epoch, note)

    return on_step


def _set_folder(home: Home, name: str) -> Path:
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 80:
        raise ConfigError(f"'{name}' can't name a set; use letters, digits, '-' and '_'")
    return home.candidates(name)


def _cohort_document(cohort: Cohort) -> dict[str, Any]:
    counts = zip(cohort.spec.labels, (int(c) for c in cohort.windows.class_counts()), strict=True)
    return {
        "windows": len(cohort.windows), "records": len(cohort.windows.record_names), "persons": len(cohort.windows.person_names),
        "validation_persons": len(cohort.validation_persons), "classes": dict(counts), "simulated": cohort.simulated,
        "window_spec": cohort.spec.to_document(),
    }  # fmt: skip


def _cohort_text(cohort: Cohort) -> list[str]:
    d, spec = _cohort_document(cohort), cohort.spec
    kind = "SIMULATED cohort" if cohort.simulated else "cohort"
    signals = ", ".join(s.name for s in spec.signals)
    return [
        f"{kind:<17} {d['windows']} windows from {d['records']} records of {d['persons']} persons ({d['validation_persons']} kept apart)",
        f"classes           {', '.join(f'{name} {count}' for name, count in d['classes'].items())}",
        f"window            {signals}: {spec.length_s:g} s at {spec.rate_hz:g} Hz ({spec.channels} x {spec.samples}), "
        f"label of {spec.epoch_s:g} s",
        "next              custodian train",
    ]


def _verdict_document(result: GateResult) -> dict[str, Any]:
    from stimset.provenance import gate_document

    return dict(gate_document(result))


def _verdict_table(result: GateResult) -> Table:
    from rich.table import Table

    verdict = "[bold green]admitted[/]" if result.admitted else "[bold red]refused[/]"
    table = Table(title=f"Gate: {verdict} (policy {result.policy})", title_justify="left")
    for heading in ("check", "value", "allowed", ""):
        table.add_column(heading, no_wrap=True)
    for c in result.checks:
        value = "not measured" if c.value is None else f"{c.value:.3f}"
        table.add_row(c.name, value, f"{c.rule} {c.limit:g}", "[green]pass[/]" if c.passed else "[red]FAIL[/]")
    return table
