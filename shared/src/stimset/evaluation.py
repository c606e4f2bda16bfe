"""What a custodian says of a partner's student: a signed in-toto test result about an ONNX file, read offline.

The report is a DSSE envelope by the custodian's daemon key (the root's role ``timestamp``: nobody is there to type a passphrase), around an
in-toto Statement v1 of the type test-result (https://in-toto.io/attestation/test-result/v0.1). `shared/FORMAT.md` names every field.

Its numbers are noisy counts over patients: each patient has one vote, spread over the cells of the confusion matrix as the patient's
windows are, and every cell carries Gaussian noise. Everything else is computed from these counts, so it tells no more of a patient than
they do.

Usage::

    data = sign_report(Evaluation(...), online_key)
    evaluation = verify_report(data, root.online)
    evaluation.measures["kappa"]            # Measure(value=0.61, low=0.49, high=0.72)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import FormatError, UnknownSigner
from stimset.metrics import agreement
from stimset.provenance import parse_time
from stimset.release import PAYLOAD_TYPE, STATEMENT_TYPE, canonical_json
from stimset.signing import PublicKey, Signer
from stimset.strict import Fields, load_json
from stimset.windows import MAX_CLASSES, MAX_NAME

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION = "urn:stimset:evaluation:v1"
MODEL_NAME = "model.onnx"
MAX_REPORT_BYTES = 64 << 10
LEVEL = 0.95
MEASURES = ("accuracy", "kappa", "sensitivity", "specificity")
PRECISE = 0.2
"""An interval of kappa wider than this is said to be wide: the result is then a warning."""

TESTS = ("model-format", "model-answers")
_PRECISION = "precision"
_DRAWS = 4000
_SHA256 = re.compile("[0-9a-f]{64}")
_RELEASE_ID = re.compile("[a-z0-9][a-z0-9-]{0,127}")


@dataclass(frozen=True)
class Measure:
    """A number with the interval that the noise alone leaves; None where the counts don't define it.

    The interval says nothing about how other patients would differ from these.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Privacy:
    """What this answer cost the patients, and what bounds all answers together.

    Attributes:
        epsilon, delta: of this answer, for one patient added or removed with all windows.
        noise: standard deviation of every count, in patients.
        queries: answers that the partner may have.
        advantage: by all of them nobody tells whether a person is among the patients with an AUC above ``0.5 + advantage``.
    """

    epsilon: float
    delta: float
    noise: float
    queries: int
    advantage: float


@dataclass(frozen=True)
class Evaluation:
    """A report's content.

    Attributes:
        model: SHA-256 (hex) of the ONNX file.
        release_id, statement: the release that the student was submitted with, and the SHA-256 (hex) of its statement.
        window_spec: digest of the window spec that both go by.
        custodian: the organisation's name.
        created: UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
        simulated: true where the patients are simulated.
        labels: the classes, in the order of `counts`.
        counts: ``[true class][decided class]``, noisy, in patients; single cells may be negative.
        least_patients: at least so many patients are behind it; their exact number is not said.
        privacy: the noise and what it promises.
        measures: of `MEASURES`, computed from `counts` (`measured`).
    """

    model: str
    release_id: str
    statement: str
    window_spec: str
    custodian: str
    created: str
    simulated: bool
    labels: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    least_patients: int
    privacy: Privacy
    measures: Mapping[str, Measure]

    @property
    def precise(self) -> bool:
        """Whether the noise leaves kappa an interval of at most `PRECISE`."""
        kappa = self.measures["kappa"]
        return kappa.low is not None and kappa.high is not None and kappa.high - kappa.low <= PRECISE


