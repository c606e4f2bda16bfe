"""``custodian``: one module for each group of commands; heavy imports stay inside the commands, so ``--help`` is quick."""

from __future__ import annotations

import typer

from custodian.cli import (
    approvals,
    audit,
    backup,
    budget,
    certificates,
    doctor,
    evaluation,
    excite,
    ingest,
    jobs,
    log,
    migrate,
    override,
    partners,
    releases,
    review,
    serve,
    setup,
    status,
    train,
)

app = typer.Typer(
    name="custodian",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Release learnable, anonymous stimuli instead of patients' recordings.\n\n"
    "The usual order: [b]init[/b] · [b]ingest[/b] · [b]train[/b] · [b]excite[/b] · [b]audit[/b] · [b]release build[/b] · "
    "[b]partner add[/b] · [b]serve[/b]. Each command says on what it builds and what it leaves.",
)
for module in (
    setup, ingest, train, excite, audit, jobs, budget, evaluation, releases, approvals,
    override, review, partners, serve, status, doctor, log, backup, certificates, migrate,
):  # fmt: skip
    module.register(app)


def main() -> None:
    """The console script."""
    app()
