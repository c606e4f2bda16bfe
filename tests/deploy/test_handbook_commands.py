"""The handbook's commands exist: names, options, arguments; and its first section is as short as it promises."""

from __future__ import annotations

import re

import pytest
import typer
from click import Command

import handbook
from consumer.cli import app as consumer_app
from custodian.cli import app as custodian_app
from source_tree import ROOT
from stimset import errors

ROOTS = {"custodian": typer.main.get_command(custodian_app), "consumer": typer.main.get_command(consumer_app)}
COMMANDS = sorted({" ".join(words): words for words in handbook.commands()}.values())


def resolve(words: list[str]) -> tuple[Command, list[str]]:
    """The command that the words name, and what follows it."""
    command, rest = ROOTS[words[0]], words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def test_a_serving_daemon_with_a_partner_takes_at_most_eight_commands():
    lines = handbook.block("clean-debian")
    assert len(lines) <= 8
    assert not any(re.search(r"&&|;|\|", line) for line in lines), "a command is one command"
    assert [line.split()[1] for line in lines if line.startswith("custodian ")] == ["init", "partner", "doctor"]


def test_many_commands_are_found():
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_is_as_the_handbook_writes_it(words):
    command, rest = resolve(words)
    if nested := getattr(command, "commands", None):
        assert {word for word in rest if word != "|"} <= set(nested), f"there is no {' '.join(words)}"
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    # What follows the name of a job is the job's own.
    own = rest if command.name != "start" else [word for word in rest if word == "--by-daemon"]
    assert {word for word in own if word.startswith("-")} <= known


def test_every_exit_code_is_named():
    text = handbook.HANDBOOK.read_text()
    listed = set(map(int, re.findall(r"(?:^|· )(\d+) [a-z]", text[text.index("## Exit codes") :], re.MULTILINE)))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StimsetError)]
    assert {kind.exit_code for kind in kinds} | {0, 2, 130} <= listed


def test_the_files_that_it_names_are_there():
    text = handbook.HANDBOOK.read_text()
    named = set(re.findall(r"(?:deploy|shared|custodian/src|tests)/[\w./-]*\w", text))
    missing = {name for name in named if not (ROOT / name).exists() and not name.endswith(("]", "["))}
    assert missing == set()
