"""``custodian jobs``: long work in processes of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, err, progress, reports_errors, show

if TYPE_CHECKING:
    from rich.table import Table

    from custodian.jobs import Job, Jobs

POLL_SECONDS = 0.5
JobArgument = Annotated[str, typer.Argument(help="The job's id, as 'jobs list' shows it.")]
_TAKES_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    jobs = typer.Typer(no_args_is_help=True, help="Training, excitation and audits in processes of their own.")
    jobs.command("start", context_settings=_TAKES_ANYTHING)(start)
    jobs.command("list")(list_jobs)
    jobs.command("show")(show_job)
    jobs.command("watch")(watch)
    jobs.command("cancel")(cancel)
    jobs.command("resume")(resume)
    jobs.command("remove")(remove)
    app.add_typer(jobs, name="jobs")


@reports_errors
def start(
    context: typer.Context,
    command: Annotated[str, typer.Argument(help="train, excite, or audit; its own options follow it.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it ends, and end with its exit code; Ctrl-C leaves it running.")
    ] = False,
    by_daemon: Annotated[
        bool, typer.Option("--by-daemon", help="Leave it to the running daemon, which takes it up again after a crash.")
    ] = False,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Start a command as a job, and return at once.

    Builds on what the command builds on, and leaves what it leaves; what it prints lies in HOME/jobs/ID/output.log. The job lives on when
    this terminal is closed. Options of the job stand before its command, those of the command after it; a deep audit needs --yes, since
    nobody can be asked. With --by-daemon it waits until the daemon has a place ([limits] jobs in custodian.toml, 1 by default).

    Example: custodian jobs start train --regime cross-fitted

    Example: custodian jobs start --by-daemon audit --deep --yes --set main
    """
    from custodian.jobs import COMMANDS, Jobs
    from stimset.errors import ConfigError

    if command in COMMANDS:
        _check(context, command, context.args)
    if by_daemon and wait:
        raise ConfigError("--wait is for a job that starts now; watch a queued one by 'custodian jobs watch'")
    arguments, named = _without_home(context.args)
    jobs = Jobs(_home(home or named))
    job = jobs.start(command, arguments, by_daemon=by_daemon)
    if wait:
        job = _follow(jobs, job.id)
    show(
        format, _document(job), f"{job.id}  {_words(job)}", *([] if wait else [f"next  custodian jobs watch {job.id}"])
    )
    if wait and job.standing.exit_code != 0:
        raise typer.Exit(job.standing.exit_code or 1)


