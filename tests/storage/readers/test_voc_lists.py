"""Names in lists of Pascal VOC: with flags, like flags, with spaces; which list is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import SourceError
from storage.readers.find_file import plain_name
from storage.readers.voc import read_voc
from storage.readers.voc_lists import names_of_list


@pytest.mark.parametrize(
    ("lines", "there", "names"),
    [
        (["000005  1", "000007 -1", "000009  0"], ["000005", "000007", "000009"], ["000005", "000007", "000009"]),
        (["photo 1", "photo 2"], ["photo 1", "photo 2"], ["photo 1", "photo 2"]),
        (["photo 1", "photo 0"], ["photo 1", "photo 0"], ["photo 1", "photo 0"]),
        (["photo 1", "photo 0"], ["photo 1", "photo", "photo 0"], ["photo 1", "photo 0"]),
        (["photo 1 -1", "photo  1"], ["photo 1", "photo"], ["photo 1", "photo"]),
        (["photo 1", "b"], ["photo", "b"], ["photo", "b"]),
        (["photo 1", "b"], ["photo 1", "b"], ["photo 1", "b"]),
        (["a 1", "b 1"], [], ["a", "b"]),
        (["a 1", "b"], [], ["a 1", "b"]),
        (["a 1", "b 1"], ["a 1"], ["a 1", "b"]),
        ([" led", "b "], [" led", "b"], [" led", "b"]),
        (["", "a", "  "], ["a"], ["a"]),
        (["sub/photo 1"], ["sub/photo 1"], ["sub/photo 1"]),
        (["a.jpg 1", "b.v1.PNG -1"], ["a", "b.v1"], ["a", "b.v1"]),
        (["a.jpg", "b.v1", "c.v1"], ["a", "b.v1"], ["a", "b.v1", "c.v1"]),
        (["data/JPEGImages/a.jpg", "JPEGImages/photo 1.jpg"], ["a", "photo 1"], ["a", "photo 1"]),
        (["a.jpg"], ["a.jpg", "a"], ["a.jpg"]),
        (["Photo 1", "b 0"], ["photo 1", "b 0"], ["Photo 1", "b 0"]),
    ],
)  # fmt: skip
def test_a_flag_is_told_from_a_name_by_the_whole_list_and_the_files(
    lines: list[str], there: list[str], names: list[str]
) -> None:
    assert names_of_list(lines, lambda: {plain_name(f"{name}.") for name in there}) == names


def test_files_are_not_listed_where_no_line_may_have_a_flag() -> None:
    def there() -> set[str]:
        raise AssertionError("the files need not be known")

    assert names_of_list(["000005", "000007"], there) == ["000005", "000007"]


def test_the_only_list_is_taken_and_several_are_asked_for(voc: Path) -> None:
    main = voc / "VOC2007/ImageSets/Main"
    (main / "dog_test.txt").write_text("000009 1\n")
    (main / "trainval.txt").unlink()
    source = read_voc(str(voc / "VOC2007"))
    assert source.file_names == ("JPEGImages/000009.jpg",)
    assert source.notes["subset"] == "test"
    assert read_voc(str(voc / "VOC2007"), subset="dog_test").file_names == source.file_names
    (main / "val.txt").write_text("000005\n")
    with pytest.raises(SourceError, match=r"no .*Main/trainval\.txt; .* with --subset: test, val$"):
        read_voc(str(voc / "VOC2007"))


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_folders_of_lists_are_found_in_any_case(voc: Path, spelling: type[str.lower]) -> None:
    year = voc / "VOC2007"
    expected = read_voc(str(year))
    for name in ("ImageSets/Main", "ImageSets", "Annotations", "JPEGImages"):
        folder = year / name
        folder.rename(folder.with_name(f"{folder.name}.moved")).rename(
            folder.with_name(spelling(folder.name))
        )
    source = read_voc(str(year))
    assert len(source) == len(expected) == 2
    assert source.truth is not None
    assert expected.truth is not None
    assert source.truth.labels.boxes_N4.tolist() == expected.truth.labels.boxes_N4.tolist()
    for name in source.file_names:
        assert (year / name).is_file()


def test_lists_right_in_imagesets_are_read(voc: Path) -> None:
    sets = voc / "VOC2007/ImageSets"
    for path in (sets / "Main").iterdir():
        path.rename(sets / path.name)
    (sets / "Main").rmdir()
    assert read_voc(str(voc / "VOC2007")).image_ids == (5, 7)
