"""The demo: from nothing to a benchmark table and an HTML report, through two real sides.

::

    python deploy/demo/run.py                                    # simulated persons, a few minutes
    python deploy/demo/run.py --data ../shared/data/apnea-ecg     # the Apnea-ECG database

It leaves ``report.html``, ``summary.json``, the logs and both homes in ``build/demo``.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import plan
import summary
from referee import TRAINED_ON
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text
from shell import StageFailed, end
from stages import Outcome, Runner

from stimset.errors import StimsetError

MARKER = "summary.json"


def main() -> int:
    """Read the options, run, report; the exit code is 0 only when everything worked."""
    parser = argparse.ArgumentParser(description="From nothing to a benchmark table and a report, through two real sides.")
    parser.add_argument("--data", type=Path, help="folder of the Apnea-ECG database; simulated persons without it")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="where everything goes; emptied first")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see whether it runs; the numbers mean nothing")
    given = parser.parse_args()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, interrupt)
    folder = given.out.resolve()
    sizes = plan.QUICK if given.quick else plan.REAL if given.data else plan.SIMULATED
    try:
        source = plan.apnea_source(given.data.resolve()) if given.data else plan.simulated_source(sizes, folder)
        start_fresh(folder)
    except OSError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return 2
    facts = plan.Facts(folder, source, sizes)
    console.print(_welcome(source))
    began = time.monotonic()
    try:
        outcomes = Runner(plan.stages(facts), folder, facts.environments, console).run()
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
        if facts.daemon is not None:
            end(facts.daemon)
    return 0


def start_fresh(folder: Path) -> None:
    """Empty the folder, if it is a demo's or new.

    Raises:
        FileExistsError: something else lies in it.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "logs").is_dir() and not (folder / MARKER).is_file():
            raise FileExistsError(f"{folder} is not empty and no earlier demo left it; name another folder by --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir()


def _conclude(facts: plan.Facts, outcomes: list[Outcome], seconds: float, console: Console) -> None:
    """Gather the numbers, write the summary and the report, show the table."""
    import json

    import report

    baselines = [row for kind in TRAINED_ON for row in json.loads(facts.rows_file(kind).read_text())]
    rows = summary.student_rows(facts.documents["benchmark"], baselines)
    found = summary.build(facts, outcomes, rows, seconds)
    titles = report.family_titles(found["families"])
    page = report.render(found, report.gather(facts), titles, made=datetime.datetime.now(datetime.UTC))
    report_path, path = facts.folder / "report.html", facts.folder / MARKER
    report_path.write_text(page)
    summary.write(found, path)
    console.print()
    console.print(summary.kappa_table(found))
    console.print(Text(summary.verdict(found, titles).headline, style="bold"))
    for line in summary.closing_lines(found, report_path, path):
        console.print(line, soft_wrap=True)


def _welcome(source: plan.Source) -> Panel:
    text = Text.assemble(
        ("A hospital may not share recordings. It shares stimuli.\n", "bold"),
        "Two sides, two real programs: 'custodian' in the hospital, 'consumer' at the partner's.\n"
        "You see each command as you would type it.\n",
        (f"Data: {source.name}", "yellow" if source.simulated else ""),
    )
    return Panel(text, title="stimset demo", title_align="left", border_style="dim", padding=(0, 1))


def explain(failure: StageFailed, console: Console) -> None:
    """Show the command that failed and the end of what it said."""
    console.print(f"\n[bold red]stage '{failure.stage}' failed[/] (exit code {failure.code})")
    console.print(Text(f"$ {failure.command}"), soft_wrap=True)
    for line in failure.tail:
        console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
    console.print(Text(f"the whole log: {failure.log}"), soft_wrap=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C: what was started is ended too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
