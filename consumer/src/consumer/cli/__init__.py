"""``consumer``: one module for each group of commands; heavy imports stay inside the commands, so ``--help`` is quick."""

from __future__ import annotations

import typer

from consumer.cli import measuring, setup, students, submit, transfer, verify, witness

app = typer.Typer(
    name="consumer",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Pull, verify and learn from a custodian's stimuli; no patient's recording ever reaches you.\n\n"
    "The usual order: [b]init[/b] · [b]trust[/b] · [b]list[/b] · [b]pull[/b] · [b]verify[/b] · [b]train[/b] · [b]benchmark[/b] · "
    "[b]export[/b] · [b]submit[/b] · [b]predict[/b].",
)
for module in (setup, transfer, verify, students, measuring, submit, witness):
    module.register(app)


def main() -> None:
    """The console script."""
    app()
