"""Every error that Stimset raises on purpose, and the exit code that each becomes.

::

    StimsetError                      1   something that none of the others names
    ├── ConfigError                   3   a setting, a home folder or a key is missing or wrong
    ├── FormatError                   4   bytes or a file from outside are not what they claim to be
    │   ├── RecordError              14   a recording can't be used: truncated, unlabelled, wrong rate, NaN ...
    │   └── DataInvalid               4   arrays that a model can't learn from or answer; a ValueError too
    ├── VerificationError            13   a release could not be checked
    │   ├── SignatureInvalid          5   a signature is missing, wrong, or by a key that the root does not name
    │   │   └── UnknownSigner        15   nobody whom the pinned root names has signed
    │   ├── ContentMismatch           6   a file's bytes are not those that were signed
    │   │   ├── FileMissing          16   a signed file is not there
    │   │   ├── FileUnexpected       17   a file is there that nobody signed
    │   │   └── FileTruncated        18   a file is shorter than signed
    │   ├── Expired                   7   signed, but no longer valid
    │   ├── RollbackRefused           8   older than what was already seen
    │   ├── Withdrawn                 9   the custodian has taken it back
    │   └── LogForked                20   a custodian's log does not go on from what it showed before
    ├── ReleaseRefused               10   the gate says no; carries every failed check
    ├── PolicyDenied                 11   the other side knows you and does not allow this
    ├── NotAccepted                  19   every promise holds, but our own policy does not take it
    └── TransportError               12   the other side can't be reached, or broke off

Exit code 0 is success, 2 is a wrong command line, 130 is Ctrl-C. A message is one line that names the cause and the remedy;
it never holds a patient's name or a secret, since it may cross the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class StimsetError(Exception):
    """The root of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(StimsetError):
    """A setting, a home folder or a key is missing or wrong."""

    exit_code = 3


class FormatError(StimsetError):
    """Bytes or a file from outside are not what they claim to be."""

    exit_code = 4


class RecordError(FormatError):
    """A recording can't be used. The message names the file and the cause."""

    exit_code = 14


class DataInvalid(FormatError, ValueError):
    """Arrays that a model can't learn from or answer; scikit-learn's contract asks for a ValueError."""


class VerificationError(StimsetError):
    """A release could not be checked; what was checked and found wrong has a subclass of its own."""

    exit_code = 13


class SignatureInvalid(VerificationError):
    """A signature is missing, wrong, or below the threshold of the pinned root."""

    exit_code = 5


class UnknownSigner(SignatureInvalid):
    """No key that the pinned root names has signed: a swapped key, or the wrong root."""

    exit_code = 15


class ContentMismatch(VerificationError):
    """A file's bytes are not those that were signed."""

    exit_code = 6


class FileMissing(ContentMismatch):
    """A signed file is not there."""

    exit_code = 16


class FileUnexpected(ContentMismatch):
    """A file is there that nobody signed."""

    exit_code = 17


class FileTruncated(ContentMismatch):
    """A file is shorter than signed: a broken copy or download."""

    exit_code = 18


class Expired(VerificationError):
    """Signed, but no longer valid."""

    exit_code = 7


class RollbackRefused(VerificationError):
    """Older than what was already seen from the same custodian."""

    exit_code = 8


class Withdrawn(VerificationError):
    """The custodian has taken the release back."""

    exit_code = 9


class LogForked(VerificationError):
    """A custodian's log was changed or shortened, or it is shown differently to different partners."""

    exit_code = 20


class ReleaseRefused(StimsetError):
    """The gate says no.

    Attributes:
        failed: one sentence for each check that failed, with its value and limit.
    """

    exit_code = 10

    def __init__(self, message: str, failed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.failed = tuple(failed)


class NotAccepted(StimsetError):
    """A release whose every promise holds, and that our own policy does not accept all the same.

    Attributes:
        failed: one sentence for each demand of the policy that it does not meet.
    """

    exit_code = 19

    def __init__(self, message: str, failed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.failed = tuple(failed)


class PolicyDenied(StimsetError):
    """The other side knows you and does not allow this."""

    exit_code = 11


class TransportError(StimsetError):
    """The other side can't be reached, or broke off."""

    exit_code = 12
