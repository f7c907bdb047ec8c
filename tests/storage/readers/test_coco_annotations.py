"""COCO's annotations as columns: the numbers that `json` reads, and unusual records kept or named one by one."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask

from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.coco import read_coco
from storage.readers.coco_annotations import AnnotationColumns, read_annotations
from storage.readers.image_set import ImageSet

USUAL = {"id": 7, "image_id": 3, "category_id": 2, "bbox": [1, 2.5, 3e1, 4], "area": 12.25, "iscrowd": 0}


def read(*records: str) -> tuple[AnnotationColumns, Problems]:
    problems = Problems()
    return read_annotations(
        [msgspec.Raw(record.encode()) for record in records], "x.json", problems, lambda _: None
    ), problems


def changed(**fields: Any) -> str:
    return json.dumps(USUAL | fields)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=4, max_size=4))
@example([702.1057499999998, 29131.103999999987, 0.1 + 0.2, 1 / 3])
@example([5e-324, 1.7976931348623157e308, -0.0, 9007199254740993.0])
@example([10**19, 2**64, -(10**30), 10**300])
def test_every_number_is_the_one_that_json_reads(box: list[float]) -> None:
    columns, problems = read(changed(bbox=box))
    assert columns.xywh_E4.tolist() == [list(map(float, box))]
    assert not problems


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-4, 1e15))
def test_areas_as_annotation_tools_write_them_are_read_exactly(area: float) -> None:
    assert read(changed(area=area))[0].areas_E.tolist() == [area]


@pytest.mark.parametrize(
    ("record", "column", "value"),
    [
        (changed(id=-5), "ids_E", -5),
        (changed(id=900100184613), "ids_E", 900100184613),
        (changed(id=True), "ids_E", 1),
        (changed().replace('"id"', '"i\\u0064"'), "ids_E", 7),
        (changed(image_id=2**63 - 1), "image_ids_E", 2**63 - 1),
        (changed(category_id=-(2**63)), "category_ids_E", -(2**63)),
        (changed(iscrowd=1), "crowd_E", True),
        (changed(iscrowd=True), "crowd_E", True),
        (changed(iscrowd=False), "crowd_E", False),
        (changed(iscrowd="1"), "crowd_E", True),
        (changed(iscrowd=None), "crowd_E", False),
        (changed(segmentation=[[1, 2], {"a": '}\\"'}]), "xywh_E4", [1, 2.5, 30, 4]),
        (changed(bbox=[True, 2, 3, 4]), "xywh_E4", [1, 2, 3, 4]),
    ],
)
def test_usual_and_unusual_records_are_read(record: str, column: str, value: Any) -> None:
    columns, problems = read(changed(), record, changed())
    assert len(columns.ids_E) == 3
    assert getattr(columns, column)[1].tolist() == value
    assert not problems


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (changed(id=None), "[1]"),
        (changed(id=7.0), "7.0"),
        (changed(id="7"), "7"),
        (changed(id=10**30), str(10**30)),
        (changed(id=2**63), str(2**63)),
        (changed().replace('"id": 7, ', ""), "[1]"),
    ],
)
def test_a_record_without_an_integer_id_is_kept_beside_all_others(record: str, name: str) -> None:
    columns, problems = read(changed(), record, changed(id=-2))
    assert columns.name(1) == f"annotation {name}"
    ids = np.array([3]), np.array([2])
    assert len(columns.resolve(*ids, problems).images_A) == 3
    assert not problems


@pytest.mark.parametrize("area", [0, -3, None, math.nan, math.inf, "2", 10**400])
def test_an_area_that_is_none_counts_as_unknown(area: Any) -> None:
    columns, problems = read(changed(area=area), changed().replace(', "area": 12.25', ""))
    assert np.isnan(columns.areas_E).tolist() == [True, True]
    assert not problems


@pytest.mark.parametrize(
    "record",
    [
        "{}", "[]", "3", "null", '"text"',
        '{"id": 7, "image_id": 3, "category_id": 2}',
        changed(image_id=10**20), changed(image_id=3.5), changed(image_id="a3"), changed(category_id=None),
        changed(bbox=[1, 2, 3]), changed(bbox=[1, 2, 3, 4, 5]), changed(bbox=[1, 2, 3, "4x"]), changed(bbox=None),
        changed(bbox=[1, 2, 3, math.nan]), changed(bbox=[1, 2, 3, -math.inf]), changed(bbox=[1, 2, 3, 10**400]),
        changed().replace("2.5", "1e400"),
    ],
)  # fmt: skip
def test_a_malformed_record_is_dropped_and_named(record: str) -> None:
    columns, problems = read(changed(id=1), record, changed(id=3))
    assert columns.ids_E.tolist() == [1, 3]
    name = "7" if '"id": 7' in record else "[1]"
    assert problems.counts == {"malformed annotation (dropped)": 1}
    ((example,),) = problems.examples.values()
    assert re.match(rf"annotation {re.escape(name)}: (no )?(image_id|category_id|bbox)( = .+)?$", example)


@pytest.mark.parametrize(
    "record",
    [
        changed(image_id=3.0), changed(image_id="3"), changed(category_id="2.0"),
        changed(bbox=["1", "2.5", "30", "4"]),
        changed(bbox={"x": 1, "y": 2.5, "width": 30, "height": 4}),
        changed(bbox={"x": 1, "y": 2.5, "w": 30, "h": "4"}),
    ],
)  # fmt: skip
def test_numbers_as_text_and_boxes_as_objects_are_read(record: str) -> None:
    columns, problems = read(record)
    assert columns.xywh_E4.tolist() == [[1, 2.5, 30, 4]]
    assert (columns.image_ids_E.tolist(), columns.category_ids_E.tolist()) == ([3], [2])
    assert not problems


@pytest.mark.parametrize("box", [None, []])
@pytest.mark.parametrize(
    "polygon", [[[1, 2, 31, 2, 20, 6]], [1, 2, 31, 2, 20, 6], [[1, 2, 9, 2, 9, 6], [20, 5, 31, 5, 20, 6]]]
)
def test_a_polygon_stands_for_the_box_that_is_missing(box: object, polygon: object) -> None:
    columns, problems = read(changed(bbox=box, segmentation=polygon))
    assert columns.xywh_E4.tolist() == [[1, 2, 30, 4]]
    assert not problems
    assert problems.remarks == {"no bbox (that of its polygon taken)": 1}


@pytest.mark.parametrize("outline", [[], [[1, 2, 3]], [["a"] * 6]])
def test_an_outline_that_is_none_is_dropped_with_the_reason(outline: object) -> None:
    _, problems = read(changed(bbox=None, segmentation=outline))
    assert problems.examples["malformed annotation (dropped)"] == ["annotation 7: bbox = null"]


def test_the_last_of_two_equal_names_counts_as_json_has_it() -> None:
    record = changed().replace("{", '{"id": 1, "bbox": [9, 9, 9, 9], ', 1)
    columns, _ = read(record)
    assert columns.ids_E[0] == json.loads(record)["id"] == 7
    assert columns.xywh_E4[0].tolist() == [1, 2.5, 30, 4]


def test_an_unusual_record_that_is_no_unicode_is_an_error_that_names_its_place() -> None:
    records = [msgspec.Raw(changed().encode()), msgspec.Raw(b'{"id": "\xff"}')]
    with pytest.raises(SourceError, match=r"expected JSON, got .*: x\.json, annotations\[1\]; correct"):
        read_annotations(records, "x.json", Problems(), lambda _: None)


MASK = np.zeros((50, 100), np.uint8, order="F")
MASK[5:20, 10:60] = 1
COMPRESSED = {"size": [50, 100], "counts": mask.encode(MASK)["counts"].decode()}
RUNS = {
    "size": [50, 100],
    "counts": np.diff(np.flatnonzero(np.diff(MASK.T.ravel(), prepend=2, append=2))).tolist(),
}


def read_one(tmp_path: Path, **fields: object) -> ImageSet:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
        "categories": [{"id": 1, "name": "disk"}],
        "annotations": [
            {"id": 7, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]},
            {"id": 8, "image_id": 1, "category_id": 1, **fields},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return read_coco(str(tmp_path / "a.json"))


@pytest.mark.parametrize("segmentation", [COMPRESSED, RUNS])
@pytest.mark.parametrize("bbox", [{}, {"bbox": None}, {"bbox": []}])
def test_a_mask_without_a_bbox_gives_its_box(
    tmp_path: Path, segmentation: dict[str, Any], bbox: dict[str, Any]
) -> None:
    source = read_one(tmp_path, segmentation=segmentation, **bbox)
    assert source.truth is not None
    assert source.truth.labels.boxes_N4.tolist() == [[0, 0, 4, 4], [10, 5, 60, 20]]
    assert source.problems.remarks == {"no bbox (that of its mask taken)": 1}
    assert not source.problems


def test_a_mask_of_a_crowd_is_kept_apart(tmp_path: Path) -> None:
    source = read_one(tmp_path, segmentation=RUNS, iscrowd=1)
    assert source.truth is not None
    assert source.truth.crowds.boxes_N4.tolist() == [[10, 5, 60, 20]]


@pytest.mark.parametrize(
    ("segmentation", "kind"),
    [
        ({"size": [50, 100], "counts": [5000]}, "no bbox and an empty mask (dropped)"),
        ({"size": [50, 100], "counts": ""}, "no bbox and an empty mask (dropped)"),
        (
            {"size": [50, 100], "counts": mask.encode(np.zeros_like(MASK))["counts"].decode()},
            "no bbox and an empty mask (dropped)",
        ),
        ({"size": [50, 100], "counts": [10, 20]}, "no bbox and no mask of its image's size (dropped)"),
        ({"size": [50, 100], "counts": [-1, 5001]}, "no bbox and no mask of its image's size (dropped)"),
        (
            {"size": [50, 100], "counts": mask.encode(np.ones((100, 100), np.uint8, "F"))["counts"].decode()},
            "no bbox and no mask of its image's size (dropped)",
        ),
        ({"size": [50, 100], "counts": "é"}, "no bbox and no mask of its image's size (dropped)"),
        ({"size": [25, 50], "counts": [1250]}, "no bbox and no mask of its image's size (dropped)"),
        ({"counts": [5000]}, "no bbox and no mask of its image's size (dropped)"),
        ({"size": [50, 100]}, "no bbox and no mask of its image's size (dropped)"),
        ([[1, 2]], "malformed annotation (dropped)"),
    ],
)
def test_a_mask_without_a_box_is_counted_with_its_reason(
    tmp_path: Path, segmentation: object, kind: str
) -> None:
    source = read_one(tmp_path, segmentation=segmentation)
    assert source.problems.counts == {kind: 1}
    assert "annotation 8" in source.problems.lines()[0]


def corner_document(boxes: list[list[float]]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
        "categories": [{"id": 1, "name": "disk"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": box} for number, box in enumerate(boxes)
        ],
    }


def test_boxes_given_by_their_corners_are_refused_and_named(tmp_path: Path) -> None:
    corners = [[40.0 + n, 20, 70 + n, 45] for n in range(20)]
    (tmp_path / "a.json").write_text(json.dumps(corner_document(corners)))
    words = (
        r"look like left, top, right and bottom: 20 of 20 leave.*such as annotation 0: .*a\.json; take left"
    )
    with pytest.raises(SourceError, match=words):
        read_coco(str(tmp_path / "a.json"))
    for sound in (corners[:5], [[x, y, right - x, bottom - y] for x, y, right, bottom in corners]):
        (tmp_path / "a.json").write_text(json.dumps(corner_document(sound)))
        assert read_coco(str(tmp_path / "a.json")).truth is not None


def test_boxes_of_shares_among_pixels_are_counted(tmp_path: Path) -> None:
    boxes = [[40.0 + n, 20, 10, 10] for n in range(20)] + [[0.1, 0.2, 0.5, 0.5]] * 2
    (tmp_path / "a.json").write_text(json.dumps(corner_document(boxes)))
    source = read_coco(str(tmp_path / "a.json"))
    assert source.problems.counts == {"box within the first pixel (kept; in shares of its image?)": 2}
