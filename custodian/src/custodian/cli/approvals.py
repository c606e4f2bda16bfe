"""``custodian officer``, ``custodian root``, and what follows a proposed release: the second person's commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError, ContentMismatch, ReleaseRefused

if TYPE_CHECKING:
    from rich.console import RenderableType

    from custodian.publish.officer import Proposal

HomeOption = Annotated[Path | None, typer.Option("--home", help="The custodian's home folder; else CUSTODIAN_HOME.")]
OfficerHome = Annotated[
    Path, typer.Option("--home", envvar="OFFICER_HOME", help="The officer's own home, on another account or machine.")
]
WordsOption = Annotated[
    str | None,
    typer.Option("--words", help="The six words, as the other person read them out. Without them nothing is signed."),
]

officer_app = typer.Typer(
    no_args_is_help=True, help="The second person, without whom nothing is released: keys in a home of their own."
)
root_app = typer.Typer(no_args_is_help=True, help="The root that partners pin, where two people hold it.")


def register(parent: typer.Typer) -> None:
    """Add this module's commands."""
    parent.add_typer(officer_app, name="officer")
    parent.add_typer(root_app, name="root")


def add_release_commands(releases: typer.Typer) -> None:
    """Add what belongs under ``custodian release``."""
    releases.command("approve")(approve)
    releases.command("publish")(publish)
    releases.command("withdraw")(withdraw)
    releases.command("renew")(renew)


