"""The types are the privacy boundary: windows -> candidates -> AdmittedSet -> SignedRelease, VerifiedRelease -> student.

Two proofs. The sources: nobody but the one room names a seal, makes the type, or signs. The running program: whatever is
handed over in place of the right type is refused.
"""

from __future__ import annotations

import ast
import copy
import pickle
from typing import get_type_hints

import numpy as np
import pytest

import tiny_release
from consumer.students.training import train_student
from custodian.excitation import engine
from custodian.excitation.candidates import CandidateSet
from custodian.gate import verdict
from custodian.gate.admitted import AdmittedSet
from custodian.publish.keys import load_signers
from custodian.publish.publishing import SignedRelease, publish
from source_tree import Source, sources
from stimset.errors import ReleaseRefused
from stimset.release import StimulusArrays
from stimset.verifying import VerifiedRelease, verify

# Type -> the one module that makes it.
MAKERS = {
    "AdmittedSet": "custodian/gate/verdict.py",
    "SignedRelease": "custodian/publish/publishing.py",
    "VerifiedRelease": "stimset/verifying.py",
    "NoisyCounts": "custodian/evaluation/counting.py",
}
# Where a seal may be named: the makers, and the module of AdmittedSet.
SEALED = {*MAKERS.values(), "custodian/gate/admitted.py"}
# Function -> the modules that may call it, and no other.
CALLERS = {
    "sign_statement": {"custodian/publish/publishing.py"},
    "add_signatures": {"custodian/publish/officer.py"},
    "publish": {"custodian/cli/releases.py", "custodian/pipeline.py"},
    "propose": {"custodian/cli/releases.py"},
    "publish_proposal": {"custodian/cli/approvals.py"},
    "Override": {"custodian/gate/override.py", "stimset/gate_entry.py"},
    "overridden": {"custodian/gate/verdict.py"},
    "install_override": {"custodian/cli/override.py"},
    "write_shards": {"custodian/publish/publishing.py"},
}
WAYS_AROUND = {"__new__", "__reduce_ex__", "__setstate__", "__subclasses__", "_setattr"}


def problems(source: Source) -> list[str]:
    """Every place of a module that could make one of the types outside its room."""
    found = []
    names = source.names()
    if names & {"_SEAL", "_seal"} and source.name not in SEALED:
        found.append(f"{source.name}: names a seal")
    found += [f"{source.name}: uses {name}" for name in sorted(names & WAYS_AROUND)]
    for name, call in source.calls():
        function = name.rpartition(".")[2]
        where = f"{source.name}:{call.lineno}"
        if function in MAKERS and source.name != MAKERS[function]:
            found.append(f"{where}: makes a {function}")
        if function in CALLERS and source.name not in CALLERS[function]:
            found.append(f"{where}: calls {function}")
        if function == "cast" and any(str(ast.unparse(a)).strip("'\"").rpartition(".")[2] in MAKERS for a in call.args):
            found.append(f"{where}: casts to a boundary type")
        if name == "object.__setattr__" and source.name not in SEALED and ast.unparse(call.args[0]) != "self":
            found.append(f"{where}: sets an attribute of another's object")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            found += [f"{source.name}:{node.lineno}: subclass" for b in node.bases if ast.unparse(b).rpartition(".")[2] in MAKERS]
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Name) and node.value.id in MAKERS:
            found.append(f"{source.name}:{node.lineno}: gives {node.value.id} another name")
        if isinstance(node, ast.Attribute) and node.attr == "__class__" and not isinstance(node.ctx, ast.Load):
            found.append(f"{source.name}:{node.lineno}: changes a class")
        if isinstance(node, ast.ImportFrom):
            found += [f"{source.name}: renames {a.name}" for a in node.names if a.asname and a.name in {*MAKERS, *CALLERS}]
    return found


def test_each_type_is_made_in_one_room():
    assert [problem for source in sources() for problem in problems(source)] == []
    by_name = {source.name: source for source in sources()}
    for type_name, module in MAKERS.items():
        assert type_name in {name.rpartition(".")[2] for name, _ in by_name[module].calls()}, f"{module} makes none"


@pytest.mark.parametrize(
    "text",
    [
        "AdmittedSet(c, r, candidates_digest='x')",
        "admitted.AdmittedSet(c, r, candidates_digest='x')",
        "from custodian.gate.admitted import AdmittedSet as A",
        "A = AdmittedSet",
        "VerifiedRelease(f, s, k, r, v)",
        "f(_seal=x)",
        "from custodian.gate.admitted import _SEAL",
        "getattr(admitted, '_SEAL')",
        "object.__new__(VerifiedRelease)",
        "class Mine(VerifiedRelease): pass",
        "object.__setattr__(release, 'folder', x)",
        "arrays.__class__ = VerifiedRelease",
        "typing.cast('VerifiedRelease', arrays)",
        "sign_statement(b'', signers)",
        "from stimset.signing import sign_statement as quietly",
        "overridden(home, folder, result, digest)",
        "replace(result, override=Override(people, reason, failed, digest))",
    ],
)
def test_each_rule_finds_its_breach(text):
    assert problems(Source.of(text))


