"""labelme's JSON: corners in any order, boxes around other shapes, images found however the file names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage.errors import SourceError
from storage.readers.labelme import read_labelme
from storage.readers.open_source import detect_format, open_source
from tests.tool_sources import BOXES, labelme, labelme_document, labelme_shape, write_files


def write_shapes(root: Path, *shapes: dict[str, Any], image: str = "im0.jpg", **more: Any) -> None:
    write_files(root, {"im0.json": labelme_document(image, [*shapes], **more), "im0.jpg": None})


@pytest.mark.parametrize(
    ("kind", "points", "box"),
    [
        ("rectangle", [[30, 25], [10, 10]], (10, 10, 30, 25)),
        ("rectangle", [[10, 25], [30, 10]], (10, 10, 30, 25)),
        ("rectangle", [[10, 10], [30, 10], [30, 25], [10, 25]], (10, 10, 30, 25)),
        ("polygon", [[10, 10], [30, 12], [20, 25]], (10, 10, 30, 25)),
        (None, [[10, 10], [30, 12], [20, 25]], (10, 10, 30, 25)),
        ("circle", [[20, 20], [23, 24]], (15, 15, 25, 25)),
        ("mask", [[10, 10], [29, 24]], (10, 10, 30, 25)),
        ("oriented_rectangle", [[20, 10], [30, 20], [20, 30], [10, 20]], (10, 10, 30, 30)),
        ("rotation", [[20, 10], [30, 20], [20, 30], [10, 20]], (10, 10, 30, 30)),
    ],
)
def test_every_shape_with_an_area_gives_its_box(
    tmp_path: Path, kind: str | None, points: Any, box: tuple[float, ...]
) -> None:
    write_shapes(tmp_path, labelme_shape("dog", points, kind))
    source, _ = read_labelme(str(tmp_path))
    assert source.truth is not None
    np.testing.assert_allclose(source.truth.labels.boxes_N4, [box], atol=1e-4)
    said = {} if kind == "rectangle" else {f"{kind or 'polygon'} (the box around it taken)": 1}
    assert source.problems.remarks == said
    assert not source.problems


@pytest.mark.parametrize(
    ("shape", "kind", "named"),
    [
        (labelme_shape("dog", [[1, 2]], "point"), "no box: point (dropped)", "shapes[1]: dog"),
        (labelme_shape("dog", [[1, 2], [3, 4]], "line"), "no box: line (dropped)", "shapes[1]: dog"),
        (labelme_shape("dog", [[1, 2], [3, 4]], "linestrip"), "no box: linestrip (dropped)", "shapes[1]"),
        (labelme_shape("dog", [[1, 2], [3, 4]], "ellipse"), "no box: ellipse (dropped)", "shapes[1]"),
        (
            labelme_shape("dog", [[1, 2]]),
            "malformed shape (dropped)",
            "shapes[1]: dog, rectangle of [(1.0, 2.0)]",
        ),
        (
            labelme_shape("dog", [[1, 2], [3, "x"]]),
            "malformed shape (dropped)",
            'points = [[1, 2], [3, "x"]]',
        ),
        (labelme_shape("dog", [[1, 2], None]), "malformed shape (dropped)", "points = [[1, 2], null]"),
        (labelme_shape(None, [[1, 2], [3, 4]]), "malformed shape (dropped)", "label = null"),  # type: ignore[arg-type]
        (labelme_shape(" ", [[1, 2], [3, 4]]), "malformed shape (dropped)", "no label"),
        ({"label": "dog"}, "malformed shape (dropped)", "no points"),
        (7, "malformed shape (dropped)", "'7' in place of an object"),
    ],
)
def test_what_is_no_box_is_counted_and_named(tmp_path: Path, shape: Any, kind: str, named: str) -> None:
    write_shapes(tmp_path, labelme_shape("cat", [[1, 2], [9, 9]]), shape)
    source, _ = read_labelme(str(tmp_path))
    assert source.problems.counts == {kind: 1}
    assert named in source.problems.examples[kind][0]
    assert source.problems.examples[kind][0].startswith("im0.json: shapes[1]")
    assert source.num_annotations == 2


def test_shapes_of_one_group_and_label_are_one_object(tmp_path: Path) -> None:
    parts = [
        labelme_shape("dog", [[10, 10], [15, 12], [12, 20]], "polygon", group_id=3),
        labelme_shape("dog", [[20, 10], [30, 12], [22, 25]], "polygon", group_id=3),
        labelme_shape("cat", [[40, 10], [50, 12], [42, 25]], "polygon", group_id=3),
        labelme_shape("dog", [[60, 10], [70, 12], [62, 25]], "polygon"),
    ]
    write_shapes(tmp_path, *parts)
    source, _ = read_labelme(str(tmp_path))
    assert source.truth is not None
    boxes = [[10, 10, 30, 25], [40, 10, 50, 25], [60, 10, 70, 25]]
    assert source.truth.labels.boxes_N4.tolist() == boxes
    assert source.problems.remarks["shapes of one group and label (taken as one object)"] == 1


@pytest.mark.parametrize(
    ("annotation", "written", "image"),
    [
        ("im0.json", "..\\photos\\im0.jpg", "im0.jpg"),
        ("json/im0.json", "../images/im0.jpg", "images/im0.jpg"),
        ("json/im0.json", "im0.jpg", "images/im0.jpg"),
        ("im0.json", "C:\\Users\\a\\im0.jpg", "im0.jpg"),
        ("im0.json", "renamed.jpg", "im0.jpg"),
        ("im0.json", "IM0.JPG", "im0.jpg"),
        ("sub/im0.json", "im0.jpg", "sub/im0.jpg"),
    ],
)
def test_an_image_is_found_however_the_file_names_it(
    tmp_path: Path, annotation: str, written: str, image: str
) -> None:
    shapes = [labelme_shape("cat", [[10, 10], [30, 25]])]
    write_files(tmp_path, {annotation: labelme_document(written, shapes), image: None})
    source = open_source(str(tmp_path))
    assert source.images.file_names == (image,)
    assert not source.images.problems


def test_pixels_within_the_json_are_passed_over_and_named_where_there_is_no_file(tmp_path: Path) -> None:
    shape = labelme_shape("cat", [[10, 10], [30, 25]])
    write_shapes(tmp_path, shape, imageData="/9j/4AAQ" * 1000)
    (tmp_path / "lost.json").write_text(labelme_document("lost.jpg", [shape], imageData="/9j/4AAQ"))
    (tmp_path / "gone.json").write_text(labelme_document("gone.jpg", [shape]))
    source, _ = read_labelme(str(tmp_path))
    assert source.file_names == ("gone.jpg", "im0.jpg")  # writing shards says that it is missing
    kind = "image whose pixels stand in its JSON alone (left out)"
    assert source.problems.examples[kind] == ["lost.json"]


def test_files_that_are_broken_or_of_another_kind_and_images_without_a_file_are_named(tmp_path: Path) -> None:
    labelme(tmp_path)
    write_files(
        tmp_path, {"im2.json": '{"shapes": [', "im2.jpg": None, "im3.jpg": None, "more.json": '{"a": 1}'}
    )
    source, _ = read_labelme(str(tmp_path))
    assert source.problems.counts == {
        "broken annotation file (image left out)": 1,
        "JSON of another kind (not read)": 1,
    }
    assert "im2.json" in source.problems.examples["broken annotation file (image left out)"][0]
    assert source.problems.examples["image that no annotation names (left out)"] == ["im2.jpg", "im3.jpg"]


def test_a_size_that_is_missing_is_that_of_the_file(tmp_path: Path) -> None:
    write_shapes(tmp_path, labelme_shape("cat", BOXES["cat"]), imageHeight=None, imageWidth=None)
    source, _ = read_labelme(str(tmp_path))
    assert source.sizes.tolist() == [[60, 80]]


def test_one_file_alone_is_read_with_images_elsewhere(tmp_path: Path) -> None:
    shapes = [labelme_shape("cat", [[10, 10], [30, 25]])]
    write_files(tmp_path, {"json/im0.json": labelme_document("im0.jpg", shapes), "images/im0.jpg": None})
    location = str(tmp_path / "json/im0.json")
    assert detect_format(location) == "labelme"
    source = open_source(location, images=str(tmp_path / "images"))
    assert source.images.file_names == ("im0.jpg",)
    assert source.images_root == str(tmp_path / "images")


def test_text_of_windows_is_decoded(tmp_path: Path) -> None:
    write_files(tmp_path, {"im0.jpg": None})
    text = labelme_document("im0.jpg", [labelme_shape("Köter", [[10, 10], [30, 25]])])
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "im0.json").write_bytes(text.encode(encoding))
        assert open_source(str(tmp_path)).images.classes == ("Köter",)


def test_a_folder_without_such_files_is_an_error(tmp_path: Path) -> None:
    write_files(tmp_path, {"im0.jpg": None, "im0.json": '{"regions": []}'})
    with pytest.raises(SourceError, match=r"expected JSON files of labelme, got .*im0\.json"):
        read_labelme(str(tmp_path))


def test_the_size_of_an_image_of_which_the_file_says_none_is_of_the_frame_of_its_boxes(
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    write_shapes(tmp_path, labelme_shape("dog", [[10, 5], [45, 35]]), imageWidth=None, imageHeight=None)
    Image.new("RGB", (50, 40)).save(tmp_path / "im0.jpg", exif=exif)
    upright = open_source(str(tmp_path)).images
    stored = open_source(str(tmp_path), frame="stored").images
    assert (upright.sizes.tolist(), stored.sizes.tolist()) == ([[50, 40]], [[40, 50]])
    assert upright.truth is not None
    assert stored.truth is not None
    np.testing.assert_array_equal(upright.truth.labels.boxes_N4, [[10, 5, 40, 35]])  # clipped
    np.testing.assert_array_equal(stored.truth.labels.boxes_N4, [[10, 5, 45, 35]])
