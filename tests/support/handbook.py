"""What the handbook says to type, as the tests read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from source_tree import ROOT

HANDBOOK = ROOT / "deploy" / "README.md"
_BLOCK = re.compile(r"<!-- run: (\S+) -->\n```sh\n(.*?)```", re.DOTALL)
_PROMPT = re.compile(r"(?:hospital|officer|safe)\$\s+")
_COMMAND = re.compile(r"(?:custodian|consumer)(?: |$)")


def block(name: str) -> list[str]:
    """The commands, one a line, under ``<!-- run: NAME -->``."""
    return dict(_BLOCK.findall(HANDBOOK.read_text()))[name].splitlines()


def commands() -> Iterator[list[str]]:
    """Each command line of ours in the whole handbook, whether it stands in a block or in a sentence."""
    text = HANDBOOK.read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += [line for _, found in _BLOCK.findall(text) for line in found.splitlines()]
    lines += [" ".join(quoted.split()) for quoted in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    for line in lines:
        for part in re.split(r" && | ; ", _PROMPT.sub("", re.sub(r"\s#\s.*", "", line))):
            bare = re.sub(r"^(?:[A-Z_]+=\S+ )+|^kubectl .*-- |^docker compose .*--rm ", "", part)
            if _COMMAND.match(bare):
                yield shlex.split(bare)