def measured(counts: NDArray[np.float64], noise: float, seed: int = 0) -> dict[str, Measure]:
    """Each of `MEASURES` of noisy counts, with the interval that their noise leaves.

    The interval holds the middle `LEVEL` of what the counts give under fresh noise of the same size (a parametric bootstrap); negative
    counts are taken as 0.

    Args:
        counts: ``(classes, classes)``, row = true class.
        noise: standard deviation of each.
        seed: of the draws; any gives the same up to their number.
    """
    draws = counts + noise * np.random.default_rng(seed).standard_normal((_DRAWS, *counts.shape))
    whole = agreement(np.maximum(np.concatenate([counts[None], draws]), 0.0))
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    found = {}
    for name in MEASURES:
        value, known = whole[name][0], whole[name][1:]
        known = known[np.isfinite(known)]
        low, high = np.percentile(known, tails) if 2 * len(known) >= _DRAWS else (np.nan, np.nan)
        # The counts themselves lie in the interval, though a cell that was cut off at 0 may have pulled it to one side.
        found[name] = Measure(*(_number(v) for v in (value, np.fmin(low, value), np.fmax(high, value))))
    return found


def statement_bytes(evaluation: Evaluation) -> bytes:
    """The canonical bytes of the statement: what is signed.

    Raises:
        FormatError: it would not be read back.
    """
    e, p = evaluation, evaluation.privacy
    passed, warned = list(TESTS), [_PRECISION]
    if e.precise:
        passed, warned = [*TESTS, _PRECISION], []
    document = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [{"name": MODEL_NAME, "digest": {"sha256": e.model}}],
        "predicate": {
            "result": "WARNED" if warned else "PASSED",
            "configuration": [
                {"name": e.release_id, "digest": {"sha256": e.statement}},
                {"name": "window-spec", "digest": {"sha256": e.window_spec}},
            ],
            "passedTests": passed,
            "warnedTests": warned,
            "failedTests": [],
            EXTENSION: {
                "custodian": e.custodian,
                "created": e.created,
                "simulated": e.simulated,
                "labels": list(e.labels),
                "counts": [list(row) for row in e.counts],
                "leastPatients": e.least_patients,
                "privacy": {
                    "epsilon": p.epsilon, "delta": p.delta, "noise": p.noise, "queries": p.queries, "advantage": p.advantage,
                },
                "level": LEVEL,
                "measures": {name: {"value": m.value, "low": m.low, "high": m.high} for name, m in e.measures.items()},
            },
        },
    }  # fmt: skip
    try:
        data = canonical_json(document)
    except (ValueError, TypeError) as error:
        raise FormatError(f"evaluation: a value can't be written as JSON ({error})") from None
    parse_report(data)
    return data


def sign_report(statement: bytes, signer: Signer) -> bytes:
    """The signed envelope's bytes, in the one canonical form."""
    signature = Signature(signer.keyid, signer.sign(pae(PAYLOAD_TYPE, statement)))
    return Envelope(PAYLOAD_TYPE, statement, (signature,)).to_bytes()