@reports_errors
def list_jobs(home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Show every job, the newest last.

    States: queued (for the daemon), running, done, failed, cancelled, crashed (its process is gone and did not say why: killed,
    or the machine went down). 'jobs resume' takes up the last three.

    Example: custodian jobs list --format json
    """
    from custodian.jobs import Jobs

    found = Jobs(_home(home)).list()
    show(format, {"jobs": [_document(job) for job in found]}, table(found))


@reports_errors
def show_job(
    job: JobArgument,
    lines: Annotated[int, typer.Option("--lines", min=0, max=10_000, help="Of what it printed, the last lines.")] = 20,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Show one job: how it stands, how it ended, the end of what it printed.

    Example: custodian jobs show 20260503-142501-train-4f1c --lines 50
    """
    from rich.text import Text

    from custodian.jobs import Jobs

    found = Jobs(_home(home)).find(job)
    printed = found.tail(lines)
    command = " ".join((found.command, *found.arguments))
    show(
        format,
        {**_document(found), "output": printed},
        f"job        {found.id}",
        Text(f"command    custodian {command}"),
        f"state      {_words(found)}",
        f"started    {found.standing.started or 'not yet'}, attempt {found.standing.attempts}",
        f"heartbeat  {found.standing.heartbeat or '-'}",
        *(Text(line) for line in printed),
    )


@reports_errors
def watch(job: JobArgument, home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Follow a job until it ends, with its progress; end with its exit code. Ctrl-C leaves the job running.

    Example: custodian jobs watch 20260503-142501-train-4f1c
    """
    from custodian.jobs import Jobs

    found = _follow(Jobs(_home(home)), job)
    show(format, _document(found), f"{found.id}  {_words(found)}")
    if found.standing.exit_code != 0:
        raise typer.Exit(found.standing.exit_code or 1)


@reports_errors
def cancel(
    job: JobArgument,
    patience: Annotated[
        float, typer.Option("--patience", min=0, max=600, help="Seconds to end by itself before it is killed.")
    ] = 10.0,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """End a job; what it had finished stays, and 'jobs resume' goes on from there.

    Example: custodian jobs cancel 20260503-142501-train-4f1c
    """
    from custodian.jobs import Jobs

    found = Jobs(_home(home)).cancel(job, patience)
    show(format, _document(found), f"{found.id}  {_words(found)}")


@reports_errors
def resume(job: JobArgument, home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Start a job that was cancelled, failed or crashed once more, with the same arguments.

    excite and audit --deep go on where they were; train begins anew, with the same result.

    Example: custodian jobs resume 20260503-142501-excite-4f1c
    """
    from custodian.jobs import Jobs

    found = Jobs(_home(home)).resume(job)
    show(format, _document(found), f"{found.id}  {_words(found)}", f"next  custodian jobs watch {found.id}")


@reports_errors
def remove(job: JobArgument, home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Forget a job that has ended: its folder with the log goes, what its command left stays.

    Example: custodian jobs remove 20260503-142501-train-4f1c
    """
    from custodian.jobs import Jobs

    Jobs(_home(home)).remove(job)
    show(format, {"removed": job}, f"{job} is removed")


def table(jobs: tuple[Job, ...]) -> Table:
    """The jobs, one a line."""
    from rich.table import Table

    made = Table("job", "state", "progress", "started", "ended", "exit code")
    for job in jobs:
        s = job.standing
        code = "" if s.exit_code is None else str(s.exit_code)
        made.add_row(job.id, job.state.value, _progress(job), s.started[:19], s.ended[:19], code)
    return made


def _home(home: Any) -> Any:
    from custodian.config import Home

    return Home.open(home)


def _check(context: typer.Context, command: str, arguments: list[str]) -> None:
    """Refuse a wrong command line now, not in a log that is read an hour later."""
    known = getattr(context.find_root().command, "commands", {}).get(command)
    if known is not None:
        known.make_context(command, list(arguments), parent=context.find_root())


def _without_home(arguments: list[str]) -> tuple[list[str], Path | None]:
    """People write --home where they always do, after the command; it is the job's home, too."""
    left, named, rest = [], None, iter(arguments)
    for argument in rest:
        if argument == "--home":
            named = next(rest, None)
        elif argument.startswith("--home="):
            named = argument.removeprefix("--home=")
        else:
            left.append(argument)
    return left, None if named is None else Path(named)


def _follow(jobs: Jobs, job_id: str) -> Job:
    job = jobs.find(job_id)
    try:
        while not job.state.ended:
            total = job.standing.total
            with progress(job.standing.work or job.command, total or 1) as step:
                while not job.state.ended and job.standing.total == total:
                    step(job.standing.done, job.standing.note or job.state.value)
                    time.sleep(POLL_SECONDS)
                    job = jobs.find(job_id)
    except KeyboardInterrupt:
        err.print(f"the job goes on; custodian jobs watch {job_id}")
        raise
    for line in job.tail(20):
        err.print(line, markup=False, highlight=False)
    return job


def _progress(job: Job) -> str:
    s = job.standing
    return f"{s.work} {s.done:g}/{s.total:g} {s.note}".strip() if s.total else ""


def _words(job: Job) -> str:
    ending = "" if job.standing.exit_code is None else f", exit code {job.standing.exit_code}"
    return f"{job.state.value}{ending} {_progress(job)}".rstrip()


def _document(job: Job) -> dict[str, Any]:
    s = job.standing
    return {
        "job": job.id, "command": job.command, "arguments": list(job.arguments), "by_daemon": job.by_daemon, "state": job.state.value,
        "attempts": s.attempts, "started": s.started or None, "heartbeat": s.heartbeat or None, "ended": s.ended or None,
        "exit_code": s.exit_code, "progress": {"work": s.work, "done": s.done, "total": s.total, "note": s.note} if s.total else None,
        "log": str(job.folder / "output.log"),
    }  # fmt: skip
