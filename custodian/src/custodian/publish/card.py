"""What a release says of itself beside the signed statement: ``card.json`` (Croissant 1.0) and ``CARD.md`` (for
people).

Both are made from the predicate (and the number of people who sign) alone, so they can hold nothing about the cohort that the
signed statement does not hold.

Usage::

    text = readable_card(predicate)
    data = croissant_card(predicate, [FileEntry("CARD.md", ...), FileEntry("stimuli-00000.safetensors", ...)])
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stimset.release import Budget, CheckResult, FileEntry, GateResult, Predicate

SIMULATED = (
    "SIMULATED: the patients behind this release do not exist. "
    "It shows how the method works and says nothing about real persons."
)
NOT_SIMULATED = "The teacher was trained on recordings of real patients, which never left the custodian."

# The context that Croissant's specification prescribes (http://mlcommons.org/croissant/1.0).
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant_card(predicate: Predicate, files: Sequence[FileEntry]) -> bytes:
    """The Croissant description as JSON-LD.

    Args:
        predicate: what will be signed.
        files: the files of the release, except ``card.json`` itself, the statement and the envelope.
    """
    p = predicate
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "@id": f"urn:stimset:release:{p.release_id}",
        "name": p.release_id,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": f"{SIMULATED if p.simulated else NOT_SIMULATED} {_description(p)}",
        "url": f"urn:stimset:release:{p.release_id}",
        "version": f"{p.sequence}.0.0",
        "datePublished": p.created,
        "expires": p.expires,
        "creator": {"@type": "sc:Organization", "name": p.custodian},
        "license": "As agreed between the custodian and the partner who received this release.",
        "keywords": ["stimuli", "synthetic", "simulated" if p.simulated else "anonymised", *p.window_spec.labels],
        "citeAs": f"{p.custodian}: {p.release_id}, {p.created[:10]}.",
        "rai:dataCollection": f"Synthesised from a teacher network. {SIMULATED if p.simulated else NOT_SIMULATED}",
        "rai:personalSensitiveInformation": "No patient's recording; the gate's measurements are in statement.json.",
        "distribution": [_file_object(file) for file in files],
        "recordSet": [_labels(p), _stimuli(p)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _description(p: Predicate) -> str:
    spec = p.window_spec
    signals = ", ".join(s.name for s in spec.signals)
    return (
        f"{p.stimuli} synthesised stimuli of {spec.channels} signal(s) "
        f"({signals}), {spec.length_s:g} s at {spec.rate_hz:g} Hz, each with a teacher network's probabilities of "
        f"{', '.join(spec.labels)}. No recording of a patient is part of it. Verify it before use: CARD.md says how."
    )


def _file_object(file: FileEntry) -> dict[str, Any]:
    kinds = {"safetensors": "application/octet-stream", "md": "text/markdown"}
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": kinds.get(file.name.rpartition(".")[2], "application/octet-stream"),
        "sha256": file.sha256,
    }


def _labels(p: Predicate) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "labels",
        "name": "labels",
        "description": f"The classes, in the order of all probabilities. {p.window_spec.meaning}".strip(),
        "dataType": "sc:Enumeration",
        "key": {"@id": "labels/name"},
        "field": [{"@type": "cr:Field", "@id": "labels/name", "name": "name", "dataType": "sc:Text"}],
        "data": [{"labels/name": label} for label in p.window_spec.labels],
    }


def _stimuli(p: Predicate) -> dict[str, Any]:
    """One record per stimulus; all shards are alike, so the first stands as the source."""
    spec, first = p.window_spec, next(iter(p.shards))
    fields = (
        ("stimuli", f"float32 ({spec.channels}, {spec.samples}): signals by samples, within +-{spec.clip:g}"),
        ("probabilities", f"float32 ({spec.classes},): the teacher's belief in each class, summing to 1"),
    )
    return {
        "@type": "cr:RecordSet",
        "@id": "stimuli",
        "name": "stimuli",
        "description": f"{p.stimuli} stimuli in {len(p.shards)} safetensors file(s), all of the form of {first}.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"stimuli/{name}",
                "name": name,
                "description": f"{description}. The safetensors tensor '{name}'.",
                "dataType": "sc:Float",
                "repeated": True,
                "source": {"fileObject": {"@id": first}, "extract": {"fileProperty": "content"}},
            }
            for name, description in fields
        ],
    }


def readable_card(predicate: Predicate, persons: int = 1) -> str:
    """The card for people, in Markdown; `persons` is how many the root asks to sign."""
    p = predicate
    lines = [
        f"# {p.release_id}",
        "",
        f"> **{SIMULATED}**" if p.simulated else f"> {NOT_SIMULATED}",
        "",
        _description(p),
        "",
        *_table(
            ("", ""),
            [
                ("Custodian", p.custodian),
                ("Series and number", f"{p.name}, {p.sequence}"),
                ("Made", p.created),
                ("Valid until", p.expires),
                ("Stimuli", f"{p.stimuli} in {len(p.shards)} file(s)"),
                ("Window spec", f"`{p.window_spec.digest()}`"),
                ("Signed by", "one person" if persons == 1 else f"{persons} people, each of whom had to agree"),
            ],
        ),
        "",
        "## What a stimulus is",
        "",
        *_window_lines(p),
        "",
        "## How it was made",
        "",
        "A teacher network was trained inside the custodian. Artificial signals were shaped until the teacher's "
        "neurons answered (excitation), while what points at single patients was driven away (inhibition), as far "
        "as the recipe says so. The labels are the teacher's beliefs.",
        "",
        *_plain("Teacher", p.teacher),
        *_plain("Recipe", p.recipe),
        "",
        "## What was read of the patients beside the teacher",
        "",
        *_aggregates(p.aggregates),
        "",
        *_budget(p.budget),
        "## What the gate measured",
        "",
        *_verdict(p.gate),
        *_table(("check", "measured", "limit", "what it says"), [_check_row(check) for check in p.gate.checks]),
        "",
        *_measurements(p.gate.measurements),
        "## Limits",
        "",
        "- The gate's numbers were measured by the attacks that it ran; they are no proof against every attack.",
        "- A student learns the teacher's beliefs, and inherits its errors and its cohort's composition.",
        "- The signals imitate statistics of the input; they are not to be read as a patient's recording.",
        "- Not for diagnosis. What a student is worth must be measured on recordings of your own patients.",
        "",
        *_VERIFY,
    ]
    return "\n".join(lines) + "\n"


def _window_lines(p: Predicate) -> list[str]:
    spec = p.window_spec
    return [
        f"{spec.epoch_s:g} s that the label speaks of, with {spec.before_s:g} s before and {spec.after_s:g} s after, "
        f"at {spec.rate_hz:g} Hz: {spec.channels} x {spec.samples} numbers. Normalisation: {spec.normalisation}, then "
        f"held within +-{spec.clip:g}. {spec.meaning}".strip(),
        "",
        *_table(("signal", "unit before normalisation"), [(s.name, s.unit or "not stated") for s in spec.signals]),
        "",
        f"Classes, in the order of the probabilities: {', '.join(spec.labels)}.",
    ]


def _plain(title: str, document: Mapping[str, Any]) -> list[str]:
    """The plain values of a document, one line each; what is nested stands in statement.json."""
    rows = [(f"{title}: {key}", _cell(value)) for key, value in document.items() if not isinstance(value, dict | list)]
    return [*_table(("", ""), rows), ""] if rows else []


def _aggregates(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    if not entries:
        return ["Nothing."]
    keys = ("name", "numbers", "bound", "epsilon", "delta")
    rows = [tuple("none" if entry.get(key) is None else _cell(entry[key]) for key in keys) for entry in entries]
    return [
        *_table(("statistic", "numbers", "bound on one patient's part", "epsilon", "delta"), rows),
        "",
        "Where epsilon is 'none' no noise was added, and no differential-privacy guarantee is claimed.",
    ]


def _budget(budget: Budget | None) -> list[str]:
    if budget is None:
        return []
    spent = "no bound holds, since something was read without noise"
    if budget.epsilon is not None:
        spent = f"epsilon {budget.epsilon:.4g} at delta {budget.delta:.4g}"
    return [f"The cohort's privacy budget so far, this release included: {spent} ({budget.entries} recorded uses).", ""]


def _verdict(gate: GateResult) -> list[str]:
    """How the verdict came out, and what is to be read beside it."""
    lines = [f"Policy `{gate.policy}`. All checks passed; otherwise there would be no release.", ""]
    if (o := gate.override) is not None:
        names = " and ".join(f"{_cell(name)} ({role})" for role, name in o.people.items())
        lines = [
            f"> **OVERRIDDEN: the gate refused this set under the policy `{gate.policy}`.** {names} let it leave all the same.",
            ">",
            f"> Failed checks: {', '.join(f'`{_cell(name)}`' for name in o.failed)}.",
            ">",
            f"> Their reason: {_cell(o.reason)}",
            "",
        ]
    for warning in gate.warnings:
        lines += [f"> **Warning.** {_cell(warning)}", ""]
    return lines


def _check_row(check: CheckResult) -> tuple[str, ...]:
    value = "not measured" if check.value is None else f"{check.value:.4g}"
    return check.name, value, f"{check.rule.replace('<', '&lt;').replace('>', '&gt;')} {check.limit:.4g}", check.meaning


def _measurements(measured: Mapping[str, float]) -> list[str]:
    if not measured:
        return []
    return [*_table(("further measurement", "value"), [(name, f"{value:.4g}") for name, value in measured.items()]), ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [tuple(head), tuple("---" for _ in head), *(tuple(_cell(cell) for cell in row) for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


_VERIFY = """\
## How to verify

