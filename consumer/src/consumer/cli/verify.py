"""``consumer verify``: hold a release folder, or a student's ONNX file, against a pinned root, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.config import Home
from stimset import console
from stimset.errors import ConfigError, ContentMismatch, UnknownSigner

if TYPE_CHECKING:
    from rich.console import RenderableType

    from consumer.acceptance import Acceptance
    from stimset.verifying import TrustedRoot, VerifiedRelease

PIN_FILE = "custodian.toml"
ROOT_FILE = "root.json"

PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="Our own demands as TOML, or 'partner', the shipped example; exit code 19 where unmet.")
]
OverrideOption = Annotated[
    bool, typer.Option("--accept-override", help="Take a release though two people overrode the custodian's gate.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("verify")(verify_release)


@console.reports_errors
def verify_release(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RELEASE|STUDENT.onnx|REPORT.json", help="A release's folder or id, an ONNX file, or a report on one."),
    ],
    root: Annotated[Path | None, typer.Option("--root", help="The custodian's root.json; needs --fingerprint.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="SHA-256 of root.json, told on another channel.")
    ] = None,
    custodian: Annotated[
        str | None, typer.Option("--custodian", help="One trusted custodian of the home; else all are tried.")
    ] = None,
    policy: PolicyOption = None,
    accept_override: OverrideOption = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="A gate report that the custodian handed over; must be the one that was signed.")
    ] = None,
    home: Annotated[Path | None, typer.Option("--home", help="The consumer's home folder; else CONSUMER_HOME.")] = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Check every promise of a release, offline, on any copy of its folder; or a student's descent from one, or a custodian's report on it.

    Builds on a pinned root: --root with --fingerprint, or a custodian whom 'consumer trust' added to the home folder.
    For an ONNX file, its .lineage.json must lie beside it; the chain is followed to the custodian's root. For a
    report of 'consumer submit', the signature of the custodian's daemon counts, whose key the root names.
    Leaves nothing. Exit codes by cause: 0 holds; 5 bad or too few signatures; 15 nobody known signed (swapped key,
    wrong root); 6 a changed byte; 16 a missing file; 17 an extra file; 18 a truncated file; 7 expired; 9 withdrawn, as
    the custodian said at the last contact; 4 not a release, or numbers outside the signed bounds; 3 no usable root;
    19 every promise holds, but --policy does not accept it, or two people overrode the custodian's gate.

    A policy is a TOML file with our own demands: limits on what the custodian measured and signed (at_most, at_least), recipes and
    training regimes, a greatest epsilon, a least number of patients. '--policy partner' uses the shipped example.

    Example: consumer verify apnea-0001 --root root.json --fingerprint 4f2a... --policy ours.toml
    """
    from consumer.acceptance import load_acceptance
    from consumer.cli.submit import show_report
    from stimset.verifying import verify

    acceptance = load_acceptance(policy, accept_override=accept_override)
    candidates = _roots(root, fingerprint, custodian, home)
    if folder.suffix == ".onnx":
        _verify_student(folder, candidates, None if root is not None else home, acceptance, format)
        return
    if folder.suffix == ".json" and folder.is_file():
        show_report(folder, candidates, format)
        return
    folder = folder if root is not None else Home.open(home).release(str(folder))
    if not folder.exists():
        raise ConfigError(f"there is no release '{folder}', in the home or as a folder; name one, or run 'consumer pull'")
    for position, (trusted_as, trusted) in enumerate(candidates):
        try:
            release = verify(folder, trusted)
        except UnknownSigner:
            if position == len(candidates) - 1:
                raise
        else:
            if root is None:
                _refuse_withdrawn(release, trusted_as, home)
            signers = {
                "persons": trusted.persons,
                "algorithms": sorted({trusted.keys[keyid].algorithm for keyid in release.signed_by}),
                "hybrid": trusted.hybrid,
            }
            if report is not None:
                _hold_report(release, report)
            unmet = list(acceptance.unmet(release.predicate))
            judged = {"policy": acceptance.name, "accepted": not unmet, "unmet": unmet}
            console.show(format, _document(release, trusted_as) | signers | judged, *_rendered(release, trusted_as, trusted))
            acceptance.hold(release.predicate)
            return


