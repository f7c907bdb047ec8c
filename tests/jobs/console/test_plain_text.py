"""No text of other people moves the cursor, colours the terminal or breaks a file."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import run
from jobs.console.plain_text import escaped_output, printable, raw

ODD = ("\x1b[31mred\x07", "up\u202egpj\x00\x9b")
"""Class names that colour, ring, turn the direction of writing, and end a text of C."""
OBEYED = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2028"} - {"\n", "\t"}


@given(st.text())
def test_what_is_printable_stays_and_all_else_is_written_out(text: str) -> None:
    shown = printable(text)
    assert not OBEYED & {*shown}
    shown.encode()
    assert shown == text or not text.isprintable()
    assert printable(shown) == shown


def test_what_a_verb_prints_is_escaped_and_the_stream_below_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout
    with escaped_output():
        print("name \x1b[2J", file=sys.stderr)
        print("one\ntwo \x1b]0;title\x07")
        raw(sys.stdout).write("\x1b[0m")
    assert sys.stdout is before
    said = capsys.readouterr()
    assert said.err == "name \\x1b[2J\n"
    assert said.out == "one\ntwo \\x1b]0;title\\x07\n\x1b[0m"


@pytest.fixture
def odd(stored: Path) -> Path:
    """The stored folder, its classes renamed to odd ones."""
    for head in (stored / "set/dataset.json", *stored.glob("labels/round=*/round.json")):
        head.write_text(json.dumps({**json.loads(head.read_text()), "classes": ODD}))
    return stored


@pytest.mark.parametrize(
    "command",
    [
        ("sql", "select class, count(*) n from pseudo_labels group by 1", "--root", "{}"),
        ("sql", "select 1 as \"a\x1b[31m\"", "--root", "{}"),
        ("sql", "select \x1b[31m", "--root", "{}"),
        ("rounds", "compare", "--root", "{}"),
        ("rounds", "compact", "{}/labels/\x1b[31mx"),
        ("quality", "--root", "{}"),
        ("verify", "{}/set", "{}/labels"),
        ("export", "{}/labels", "--format", "coco", "--out", "{}/\x1b[31mout"),
    ],
    ids=str,
)  # fmt: skip
def test_no_verb_prints_what_a_terminal_obeys(
    odd: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run([word.format(odd) for word in command])
    said = capsys.readouterr()
    assert said.out + said.err
    assert not OBEYED & {*said.out, *said.err}


def test_odd_classes_leave_every_exported_file_well_formed(odd: Path) -> None:
    for form in ("voc", "labelstudio", "yolo", "coco"):
        assert run(["export", f"{odd}/labels", "--format", form, "--out", f"{odd}/{form}"]) == 0
    trees = [ElementTree.parse(path) for path in [*odd.glob("voc/**/*.xml"), *odd.glob("labelstudio/*.xml")]]
    names = {element.text for tree in trees for element in tree.iter("name")}
    assert names == {"%1B[31mred%07", "up\u202egpj%00\x9b"}
    (config,) = (tree for tree in trees if tree.getroot().tag == "View")
    labels = {element.get("value") for element in config.iter("Label")}
    tasks = json.loads((odd / "labelstudio/tasks-000000.json").read_text())
    used = {box["value"]["rectanglelabels"][0] for task in tasks for box in task["predictions"][0]["result"]}
    assert used == labels == names
    assert tuple(yaml.safe_load((odd / "yolo/data.yaml").read_text())["names"].values()) == ODD
    categories = json.loads((odd / "coco/annotations.json").read_text())["categories"]
    assert tuple(category["name"] for category in categories) == ODD
