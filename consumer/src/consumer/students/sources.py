"""Finding what a command names: a release by id or folder, verified anew each time; a student by name or folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consumer.acceptance import DEFAULT
from consumer.config import Home
from consumer.enrolment import Custodian, trusted
from consumer.standing import refuse_withdrawn, verify_held
from consumer.students.student import STUDENT_FILE, Student
from stimset.errors import ConfigError, StimsetError, UnknownSigner
from stimset.verifying import VerifiedRelease


def open_release(home: Home, named: str, *, despite_withdrawal: str | None = None) -> VerifiedRelease:
    """Verify the release of this id in the home, or in this folder, against the roots of the trusted custodians.

    Args:
        home: ours.
        named: the release.
        despite_withdrawal: why a withdrawn release is used all the same; the reason is recorded in the home.

    Raises:
        ConfigError: there is no such release, or no custodian is trusted.
        Withdrawn: the custodian has taken it back, by what was learned at the last contact.
        NotAccepted: the custodian's gate was overridden, and nobody accepted that when it was pulled.
        VerificationError: a promise does not hold.
    """
    folder = home.release(named)
    if not folder.is_dir():
        raise ConfigError(f"there is no release '{named}' in {home.releases}, and no such folder; run 'consumer pull'")
    release, custodian = verify_of_any(home, folder)
    refuse_withdrawn(home, custodian.folder, release, despite=despite_withdrawal)
    if not folder.resolve().is_relative_to(home.releases.resolve()):  # what was pulled was accepted then
        DEFAULT.hold(release.predicate)
    return release


def verify_of_any(home: Home, folder: Path) -> tuple[VerifiedRelease, Custodian]:
    """Verify a release's folder by the roots of all trusted custodians, each apart; says whose it is.

    Whether it still stands is not asked.

    Raises:
        ConfigError: no custodian is trusted.
        UnknownSigner: none of them signed it.
        VerificationError, FormatError: one of them did, but a promise does not hold.
    """
    unknown: StimsetError = ConfigError("no custodian is trusted yet; run 'consumer trust'")
    for custodian in trusted(home):
        try:
            return verify_held(folder, custodian.folder, custodian.fingerprint), custodian
        except UnknownSigner as error:
            unknown = error
    raise unknown


def open_students(home: Home, named: Sequence[str]) -> list[Student]:
    """Students by name in the home, or by folder; all of the home's where none is named.

    Raises:
        ConfigError: there is none, or not one of this name.
        FormatError, ContentMismatch: as `Student.load`.
    """
    if not named:
        folders = sorted(p.parent for p in home.students.glob(f"*/{STUDENT_FILE}"))
        if not folders:
            raise ConfigError(f"there is no student in {home.students} yet; run 'consumer train'")
        return [Student.load(folder) for folder in folders]
    students = []
    for name in named:
        inside = home.students / name
        students.append(Student.load(inside if "/" not in name and inside.is_dir() else Path(name)))
    return students
