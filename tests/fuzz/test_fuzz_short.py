"""The short form of ``make fuzz``, and every single byte of a small release."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from fuzzing import Target, mutate, targets, try_one
from stimset.errors import ContentMismatch, FormatError, SignatureInvalid, StimsetError
from stimset.release import ENVELOPE_FILE
from stimset.verifying import TrustedRoot, verify

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> dict[str, Target]:
    return {target.name: target for target in targets(tmp_path_factory.mktemp("fuzz"))}


KINDS = ("envelope", "statement", "shard", "onnx", "root", "timestamp.json", "1.snapshot.json", "1.targets.json")


def test_no_kind_is_left_out(kinds):
    assert tuple(kinds) == KINDS
    assert abs(sum(target.share for target in kinds.values()) - 1) < 1e-9


@pytest.mark.parametrize("name", KINDS)
def test_mutants(kinds, name):
    rng = random.Random(name)
    for _ in range(int(4000 * kinds[name].share) + 50):
        try_one(kinds[name], mutate(rng, kinds[name].original))


def flips(version: str, release: str, tmp_path: Path, stride: int) -> int:
    root = TrustedRoot.load(GOLDEN / version / "root.json", (GOLDEN / version / "fingerprint.txt").read_text())
    folder = shutil.copytree(GOLDEN / version / release, tmp_path / "copy")
    rng, tried = random.Random(1), 0
    for path in sorted(folder.iterdir()):
        original = path.read_bytes()
        # What is covered by a digest is a content mismatch; the envelope's own bytes are format or signature.
        wanted = (FormatError, SignatureInvalid) if path.name == ENVELOPE_FILE else ContentMismatch
        for position in range(rng.randrange(stride), len(original), stride):
            changed = bytearray(original)
            changed[position] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            try:
                verify(folder, root)
            except StimsetError as error:
                assert isinstance(error, wanted), f"{path.name} at {position}: {type(error).__name__}"
            else:
                raise AssertionError(f"{path.name}: byte {position} was changed unnoticed")
            tried += 1
        path.write_bytes(original)
    verify(folder, root)
    return tried


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_flips(tmp_path, version):
    assert flips(version, "one-signal-0001", tmp_path, 11) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_single_byte(tmp_path, version):
    assert flips(version, "one-signal-0001", tmp_path, 1) > 14_000