@officer_app.command("init")
@console.reports_errors
def init(
    home: OfficerHome,
    recovery: Annotated[
        bool, typer.Option("--recovery", help="Keys for a safe, which only help to make a new root, instead.")
    ] = False,
    token: Annotated[
        Path | None, typer.Option("--token", help="A TOML file that names module, token and key of a PKCS#11 token.")
    ] = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Make a second person's keys, Ed25519 and ML-DSA-65.

    Needs that person's own passphrase in CUSTODIAN_PASSPHRASE, or in the file that CUSTODIAN_PASSPHRASE_FILE names.
    Leaves HOME/officer.keys.json, which is public: carry it to the custodian, for 'custodian init --officer'.

    Example: custodian officer init --home ./officer
    """
    from custodian.publish.keys import passphrase
    from custodian.publish.officer import OFFICER, RECOVERY, create_officer, read_keys, words_of_keys

    role = RECOVERY if recovery else OFFICER
    path = create_officer(home, role, passphrase(), token=None if token is None else token.read_bytes())
    words = words_of_keys(read_keys(path, role))
    console.show(format, {"keys": str(path), "words": words}, f"public keys  {path}", f"words        {words}")


@officer_app.command("sign-root")
@console.reports_errors
def sign_root(
    proposal: Annotated[Path, typer.Argument(help="root.proposal.json, as the custodian's 'init --officer' left it.")],
    home: OfficerHome,
    out: Annotated[Path | None, typer.Option("--out", help="Where the signed root goes, to be carried back.")] = None,
    words: WordsOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Show a proposed root, and sign it when the custodian has read out the same words.

    Builds on 'officer init'. Refuses a root that does not need this person for every release. Leaves the signed root
    for 'custodian root install', and a copy in this home, against which every later proposal is held.

    Example: custodian officer sign-root root.proposal.json --home ./officer --words "..." --out root.json
    """
    from custodian.publish.officer import examine_root
    from custodian.publish.officer import sign_root as sign
    from stimset.roots import read_root

    found = examine_root(read_root(proposal), home)
    document: dict[str, Any] = {"words": found.words, "expires": f"{found.expires:%Y-%m-%d}", "signed": False}
    document["roles"] = {name: {"threshold": t, "keys": n} for name, (t, n) in found.roles.items()}
    lines = [f"{name}: {threshold} of {keys} keys must sign" for name, (threshold, keys) in sorted(found.roles.items())]
    lines += [f"valid until {found.expires:%Y-%m-%d}", f"words  {found.words}"]
    if agreed(words, found.words):
        from custodian.publish.keys import passphrase

        if out is None:
            raise ConfigError("say by --out where the signed root goes")
        data, fingerprint = sign(found, home, passphrase())
        out.write_bytes(data)
        document |= {"signed": True, "root": str(out), "root_fingerprint": fingerprint}
        lines += [f"signed: {out}", f"root fingerprint  {fingerprint}"]
    console.show(format, document, *lines)


@officer_app.command("adopt")
@console.reports_errors
def adopt(
    release: Annotated[Path, typer.Argument(help="The release's folder, as partners have it.")],
    home: OfficerHome,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Take note of a release that stood before this person held a key.

    For a new officer: 'release approve' refuses a channel that vouches for what she never saw. Its files are held
    against its statement; compare the words by telephone before you go on.

    Example: custodian officer adopt ./stick/apnea-0001 --home ./officer
    """
    from custodian.publish.officer import adopt as take_note

    words = take_note(release, home)
    console.show(format, {"release": release.name, "words": words}, f"{release.name} is noted; words  {words}")


@root_app.command("install")
@console.reports_errors
def install(
    root: Annotated[Path, typer.Argument(help="The root, as the officer gave it back.")],
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Take the root that the officer signed; from now on releases can be proposed.

    Builds on 'init --officer' and 'officer sign-root'. Refuses any root but the one that was proposed here. Leaves
    HOME/root.json and prints its fingerprint, which partners must get on another channel than the root. For a root
    that 'root renew' proposed, partners follow by themselves once 'release renew' has signed the channel anew.

    Example: custodian root install root.json
    """
    from custodian.publish.keys import install_root, own_root, passphrase
    from custodian.publish.rotating import install_next_root
    from stimset.roots import read_root

    opened = Home.open(home)
    if opened.root_file.exists():
        fingerprint = install_next_root(opened, read_root(root), passphrase())
    else:
        fingerprint = install_root(opened, read_root(root))
    persons = own_root(opened).persons
    console.show(
        format,
        {"root": str(opened.root_file), "root_fingerprint": fingerprint, "persons": persons},
        f"root fingerprint  {fingerprint}",
        f"{persons} people must sign a release",
    )


@root_app.command("renew")
@console.reports_errors
def renew_root(
    officer: Annotated[
        Path | None, typer.Option("--officer", help="officer.keys.json of another officer, or of a first one.")
    ] = None,
    recovery: Annotated[Path | None, typer.Option("--recovery", help="recovery.keys.json of other keys for the safe.")] = None,
    new_keys: Annotated[bool, typer.Option("--new-keys", help="Make new keys for this side too.")] = False,
    new_online: Annotated[
        bool, typer.Option("--new-online-key", help="Make a new key for the daemon: stop it before, start it after 'release renew'.")
    ] = False,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Make the next root: before it expires, when keys may be known to others, or when a person changes.

    Partners who pinned the first root follow it; nobody pins anew. Where one person holds the root it is installed at
    once. Else HOME/root.proposal.json goes to whoever must sign: the recovery home first where somebody's keys are
    lost, the officer last ('officer sign-root'), then back to 'root install'. 'release renew' follows in any case.

    Example: custodian root renew --new-keys
    """
    from custodian.publish.keys import own_root, passphrase
    from custodian.publish.officer import OFFICER, RECOVERY, read_keys, words_of_root
    from custodian.publish.rotating import propose_next_root
    from stimset.roots import read_root

    opened = Home.open(home)
    proposal = propose_next_root(
        opened,
        passphrase(),
        officer=read_keys(officer, OFFICER) if officer else (),
        recovery=read_keys(recovery, RECOVERY) if recovery else (),
        new_keys=new_keys,
        new_online=new_online,
    )
    if proposal is None:
        root = own_root(opened)
        document: dict[str, Any] = {"proposal": None, "version": root.version, "root_fingerprint": root.fingerprint}
        console.show(format, document, f"root version {root.version} is installed; now: custodian release renew")
        return
    words = words_of_root(read_root(proposal))
    console.show(format, {"proposal": str(proposal), "words": words}, f"carry     {proposal}", f"read out  {words}")


@console.reports_errors
def approve(
    proposal: Annotated[Path, typer.Argument(help="The folder that the custodian carried to you.")],
    home: OfficerHome,
    words: WordsOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Show what is proposed, and sign it when the custodian has read out the same words.

    Builds on 'release build' or 'release withdraw' on the other side, and on 'officer sign-root' here. Everything is
    checked as a partner would, and the channel may say nothing but what is shown. With --words it adds this person's
    signatures to the folder, which is then carried back for 'release publish'; without, it only shows.

    Example: custodian release approve ./stick/apnea-0001 --home ./officer --words "bidol-..."
    """
    from custodian.publish.officer import approve as sign
    from custodian.publish.officer import examine

    found = examine(proposal, home)
    signed = agreed(words, found.words)
    if signed:
        from custodian.publish.keys import passphrase

        sign(found, home, passphrase())
    console.show(format, _document(found) | {"signed": signed}, *_rendered(found, signed))


@console.reports_errors
def publish(
    proposal: Annotated[Path, typer.Argument(help="The folder as the officer gave it back.")],
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Publish what was proposed here and approved by everybody who must.

    Builds on 'release approve' or 'review'. Only signatures are taken from the folder; a missing one, a changed byte or another
    statement than the proposed one is refused. Leaves HOME/releases/NAME-NNNN, and the channel vouches for it. Where the
    officer rejected it instead, that is recorded, the proposal ends, and the exit code is 10.

    Example: custodian release publish ./stick/apnea-0001
    """
    from custodian.publish.publishing import RELEASE_FOLDER, publish_proposal
    from custodian.publish.rejecting import REJECTION_FILE, install_rejection
    from custodian.publish.withdrawing import publish_change

    opened = Home.open(home)
    if (proposal / REJECTION_FILE).exists():
        rejection = install_rejection(opened, proposal)
        raise ReleaseRefused(f"the officer rejected {rejection.proposal}: {rejection.reason}")
    if (proposal / RELEASE_FOLDER).is_dir():
        release = publish_proposal(opened, proposal)
        document = {"release": release.id, "folder": str(release.folder), "signed_by": list(release.signed_by)}
        console.show(format, document, f"[bold]{release.id}[/bold] is published, signed by {len(release.signed_by)} keys")
        return
    publish_change(opened, proposal)
    console.show(format, {"release": None}, "the channel is changed; partners learn of it at their next contact")


@console.reports_errors
def withdraw(
    release_id: Annotated[str, typer.Argument(metavar="ID", help="The release, e.g. apnea-0001.")],
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Take a release back.

    Builds on 'release build'. From now on it is served to nobody, and consumers who hold it learn at their next
    contact that it does not stand any more. Leaves it in HOME/withdrawn; where two people hold the root, the channel's
    change waits in HOME/proposals for 'release approve'.

    Example: custodian release withdraw apnea-0001
    """
    from custodian.publish.keys import load_signers, passphrase
    from custodian.publish.withdrawing import withdraw as take_back

    opened = Home.open(home)
    proposal = take_back(opened, release_id, load_signers(opened, passphrase()))
    _changed(format, {"release": release_id}, f"[bold]{release_id}[/bold] is served no more", proposal)


@console.reports_errors
def renew(home: HomeOption = None, format: console.Format = console.FORMAT_OPTION) -> None:
    """Sign the channel's targets anew, for another 30 days.

    Needed when no release was made or withdrawn for so long; consumers refuse a channel whose targets have expired.

    Example: custodian release renew
    """
    from custodian.publish.keys import load_signers, passphrase
    from custodian.publish.withdrawing import renew as sign_anew

    opened = Home.open(home)
    _changed(format, {}, "the channel is signed anew", sign_anew(opened, load_signers(opened, passphrase())))


def show_proposal(format: console.Format, folder: Path) -> None:
    """Say what 'release build' proposed, and what has to happen next."""
    from custodian.publish.officer import words_of_proposal
    from custodian.publish.publishing import RELEASE_FOLDER, TARGETS_FILE
    from stimset.release import STATEMENT_FILE

    statement = folder / RELEASE_FOLDER / STATEMENT_FILE
    words = words_of_proposal((folder / TARGETS_FILE).read_bytes(), statement.read_bytes() if statement.is_file() else None)
    console.show(
        format,
        {"proposal": str(folder), "words": words, "release": folder.name, "published": False},
        f"[bold]{folder.name}[/bold] is proposed; nobody sees it before the officer has signed",
        f"carry to the officer  {folder}",
        f"read out              {words}",
    )


def _changed(format: console.Format, document: dict[str, Any], done: str, proposal: Path | None) -> None:
    if proposal is None:
        console.show(format, document | {"proposal": None}, done)
    else:
        show_proposal(format, proposal)


def agreed(heard: str | None, expected: str) -> bool:
    """Whether to sign: the words that were heard are those of what lies here.

    Raises:
        ContentMismatch: they are others; somebody changed it on the way.
    """
    from stimset.words import same_words

    if heard is None:
        return False
    if not same_words(heard, expected):
        raise ContentMismatch("the words are not those of what lies here; somebody changed it on the way, don't sign")
    return True


def _document(proposal: Proposal) -> dict[str, Any]:
    from stimset.provenance import gate_document

    document: dict[str, Any] = {
        "words": proposal.words,
        "withdraws": list(proposal.withdraws),
        "targets_version": proposal.version,
        "targets_expire": f"{proposal.expires:%Y-%m-%d}",
        "stands": sorted(proposal.stands.values()),
    }
    if proposal.statement is not None:
        p = proposal.statement.predicate
        document |= {
            "release": p.release_id, "custodian": p.custodian, "stimuli": p.stimuli, "expires": p.expires,
            "simulated": p.simulated, "gate": gate_document(p.gate), "aggregates": [dict(a) for a in p.aggregates],
        }  # fmt: skip
    return document


def _rendered(proposal: Proposal, signed: bool) -> list[RenderableType]:
    """What a person must read before signing."""
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    if proposal.statement is not None:
        p = proposal.statement.predicate
        patients = "SIMULATED patients" if p.simulated else "real patients"
        shown.append(Text(f"{p.release_id}: {p.stimuli} stimuli of {patients}, by {p.custodian}, until {p.expires}"))
        shown += console.gate_notes(p.gate)
        table = Table("check", "measured", "limit", "what it says", title=Text(f"Gate: policy {p.gate.policy}"))
        for check in p.gate.checks:
            value = "not measured" if check.value is None else f"{check.value:.4g}"
            table.add_row(Text(check.name), value, f"{check.rule} {check.limit:.4g}", Text(check.meaning))
        read = Table("statistic of patients", "numbers", "bound", "epsilon", title="What was read beside the teacher")
        for entry in p.aggregates:
            epsilon = "no noise" if entry["epsilon"] is None else f"{entry['epsilon']:g}"
            read.add_row(Text(str(entry["name"])), str(entry["numbers"]), Text(str(entry["bound"])), epsilon)
        shown += [table, f"policy digest  {p.gate.policy_digest}", read]
    shown += [f"[bold red]withdraws[/bold red]  {release_id}" for release_id in proposal.withdraws]
    standing = ", ".join(sorted(proposal.stands.values())) or "nothing"
    shown.append(Text(f"after it the channel vouches for: {standing} (until {proposal.expires:%Y-%m-%d})"))
    shown.append(f"words  [bold]{proposal.words}[/bold]")
    shown.append("signed; carry the folder back" if signed else "not signed; compare the words by telephone, then give --words")
    return shown
