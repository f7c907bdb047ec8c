"""Every reason for which a box or an image is set apart: on the screen, in skipped.json, and by verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs import cli

MASK = {"size": [40, 50], "counts": [2000]}


def annotation(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 1, "bbox": [number, 1, 5, 5]} | fields


COCO: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 50, "height": 40},
        {"id": 2, "file_name": "missing.jpg", "width": 50, "height": 40},
        {"id": 3, "file_name": "b.jpg", "width": 50, "height": 40},
        {"id": 3, "file_name": "c.jpg", "width": 50, "height": 40},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cow"}],
    "annotations": [
        annotation(1),
        annotation(2, category_id=None),
        annotation(3, bbox=[1, 2, 3]),
        annotation(4, image_id=99),
        annotation(5, image_id=3),
        annotation(6, category_id=77),
        annotation(1),
        annotation(8, bbox=[5, 5, 0, 9]),
        annotation(9, bbox=[70, 5, 9, 9]),
        annotation(10, iscrowd=1),
        annotation(11, difficult=1),
        annotation(12, bbox=None, segmentation=MASK),
        annotation(13, bbox=None, segmentation=MASK | {"size": [20, 25]}),
        annotation(14, category_id=2),
        annotation(15, category_id=2, iscrowd=1),
        annotation(16, image_id=2),
        annotation(17, image_id=2, iscrowd=1),
    ],
}
COCO_KINDS = {
    "malformed annotation (dropped)": 2,
    "unknown image (dropped)": 2,
    "unknown category (dropped)": 1,
    "annotation twice (first kept)": 1,
    "zero-area box (dropped)": 1,
    "box wholly outside its image (dropped)": 1,
    "crowd region (kept apart, not trained on)": 3,
    "difficult object (kept apart, not trained on; of VOC --keep-difficult takes it as any other)": 1,
    "no bbox and an empty mask (dropped)": 1,
    "no bbox and no mask of its image's size (dropped)": 1,
    "class that is not in the list (dropped)": 2,
    "image id of several files (all left out)": 1,
    "box of an image that is left out (dropped)": 2,
}
YOLO_LINES = """\
0 0.5 0.5 0.2 0.2
0 0.5 0.5 0.2
7 0.5 0.5 0.2 0.2
0 0.5 0.5 0.2 0.2
0 0.5 0.5 0 0.2
0 1.4 0.5 0.2 0.2
0 0.5 0.5 0.3 0.3 0.5
0 0.5 0.5 0.3 0.3 1.25
"""
YOLO_KINDS = {
    "malformed line (dropped)": 2,
    "unknown class (dropped)": 1,
    "line twice (first kept)": 1,
    "zero-area box (dropped)": 1,
    "box wholly outside its image (dropped)": 1,
    "image without a readable size (its boxes dropped)": 1,
    "label file without an image (not read)": 1,
}


def coco(folder: Path) -> list[str]:
    (folder / "a.json").write_text(json.dumps(COCO))
    (folder / "classes.txt").write_text("cat\n")
    return [
        str(folder / "a.json"),
        "--images",
        str(folder / "images"),
        "--classes",
        str(folder / "classes.txt"),
    ]


def yolo(folder: Path) -> list[str]:
    (folder / "images/broken.jpg").write_bytes(b"no image")
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_text(YOLO_LINES)
    (folder / "labels/broken.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "labels/orphan.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text("train: images\nnames: [cat]\n")
    return [str(folder)]


@pytest.mark.parametrize(
    ("make", "kinds", "boxes", "left_out"),
    [(coco, COCO_KINDS, 1, "missing.jpg"), (yolo, YOLO_KINDS, 2, "images/broken.jpg")],
)
def test_every_reason_is_on_the_screen_in_skipped_json_and_told_by_verify(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Any,
    kinds: dict[str, int],
    boxes: int,
    left_out: str,
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (50, 40)).save(tmp_path / "images/a.jpg")
    out = str(tmp_path / "out")
    assert cli.run(["shard", *make(tmp_path), "--out", out, "--workers", "1"]) == 0
    screen = capsys.readouterr().out
    assert f"{boxes} boxes" in screen
    report = json.loads(Path(out, "skipped.json").read_text())
    assert [entry["file_name"] for entry in report["images"]] == [left_out]
    counts = {kind: entry["count"] for kind, entry in report["annotations"].items()}
    assert kinds.items() <= counts.items()
    assert not [kind for kind in counts.keys() - kinds.keys() if "(dropped" in kind or "(left" in kind]
    assert cli.run(["verify", out]) == 0
    verified = capsys.readouterr().out
    for kind, count in kinds.items():
        assert f"{count} x {kind}: " in screen
        assert f"{count} x {kind}: " in verified
    assert f"{left_out}: " in screen
    assert left_out in verified
