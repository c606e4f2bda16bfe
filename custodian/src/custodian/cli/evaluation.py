"""``custodian evaluation``: what partners' students may be tried on, and what keeps them in their box."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from custodian.cli.options import HomeOption, SeedOption
from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    evaluation = typer.Typer(no_args_is_help=True, help="Partners' students on held-out patients: whose windows, what is answered.")
    evaluation.command()(declare)
    evaluation.command()(limit)
    evaluation.command()(show)
    evaluation.command()(work)
    app.add_typer(evaluation, name="evaluation")


@console.reports_errors
def declare(
    source: Annotated[Path | None, typer.Argument(help="A folder or file of recordings: WFDB, EDF/EDF+, NPZ or CSV.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder with annotations that lie apart from the signals.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Record name or pattern, e.g. 'x*'; may be repeated.")] = None,
    simulated: Annotated[int, typer.Option("--simulated", min=0, help="Simulate so many persons instead of reading recordings.")] = 0,
    minutes: Annotated[int, typer.Option("--minutes", min=10, help="Minutes per simulated person.")] = 30,
    first_person: Annotated[int, typer.Option("--first-person", min=0, help="Number of the first simulated person.")] = 0,
    seed: SeedOption = 0,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Declare recordings of other patients as those on whom partners' students are evaluated.

    Builds on 'ingest', whose window spec is used. Leaves HOME/evaluation: private windows under pseudonyms. Without it, the validation
    persons of the cohort are used; they are few, and the noise in every answer is the same for few patients as for many. Persons on whom
    a teacher trains are refused. Declaring again replaces the patients and begins every partner's budget anew: declare other persons then,
    since what is told of one person twice adds up.

    Examples:

        custodian evaluation declare ./recordings-2026

        custodian evaluation declare --simulated 600 --first-person 5000
    """
    from custodian.evaluation.held_out import declare as make
    from stimset.records import open_records, simulate

    opened = Home.open(home)
    if bool(simulated) == (source is not None):
        raise ConfigError("name either a folder of recordings or --simulated N; see 'custodian evaluation declare --help'")
    records = open_records(source, labels=labels, only=only) if source else simulate(simulated, minutes, seed, first_person)
    with console.progress("reading recordings", len(records)) as step:
        cohort = make(opened, records, step)
    document = {
        "persons": len(cohort.windows.person_names), "windows": len(cohort.windows), "simulated": cohort.simulated,
        "window_spec": cohort.spec.digest(),
    }  # fmt: skip
    console.show(format, document, f"{document['windows']} windows of {document['persons']} persons to evaluate students on")


@console.reports_errors
def limit(
    queries: Annotated[int | None, typer.Option("--queries", help="Answers to each partner on the same patients; 0 offers none.")] = None,
    advantage: Annotated[
        float | None, typer.Option("--advantage", help="What all of them may add to an attacker's AUC of 0.5; 0.02 is advised.")
    ] = None,
    patients: Annotated[int | None, typer.Option("--patients", help="With fewer held-out patients nothing is answered.")] = None,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Show what partners may learn by their students, or set it.

    Builds on 'init'. Leaves evaluation_queries, evaluation_advantage and evaluation_patients in HOME/custodian.toml; the daemon reads them
    at each question. More answers, or a smaller advantage, mean more noise in each; what was spent stays spent.

    Example: custodian evaluation limit --queries 2
    """
    from dataclasses import asdict, replace

    from custodian.config import change_settings
    from custodian.evaluation.policy import Policy

    opened = Home.open(home)
    given = {name: value for name, value in (("queries", queries), ("advantage", advantage), ("patients", patients)) if value is not None}
    policy = replace(Policy.of(opened.settings()), **given)  # type: ignore[arg-type]
    if given:
        change_settings(opened, {f"evaluation_{name}": value for name, value in given.items()})
    noise = policy.noise if policy.queries else None
    words = f"{policy.queries} answers to each partner about at least {policy.patients} patients"
    console.show(format, asdict(policy) | {"noise": noise}, words, f"noise of {policy.noise:.1f} patients in every count")


@console.reports_errors
def show(home: HomeOption = None, format: console.Format = console.FORMAT_OPTION) -> None:
    """Show what an evaluation would answer, of how many patients, and what the sandbox can keep from a model on this machine.

    Builds on 'ingest' or 'evaluation declare'. The number of patients stays inside: reports say only that there are at least
    evaluation_patients. What each partner has used stands in 'budget log --subject PARTNER'.

    Example: custodian evaluation show --format json
    """
    from rich.table import Table

    from custodian.evaluation.box import Sandbox
    from custodian.evaluation.held_out import declared, held_out
    from custodian.evaluation.limits import Limits
    from custodian.evaluation.policy import Policy

    opened = Home.open(home)
    policy, limits = Policy.of(opened.settings()), Limits()
    patients = held_out(opened)
    with Sandbox(limits) as box:
        holds = box.holds
    offered = policy.queries > 0 and patients.patients >= policy.patients
    document = {
        "offered": offered, "patients": patients.patients, "declared": declared(opened), "simulated": patients.simulated,
        "least_patients": policy.patients, "queries": policy.queries, "advantage": policy.advantage,
        "noise": policy.noise if policy.queries else None, "account": patients.account, "network_taken_away": holds["network"],
        "system_calls_filtered": holds["calls"], "memory_bytes": limits.memory_bytes, "cpu_seconds": limits.cpu_seconds,
    }  # fmt: skip
    whose = "declared" if declared(opened) else "validation persons"
    table = Table(title="Evaluation of partners' students", title_justify="left", show_header=False)
    for name, value in (
        ("offered", "yes" if offered else "no"),
        ("patients", f"{patients.patients}, at least {policy.patients} are needed ({whose})"),
        ("answers", f"{policy.queries} to each partner"),
        ("noise", f"{policy.noise:.1f} patients in every count" if policy.queries else "-"),
        ("promise", f"nobody tells by a partner's answers whether a person is there, beyond an AUC of {0.5 + policy.advantage:g}"),
        ("sandbox", f"network {_word(holds['network'])}, system calls {_word(holds['calls'])}, {limits.memory_bytes >> 20} MiB, "
                    f"{limits.cpu_seconds} s of processor time"),
    ):  # fmt: skip
        table.add_row(name, value)
    console.show(format, document, table)


@console.reports_errors
def work(
    once: Annotated[bool, typer.Option("--once", help="Answer what waits now, and end.")] = False,
    home: HomeOption = None,
) -> None:
    """Evaluate partners' students apart from the daemon, until Ctrl-C.

    Builds on 'serve'. While it runs, the daemon passes submissions on to it and starts nothing itself, so the daemon's own service may be
    kept from windows and keys. It listens on no port: questions and answers are files in HOME/evaluations. One at a time.

    Example: custodian evaluation work
    """
    from custodian.evaluation.examiner import work as attend

    attend(Home.open(home), lambda words: console.err.print(words), once=once)


def _word(holds: bool) -> str:
    return "taken away" if holds else "NOT taken away (the kernel does not allow it)"
