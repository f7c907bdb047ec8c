"""Names of other systems: found when exactly one file fits, else the near ones are named."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from storage.readers.find_file import FileFinder

FILES = ("sub/im0.jpg", "my photo.jpg", "plain.jpg", "a/twin.jpg", "b/twin.jpg", "scan.PNG", "caf\u00e9.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sub\\im0.jpg", "sub/im0.jpg"),
        ("my%20photo.jpg", "my photo.jpg"),
        (unicodedata.normalize("NFD", "caf\u00e9.jpg"), "caf\u00e9.jpg"),
        ("images/plain.jpg", "plain.jpg"),
        ("C:\\data\\Plain.JPG", "plain.jpg"),
        ("/home/user/sub/im0.jpg", "sub/im0.jpg"),
        ("im0.jpg", "sub/im0.jpg"),
        ("scan.jpg", "scan.PNG"),
    ],
)
def test_the_one_file_that_fits_is_found(folder: str, name: str, found: str) -> None:
    assert FileFinder(folder).find(name)[0] == found


@pytest.mark.parametrize(
    ("name", "near"),
    [("twin.jpg", ["a/twin.jpg", "b/twin.jpg"]), ("other/im0.jpg", ["sub/im0.jpg"]), ("none.jpg", [])],
)
def test_where_none_or_two_fit_nothing_is_taken_and_the_near_ones_are_named(
    folder: str, name: str, near: list[str]
) -> None:
    assert FileFinder(folder).find(name) == (None, near)


def test_a_later_reading_sees_the_files_that_came_since(folder: str) -> None:
    finder = FileFinder(folder)
    assert finder.find("Late.jpg") == (None, [])
    (Path(folder) / "late.jpg").write_bytes(b"")
    assert finder.find("Late.jpg") == (None, [])  # one reading lists once
    assert FileFinder(folder).find("Late.jpg")[0] == "late.jpg"
