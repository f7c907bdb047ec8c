"""Every field of every small file, dropped, null, empty, of another type or out of range: one line, or no harm.

Whoever reads a file with a fault either does without the field or raises an error of the outside world that names
the file. It never ends in an error of Python.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import run
from storage.database.folder_tables import catalog_of
from storage.database.workspace import discover
from storage.dataset.dataset import Dataset
from storage.dataset.skipped_report import set_apart
from storage.errors import InputError
from storage.rounds.fits_dataset import fitting_terms, thresholds_of
from storage.rounds.round import open_round
from storage.splits.published_list import import_split

WRONG: tuple[Any, ...] = (None, [], "", -1, 10**30, 1.5, [None], {"a": None})
DROPPED = object()


def read_sets(root: Path) -> None:
    Dataset.open(f"{root}/set").images()
    catalog_of(discover(f"{root}/set"))


def read_rounds(root: Path) -> None:
    assert {round_.number for round_ in discover(f"{root}/labels").rounds} >= {1}
    catalog_of(discover(f"{root}/labels"))
    open_round(f"{root}/labels/round=0002").tables()


def fit_round(root: Path) -> None:
    dataset = Dataset.open(f"{root}/set")
    round_ = open_round(f"{root}/labels/round=0001")
    terms = fitting_terms(round_, dataset, dataset.classes, partial=True)
    thresholds_of(round_, terms, len(dataset.classes))


def read_split(root: Path) -> None:
    import_split(f"{root}/parts/split.json", json.loads((root / "coco.json").read_text())["images"])


READERS: dict[str, Callable[[Path], object]] = {
    "set/dataset.json": read_sets,
    "set/skipped.json": lambda root: set_apart(f"{root}/set"),
    "labels/round=0001/begun.json": fit_round,
    "labels/round=0002/round.json": read_rounds,
    "labels/round=0002/tables.json": read_rounds,
    "parts/split.json": read_split,
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


def fault_of(reader: Callable[[Path], object], root: Path) -> str | None:
    """Return what is wrong with how a reader ends, or None."""
    try:
        reader(root)
    except InputError as error:
        return "more than a line" if "\n" in str(error) else None
    except Exception as error:  # what a user would see as a traceback
        return f"{type(error).__name__}: {error}"
    return None


@pytest.fixture
def heads(stored: Path) -> Path:
    """The stored folder with a split in it; round 1 is begun and not complete, round 2 is compacted."""
    assert run(["split", f"{stored}/coco.json", "--out", f"{stored}/parts", "--percent", "50"]) == 0
    assert run(["rounds", "compact", f"{stored}/labels/round=0002"]) == 0
    (stored / "labels/round=0001/round.json").unlink()
    return stored


@pytest.mark.parametrize("name", READERS)
def test_no_fault_of_a_field_ends_in_an_error_of_python(heads: Path, name: str) -> None:
    whole = json.loads((heads / name).read_text())
    READERS[name](heads)
    faults = []
    for path, value in itertools.product(fields(whole), (DROPPED, *WRONG)):
        (heads / name).write_text(mutated(whole, path, value))
        if fault := fault_of(READERS[name], heads):
            faults.append(f"{'.'.join(path)} {'dropped' if value is DROPPED else repr(value)}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", READERS)
def test_no_text_in_the_place_of_a_head_ends_in_an_error_of_python(heads: Path, name: str) -> None:
    for text in ("", "{", "[]", "null", "3", '"x"', "\0\0\0", "[" * 100_000, '{"a": NaN}', "\ufeff{}"):
        (heads / name).write_text(text)
        assert fault_of(READERS[name], heads) is None, text[:20]


def test_one_damaged_round_is_named_and_keeps_no_other_from_answering(
    heads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = heads / "labels/round=0002/round.json"
    head.write_text(mutated(json.loads(head.read_text()), ("num_boxes",), "many"))
    capsys.readouterr()
    assert run(["sql", "select round, count(*) n from boxes group by 1", "--root", str(heads)]) == 0
    said = capsys.readouterr()
    assert "│     1 │ 4 │" in said.out
    assert said.err.startswith("left out: expected the fields of a round")
    assert "`$.num_boxes`" in said.err
    assert run(["rounds", "list", "--root", str(heads)]) == 0
    assert run(["verify", f"{heads}/labels"]) == 1
    assert "round=0002" in capsys.readouterr().out
