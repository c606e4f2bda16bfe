"""Which windows are learnt from and tested on, which kinds of training data there are, and which jobs follow."""

from __future__ import annotations

import numpy as np
import pytest
from paper import costs, settings
from paper.jobs import Bench, Job, jobs

from stimset.errors import ConfigError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return settings.Setting.make("apnea-5min", None, tmp_path_factory.mktemp("work"), 6, 20)


def test_simulated_sides_share_persons_but_no_minutes(made):
    training, test = made.training(), made.test()
    apart = settings.unseen(training, test)
    assert 0 < apart.sum() < len(test)
    shared = test.select(~apart)
    names = {test.person_names[p] for p in np.unique(shared.person)}
    assert names < set(training.person_names)
    assert len(np.unique(test.person)) == 6
    assert training.start_s.max() + 60 + 120 <= 20 * 60 <= shared.start_s.min() - 120
    rows = {row.tobytes() for row in training.values}
    assert not any(row.tobytes() in rows for row in test.values)


def test_the_folder_depends_on_the_windows(made):
    again = settings.Setting.make("apnea-5min", None, made.folder.parent, 6, 20)
    other = settings.Setting.make("apnea-5min", None, made.folder.parent, 6, 21)
    assert again == made
    assert other.folder != made.folder
    assert made.folder.stat().st_mode & 0o077 == 0


def test_folds_test_everybody_once_and_learn_from_nobody_whom_they_test(tmp_path):
    tested, parts = [], []
    for number in (1, 2, 3, 4):
        setting = settings.Setting.make("apnea-5min", None, tmp_path, 6, 10, fold=settings.Fold(number, 3))
        training, test = setting.training(), setting.test()
        assert not set(training.person_names) & set(test.person_names)
        assert list(setting.protocols(test)) == [settings.UNSEEN], "nobody is known, so there is one protocol"
        assert setting.window == "apnea-5min by persons"
        tested += test.person_names if number <= 3 else ()
        parts.append(frozenset(test.person_names))
    assert len(tested) == len(set(tested)) == 6
    assert parts[3] not in parts[:3], "after three parts the persons are dealt out anew"


def test_kinds_of_training_data():
    kinds = settings.sources(["noise", "average-spectrum", "paper"], 500, 50)
    assert [(k.name, k.count) for k in kinds] == [
        ("true_hard", 0), ("true_soft", 0), ("noise", 500), ("average-spectrum", 500), ("paper", 50),
    ]  # fmt: skip
    assert len({k.key for k in kinds}) == 5
    assert settings.sources(["noise"], 501, 50)[2].key != kinds[2].key
    assert set(settings.every_recipe()) >= {"noise", "prior", "paper", "spectral", "average-spectrum"}


@pytest.mark.parametrize("names", [["noise", "noise"], ["no-such-recipe"]])
def test_recipes_that_can_not_be_told_apart_or_are_not_there(names):
    with pytest.raises(ConfigError):
        settings.sources(names, 10, 10)


def test_there_is_no_such_window():
    with pytest.raises(ConfigError, match="apnea-60s"):
        settings.spec_of("apnea-1h")


def test_jobs_stand_after_what_they_need_and_are_told_apart(made):
    kinds = settings.sources(["noise", "spectral"], 100, 10)
    todo = jobs([Bench(made, seed) for seed in (2, 1)], kinds, ["knn", "mlp"])
    assert len(todo) == 2 * (1 + 2 + 4 * 2 + 2 * 2)
    assert [job.bench.seed for job in todo] == sorted(job.bench.seed for job in todo)
    files = [job.file for job in todo]
    assert len(set(files)) == len(files)
    for number, job in enumerate(todo):
        assert all(files.index(needed) < number for needed in job.needs)
        assert job.file.is_relative_to(made.folder)


def test_a_student_with_another_cap_is_another_result(made):
    source = settings.Source("true_hard")
    one, other = (Job(Bench(made, 1, cap=cap), "student", source, "knn") for cap in (None, 100))
    assert one.file != other.file
    assert one.result() is None


def test_another_teacher_has_a_folder_of_its_own(made):
    own, other = Bench(made, 1), Bench(made, 1, architecture="cnn+tcn")
    assert own.folder != other.folder
    assert other.folder.parent.name == "regularised-cnn+tcn"


def test_a_result_is_kept_and_an_unreadable_one_is_none(made, tmp_path):
    job = Job(Bench(settings.Setting(tmp_path, "apnea-5min", True), 1), "prepare")
    job.file.parent.mkdir(parents=True)
    job.file.write_text("{")
    assert job.result() is None
    job.file.write_text('{"seconds": 3.5}')
    assert costs.known_seconds([job]) == {(tmp_path.name, "prepare", "", ""): [3.5]}
    assert costs.estimate(job, costs.known_seconds([job]), 1000) == 3.5


def test_costs_grow_with_the_work(made):
    bench = Bench(made, 1)
    small, large = (settings.sources(["spectral", "paper"], count, count) for count in (100, 10_000))
    for kind in (2, 3):
        assert 0 < costs.estimate(Job(bench, "excite", small[kind]), {}, 100) < costs.estimate(Job(bench, "excite", large[kind]), {}, 100)
    student = Job(bench, "student", small[0], "svm")
    assert costs.estimate(student, {}, 100) < costs.estimate(student, {}, 10_000)
