"""The gate's benchmark in miniature: real shadow worlds, the tables, the page and the figures; and again for nothing."""

import json

import pytest
from bench_gate import main
from gatebench import cells, page
from typer import Typer
from typer.testing import CliRunner

TINY = (
    "--parts frontier,recipes --regimes plain --recipes prior --students knn --persons 10 --minutes 20 --shadows 4 "
    "--stimuli 60 --architecture spectral_mlp --jobs 1"
)


@pytest.fixture(scope="module")
def app() -> Typer:
    made = Typer()
    made.command()(main)
    return made


def run(app, out, *more):
    return CliRunner().invoke(app, [*TINY.split(), "--out", str(out), *more])


def test_cells_run_tables_are_written_and_what_fails_is_said(app, tmp_path):
    dry = run(app, tmp_path, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "together about" in dry.output
    assert not (tmp_path / "gate.json").exists()
    first = run(app, tmp_path)
    assert first.exit_code == 0, first.output
    document = json.loads((tmp_path / "gate.json").read_text())
    assert [(row["part"], row["name"]) for row in document["rows"]] == [("frontier", "plain"), ("recipes", "prior")]
    assert document["failed"] == {}
    assert (tmp_path / "gate-frontier.png").read_bytes()[:4] == b"\x89PNG"
    html = (tmp_path / "gate.html").read_text()
    assert "membership-singled-out" in html
    assert "http" not in html.replace("http-equiv", "").split("<body>")[1]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "gate-cells").rglob("world-*")}
    assert len(made) == 4 + 4 + cells.QUICK.canary_worlds
    again = run(app, tmp_path, "--table-only")
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert page.of_part(document, "recipes")[0]["findings"]["membership"]["positive_control"] > 0.5


@pytest.mark.parametrize(("options", "cause"), [("--parts magic", "no part 'magic'"), ("--regimes magic", "no regime 'magic'")])
def test_what_is_unknown_is_refused_before_anything_runs(app, tmp_path, options, cause):
    result = run(app, tmp_path, *options.split())
    assert result.exit_code == 3
    assert cause in result.output
