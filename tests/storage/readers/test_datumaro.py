"""Datumaro's JSON: boxes as written, boxes around other shapes, and every annotation that is none named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from storage.errors import SourceError
from storage.readers.datumaro import read_datumaro
from storage.readers.image_set import ImageSet
from storage.readers.open_source import detect_format, open_source
from tests.tool_sources import BOXES, datumaro, datumaro_box, datumaro_document, write_files


def read_annotations(root: Path, *annotations: Any, image: dict[str, Any] | None = None) -> ImageSet:
    names = dict.fromkeys(f"images/default/im{number}.jpg" for number in range(2))
    document = datumaro_document([*annotations], image=image)
    write_files(root, {"annotations/default.json": document} | names)
    return read_datumaro(str(root))[0]


def rle(left: int, top: int, right: int, bottom: int) -> dict[str, Any]:
    pixels = np.zeros((60, 80), np.uint8, order="F")
    pixels[top:bottom, left:right] = 1
    encoded = coco_mask.encode(pixels)
    return {"counts": encoded["counts"].decode(), "size": [60, 80]}


def shape(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": 0, "type": kind, "attributes": {}, "group": 0, "label_id": 1} | fields


@pytest.mark.parametrize(
    ("annotation", "box", "remark"),
    [
        (shape("polygon", points=[10, 10, 30, 12, 20, 25]), (10, 10, 30, 25), "polygon"),
        (shape("ellipse", points=[10, 10, 30, 25]), (10, 10, 30, 25), "ellipse"),
        (shape("mask", rle=rle(10, 10, 30, 25)), (10, 10, 30, 25), "mask"),
        (
            datumaro_box("dog", (10, 20, 30, 24), attributes={"rotation": 90.0}),
            (18, 12, 22, 32),
            "turned box",
        ),
    ],
)
def test_the_box_around_another_shape_is_taken_and_said(
    tmp_path: Path, annotation: dict[str, Any], box: tuple[float, ...], remark: str
) -> None:
    source = read_annotations(tmp_path, annotation)
    assert source.truth is not None
    np.testing.assert_allclose(source.truth.labels.boxes_N4, [box], atol=1e-4)
    assert source.truth.labels.categories_N.tolist() == [1]
    assert source.problems.remarks == {f"{remark} (the box around it taken)": 1}
    assert not source.problems


@pytest.mark.parametrize(
    ("annotation", "kind", "named"),
    [
        (shape("points", points=[1, 2]), "no box: points (dropped)", "im0: annotations[1]"),
        (shape("polyline", points=[1, 2, 3, 4]), "no box: polyline (dropped)", "im0: annotations[1]"),
        (shape("skeleton", elements=[]), "no box: skeleton (dropped)", "im0: annotations[1]"),
        (shape("polygon", points=[1, 2, 3, 4]), "malformed annotation (dropped)", "points = [1, 2, 3, 4]"),
        (shape("mask", rle={"counts": "", "size": [0, 0]}), "malformed annotation (dropped)", "rle = {"),
        (shape("bbox"), "malformed annotation (dropped)", "bbox with no bbox"),
        (shape("bbox", bbox=[1, 2, "3", 4]), "malformed annotation (dropped)", 'bbox = [1, 2, "3", 4]'),
        (shape("bbox", bbox=[1, 2, 3]), "malformed annotation (dropped)", "bbox = [1, 2, 3]"),
        (shape("bbox", bbox=[1, 2, 3, 4], label_id=9), "malformed annotation (dropped)", "label_id = 9"),
        (
            shape("bbox", bbox=[1, 2, 3, 4], label_id=None),
            "malformed annotation (dropped)",
            "label_id = null",
        ),
        ({"bbox": [1, 2, 3, 4]}, "malformed annotation (dropped)", "no type"),
        ("box", "malformed annotation (dropped)", "'box' in place of an object"),
    ],
)
def test_what_is_no_box_is_counted_and_named(tmp_path: Path, annotation: Any, kind: str, named: str) -> None:
    source = read_annotations(tmp_path, datumaro_box("cat", BOXES["cat"]), annotation)
    assert source.problems.counts == {kind: 1}
    assert named in source.problems.examples[kind][0]
    assert source.num_annotations == 2


def test_crowds_are_kept_apart_and_labels_of_images_said(tmp_path: Path) -> None:
    crowd = datumaro_box("dog", BOXES["dog"], attributes={"is_crowd": True, "rotation": "none"})
    source = read_annotations(tmp_path, crowd, shape("label"), datumaro_box("cat", BOXES["cat"]))
    assert source.truth is not None
    assert len(source.truth.labels.boxes_N4) == len(source.truth.crowds.boxes_N4) == 1
    assert source.problems.remarks["label of a whole image (no box)"] == 1
    assert not source.problems


@pytest.mark.parametrize(
    "image",
    [{"path": ""}, {"path": "IM0.JPG"}, {"path": "default\\im0.jpg"}, {"path": "im0.jpg", "size": None}],
)
def test_an_image_is_found_and_its_size_read_where_the_file_does_not_say_them(
    tmp_path: Path, image: dict[str, Any]
) -> None:
    source = read_annotations(tmp_path, image=image)
    assert source.file_names == ("im0.jpg", "im1.jpg")
    assert source.sizes.tolist() == [[60, 80], [60, 80]]


def test_subsets_are_files_and_one_file_may_be_given(tmp_path: Path) -> None:
    datumaro(tmp_path)
    val = datumaro_document([datumaro_box("dog", (1, 2, 3, 4))])
    write_files(
        tmp_path, {"annotations/val.json": val, "images/val/im0.jpg": None, "images/val/im1.jpg": None}
    )
    for source in (
        open_source(str(tmp_path), subset="valid"),
        open_source(str(tmp_path / "annotations/val.json")),
    ):
        assert source.images_root == str(tmp_path / "images/val")
        assert source.images.truth is not None
        assert source.images.truth.labels.boxes_N4.tolist() == [[1, 2, 3, 4]]
    assert detect_format(str(tmp_path / "annotations/val.json")) == "datumaro"
    with pytest.raises(SourceError, match="subsets default, val, got none asked for"):
        open_source(str(tmp_path))


def test_an_item_that_is_none_is_named_and_a_file_that_is_none_an_error(tmp_path: Path) -> None:
    datumaro(tmp_path)
    path = tmp_path / "annotations/default.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "items": [*document["items"], {"id": None}, 7]}))
    source, _ = read_datumaro(str(tmp_path))
    kind = "malformed item (image left out)"
    assert source.problems.examples[kind] == ["items[2]: id = null", "items[3]: '7' in place of an object"]
    path.write_text(json.dumps({**document, "items": 7}))
    with pytest.raises(SourceError, match=r"expected JSON of Datumaro, got .*items.*default\.json"):
        read_datumaro(str(tmp_path))
