"""``custodian ingest``: recordings to private windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli.options import HomeOption, SeedOption
from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from custodian.cohort import Cohort
    from stimset.records import Record
    from stimset.windows import WindowSpec

PRESETS = ("apnea-5min", "apnea-60s")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ingest)


@console.reports_errors
def ingest(
    source: Annotated[
        Path | None, typer.Argument(help="A folder or file of recordings: WFDB, EDF/EDF+, NPZ or CSV.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Folder with annotations that lie apart from the signals.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Record name or pattern, e.g. 'a*'; may be repeated.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help=f"A known window spec: {', '.join(PRESETS)}.")] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="A window spec as JSON (--dry-run prints one to start from).")
    ] = None,
    simulated: Annotated[
        int, typer.Option("--simulated", min=0, help="Simulate so many persons instead of reading recordings.")
    ] = 0,
    minutes: Annotated[int, typer.Option("--minutes", min=10, help="Minutes per simulated person.")] = 120,
    download: Annotated[
        str | None, typer.Option("--download", help="Fetch a public database first, into the home: apnea-ecg.")
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", min=0.05, max=0.5, help="Share of the persons kept apart.")
    ] = 0.2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and report, keep nothing; prints the window spec.")
    ] = False,
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
    from stimset.records import read_demographics

    if dry_run:
        _dry_run(records, chosen)
        return
    with console.progress("reading recordings", len(records)) as step:
        cohort = pipeline.ingest(
            opened,
            records,
            chosen,
            demographics=read_demographics(source) if source else None,
            validation_share=validation,
            seed=seed,
            on_step=step,
        )
    doubles = _doubles(opened, records, cohort)
    for first, second in doubles:
        console.err.print(
            f"warning: the recordings '{first}' and '{second}' of two persons are alike, as if one night was kept twice; one patient "
            "would count as two. Leave one of them out with --only, or give both the same person, and ingest again",
            markup=False,
        )
    document = _cohort_document(cohort) | {"doubles": [list(pair) for pair in doubles]}
    console.show(format, document, *_cohort_text(cohort))


def _doubles(home: Home, records: Sequence[Record], cohort: Cohort) -> list[tuple[str, str]]:
    """Names of recordings of persons who look like one person under two names: a recording each. Of persons no name is ever shown."""
    from custodian.cohort import pseudonym
    from custodian.config import PSEUDONYM_KEY_FILE
    from custodian.gate.attacks.doubles import find_pairs

    pairs = find_pairs(cohort.windows)
    if not pairs:
        return []
    key = home.secret(PSEUDONYM_KEY_FILE)
    # Read once more, in this rare case: nothing that outlives the reading of a recording has known its name.
    names = {pseudonym(key, f"person:{record.person}"): record.name for record in records}
    hidden = cohort.windows.person_names
    return [(names[hidden[a]], names[hidden[b]]) for a, b in pairs]


def _records(
    source: Path | None,
    labels: Path | None,
    only: list[str] | None,
    simulated: int,
    minutes: int,
    download: str | None,
    seed: int,
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


def _spec(
    file: Path | None, preset: str | None, records: Sequence[Record], simulated: int, download: str | None
) -> WindowSpec:
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
    console.err.print(
        f"{len(windows)} windows of {len(windows.person_names)} persons: {', '.join(f'{n} {c}' for n, c in counts)}"
    )
    typer.echo(json.dumps(spec.to_document(), indent=2))


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