def test_a_student_is_fitted_in_one_place():
    fits = {s.name for s in sources() if s.name.startswith("consumer/") for name, _ in s.calls() if name.endswith(".fit")}
    assert fits == {"consumer/students/training.py"}


def test_each_step_takes_what_the_step_before_returns():
    assert get_type_hints(engine.excite)["return"] is CandidateSet
    assert get_type_hints(verdict.admit)["candidates"] is CandidateSet
    assert get_type_hints(verdict.admit)["return"] is get_type_hints(verdict.readmit)["return"] is AdmittedSet
    assert get_type_hints(publish)["admitted"] is AdmittedSet
    assert get_type_hints(publish)["return"] is SignedRelease
    assert get_type_hints(verify)["return"] is VerifiedRelease
    assert get_type_hints(train_student)["release"] is VerifiedRelease


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tiny_release.TinyRelease:
    return tiny_release.make(tmp_path_factory.mktemp("types") / "home", shards=(30,))


@pytest.fixture(scope="module")
def verified(tiny) -> VerifiedRelease:
    return verify(tiny.folder, tiny.root)


@pytest.fixture(scope="module")
def admitted(tmp_path_factory) -> AdmittedSet:
    return tiny_release.admit(tiny_release.candidates(tmp_path_factory.mktemp("types") / "candidates"))


def test_publish_refuses_what_the_gate_did_not_admit(tiny, admitted):
    signers = load_signers(tiny.home, tiny_release.PASSPHRASE)

    class LooksAdmitted:
        candidates, result, candidates_digest = admitted.candidates, admitted.result, admitted.candidates_digest

    before = sorted(p.name for p in tiny.home.releases.iterdir())
    for thing in (admitted.candidates, admitted.candidates.folder, admitted.candidates.arrays(), LooksAdmitted(), tiny.release):
        with pytest.raises(ReleaseRefused):
            publish(thing, tiny.home, signers, name="tiny")
    assert sorted(p.name for p in tiny.home.releases.iterdir()) == before


def test_train_student_refuses_what_was_not_verified(tiny, verified):
    values = np.zeros((40, *verified.spec.shape), np.float32)
    beliefs = np.full((40, 2), 0.5, np.float32)

    class LooksVerified:
        spec, predicate, statement = verified.spec, verified.predicate, verified.statement

        def stimuli(self):
            return StimulusArrays(values, beliefs)

    for thing in (tiny.folder, str(tiny.folder), values, (values, beliefs), StimulusArrays(values, beliefs), tiny.release, LooksVerified()):
        with pytest.raises(TypeError, match="VerifiedRelease"):
            train_student(thing, "logistic-regression", 0)


def test_the_gate_admits_no_refused_result(admitted):
    failed = copy.copy(admitted.result.checks[0])
    object.__setattr__(failed, "passed", False)
    for result in (
        tiny_release.GateResult(False, "p", "ab" * 32, admitted.result.checks, {}),
        tiny_release.GateResult(True, "p", "ab" * 32, (), {}),
        tiny_release.GateResult(True, "p", "ab" * 32, (failed,), {}),
    ):
        with pytest.raises(ReleaseRefused):
            tiny_release.admit(admitted.candidates, result)


def test_none_is_made_without_its_seal(tiny, verified, admitted):
    with pytest.raises(TypeError):
        AdmittedSet(admitted.candidates, admitted.result, candidates_digest=admitted.candidates_digest)
    arguments = (verified.folder, verified.statement, verified.signed_by, verified.root_fingerprint)
    with pytest.raises(TypeError):
        SignedRelease(*arguments)
    with pytest.raises(TypeError):
        VerifiedRelease(*arguments, verified.valid_until)


def test_none_is_changed_copied_or_derived(tiny, verified, admitted):
    for made, attribute in ((admitted, "candidates"), (tiny.release, "folder"), (verified, "folder")):
        with pytest.raises(AttributeError):
            setattr(made, attribute, None)
        with pytest.raises((AttributeError, TypeError)):
            made.extra = 1
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises((TypeError, AttributeError)):
                duplicate(made)
        with pytest.raises(TypeError):
            type("Derived", (type(made),), {})
