"""The whole demo in tiny sizes, as ``make demo`` runs it: two sides, one daemon, a referee, a report."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {"stimuli", "true_hard", "true_soft", "noise", "paper"}


@pytest.mark.slow
def test_the_demo_leaves_what_it_promises(tmp_path):
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "demo" / "run.py", "--quick", "--out", out],
        cwd=ROOT, capture_output=True, text=True, timeout=900, env={**os.environ, "COLUMNS": "140"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((out / "summary.json").read_text())
    rows = found["students"]
    assert {r["trained_on"] for r in rows} == KINDS
    families = {r["family"] for r in rows}
    assert families >= {"cnn", "lstm", "mlp", "random_forest", "svm", "knn", "logistic_regression"}
    assert len(rows) == len(KINDS) * len(families)
    assert all({"accuracy", "kappa", "sensitivity", "specificity", "auroc"} <= set(r) for r in rows)
    assert found["gate"]["admitted"] is True
    assert all({"name", "value", "limit", "passed"} <= set(check) for check in found["gate"]["checks"])
    assert all({"name", "seconds"} <= set(stage) for stage in found["stages"])
    assert found["simulated"] is True
    assert (Path(found["release_folder"]) / "provenance.dsse.json").is_file()
    assert Path(found["release_folder"]).is_relative_to(found["consumer_home"])
    page = (out / "report.html").read_text()
    assert "<b>Simulated.</b>" in page
    assert not re.findall(r"""(?:src|href|srcset)=["'](?!data:)""", page)
    assert len(list((out / "logs").glob("*.log"))) == len(found["stages"])
    assert "gate admitted" in done.stdout
    assert found["evaluation"]["verified"] and found["evaluation"]["privacy"]["advantage"] == 0.02
    assert Path(found["evaluation"]["file"]).is_file()


@pytest.mark.slow
def test_the_demos_daemon_ends_with_it(tmp_path):
    """A run that fails in the middle leaves no process behind."""
    run = ROOT / "deploy" / "demo" / "run.py"
    code = (
        f"import sys; sys.path.insert(0, {str(run.parent)!r}); import plan, run, stages\n"
        "steps = plan.stages\n"
        "def failing(facts):\n"
        "    serve = next(s for s in steps(facts) if s.name == 'serve')\n"
        "    init = next(s for s in steps(facts) if s.name == 'init')\n"
        "    bad = stages.Stage('bad', 'partner', 'fails', lambda sh: (print('pid', facts.daemon.pid), sh.run('false'))[1])\n"
        "    return [init, serve, bad]\n"
        "plan.stages = failing\n"
        f"sys.argv = ['run.py', '--quick', '--out', {str(tmp_path / 'demo')!r}]\n"
        "sys.exit(run.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "stage 'bad' failed" in done.stdout
    pid = int(re.search(r"pid (\d+)", done.stdout)[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
