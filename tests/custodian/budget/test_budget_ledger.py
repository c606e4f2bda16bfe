"""The ledger on a real database: what is spent stays spent, across crashes and processes, and nobody can spend beyond the limit."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from typer.testing import CliRunner

from custodian.budget import Ledger, Limit, calibrated, laplace, spent, stated, unbounded
from custodian.cli import app
from custodian.config import SETTINGS_FILE, Home
from stimset.errors import ConfigError, PolicyDenied

RUN = CliRunner()
COHORT = "c" * 64


@pytest.fixture
def home(tmp_path):
    home = Home.at(tmp_path / "home")
    home.create()
    home.settings_file.write_text('name = "clinic"\n# a comment that stays\nvalid_days = 30\n')
    return home


def limited(home, epsilon=1.0, delta=1e-5):
    Limit(epsilon, delta).write(home)
    return Ledger.open(home)


def run(home, *arguments):
    return RUN.invoke(app, ["budget", *map(str, arguments), "--home", str(home.root)], env={"COLUMNS": "200"})


def test_spending_adds_up_over_openings_and_is_composed(home):
    for _ in range(4):
        with Ledger.open(home).spend(COHORT, calibrated(1.0, 1e-5), purpose="aggregates", subject="main"):
            pass
    total = Ledger.open(home).total(COHORT)
    assert (total.entries, total.uncommitted, total.unbounded) == (4, 0, 0)
    assert (total.naive_epsilon, total.naive_delta) == (4.0, pytest.approx(4e-5))
    assert 1.0 < total.epsilon < 2.2
    assert spent(home, COHORT) == {"epsilon": total.epsilon, "delta": pytest.approx(4e-5), "entries": 4}
    assert spent(home, "d" * 64) == {"epsilon": 0.0, "delta": 0.0, "entries": 0}


def test_the_limit_refuses_before_work_starts_and_names_what_is_left(home):
    ledger = limited(home, 1.5)
    with ledger.spend(COHORT, stated(1.0), purpose="evaluation", subject="acme"):
        pass
    worked = False
    with pytest.raises(PolicyDenied, match=r"about 0\.5 is left.*custodian budget limit"):  # noqa: SIM117
        with ledger.spend(COHORT, stated(1.0), purpose="evaluation", subject="acme"):
            worked = True
    assert not worked
    assert ledger.total(COHORT).entries == 1
    ledger.reserve("another", stated(1.0), purpose="evaluation")  # each cohort has its own
    with pytest.raises(PolicyDenied, match="without noise"):
        ledger.require(COHORT, unbounded())


def test_a_limit_is_met_exactly(home):
    ledger = limited(home, 1.0, 1e-5)
    ledger.reserve(COHORT, calibrated(1.0, 1e-5), purpose="aggregates")
    with pytest.raises(PolicyDenied):
        ledger.reserve(COHORT, laplace(1000.0), purpose="evaluation")


def test_work_that_fails_stays_spent(home):
    ledger = Ledger.open(home)
    with pytest.raises(ZeroDivisionError), ledger.spend(COHORT, stated(1.0), purpose="evaluation"):
        raise ZeroDivisionError
    assert ledger.total(COHORT).epsilon == 1.0
    assert ledger.total(COHORT).uncommitted == 1


def test_the_same_answer_is_paid_for_once(home):
    ledger = Ledger.open(home)
    for n in range(3):
        reservation = ledger.reserve(COHORT, stated(1.0), purpose="aggregates", key="k1")
        assert reservation.repeated == (n > 0)
        ledger.commit(reservation)
    assert [e.kind for e in ledger.entries()] == ["reserve", "commit"]
    assert not ledger.reserve("another", stated(1.0), purpose="aggregates", key="k1").repeated


def test_a_partner_has_a_number_of_queries(home):
    ledger = Ledger.open(home)
    for _ in range(2):
        ledger.reserve(COHORT, stated(0.1), purpose="evaluation", subject="acme", most=2)
    with pytest.raises(PolicyDenied, match="'acme' has used all of its 2"):
        ledger.reserve(COHORT, stated(0.1), purpose="evaluation", subject="acme", most=2)
    ledger.reserve(COHORT, stated(0.1), purpose="evaluation", subject="other", most=2)
    assert len(ledger.entries(subject="acme")) == 2


SPENDER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from custodian.budget import Ledger, stated
    from custodian.config import Home
    from stimset.errors import PolicyDenied

    ledger, made = Ledger.open(Home(Path(sys.argv[1]))), 0
    sys.stdin.readline()
    for _ in range(8):
        try:
            with ledger.spend("c" * 64, stated(1.0), purpose="evaluation"):
                made += 1
        except PolicyDenied:
            pass
    print(made)
""")