def _hold_report(release: VerifiedRelease, file: Path) -> None:
    """Raise ContentMismatch unless a file is the gate's report, as JSON or as page, whose digest was signed with the release."""
    import hashlib

    signed = release.predicate.gate.report
    try:
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{file} can't be read ({error.strerror})") from None
    if signed is None or digest not in (signed.json, signed.html):
        raise ContentMismatch(f"{file.name} is not the gate's report that was signed with {release.id}; ask the custodian for it again")


def _roots(
    root: Path | None, fingerprint: str | None, custodian: str | None, home: Path | None
) -> list[tuple[str, TrustedRoot]]:
    """The roots to try, each with whom it speaks for.

    Raises:
        ConfigError: none is named or trusted.
        ContentMismatch: a root file is not the pinned one.
    """
    from stimset.verifying import TrustedRoot

    if root is not None or fingerprint is not None:
        if root is None or fingerprint is None:
            raise ConfigError("--root and --fingerprint belong together: a root that nobody pinned proves nothing")
        return [(str(root), TrustedRoot.load(root, fingerprint))]
    opened = Home.open(home)
    folders = sorted(p for p in opened.custodians.glob("*") if (p / PIN_FILE).is_file())
    if custodian is not None:
        folders = [p for p in folders if p.name == custodian]
    if not folders:
        whom = f"the custodian '{custodian}'" if custodian is not None else "any custodian"
        raise ConfigError(f"{opened.root} does not trust {whom}; run 'consumer trust', or give --root, --fingerprint")
    from consumer.standing import newest_root

    return [(p.name, newest_root(p, _pin(p / PIN_FILE))) for p in folders]


def _pin(path: Path) -> str:
    import tomllib

    try:
        pinned = tomllib.loads(path.read_text()).get("fingerprint")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(pinned, str):
        raise ConfigError(f"{path}: 'fingerprint' is missing; run 'consumer trust' again")
    return pinned


def _verify_student(
    onnx: Path, candidates: list[tuple[str, TrustedRoot]], home: Path | None, acceptance: Acceptance, format: console.Format
) -> None:
    """Follow a student's chain and say what it proves, and what it does not."""
    from rich.table import Table
    from rich.text import Text

    from consumer.lineage import verify_student
    from consumer.standing import withdrawn
    from stimset.errors import Withdrawn

    found = verify_student(onnx, candidates)
    for origin in found.origins:
        folder = _custodian_folder(origin.trusted_as, home)
        if folder and origin.statement_sha256 in withdrawn(folder):
            raise Withdrawn(f"{onnx.name} was trained on {origin.statement.predicate.release_id}, which its custodian has withdrawn")
    origins = [
        {
            "release": (p := origin.statement.predicate).release_id, "custodian": p.custodian, "trusted_as": origin.trusted_as,
            "statement_sha256": origin.statement_sha256, "simulated": p.simulated, "release_expired": origin.expired,
        }
        for origin in found.origins
    ]  # fmt: skip
    joined = {key: "+".join(str(origin[key]) for origin in origins) for key in ("release", "custodian", "trusted_as", "statement_sha256")}
    document = {
        "verified": True, "file": str(onnx), "sha256": found.sha256, **joined, "simulated": any(o["simulated"] for o in origins),
        "release_expired": found.expired, "claims": found.claims, "origins": origins,
    }  # fmt: skip
    table = Table(title=Text(f"{onnx.name}: the chain holds"), show_header=False)
    for origin in found.origins:
        p = origin.statement.predicate
        table.add_row("from", Text(f"{p.release_id} of {p.custodian} (trusted as {origin.trusted_as})", overflow="fold"))
        table.add_row("patients", "SIMULATED" if p.simulated else "real")
        table.add_row("release", f"expired {p.expires}" if origin.expired else f"valid until {p.expires}")
    for name, value in (
        ("window spec", "in the file as signed"),
        ("trained as", f"{found.claims['student']} ({found.claims['family']}, seed {found.claims['seed']})"),
        ("not proven", "that it was trained on this: that is the word of whoever trained it"),
    ):
        table.add_row(name, Text(value, overflow="fold"))
    predicates = [origin.statement.predicate for origin in found.origins]
    document |= {"policy": acceptance.name, "accepted": not any(list(acceptance.unmet(p)) for p in predicates)}
    console.show(format, document, *(note for p in predicates for note in console.gate_notes(p.gate)), table)
    for p in predicates:
        acceptance.hold(p)


