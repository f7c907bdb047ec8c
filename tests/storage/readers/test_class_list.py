"""The classes of a source mapped to a list by name: what is not in it is dropped, counted and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.errors import SourceError
from storage.readers.class_list import read_classes, with_classes
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet


def source_of(tmp_path: Path, *classes: str, crowd: str = "") -> ImageSet:
    """Return one image with a box of each class, and a crowd region of one."""
    annotations = [
        {"image_id": 1, "category_id": row, "bbox": [row, 1, 5, 5], "iscrowd": int(name == crowd)}
        for row, name in enumerate(classes, 1)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 50, "height": 50}],
        "categories": [{"id": row, "name": name} for row, name in enumerate(classes, 1)],
        "annotations": annotations,
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return read_coco(str(tmp_path / "a.json"))


def mapped(source: ImageSet, *classes: str) -> dict[str, float]:
    """Return the left edge of the box of each class after the mapping: it tells which class it was before."""
    result = with_classes(source, classes, tuple(range(1, len(classes) + 1)))
    assert result.classes == classes
    assert result.truth is not None
    labels = result.truth.labels
    return {
        classes[row]: box[0] for row, box in zip(labels.categories_N, labels.boxes_N4.tolist(), strict=True)
    }


def test_another_order_and_more_classes_keep_every_box(tmp_path: Path) -> None:
    source = source_of(tmp_path, "cat", "dog")
    assert mapped(source, "cow", "dog", "cat") == {"cat": 1, "dog": 2}
    assert not source.problems
    assert not source.problems.remarks


def test_a_class_that_the_list_lacks_is_dropped_and_counted_crowds_too(tmp_path: Path) -> None:
    source = source_of(tmp_path, "cat", "dog", "cow", crowd="cow")
    assert mapped(source, "cat") == {"cat": 1}
    kind = "class that is not in the list (dropped)"
    assert source.problems.counts == {kind: 2}
    assert source.problems.examples[kind] == ["a.jpg: dog", "a.jpg: cow"]


@pytest.mark.parametrize("name", ["Cat", "CAT", " cat", "cat "])
def test_another_spelling_is_taken_where_one_fits(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path, name, "dog")
    assert mapped(source, "dog", "cat") == {"cat": 1, "dog": 2}
    assert source.problems.examples["class in another spelling (taken)"] == [f"{name} as cat"]


def test_another_spelling_is_not_taken_where_two_fit(tmp_path: Path) -> None:
    source = source_of(tmp_path, "Cat", "dog")
    assert mapped(source, "cat", "CAT", "dog") == {"dog": 2}
    assert source.problems.counts == {"class that is not in the list (dropped)": 1}
    source = source_of(tmp_path, "Cat", "cat", "dog")  # two classes of the source
    assert mapped(source, "cat", "dog") == {"cat": 2, "dog": 3}
    assert source.problems.counts == {"class that is not in the list (dropped)": 1}


def test_a_list_without_any_class_of_the_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected classes of the list cow, got cat, dog"):
        mapped(source_of(tmp_path, "cat", "dog"), "cow")


@pytest.mark.parametrize(
    ("text", "got"),
    [("cat\ndog\ncat\n", "'cat' twice"), ("\n \n", "no name"), ("cat\n cat \n", "'cat' twice")],
)
def test_a_list_of_equal_names_names_them(tmp_path: Path, text: str, got: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(SourceError, match=rf"different class names, one a line, got {got}: .*classes\.txt"):
        read_classes(str(tmp_path / "classes.txt"))
