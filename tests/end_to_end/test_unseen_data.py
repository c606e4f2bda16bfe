"""A data set that nobody here has seen goes all the way by the documented commands: no spec, no preset, no line of code.

Three channels, four classes, ten persons, one NPZ file per recording with arrays of signals, labels and person ids. The
classes differ in their rhythms, each person has amplitudes, offsets and a rhythm of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from both_sides import BothSides
from byte_search import find_private, find_rows
from stimset.serde import load_windows

CLASSES = ("wake", "light", "deep", "dream")
CHANNELS = ("front", "back", "chest")
RATE_HZ, EPOCH_S, EPOCHS, RECORDINGS = 8.0, 10.0, 32, 2
# Hz of each class's rhythm, per channel; the third channel tells two pairs of classes apart.
RHYTHMS = {"wake": (2.8, 2.2, 0.6), "light": (1.6, 2.2, 0.3), "deep": (0.5, 0.7, 0.6), "dream": (1.6, 0.7, 0.3)}
# Chosen before anything was measured: what a student reaches by chance is 0.
LEAST_KAPPA = 0.5


def write_persons(folder: Path, persons: range) -> list[str]:
    """Recordings as a laboratory might have them; answers with the person ids."""
    folder.mkdir()
    ids = []
    samples = int(RATE_HZ * EPOCH_S)
    for person in persons:
        rng = np.random.default_rng([5, person])
        ids.append(f"MRN-{77000 + 13 * person}")
        gain, offset, own = rng.lognormal(0, 0.3, 3), rng.normal(0, 20, 3), rng.uniform(3.2, 3.8)
        for recording in range(RECORDINGS):
            labels = np.repeat(rng.integers(0, len(CLASSES), EPOCHS // 4), 4)
            parts = []
            for label in labels:
                time = np.arange(samples) / RATE_HZ
                rows = [
                    np.sin(2 * np.pi * (hz * rng.normal(1, 0.1) * time + rng.random()))
                    + 0.4 * np.sin(2 * np.pi * (own * time + rng.random()))
                    + rng.normal(0, 1.5, samples)
                    for hz in RHYTHMS[CLASSES[label]]
                ]
                parts.append(np.array(rows) * gain[:, None] + offset[:, None])
            np.savez(
                folder / f"night_{person:02d}_{recording}.npz",
                signals=np.concatenate(parts, axis=1).astype(np.float32),
                labels=np.array([CLASSES[label] for label in labels]),
                person=ids[-1],
                channels=CHANNELS,
                rate_hz=RATE_HZ,
                epoch_s=EPOCH_S,
            )
    return ids


@dataclass(frozen=True)
class Walked:
    both: BothSides
    said: dict[str, Any]
    persons: list[str]
    recordings: Path
    answers: bytes


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Walked:
    folder = tmp_path_factory.mktemp("unseen")
    both = BothSides.make(folder)
    persons = write_persons(folder / "nights", range(10))
    write_persons(folder / "partners-own", range(50, 55))
    hospital, partner, said = both.hospital, both.partner, {}
    said["ingest"] = hospital.json("ingest", folder / "nights")
    hospital.run("train", "--epochs", 12)
    hospital.run("excite", "--count", 1500, "--set", "nights")
    hospital.run("audit", "--set", "nights")
    said["release"] = hospital.json("release", "build", "--set", "nights", "--name", "nights")
    with both.served() as address:
        both.enrol(address)
        said["pull"] = partner.json("pull", "latest")
        answers = both.answers(address, "nights-0001")
    partner.run("verify", partner.home / "releases" / "nights-0001")
    partner.run("train", "nights-0001", "--family", "cnn", "--family", "random_forest")
    said["benchmark"] = partner.json("benchmark", folder / "partners-own", "--out", folder / "out", "--draws", 50)
    said["export"] = partner.json("export", "nights-0001-cnn-1", "--out", folder / "out" / "cnn.onnx")
    return Walked(both, said, persons, folder / "nights", answers)


def test_everything_is_found_in_the_files(walked):
    said = walked.said["ingest"]
    assert said["persons"] == 10
    assert said["records"] == 10 * RECORDINGS
    assert said["windows"] == 10 * RECORDINGS * EPOCHS
    assert set(said["classes"]) == set(CLASSES)
    assert not said["simulated"]
    statement = json.loads((walked.both.partner.home / "releases" / "nights-0001" / "statement.json").read_text())
    spec = statement["predicate"]["windowSpec"]
    assert [signal["name"] for signal in spec["signals"]] == list(CHANNELS)
    assert spec["epochSeconds"] == EPOCH_S
    assert sorted(spec["labels"]) == sorted(CLASSES)


def test_the_students_recognise_the_classes_in_other_persons(walked):
    results = {entry["family"]: entry for entry in walked.said["benchmark"]["results"]}
    assert set(results) == {"cnn", "random_forest"}
    for family, entry in results.items():
        assert entry["metrics"]["kappa"] > LEAST_KAPPA, family


def test_nothing_private_is_outside(walked):
    home = walked.both.hospital.home
    outside = (home / "releases", walked.both.partner.home, walked.both.folder / "out", walked.both.log, walked.answers)
    recordings = sorted(walked.recordings.glob("*.npz"))
    names = [name.encode() for name in (*walked.persons, *(path.stem for path in recordings))]
    assert find_private(names, *outside, home) == []
    rows = [load_windows(home / "cohort" / "windows.safetensors").values]
    for path in recordings:
        with np.load(path, allow_pickle=False) as archive:
            rows.append(archive["signals"])
    assert find_rows(rows, *outside) == []