def _custodian_folder(trusted_as: str, home: Path | None) -> Path | None:
    """The custodian's folder in the home; None where a root was given by hand."""
    try:
        folder = Home.open(home).custodians / trusted_as
    except ConfigError:
        return None
    return folder if folder.is_dir() else None


def _refuse_withdrawn(release: VerifiedRelease, trusted_as: str, home: Path | None) -> None:
    """Raise Withdrawn where the last contact with the custodian said so."""
    from consumer.standing import refuse_withdrawn

    opened = Home.open(home)
    refuse_withdrawn(opened, opened.custodians / trusted_as, release)


def _document(release: VerifiedRelease, trusted_as: str) -> dict[str, Any]:
    from stimset.provenance import budget_document, format_time, gate_document

    p = release.predicate
    return {
        "verified": True,
        "release": release.id,
        "custodian": p.custodian,
        "trusted_as": trusted_as,
        "root_fingerprint": release.root_fingerprint,
        "signed_by": list(release.signed_by),
        "created": p.created,
        "expires": p.expires,
        "valid_until": format_time(release.valid_until),
        "simulated": p.simulated,
        "stimuli": p.stimuli,
        "labels": list(p.window_spec.labels),
        "window_spec_sha256": p.window_spec.digest(),
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in release.statement.subjects],
        "gate": gate_document(p.gate),
        "budget": None if p.budget is None else budget_document(p.budget),
        "folder": str(release.folder),
    }


def _rendered(release: VerifiedRelease, trusted_as: str, trusted: TrustedRoot) -> list[RenderableType]:
    """Three tables. What the custodian wrote is shown as plain text, never as markup."""
    from rich.table import Table
    from rich.text import Text

    p, spec = release.predicate, release.spec
    size = sum(f.size for f in release.statement.subjects)
    head = Table(title=Text(f"{release.id}: every promise holds"), show_header=False)
    for name, value in (
        ("from", f"{p.custodian} (trusted as {trusted_as})"),
        ("signed by", "one person" if trusted.persons == 1 else f"{trusted.persons} people, each of whom had to"),
        ("with", "\n".join(f"{trusted.keys[keyid].algorithm}  {keyid}" for keyid in release.signed_by)),
        ("pinned root", release.root_fingerprint),
        ("valid until", f"{release.valid_until:%Y-%m-%d %H:%M} UTC"),
        ("patients", "SIMULATED" if p.simulated else "real; no recording of theirs is in the release"),
        ("labels", ", ".join(spec.labels)),
    ):
        head.add_row(name, Text(value, overflow="fold"))
    checked = Table("checked", "result", title="What was checked")
    for name, value in (
        ("signatures", f"{len(release.signed_by)} of the pinned root's keys, over the statement as received"),
        ("files", f"{len(release.statement.subjects)} signed, none missing, none added, no links"),
        ("SHA-256", f"{size} bytes, all as signed"),
        ("tensors", f"{p.stimuli} stimuli of {spec.channels} x {spec.samples}, finite, within +-{spec.clip:g}"),
        ("probabilities", f"{p.stimuli} rows of {spec.classes}, in [0, 1], each summing to 1"),
    ):
        checked.add_row(name, value)
    title = Text(f"What the gate found (policy {p.gate.policy})")
    gate = Table("check", "measured", "limit", "what it says", title=title)
    for check in p.gate.checks:
        measured = "not measured" if check.value is None else f"{check.value:.4g}"
        gate.add_row(Text(check.name), measured, f"{check.rule} {check.limit:.4g}", Text(check.meaning))
    return [*console.gate_notes(p.gate), head, checked, gate]
