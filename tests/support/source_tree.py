"""The three source trees as syntax trees, for tests that hold them against a rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREES = ("shared/src", "custodian/src", "consumer/src")


@dataclass(frozen=True)
class Source:
    """One module: its path within its tree (``custodian/gate/verdict.py``) and its syntax tree."""

    name: str
    tree: ast.Module

    @classmethod
    def of(cls, text: str, name: str = "planted.py") -> Source:
        """A module from text, to show that a rule finds what it looks for."""
        return cls(name, ast.parse(text))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call with the dotted name of what is called, as far as names tell it; ``?`` stands for the rest."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield dotted(node.func), node

    def imports(self) -> Iterator[str]:
        """Every imported name, absolute: ``numpy.load`` for ``from numpy import load``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def names(self) -> set[str]:
        """Every identifier that is read, written, imported, passed by keyword or looked up by a constant string."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.keyword | ast.arg) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.alias):
                found |= {node.name.rpartition(".")[2], node.asname or ""}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                found.add(node.value)
        return found


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a chain of attributes."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


@cache
def sources() -> tuple[Source, ...]:
    """Every module of the three trees; generated stubs are left out."""
    modules = [
        (path.relative_to(ROOT / tree).as_posix(), path)
        for tree in TREES
        for path in sorted((ROOT / tree).rglob("*.py"))
        if path.parent.name != "v1"
    ]
    return tuple(Source(name, ast.parse(path.read_text(), str(path))) for name, path in modules)