def test_processes_at_once_never_spend_beyond_the_limit(home):
    limited(home, 9.0)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, home.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate("go\n", timeout=60)[0] for process in started]
    assert sum(map(int, outputs)) == 9
    ledger = Ledger.open(home)
    assert ledger.total(COHORT).entries == 9
    assert [e.number for e in ledger.entries()] == list(range(1, 19))


def test_a_killed_process_has_spent(home):
    Ledger.open(home).close()
    script = SPENDER.replace("made += 1", "print('working', flush=True); sys.stdin.readline()")
    process = subprocess.Popen(
        [sys.executable, "-c", script, home.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "working\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    process.stdin.close()
    process.stdout.close()
    assert Ledger.open(home).total(COHORT).uncommitted == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE budget_entries SET epsilon = 0.1 WHERE number = 2", "UPDATE budget_entries SET subject = 'b' WHERE number = 2",
        "DELETE FROM budget_entries WHERE number = 2", "DELETE FROM budget_entries WHERE number = 1",
        "UPDATE budget_entries SET mechanism = '{' WHERE number = 2",
    ],
)  # fmt: skip
def test_a_changed_ledger_is_noticed(home, damage):
    ledger = Ledger.open(home)
    for _ in range(3):
        ledger.reserve(COHORT, stated(1.0), purpose="aggregates", subject="a")
    connection = sqlite3.connect(home.database)
    with pytest.raises(sqlite3.DatabaseError, match="can only grow"):
        connection.execute(damage)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'budget_entries'"
    for (trigger,) in connection.execute(triggers).fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match=r"ledger (was tampered|is damaged).*restore"):
        ledger.total(COHORT)
    with pytest.raises(ConfigError, match="restore"):
        ledger.reserve(COHORT, stated(0.1), purpose="aggregates")


def test_the_limit_is_set_in_the_settings_and_leaves_a_trace(home):
    home.settings_file.write_text(home.settings_file.read_text() + "budget_epsilon = 2\nbudget_delta = 1e-6\n")
    assert json.loads(run(home, "limit", "--format", "json").stdout) == {"epsilon": 2, "delta": 1e-6}
    assert run(home, "limit", "--epsilon", 3, "--delta", 1e-5).exit_code == 0
    assert Limit.of(home) == Limit(3.0, 1e-5)
    text = (home.root / SETTINGS_FILE).read_text()
    assert "# a comment that stays" in text
    assert home.settings().valid_days == 30
    assert text.count("budget_") == 2
    assert run(home, "limit", "--none").exit_code == 0
    assert Limit.of(home) == Limit()
    assert [(e.kind, e.epsilon, e.delta) for e in Ledger.open(home).entries()] == [
        ("limit", 3.0, 1e-5),
        ("limit", None, None),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--epsilon", "1"), ("--delta", "0.1"), ("--none", "--epsilon", "1", "--delta", "0.1"), ("--epsilon", "-1", "--delta", "0.1"),
    ],
)  # fmt: skip
def test_half_a_limit_is_refused(home, arguments):
    assert run(home, "limit", *arguments).exit_code == 3
    home.settings_file.write_text('name = "clinic"\nbudget_epsilon = 1.0\n')
    assert "go together" in run(home, "show").stderr


def test_show_and_log_for_people_and_scripts(home):
    ledger = limited(home, 5.0)
    with ledger.spend(COHORT, calibrated(1.0, 1e-6), purpose="aggregates", subject="main"):
        pass
    ledger.reserve("d" * 64, laplace(2.0, count=3), purpose="evaluation", subject="acme")
    shown = json.loads(run(home, "show", "--format", "json").stdout)
    assert shown["head"] == ledger.head()
    first, second = shown["cohorts"]
    assert first["left"] == pytest.approx(5 - first["epsilon"])
    assert second["epsilon"] == pytest.approx(1.5, rel=1e-3)
    assert (second["uncommitted"], second["current"]) == (1, False)
    assert "not committed" in run(home, "show", "--cohort", "dd").stdout
    assert run(home, "show", "--cohort", "ee").exit_code == 3
    entries = json.loads(run(home, "log", "--subject", "acme", "--format", "json").stdout)["entries"]
    assert [e["mechanism"]["kind"] for e in entries] == ["laplace"]
    assert "laplace 2 x 3" in run(home, "log").stdout
