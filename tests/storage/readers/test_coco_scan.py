"""The compiled reader of annotations: the numbers that `json` reads, and nothing taken for usual that is not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.readers.coco_scan import Scanned, scan_annotations
from storage.readers.json_stream import Piece

USUAL = {"id": 7, "image_id": 3, "category_id": 2, "bbox": [1, 2.5, 3e1, 4], "area": 12.25, "iscrowd": 0}


def scan(*entries: str) -> Scanned:
    text = ", ".join(entries)
    ends = np.cumsum([len(entry) + 2 for entry in entries]) - 2
    spans = np.stack([ends - [len(entry) for entry in entries], ends], axis=1)
    data = np.frombuffer(text.encode(), np.uint8)
    return scan_annotations(Piece(member="annotations", first=0, data=data, spans_E2=spans, path="x"))


def changed(**fields: Any) -> str:
    return json.dumps(USUAL | fields)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=4, max_size=4))
@example([702.1057499999998, 29131.103999999987, 0.1 + 0.2, 1 / 3])
@example([5e-324, 1.7976931348623157e308, -0.0, 9007199254740993.0])
def test_every_number_is_the_one_that_json_reads_or_left_to_it(box: list[float]) -> None:
    scanned = scan(changed(bbox=box))
    if scanned.usual_E[0]:
        assert scanned.xywh_E4[0].tolist() == box
    else:
        assert any(value != 0 and not 1e-5 < abs(value) < 1e16 for value in box)


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-4, 1e15))
def test_areas_as_annotation_tools_write_them_are_read_exactly(area: float) -> None:
    scanned = scan(changed(area=area))
    assert scanned.usual_E[0]
    assert scanned.areas_E[0] == area


@pytest.mark.parametrize(
    ("fields", "column", "value"),
    [
        ({"id": -5}, "integers_E3", [-5, 3, 2]),
        ({"id": 900100184613}, "integers_E3", [900100184613, 3, 2]),
        ({"iscrowd": 1}, "crowd_E", True),
        ({"iscrowd": True}, "crowd_E", True),
        ({"iscrowd": False}, "crowd_E", False),
        ({"segmentation": [[1, 2], {"a": '}\\"'}]}, "xywh_E4", [1, 2.5, 30, 4]),
    ],
)
def test_usual_entries_are_read(fields: dict[str, Any], column: str, value: Any) -> None:
    scanned = scan(changed(), changed(**fields), changed())
    assert scanned.usual_E.all()
    assert getattr(scanned, column)[1].tolist() == value


@pytest.mark.parametrize("area", [0, -3])
def test_an_area_that_is_none_counts_as_unknown(area: float) -> None:
    scanned = scan(changed(area=area))
    assert scanned.usual_E[0]
    assert math.isnan(scanned.areas_E[0])


@pytest.mark.parametrize(
    "entry",
    [
        "{}", "[]", "3", "null", '"text"', "{]", '{"id": 7',
        '{"id": 7, "image_id": 3, "category_id": 2}',
        changed(id=None), changed(id=7.0), changed(id="7"), changed(image_id=10**20), changed(id=True),
        changed(bbox=[1, 2, 3]), changed(bbox=[1, 2, 3, 4, 5]), changed(bbox=[1, 2, 3, "4"]), changed(bbox=None),
        changed(bbox=[1, 2, 3, math.nan]), changed(bbox=[1, 2, 3, math.inf]), changed(area=None),
        changed(iscrowd="1"),
        changed().replace("2.5", "2.5.5"), changed().replace("2.5", "02.5"), changed().replace("2.5", "2."),
        changed().replace("2.5", "1e400"), changed().replace('"id"', '"i\\u0064"'), changed().replace(",", ""),
    ],
)  # fmt: skip
def test_whatever_is_unusual_is_left_to_python(entry: str) -> None:
    scanned = scan(changed(), entry, changed())
    assert scanned.usual_E.tolist() == [True, False, True]


def test_the_last_of_two_equal_names_counts_as_json_has_it(tmp_path: Path) -> None:
    entry = changed().replace("{", '{"id": 1, "bbox": [9, 9, 9, 9], ', 1)
    scanned = scan(entry)
    assert scanned.integers_E3[0, 0] == json.loads(entry)["id"] == 7
    assert scanned.xywh_E4[0].tolist() == [1, 2.5, 30, 4]
