"""A student's ONNX file is followed back to the custodian's root, and nothing else passes for it."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from consumer.cli import app
from consumer.config import Home
from consumer.export import export
from consumer.lineage import VerifiedStudent, accompany, lineage_file, properties_of, verify_student
from consumer.students.training import train_student
from stimset.errors import ConfigError, ContentMismatch, FileMissing, FormatError, StimsetError, UnknownSigner
from stimset.verifying import verify
from tiny_release import TinyRelease, make


@dataclass(frozen=True)
class Exported:
    tiny: TinyRelease
    home: Home
    file: Path

    def copy(self, to: Path) -> Path:
        to.mkdir()
        shutil.copy(lineage_file(self.file), to)
        return Path(shutil.copy(self.file, to))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp("lineage")
    tiny = make(folder / "hospital", shards=(60,))
    home = Home(folder / "partner")
    home.releases.mkdir(parents=True)
    shutil.copytree(tiny.folder, home.releases / tiny.release.id)
    student = train_student(verify(tiny.folder, tiny.root), "logistic_regression", 1)
    file = folder / "student.onnx"
    export(student, file)
    with pytest.raises(ConfigError, match="not in"):
        accompany(Home(folder / "elsewhere"), student, file)
    accompany(home, student, file)
    return Exported(tiny, home, file)


def chain(file: Path, tiny: TinyRelease) -> VerifiedStudent:
    return verify_student(file, [("hospital", tiny.root)])


def test_the_chain_holds(exported):
    found = chain(exported.file, exported.tiny)
    assert (found.release.predicate.release_id, found.trusted_as) == ("tiny-0001", "hospital")
    assert found.claims["family"] == "logistic_regression"
    assert found.release == exported.tiny.release.statement


def test_by_the_command(exported):
    pinned = ("--root", str(exported.tiny.root_file), "--fingerprint", exported.tiny.fingerprint)
    result = CliRunner().invoke(app, ["verify", str(exported.file), *pinned, "--format", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["release"] == "tiny-0001"
    assert "not proven" in CliRunner().invoke(app, ["verify", str(exported.file), *pinned]).output


def test_the_reader_agrees_with_onnx(exported):
    data = exported.file.read_bytes()
    assert properties_of(data) == {p.key: p.value for p in onnx.load_from_string(data).metadata_props}


def test_another_root_another_file_no_lineage(exported, tmp_path):
    other = make(tmp_path / "other")
    with pytest.raises(UnknownSigner):
        chain(exported.file, other)
    file = exported.copy(tmp_path / "copy")
    data = file.read_bytes()
    file.write_bytes(data + b"\x00")
    with pytest.raises(ContentMismatch):
        chain(file, exported.tiny)
    lineage_file(file).unlink()
    with pytest.raises(FileMissing):
        chain(file, exported.tiny)


@pytest.mark.parametrize("key", ["stimset.release", "stimset.statement_sha256", "stimset.window_spec", "stimset.labels", "stimset.family"])
def test_a_student_that_names_something_else(exported, tmp_path, key):
    """Even with a lineage file made to fit the changed ONNX file."""
    import hashlib

    file = exported.copy(tmp_path / "copy")
    model = onnx.load_from_string(file.read_bytes())
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = entry.value[:-1] + "~"
    file.write_bytes(model.SerializeToString())
    lineage = json.loads(lineage_file(file).read_text())
    lineage["subject"][0]["digest"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    lineage_file(file).write_text(json.dumps(lineage))
    with pytest.raises(ContentMismatch):
        chain(file, exported.tiny)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutations_raise_our_errors_only(exported, tmp_path_factory, data):
    file = exported.copy(tmp_path_factory.mktemp("mutated") / "copy")
    path = file if data.draw(st.booleans()) else lineage_file(file)
    raw = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position : position + data.draw(st.integers(1, 20))] = data.draw(st.binary(max_size=20))
    if bytes(raw) == path.read_bytes():
        return
    path.write_bytes(raw)
    with contextlib.suppress(StimsetError):
        found = chain(file, exported.tiny)
        # Claims may be rewritten by whoever holds the files; what was signed can't.
        assert path != file and found.release == exported.tiny.release.statement


@given(st.binary(max_size=300))
def test_junk_has_no_properties_or_is_refused(junk):
    with contextlib.suppress(FormatError):
        assert isinstance(properties_of(junk), dict)
