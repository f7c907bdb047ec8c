"""What messages advise can be done: the verbs and flags that they name exist, and advice that matters is run."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from jobs.cli import VERBS, run

HOUSE = Path(__file__).parents[2]
FOLDERS = ("storage", "pipeline", "model", "analysis", "jobs")
FOREIGN = frozenset(
    {"--nproc-per-node", "--no-python", "--standalone", "--porcelain", "--untracked-files", "--key"}
)
"""Flags of torchrun and git, and the one that stands for any."""
SUBCOMMANDS = {"rounds": ("list", "compare", "compact")}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]")
COMMAND = re.compile(r"(?:`|^|\n *|  |: )mixpl ([a-z]+)([^`;\n]*)")


@cache
def flags(verb: str) -> frozenset[str]:
    """Return the flags that `mixpl VERB --help` lists."""
    commands = [[verb, part, "--help"] for part in SUBCOMMANDS.get(verb, ())] or [[verb, "--help"]]
    if VERBS[verb].takes_recipe:
        commands = [[verb, "tiny", "--help"]]
    text = io.StringIO()
    for command in commands:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            run(command)
    lines = [line.lstrip("│ ") for line in text.getvalue().splitlines()]
    heads = [line.split("  ")[0] for line in lines if line.startswith("-")]
    return frozenset(flag for head in heads for flag in FLAG.findall(head))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string in a file, docstrings too; values in it stand as {}."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def speakers(path: Path) -> tuple[str, ...]:
    """Return the verbs that a file's messages may speak of without naming them."""
    folder, name = path.relative_to(HOUSE).parts[:2]
    verb = name.removesuffix(".py")
    if folder == "jobs" and verb in {"demo", "prepare"}:  # they print the commands of others
        return tuple(VERBS)
    if folder == "jobs" and verb in VERBS:
        return (verb,)
    if folder == "jobs" and verb in {"recipes", "training"}:
        return ("train",)
    return tuple(VERBS)


def wrong(path: Path) -> Iterator[str]:
    """Yield the verbs and flags of a file's strings that do not exist."""
    for line, whole in texts(path):
        text = re.sub(r"--\S*\{\}", "", whole)  # a flag whose name is a value
        where = f"{path.relative_to(HOUSE)}:{line}:"
        for verb, rest in COMMAND.findall(text):
            if verb not in VERBS:
                yield f"{where} mixpl {verb}"
                continue
            known = flags(verb) | FOREIGN
            yield from (f"{where} mixpl {verb} {flag}" for flag in FLAG.findall(rest) if flag not in known)
        known = FOREIGN.union(*map(flags, speakers(path)))
        yield from (f"{where} {flag}" for flag in FLAG.findall(COMMAND.sub("", text)) if flag not in known)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_the_flags_of_every_verb_are_read_from_its_help() -> None:
    for verb in VERBS:
        assert "--help" in flags(verb)
        assert len(flags(verb)) > 1
    assert {"--data.labeled", "--resume", "--no-resume", "--optim.lr"} <= flags("train")
    assert {"--megabytes", "--root"} <= flags("rounds")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_verb_and_flag_that_a_string_names_exists(folder: str) -> None:
    assert not [found for path in sorted((HOUSE / folder).rglob("*.py")) for found in wrong(path)]
