"""What the gate leaves on the disk for itself: JSON under a keyed digest of the home, so that an edited file counts for nothing.

Usage::

    write_sealed(home, folder / "verdict.json", {"candidates": digest})
    read_sealed(home, folder / "verdict.json")      # the document, or ReleaseRefused
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custodian.config import GATE_KEY_FILE, Home, write_secret
from stimset.errors import ConfigError, ReleaseRefused
from stimset.release import canonical_json


def write_sealed(home: Home, file: Path, document: Mapping[str, Any]) -> None:
    """Write a document of plain JSON values with its seal, in one step and readable by its owner only."""
    body = dict(document)
    write_secret(file, json.dumps({**body, "seal": _keyed(home, file.name, body)}, indent=1, allow_nan=False).encode())


def read_sealed(home: Home, file: Path) -> dict[str, Any]:
    """The document that `write_sealed` wrote under this very file name in this home.

    Raises:
        ConfigError: there is none.
        ReleaseRefused: it is not what the gate wrote.
    """
    try:
        document = json.loads(file.read_text())
    except OSError:
        raise ConfigError(f"{file} is not there; the gate has not written it") from None
    except ValueError:
        document = None
    body = {key: value for key, value in document.items() if key != "seal"} if isinstance(document, dict) else {}
    given = str(document.get("seal")) if isinstance(document, dict) else ""
    if not hmac.compare_digest(given.encode(), _keyed(home, file.name, body).encode()):
        raise ReleaseRefused(f"{file} is not what the gate wrote; audit the set again")
    return body


def _keyed(home: Home, name: str, body: object) -> str:
    """The file's name is sealed too: one kind of document can't be shown as another."""
    try:
        data = canonical_json([name, body])
    except (ValueError, UnicodeEncodeError):  # NaN or a lone surrogate: nothing that the gate writes
        data = b""
    return hmac.new(home.secret(GATE_KEY_FILE), hashlib.sha256(data).digest(), hashlib.sha256).hexdigest()
