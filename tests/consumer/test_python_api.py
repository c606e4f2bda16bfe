"""The Python interface over a real wire, and the notebook, executed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from sklearn.model_selection import GridSearchCV

import consumer
import wire_world
from stimset.errors import ConfigError, FormatError, TransportError
from stimset.records import simulate, write_npz
from stimset.verifying import VerifiedRelease
from stimset.windows import SignalSpec, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),),
    rate_hz=0.5,
    epoch_s=60.0,
    labels=("normal", "apnea"),
    annotations={"N": "normal", "A": "apnea"},
    meaning="Apnea within the minute, by a simulation.",
)
NOTEBOOK = Path(__file__).parents[2] / "consumer" / "notebooks" / "own_model.ipynb"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wire_world.World]:
    made = wire_world.World.make(tmp_path_factory.mktemp("world"), shards=(90, 70), spec=SPEC)
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(world: wire_world.World) -> str:
    return world.start().address


@pytest.fixture(scope="module")
def nights(world: wire_world.World) -> Path:
    for record in simulate(persons=3, minutes=40, seed=5):
        write_npz(record, world.root / "nights")
    return world.root / "nights"


def test_from_the_wire_to_a_student(world: wire_world.World, address: str, nights: Path) -> None:
    with consumer.connect(world.consumer.root, address=address) as hospital:
        assert [offered.stimuli for offered in hospital.releases()] == [160]
        assert hospital.releases("other") == ()
        release = hospital.pull()
    assert isinstance(release, VerifiedRelease) and repr(world.consumer.root)[-5:-2] in repr(hospital)
    again = hospital.release()  # closed: what needs no network still works
    assert again.id == release.id == hospital.release(release.id).id == hospital.release(release.folder).id
    student = hospital.train(release, "decision_tree", seed=2, parameters={"min_leaf": 5})
    assert [s.name for s in hospital.students()] == [student.name] == [f"{release.id}-decision_tree-2"]
    report = hospital.benchmark([student], nights, draws=20)
    assert report.simulated_data and report.records == 3 and report.data == "nights"
    windows = consumer.read_windows(nights, release)
    assert hospital.benchmark([student], windows, draws=20).results == report.results


def test_a_release_as_arrays(world: wire_world.World, address: str) -> None:
    release = consumer.connect(world.consumer.root, address=address).pull()
    X, P = release.to_numpy()
    assert X.shape == (160, 1, 30) and P.shape == (160, 2)
    data = release.to_torch()
    windows, beliefs = next(iter(torch.utils.data.DataLoader(data, batch_size=160)))
    assert np.array_equal(windows.numpy(), X) and np.array_equal(beliefs.numpy(), P)
    learned, held = release.splits(0.25, seed=3)
    assert (len(learned), len(held)) == (120, 40)
    both = np.concatenate([learned.values, held.values])
    assert np.array_equal(np.sort(both.ravel()), np.sort(X.ravel()))
    assert np.array_equal(release.splits(0.25, seed=3)[1].values, held.values)
    with pytest.raises(FormatError, match="held out"):
        release.splits(0.0)
    search = GridSearchCV(consumer.estimator("knn", release), {"neighbours": [3, 30]}, cv=2).fit(X, P)
    assert search.best_params_ == {"neighbours": 30}  # the labels are random: the smoother, the better


def test_what_is_not_there_is_named(world: wire_world.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="consumer init"):
        consumer.connect(tmp_path)
    monkeypatch.delenv("CONSUMER_HOME", raising=False)
    with pytest.raises(ConfigError, match="CONSUMER_HOME"):
        consumer.connect()
    with pytest.raises(ConfigError, match="which custodian"):
        consumer.connect(world.consumer.root, "nobody")
    hospital = consumer.connect(world.consumer.root)
    with pytest.raises(ConfigError, match="consumer pull"):
        hospital.release("none-0001")
    with pytest.raises(ConfigError, match="at least one student"):
        hospital.benchmark([], tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        consumer.conect  # noqa: B018
    assert set(consumer.__all__) <= set(dir(consumer))


def test_an_unreachable_custodian_is_an_error_of_ours(world: wire_world.World) -> None:
    with (
        consumer.connect(world.consumer.root, address="127.0.0.1:1") as hospital,
        pytest.raises(TransportError),
    ):
        hospital._connected()._policy = wire_world.QUICK
        hospital.releases()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, consumer\n"
        "assert not {'consumer.api', 'numpy', 'grpc'} & set(sys.modules)\n"
        "consumer.connect\n"
        "assert not {'torch', 'sklearn', 'onnxruntime', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_notebook_runs(
    world: wire_world.World, address: str, nights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer.connect(world.consumer.root, address=address).pull()
    monkeypatch.setenv("CONSUMER_HOME", str(world.consumer.root))
    monkeypatch.setenv("STIMSET_NIGHTS", str(nights))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "keep outputs out of the repository"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    shown = str([cell.get("outputs") for cell in notebook.cells])
    assert "image/png" in shown and "-mine-1" in shown and "simulated" in shown and "ms for a window" in shown
