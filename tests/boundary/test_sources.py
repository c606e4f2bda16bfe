"""What the sources must not do, in any of the three trees: read code as data, run text, check by ``assert``, print."""

from __future__ import annotations

import ast

import pytest

from source_tree import Source, sources

# Reading these runs code that the file brings along.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "print", "breakpoint", "input",
    "torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "joblib.load", "joblib.dump",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
FORBIDDEN_IMPORTS = {
    "torch.load", "torch.save", "joblib.load", "joblib.dump", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen",
}  # fmt: skip
# The state that every caller shares: a seed set there changes somebody else's numbers.
GLOBAL_RANDOM = {"seed", "rand", "randn", "randint", "random", "normal", "uniform", "shuffle", "permutation", "choice"}


def problems(source: Source) -> list[str]:
    """Every breach, with its line."""
    found = []
    for name in source.imports():
        if name.split(".")[0] in UNPICKLERS or name in FORBIDDEN_IMPORTS:
            found.append(f"{source.name}: imports {name}")
        if name == "random" or name.startswith("random."):
            found.append(f"{source.name}: imports the global random state")
    for name, call in source.calls():
        where = f"{source.name}:{call.lineno}"
        if name in FORBIDDEN_CALLS:
            found.append(f"{where}: calls {name}")
        module, _, function = name.rpartition(".")
        if module in ("np.random", "numpy.random") and function in GLOBAL_RANDOM:
            found.append(f"{where}: draws from the global {name}")
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle" and not is_false(keyword.value):
                found.append(f"{where}: allow_pickle")
            if keyword.arg == "weights_only" and is_false(keyword.value):
                found.append(f"{where}: weights_only=False")
            if keyword.arg == "shell" and not is_false(keyword.value):
                found.append(f"{where}: shell")
        if function == "load" and module in ("np", "numpy") and "allow_pickle" not in {k.arg for k in call.keywords}:
            found.append(f"{where}: numpy.load without allow_pickle=False")
    found += [f"{source.name}:{n.lineno}: assert" for n in ast.walk(source.tree) if isinstance(n, ast.Assert)]
    return found


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_the_sources_keep_the_rules():
    assert len(sources()) > 60
    assert [problem for source in sources() for problem in problems(source)] == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import joblib\njoblib.load('x')",
        "import yaml\nyaml.load('x')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "eval('1')",
        "exec('1')",
        "print('x')",
        "assert x",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import random",
        "import numpy as np\nnp.random.seed(0)",
        "f(weights_only=False)",
    ],
)
def test_each_rule_finds_its_breach(text):
    assert problems(Source.of(text))


@pytest.mark.parametrize("text", ["network.eval()", "np.load('x', allow_pickle=False)", "console.out.print(1)"])
def test_what_is_allowed_is_not_found(text):
    assert problems(Source.of(text)) == []


def seeds_outside_a_fork(source: Source) -> list[str]:
    """``torch.manual_seed`` calls that don't stand in a ``with torch.random.fork_rng`` of their own."""
    inside = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.With) and any("fork_rng" in ast.dump(item.context_expr) for item in node.items):
            inside |= {id(child) for child in ast.walk(node)}
    seeds = [call for name, call in source.calls() if name in ("torch.manual_seed", "torch.random.manual_seed")]
    return [f"{source.name}:{call.lineno}" for call in seeds if id(call) not in inside]


def test_torch_is_seeded_only_within_a_fork():
    assert seeds_outside_a_fork(Source.of("import torch\ntorch.manual_seed(0)"))
    assert [place for source in sources() for place in seeds_outside_a_fork(source)] == []

