"""The federated demo: three hospitals with disjoint patients, cases and devices of their own, one partner that learns from all of them.

::

    python deploy/federated/federate.py            # about ten minutes on two idle cores
    python deploy/federated/federate.py --quick    # tiny, to see whether it runs

It leaves ``report.html``, ``summary.json``, the logs and all four homes in ``build/federated``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))

import federation
import tally
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text
from run import MARKER, explain, interrupt, start_fresh
from shell import StageFailed, end
from stages import Outcome, Runner

from stimset.errors import StimsetError


def main() -> int:
    """Read the options, run, report; the exit code is 0 only when everything worked."""
    parser = argparse.ArgumentParser(description="Three hospitals, one partner: a student of the union of their releases.")
    parser.add_argument("--out", type=Path, default=Path("build/federated"), help="where everything goes; emptied first")
    parser.add_argument("--quick", action="store_true", help="small sizes and two kinds of students, to see whether it runs")
    parser.add_argument("--family", action="append", help=f"a kind of student; may be repeated (default: {', '.join(federation.FAMILIES)})")
    given = parser.parse_args()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, interrupt)
    folder = given.out.resolve()
    try:
        start_fresh(folder)
    except OSError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return 2
    sizes, families = (federation.QUICK, federation.QUICK_FAMILIES) if given.quick else (federation.FULL, federation.FAMILIES)
    facts = federation.Facts(folder, sizes, tuple(given.family or families))
    console.print(_welcome())
    began = time.monotonic()
    try:
        outcomes = Runner(federation.stages(facts), folder, facts.environments, console, federation.COLOURS).run()
        _conclude(facts, outcomes, time.monotonic() - began, console)
    except StageFailed as failure:
        explain(failure, console)
        return 1
    except StimsetError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return error.exit_code
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    finally:
        for daemon in facts.daemons:
            end(daemon)
    return 0


def _conclude(facts: federation.Facts, outcomes: list[Outcome], seconds: float, console: Console) -> None:
    """Gather the numbers, write the summary and the page, show the table."""
    import page

    pooled = [row for family in facts.families for row in json.loads(facts.pooled_file(family).read_text())]
    rows = tally.rows_of(facts.documents["benchmark"], facts.documents["students"], pooled)
    summary = tally.build(facts, outcomes, rows, seconds)
    report, path = facts.folder / "report.html", facts.folder / MARKER
    report.write_text(page.render(summary, made=datetime.datetime.now(datetime.UTC)))
    path.write_text(json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    console.print()
    console.print(tally.kappa_table(summary))
    console.print(Text(tally.headline(summary), style="bold"))
    for line in tally.closing_lines(summary, str(report), str(path)):
        console.print(line, soft_wrap=True)


def _welcome() -> Panel:
    text = Text.assemble(
        ("Three hospitals may not share recordings, not even with each other. Each shares stimuli.\n", "bold"),
        "Three custodians with keys, patients and devices of their own; one consumer that pins three roots.\n",
        ("Data: simulated persons, recorded by three different devices", "yellow"),
    )
    return Panel(text, title="stimset federated demo", title_align="left", border_style="dim", padding=(0, 1))


if __name__ == "__main__":
    sys.exit(main())
