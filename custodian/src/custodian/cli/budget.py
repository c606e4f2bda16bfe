"""``custodian budget``: what everything given out has told of the cohort's persons, and how much it may tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli.options import HomeOption
from custodian.config import PSEUDONYM_KEY_FILE, Home
from stimset import console
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from custodian.budget.ledger import Total
    from custodian.budget.limits import Limit

CohortOption = Annotated[str | None, typer.Option("--cohort", help="The first digits of a cohort's name; else all.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    budget = typer.Typer(no_args_is_help=True, help="The privacy budget: what is spent, what may be, every entry.")
    budget.command()(show)
    budget.command()(limit)
    budget.command()(log)
    app.add_typer(budget, name="budget")


@console.reports_errors
def show(cohort: CohortOption = None, home: HomeOption = None, format: console.Format = console.FORMAT_OPTION) -> None:
    """Show what each cohort has spent and what is left.

    Builds on 'custodian init'; every 'excite' and every evaluation makes entries. Epsilon is composed over all entries; the plain sum
    stands beside it. "unbounded" means that something was read without noise: state epsilon and delta in the recipe's [privacy].

    Example: custodian budget show --format json
    """
    from rich.table import Table

    from custodian.budget.ledger import Ledger

    opened = Home.open(home)
    ledger = Ledger.open(opened)
    current = _current(opened)
    names = _named([*ledger.cohorts(), *([current] if current and current not in ledger.cohorts() else [])], cohort)
    table = Table(title=f"Privacy budget, limit: {_limit_words(ledger.limit)}", title_justify="left")
    for heading in ("cohort", "epsilon", "at delta", "plain sums", "left", "entries"):
        table.add_column(heading, no_wrap=True)
    rows: list[dict[str, Any]] = []
    for name in names:
        total = ledger.total(name)
        left = _left(total, ledger.limit)
        table.add_row(
            name[:12] + (" (current)" if name == current else ""), _number(total.epsilon), f"{total.delta:.2g}",
            f"{_number(total.naive_epsilon)}, {total.naive_delta:.2g}", "-" if left is None else f"{left:.4g}", _entries(total),
        )  # fmt: skip
        rows.append({"cohort": name, "current": name == current, **asdict(total), "left": left})
    document = {"limit": asdict(ledger.limit), "cohorts": rows, "head": ledger.head()}
    console.show(format, document, table, f"head of the ledger  {document['head']}")


@console.reports_errors
def limit(
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="What a cohort may spend in all.")] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="At which delta; well below one over the persons.")
    ] = None,
    lift: Annotated[bool, typer.Option("--none", help="No limit; entries are made all the same.")] = False,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Show the limit that holds for every cohort, or set it.

    Builds on 'custodian init'. Leaves budget_epsilon and budget_delta in HOME/custodian.toml and an entry in the ledger, so that a raised
    limit is seen. What is spent already stays spent; work that would go beyond is refused before it starts.

    Example: custodian budget limit --epsilon 10 --delta 1e-4
    """
    from custodian.budget.ledger import Ledger
    from custodian.budget.limits import Limit

    opened = Home.open(home)
    if lift and (epsilon is not None or delta is not None):
        raise ConfigError("--none goes without --epsilon and --delta")
    if (epsilon is None) != (delta is None):
        raise ConfigError("--epsilon and --delta go together")
    if lift or epsilon is not None:
        ledger, wanted = Ledger.open(opened), Limit(epsilon, delta)
        if wanted != ledger.limit:
            wanted.write(opened)
            ledger.note_limit(wanted)
    holds = Limit.of(opened)
    console.show(format, asdict(holds), f"limit of each cohort  {_limit_words(holds)}")


@console.reports_errors
def log(
    cohort: CohortOption = None,
    subject: Annotated[str | None, typer.Option("--subject", help="A candidate set or a partner; else all.")] = None,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """List the ledger's entries, after holding each against the hash chain.

    Builds on 'custodian init'. A "reserve" counts as spent; its "commit" says that the answer was given out.

    Example: custodian budget log --subject acme --format json
    """
    from rich.table import Table

    from custodian.budget.ledger import Ledger

    ledger = Ledger.open(Home.open(home))
    named = None if cohort is None else _named(ledger.cohorts(), cohort)
    entries = [e for e in ledger.entries(subject=subject) if named is None or e.cohort in named]
    table = Table("no.", "time", "cohort", "entry", "purpose", "for", "mechanism", "epsilon", "delta", "hash")
    for e in entries:
        drawn = _mechanism_words(e.mechanism) if e.kind == "reserve" else e.detail[:12]
        costs = (_number(e.epsilon), _number(e.delta)) if e.kind != "commit" else ("", "")
        table.add_row(str(e.number), e.created, e.cohort[:12], e.kind, e.purpose, e.subject, drawn, *costs, e.hash[:12])
    console.show(format, {"entries": [asdict(e) for e in entries]}, table)


def _current(home: Home) -> str | None:
    """The account of the cohort that the home holds now, if it holds one."""
    from custodian.budget.account import cohort_id
    from custodian.cohort import Cohort

    try:
        names = Cohort.load(home.cohort).windows.person_names
    except ConfigError:
        return None
    return cohort_id(names, home.secret(PSEUDONYM_KEY_FILE))


def _named(cohorts: list[str] | tuple[str, ...], start: str | None) -> list[str]:
    found = [name for name in cohorts if name.startswith(start or "")]
    if start is not None and not found:
        raise ConfigError(
            f"no cohort in the ledger has a name that begins with '{start[:64]}'; 'custodian budget show' lists them"
        )
    return found


def _left(total: Total, limit: Limit) -> float | None:
    if limit.epsilon is None:
        return None
    return 0.0 if total.epsilon is None else max(0.0, limit.epsilon - total.epsilon)


def _limit_words(limit: Limit) -> str:
    return "none" if limit.epsilon is None else f"epsilon {limit.epsilon:g} at delta {limit.delta:g}"


def _mechanism_words(mechanism: Mapping[str, Any]) -> str:
    if mechanism["kind"] in ("none", "stated"):
        return {"none": "no noise", "stated": "stated"}[mechanism["kind"]]
    sampled = f", sampled {mechanism['sampling']:g}" if mechanism["sampling"] < 1 else ""
    return f"{mechanism['kind']} {mechanism['noise']:.4g} x {mechanism['count']}{sampled}"


def _entries(total: Total) -> str:
    notes = [
        f"{n} {word}" for n, word in ((total.unbounded, "without noise"), (total.uncommitted, "not committed")) if n
    ]
    return f"{total.entries}" + (f" ({', '.join(notes)})" if notes else "")


def _number(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:.4g}"
