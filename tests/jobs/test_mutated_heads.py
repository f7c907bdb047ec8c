"""Every field of every small file, dropped, null, empty, of another type or out of range: one line, or no harm.

A verb that reads a file with a fault either does without the field or says one line that names the file, exit 2
(`mixpl verify`: 1). It never ends in an error of Python.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import run

pytestmark = pytest.mark.timeout(120)

WRONG: tuple[Any, ...] = (None, [], "", -1, 10**30, 1.5, [None], {"a": None})
DROPPED = object()

HEADS = {
    "set/dataset.json": (
        ["verify", "{}/set", "--workers", "1", "--quick"],
        ["sql", "from datasets, categories, ground_truth", "--root", "{}"],
    ),
    "labels/round=0002/round.json": (
        ["verify", "{}/labels"],
        ["rounds", "list", "--root", "{}"],
        ["sql", "from pseudo_labels", "--root", "{}"],
        ["rounds", "compact", "{}/labels/round=0002"],
    ),
    "labels/round=0002/tables.json": (
        ["verify", "{}/labels"],
        ["sql", "from labels, rounds", "--root", "{}"],
        ["rounds", "compact", "{}/labels/round=0002"],
    ),
    "set/skipped.json": (["verify", "{}/set", "--workers", "1", "--quick"],),
    "parts/split.json": (
        ["split", "{}/coco.json", "--out", "{}/parts", "--percent", "50"],
        ["split", "{}/coco.json", "--out", "{}/others", "--ids", "{}/parts/split.json"],
    ),
}


def fields(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field of a JSON object, those of objects in it too."""
    for name, inner in value.items():
        yield (*path, name)
        if isinstance(inner, dict):
            yield from fields(inner, (*path, name))


def mutated(head: dict[str, Any], path: tuple[str, ...], value: object) -> str:
    """Return the text of a head with one field changed or dropped."""
    copy = json.loads(json.dumps(head))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    if value is DROPPED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(copy)


def ends_well(command: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Run a command; return what is wrong with its end, or None."""
    capsys.readouterr()
    try:
        code = run(command)
    except Exception as error:  # what a user would see as a traceback
        return f"{type(error).__name__}: {error}"
    said = capsys.readouterr()
    if code == 2:
        lines = said.err.strip().splitlines()
        if len(lines) > 1 + sum(line.startswith("left out: ") for line in lines):
            return f"more than a line: {said.err}"
        if Path(name).name not in said.err:
            return f"the file is not named: {said.err}"
    return None if code in (0, 1, 2) else f"exit {code}"


@pytest.fixture
def heads(stored: Path) -> Path:
    """The stored folder with a split in it, and round 2 compacted."""
    assert run(["split", f"{stored}/coco.json", "--out", f"{stored}/parts", "--percent", "50"]) == 0
    assert run(["rounds", "compact", f"{stored}/labels/round=0002"]) == 0
    return stored


@pytest.mark.parametrize("name", HEADS)
def test_no_fault_of_a_field_ends_in_an_error_of_python(
    heads: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads((heads / name).read_text())
    faults = []
    commands = itertools.cycle(HEADS[name])  # one verb a fault: all of them read the file in the same way
    for path, value in itertools.product(fields(whole), (DROPPED, *WRONG)):
        (heads / name).write_text(mutated(whole, path, value))
        words = next(commands)
        fault = ends_well([word.format(heads) for word in words], name, capsys)
        if fault:
            shown = "dropped" if value is DROPPED else repr(value)
            faults.append(f"{'.'.join(path)} {shown}: {' '.join(words[:2])}: {fault[:300]}")
        shutil.rmtree(heads / "others", ignore_errors=True)
    assert not faults, f"{len(faults)}:\n" + "\n".join(faults)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '"x"', "\0\0\0", "[" * 100_000, '{"a": NaN}', "\ufeff{}"]
)
@pytest.mark.parametrize("name", HEADS)
def test_no_text_in_the_place_of_a_head_ends_in_an_error_of_python(
    heads: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (heads / name).write_text(text)
    for words in HEADS[name]:
        assert ends_well([word.format(heads) for word in words], name, capsys) is None
