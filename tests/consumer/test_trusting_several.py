"""One consumer, several custodians with a root each: catalogues side by side, and names that two of them gave alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny_release
from consumer.channel import check
from consumer.cli import app
from consumer.client import Client
from consumer.enrolment import trust
from consumer.export import export
from consumer.lineage import accompany, verify_student
from consumer.standing import place, withdrawn
from consumer.students.sources import open_release, open_students
from consumer.students.training import train_student
from custodian.cli import app as custodian
from hospitals import Hospitals
from stimset.errors import ConfigError, UnknownSigner, Withdrawn
from stimset.roots import TrustedRoot
from stimset.verifying import verify
from stimset.windows import SignalSpec, WindowSpec
from wire_world import QUICK, Daemon

NAMES = ("north", "south")
SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms"),), rate_hz=0.5, epoch_s=60.0, labels=("normal", "apnea"), annotations={"N": "normal"}
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    """Both call their series 'nights', so both releases are 'nights-0001'."""
    return Hospitals.make(tmp_path_factory.mktemp("several"), dict.fromkeys(NAMES, SPEC), series="nights")


@pytest.fixture(scope="module")
def daemons(world: Hospitals, tmp_path_factory: pytest.TempPathFactory):
    started = {name: Daemon.start(world.homes[name], tmp_path_factory.mktemp(name)) for name in NAMES}
    for name, daemon in started.items():  # as the enrolment folder would have said
        file = world.custodians[name].folder / "custodian.toml"
        file.write_text(file.read_text().replace(world.custodians[name].address, daemon.address))
    yield started
    for daemon in started.values():
        daemon.kill()


def run(world: Hospitals, *arguments: object) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--home", str(world.consumer.root), "--format", "json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {"text": result.stderr}


def test_one_key_and_a_root_for_each(world: Hospitals) -> None:
    code, listed = run(world, "trust", "list")
    assert code == 0 and [c["custodian"] for c in listed["custodians"]] == list(NAMES)  # type: ignore[union-attr]
    assert len({c["root_fingerprint"] for c in listed["custodians"]}) == 2  # type: ignore[union-attr]


def test_a_root_can_t_take_anothers_name(world: Hospitals, tmp_path: Path) -> None:
    folder = world.custodians["south"].folder
    with pytest.raises(ConfigError, match="another root is pinned"):
        trust(world.consumer, folder, world.custodians["south"].fingerprint, short_name="north")


def test_the_same_id_from_two_hospitals(world: Hospitals, daemons: dict[str, Daemon], tmp_path: Path) -> None:
    code, said = run(world, "pull", "latest")
    assert code == ConfigError.exit_code and "north, south" in str(said["text"])
    code, first = run(world, "pull", "--from", "north")
    assert code == 0 and first["folder"] == str(world.consumer.releases / "nights-0001"), first
    code, second = run(world, "pull", "--from", "south")
    assert code == 0 and second["folder"] == str(world.consumer.releases / "south.nights-0001"), second
    assert run(world, "pull", "--from", "south") == (code, second)  # it is here: verified again, not fetched
    assert run(world, "pull", "--from", "north") == (0, first)

    code, listed = run(world, "list")
    assert code == 0 and [(r["custodian"], r["release_id"], r["here"]) for r in listed["releases"]] == [  # type: ignore[union-attr]
        ("north", "nights-0001", True), ("south", "nights-0001", True),
    ]  # fmt: skip
    north, south = open_release(world.consumer, "nights-0001"), open_release(world.consumer, "south.nights-0001")
    assert [r.predicate.custodian for r in (north, south)] == ["Hospital North", "Hospital South"]
    names = [train_student(r, "decision_tree", 1).name for r in (north, south)]
    assert names == ["nights-0001-decision_tree-1", "south.nights-0001-decision_tree-1"]

    union = train_student(south, "decision_tree", 1, beside=[north])
    union.save(world.consumer.students)
    file = tmp_path / "union.onnx"
    export(union, file)
    accompany(world.consumer, union, file)
    found = verify_student(file, [(name, world.releases[name].root) for name in NAMES])
    assert sorted(o.trusted_as for o in found.origins) == list(NAMES)


def test_a_release_of_one_does_not_pass_as_the_others(world: Hospitals) -> None:
    folder = world.held("north")
    assert place(world.consumer, world.custodians["north"], "nights-0001") == folder
    assert place(world.consumer, world.custodians["south"], "nights-0001").name == "south.nights-0001"
    root = TrustedRoot.load(world.custodians["south"].root_file, world.custodians["south"].fingerprint)
    with pytest.raises(UnknownSigner):
        verify(folder, root)


def test_one_hospital_away_hides_no_other(world: Hospitals, daemons: dict[str, Daemon]) -> None:
    file = world.custodians["north"].folder / "custodian.toml"
    before = file.read_text()
    file.write_text(before.replace(daemons["north"].address, "127.0.0.1:1"))
    try:
        code, listed = run(world, "list")
        assert code == 0 and listed["away"] == ["north"]
        assert [r["custodian"] for r in listed["releases"]] == ["south"]  # type: ignore[union-attr]
    finally:
        file.write_text(before)


def test_one_hospitals_withdrawal_names_the_unions_students(world: Hospitals, daemons: dict[str, Daemon]) -> None:
    run(world, "pull", "--from", "north"), run(world, "pull", "--from", "south")
    north, south = open_release(world.consumer, "nights-0001"), open_release(world.consumer, "south.nights-0001")
    union = train_student(north, "knn", 1, beside=[south])
    union.save(world.consumer.students)
    withdraw(world, "south")
    chosen = world.custodians["south"]
    with Client.to(chosen, world.consumer, address=daemons["south"].address, policy=QUICK) as client:
        check(client, world.consumer, chosen)
    assert len(withdrawn(chosen.folder)) == 1 and not withdrawn(world.custodians["north"].folder)
    code, listed = run(world, "list")
    (gone,) = listed["withdrawn"]  # type: ignore[misc]
    assert gone["here"] and union.name in gone["students"]
    code, said = run(world, "train", "nights-0001", "south.nights-0001", "-f", "knn")
    assert code == Withdrawn.exit_code and "withdrawn" in str(said["text"])
    assert open_release(world.consumer, "nights-0001").id == "nights-0001"
    assert union.name in [s.name for s in open_students(world.consumer, [union.name])]


def withdraw(world: Hospitals, name: str) -> None:
    """As ``custodian release withdraw`` does."""
    result = CliRunner().invoke(
        custodian, ["release", "withdraw", "nights-0001", "--home", str(world.homes[name].root)],
        env={"CUSTODIAN_PASSPHRASE": tiny_release.PASSPHRASE},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