def verify_report(data: bytes, keys: Mapping[str, PublicKey]) -> Evaluation:
    """Check a report from outside, offline.

    Args:
        data: the envelope's bytes.
        keys: key id -> key of those that may sign it: the root's role ``timestamp`` (`stimset.roots.TrustedRoot.online`).

    Raises:
        UnknownSigner: none of these keys has signed it.
        SignatureInvalid: the signature does not hold.
        FormatError: it is no evaluation report.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise FormatError(f"evaluation: longer than {MAX_REPORT_BYTES} bytes; it is no report of a custodian's")
    envelope = parse_envelope(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise FormatError("evaluation: an envelope of something else")
    signature = next((s for s in envelope.signatures if s.keyid in keys), None)
    if signature is None:
        raise UnknownSigner("the report is not signed by the daemon's key of a trusted custodian; ask for it again, or trust its custodian")
    keys[signature.keyid].verify(signature.value, envelope.pae())
    return parse_report(envelope.payload)


def parse_report(data: bytes) -> Evaluation:
    """Read a statement whose signature was verified.

    Raises:
        FormatError: it is no evaluation report within the documented bounds.
    """
    what = "evaluation"
    fields = Fields(load_json(data, limit=MAX_REPORT_BYTES, what=what), what, ("_type", "predicateType", "subject", "predicate"))
    fields.exactly("_type", STATEMENT_TYPE)
    fields.exactly("predicateType", PREDICATE_TYPE)
    (entry,) = fields.sequence("subject", least=1, most=1)
    name, model = _named(entry)
    members = ("result", "configuration", "passedTests", "warnedTests", "failedTests", EXTENSION)
    predicate = Fields(fields.mapping("predicate"), f"{what}: predicate", members)
    (release_id, statement), (spec_name, window_spec) = map(_named, predicate.sequence("configuration", least=2, most=2))
    if name != MODEL_NAME or spec_name != "window-spec" or not _RELEASE_ID.fullmatch(release_id):
        raise FormatError("evaluation: subject and configuration must be a model, a release and a window spec")
    body = Fields(
        predicate.mapping(EXTENSION), f"{what}: {EXTENSION}",
        ("custodian", "created", "simulated", "labels", "counts", "leastPatients", "privacy", "level", "measures"),
    )  # fmt: skip
    labels = _labels(body.sequence("labels", least=2, most=MAX_CLASSES))
    parse_time(body.text("created"))
    if body.number("level") != LEVEL:
        raise FormatError(f"evaluation: 'level' must be {LEVEL:g}")
    found = Evaluation(
        model=model, release_id=release_id, statement=statement, window_spec=window_spec,
        custodian=body.text("custodian", least=1, most=200), created=body.text("created"), simulated=body.flag("simulated"),
        labels=labels, counts=_counts(body.sequence("counts", least=len(labels), most=len(labels))),
        least_patients=body.integer("leastPatients", 1, 1 << 40), privacy=_privacy(body.mapping("privacy")),
        measures=_measures(body.mapping("measures")),
    )  # fmt: skip
    _check_result(predicate, found.precise)
    return found


def _check_result(predicate: Fields, precise: bool) -> None:
    """What a reader of test results sees must be what the numbers say."""
    predicate.exactly("result", "PASSED" if precise else "WARNED")
    expected = {
        "passedTests": [*TESTS, _PRECISION] if precise else list(TESTS),
        "warnedTests": [] if precise else [_PRECISION],
        "failedTests": [],
    }
    for name, tests in expected.items():
        if predicate.sequence(name, most=8) != tests:
            raise FormatError(f"evaluation: '{name}' must be {tests} for these numbers")


def _named(entry: object) -> tuple[str, str]:
    """Name and SHA-256 (hex) of an in-toto resource descriptor."""
    fields = Fields(entry, "evaluation: resource", ("name", "digest"))
    digest = Fields(fields.mapping("digest"), "evaluation: digest", ("sha256",))
    return fields.text("name", least=1, most=128), digest.text("sha256", pattern=_SHA256)


def _labels(entries: Sequence[object]) -> tuple[str, ...]:
    labels = tuple(entry for entry in entries if isinstance(entry, str) and 0 < len(entry) <= MAX_NAME)
    if len(labels) != len(entries) or len(set(labels)) != len(labels):
        raise FormatError(f"evaluation: 'labels' must be different names of 1 to {MAX_NAME} characters")
    return labels


def _counts(rows: Sequence[object]) -> tuple[tuple[float, ...], ...]:
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != len(rows):
            raise FormatError("evaluation: 'counts' must have as many rows and columns as there are labels")
        cells = Fields({str(i): value for i, value in enumerate(row)}, "evaluation: counts", [str(i) for i in range(len(row))])
        found.append(tuple(cells.number(str(i)) for i in range(len(row))))
    return tuple(found)


def _privacy(document: dict[str, Any]) -> Privacy:
    fields = Fields(document, "evaluation: privacy", ("epsilon", "delta", "noise", "queries", "advantage"))
    found = Privacy(
        fields.number("epsilon"), fields.number("delta"), fields.number("noise"), fields.integer("queries", 1, 1 << 20),
        fields.number("advantage"),
    )  # fmt: skip
    if not (found.epsilon > 0 and 0 < found.delta < 1 and found.noise > 0 and 0 < found.advantage < 0.5):
        raise FormatError("evaluation: 'privacy' must state noise, epsilon above 0, delta below 1 and an advantage below 0.5")
    return found


def _measures(document: dict[str, Any]) -> dict[str, Measure]:
    measures = Fields(document, "evaluation: measures", MEASURES)
    found = {}
    for name in MEASURES:
        parts = Fields(measures.mapping(name), f"evaluation: {name}", ("value", "low", "high"))
        found[name] = Measure(*(parts.optional_number(part) for part in ("value", "low", "high")))
    return found


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
