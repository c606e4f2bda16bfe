"""The demo's plan: sources, order, and that it never empties a folder that is not its own."""

import json

import numpy as np
import plan
import pytest
import recordings
import referee
import run
from stages import Runner


def facts(folder):
    return plan.Facts(folder, plan.simulated_source(plan.QUICK, folder), plan.QUICK)


def test_every_stage_waits_for_stages_that_stand_before_it(tmp_path):
    stages = plan.stages(facts(tmp_path))
    Runner(stages, tmp_path, {}, None)  # refuses unknown names and doubles
    seen = set()
    for stage in stages:
        assert set(stage.after) <= seen
        seen.add(stage.name)
    main = [s.name for s in stages if not s.background]
    assert main == [
        "init", "ingest", "train", "excite", "audit", "release", "serve", "enrol", "pull", "verify", "students", "benchmark", "export",
        "submit",
    ]  # fmt: skip
    assert {f"referee-{kind}" for kind in referee.TRAINED_ON} <= seen


def test_the_partners_processes_know_nothing_of_the_hospital(tmp_path):
    environments = facts(tmp_path).environments
    assert set(environments["partner"]) == {"CONSUMER_HOME"}
    assert set(environments["referee"]) == set()
    assert facts(tmp_path).passphrase != facts(tmp_path).passphrase
    assert facts(tmp_path).passphrase not in repr(facts(tmp_path))


def lay(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_the_apnea_database_is_found_in_either_layout(tmp_path):
    lay(tmp_path / "one" / "wfdb", "a01.qrs", "a01.apn", "x01.qrs")
    lay(tmp_path / "one" / "wfdb-x-labels", "x01.apn")
    for given in (tmp_path / "one", tmp_path / "one" / "wfdb"):
        source = plan.apnea_source(given)
        assert source.ingest[0] == str(tmp_path / "one" / "wfdb")
        assert source.partner.options() == [
            str(tmp_path / "one" / "wfdb"), "--labels", str(tmp_path / "one" / "wfdb-x-labels"), "--only", "x*",
        ]  # fmt: skip
        assert not source.simulated
    lay(tmp_path / "two", "a01.qrs", "x01.qrs", "x01.apn")
    assert plan.apnea_source(tmp_path / "two").partner.labels is None


def test_a_folder_without_the_database_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no Apnea-ECG records"):
        plan.apnea_source(tmp_path)
    lay(tmp_path / "wfdb", "a01.qrs")
    with pytest.raises(FileNotFoundError, match="no labels of the test records"):
        plan.apnea_source(tmp_path)


def test_only_a_demos_folder_is_emptied(tmp_path):
    other = tmp_path / "other"
    lay(other, "thesis.tex")
    with pytest.raises(FileExistsError, match="not empty"):
        run.start_fresh(other)
    assert (other / "thesis.tex").exists()
    own = tmp_path / "own"
    run.start_fresh(own)
    lay(own / "hospital", "key")
    run.start_fresh(own)
    assert [p.name for p in own.iterdir()] == ["logs"]


def test_the_partners_simulated_persons_are_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recordings.py", str(tmp_path), "--persons", "2", "--minutes", "10", "--first-person", "1000"])
    assert recordings.main() == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["simulated-1000.npz", "simulated-1001.npz"]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A home with a cohort of simulated persons, an untrained teacher, and a set of noise."""
    from safetensors.numpy import save_file

    from custodian.cohort import Cohort, pseudonymised, split_persons
    from custodian.config import Home
    from custodian.excitation.candidates import CandidateSet
    from custodian.teacher.checkpoint import TrainedNetwork
    from stimset.learning.networks import build_network
    from stimset.records import simulate
    from stimset.records.apnea_ecg import SPEC_5MIN
    from stimset.windowing import make_windows

    home = Home(tmp_path_factory.mktemp("demo") / "hospital")
    home.create()
    home.settings_file.write_text('name = "Test"\n')
    windows = pseudonymised(make_windows(simulate(12, 40, seed=3), SPEC_5MIN), b"key")
    Cohort(windows, split_persons(windows, share=0.25), True).save(home.cohort)
    TrainedNetwork(build_network("cnn", 1, 150, 2, seed=0).eval(), "cnn", SPEC_5MIN, 2, {}).save(home.teacher, "teacher")
    rng, folder = np.random.default_rng(0), home.candidates("noise")
    folder.mkdir(parents=True)
    arrays = {"values": rng.normal(size=(60, 1, 150)).astype(np.float32), "probabilities": rng.dirichlet([1, 1], 60).astype(np.float32)}
    save_file(arrays, folder / "shard-00000.safetensors")
    CandidateSet(folder, SPEC_5MIN, {"shard-00000.safetensors": 60}, True, 0, {}, {"name": "noise"}, ()).save()
    return home.root


def test_lessons_are_what_their_names_say(hospital):
    hard, soft = referee.lesson(hospital, "true_hard", 50, 1), referee.lesson(hospital, "true_soft", 50, 1)
    assert len(hard) == len(soft) == 50
    assert np.array_equal(hard.values, soft.values)
    assert set(np.unique(hard.probabilities)) == {0.0, 1.0}
    assert len(np.unique(soft.probabilities)) > 10
    assert len(hard.held_values) == 10
    noise = referee.lesson(hospital, "noise", 40, 1)
    assert (len(noise), len(noise.held_values)) == (36, 4)
    assert np.array_equal(noise.values, referee.lesson(hospital, "noise", 40, 1).values)
    with pytest.raises(ValueError, match="known are"):
        referee.lesson(hospital, "stimuli", 40, 1)


def test_no_held_out_person_stands_among_the_true_windows(hospital):
    from custodian.cohort import Cohort

    cohort = Cohort.load(hospital / "cohort")
    taught = referee.lesson(hospital, "true_hard", 10_000, 1)
    kept_apart = {w.tobytes() for w in cohort.validation.values}
    assert not kept_apart & {w.tobytes() for w in taught.values}
    assert {w.tobytes() for w in taught.held_values} <= kept_apart


def test_the_referee_as_a_command(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["recordings.py", str(tmp_path / "own"), "--persons", "3", "--minutes", "30"])
    assert recordings.main() == 0
    out = tmp_path / "rows.json"
    arguments = [str(tmp_path / "own"), "--hospital", str(hospital), "--trained-on", "noise", "--family", "knn", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["referee.py", *arguments])
    assert referee.main() == 0
    (row,) = json.loads(out.read_text())
    assert (row["family"], row["trained_on"], row["examples"]) == ("knn", "noise", 54)
    assert np.sum(row["confusion"]) == row["windows"] > 60
    monkeypatch.setattr("sys.argv", ["referee.py", *arguments[:4], "paper", *arguments[5:]])
    assert referee.main() == 3  # no such set yet