With the consumer's command, against the root whose fingerprint the custodian told you on another channel:

    consumer verify THIS_FOLDER --root root.json --fingerprint FINGERPRINT

By hand, with `openssl` and `jq` (`deploy/verify-release.sh` of the source does all of it):

    openssl dgst -sha256 root.json                                    # is FINGERPRINT
    jq -rj .payload provenance.dsse.json | openssl base64 -d -A > p   # what was signed
    cmp p statement.json                                              # is what lies here
    { printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < p)"; cat p; } > pae
    # every key of root.json's role "targets" must have signed pae; for each Ed25519 key (raw, in hex):
    KEYID=$(jq -r '.signed as $s | $s.roles.targets.keyids[] | select($s.keys[.].scheme == "ed25519")' root.json | head -n 1)
    { printf '302a300506032b6570032100'
      jq -rj --arg k "$KEYID" '.signed.keys[$k].keyval.public' root.json; } | xxd -r -p > key
    jq -rj --arg k "$KEYID" '.signatures[] | select(.keyid == $k).sig' provenance.dsse.json | openssl base64 -d -A > sig
    openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in pae -sigfile sig
    jq -r '.subject[] | .digest.sha256 + "  " + .name' statement.json | sha256sum -c

A missing file, a changed byte or a file that the statement does not name makes the release worthless.""".splitlines()
