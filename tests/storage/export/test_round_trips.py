"""Every format says the same as the label tables: image id, class, score, box; pycocotools reads the COCO files."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from storage.export.coco import write_annotations, write_results
from storage.export.header import ExportHeader
from storage.export.label_studio import write_label_studio
from storage.export.labeled_images import IMAGE_SCHEMA, LabeledImages
from storage.export.voc import write_voc
from storage.export.yolo import write_yolo
from storage.labels import Labels
from storage.readers.voc_annotation import parse_voc
from storage.readers.yolo_labels import label_path
from storage.readers.yolo_yaml import read_yaml

FORMATS = ("coco-results", "coco", "yolo", "voc", "labelstudio")
CLASSES = ('disk "a"', "ring & <b>", "star: é", "- [x]", "yes")
HEADER = ExportHeader(
    classes=CLASSES,
    category_ids=(7, 3, 5, 90, 1),
    dataset="d & <e>",
    description="Pseudo labels of d & <e>, round 3: boxes with score > 0.5",
    model_version="round-3-abcdef01",
)
FIRST_PIXEL = (1.0, 1.0, 0.0, 0.0)
"""VOC counts pixels from 1, so only the near edges move."""

Found = dict[int, list[tuple[str, float, list[float]]]]
"""Boxes by image id: class, score, xyxy."""


@st.composite
def labeled(draw: st.DrawFn) -> list[LabeledImages]:
    """One or two batches of images of up to 16,384 pixels, some of them without boxes."""
    batches: list[LabeledImages] = []
    for first in range(0, 3 * draw(st.integers(1, 2)), 3):
        parts, sizes = [], []
        for _ in range(3):
            width, height = draw(st.integers(1, 16_384)), draw(st.integers(1, 16_384))
            x, y = (
                st.lists(st.floats(0, side, width=32), min_size=2, max_size=2) for side in (width, height)
            )
            corners = draw(st.lists(st.tuples(x, y), max_size=3))
            number = len(corners)
            categories = draw(st.lists(st.integers(0, 4), min_size=number, max_size=number))
            scores = draw(st.lists(st.floats(0, 1, width=32), min_size=number, max_size=number))
            boxes = [(min(xs), min(ys), max(xs), max(ys)) for xs, ys in corners]
            parts.append(Labels.of_image(boxes, categories, scores))
            sizes.append((height, width))
        rows = range(first, first + 3)
        ids = [row * 10**9 + 1 for row in rows]
        heights, widths = zip(*sizes, strict=True)
        names = [f"sub &/é {image_id}.v1.jpg" for image_id in ids]
        images = pa.table([rows, ids, names, widths, heights], schema=IMAGE_SCHEMA)
        batches.append(LabeledImages(images=images, labels=Labels.concatenate(parts)))
    return batches


def said(batches: list[LabeledImages]) -> Found:
    found: Found = {}
    for batch in batches:
        for index, image_id in enumerate(batch.images["image_id"].to_pylist()):
            one = batch.labels.image(index)
            triples = zip(one.categories_N, one.scores_N, one.boxes_N4.tolist(), strict=True)
            found[image_id] = [(CLASSES[category], float(score), box) for category, score, box in triples]
    return found


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=40, deadline=None)
@given(batches=labeled())
def test_what_is_read_back_is_what_was_labeled(
    form: str, batches: list[LabeledImages], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("out")
    found, expected = write_and_read(form, folder, batches), said(batches)
    assert list(found) == list(expected)
    for image_id, boxes in expected.items():
        assert len(found[image_id]) == len(boxes)
        for (name, score, box), (true_name, true_score, true_box) in zip(found[image_id], boxes, strict=True):
            assert name == true_name
            assert np.float32(score) == np.float32(true_score)
            np.testing.assert_allclose(box, true_box, rtol=0, atol=1e-3)


def write_and_read(form: str, folder: Path, batches: list[LabeledImages]) -> Found:
    match form:
        case "coco-results":
            write_results(folder, batches, HEADER)
            return read_results(folder)
        case "coco":
            write_annotations(folder / "a.json", batches, HEADER)
            return read_coco_file(quiet_coco(folder / "a.json"))
        case "yolo":
            write_yolo(folder, batches, HEADER, scores=True)
            return read_yolo(folder)
        case "voc":
            write_voc(folder, batches, HEADER)
            return read_voc(folder)
        case _:
            write_label_studio(folder, batches, HEADER, image_url="https://host/")
            return read_label_studio(folder)


def quiet_coco(path: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def read_coco_file(coco: Any) -> Found:
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert names == dict(zip(HEADER.category_ids, CLASSES, strict=True))
    found: Found = {}
    for image_id in coco.getImgIds():
        found[image_id] = []
        for entry in coco.loadAnns(coco.getAnnIds(imgIds=[image_id])):
            x, y, width, height = entry["bbox"]
            assert entry["area"] == pytest.approx(width * height, abs=1e-6 * (width + height + 1))
            assert entry["iscrowd"] == 0
            found[image_id].append(
                (names[entry["category_id"]], entry["score"], [x, y, x + width, y + height])
            )
    return found


def read_results(folder: Path) -> Found:
    images = quiet_coco(folder / "images.json")
    entries = json.loads((folder / "results.json").read_text())
    if not entries:  # loadRes cannot read an empty list
        return {image_id: [] for image_id in images.getImgIds()}
    with contextlib.redirect_stdout(io.StringIO()):
        return read_coco_file(images.loadRes(str(folder / "results.json")))


def listed_images(folder: Path) -> list[dict[str, str]]:
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_yolo(folder: Path) -> Found:
    head = read_yaml(str(folder / "data.yaml"))
    images = listed_images(folder)
    names = (folder / head.subsets["train"][0]).read_text(encoding="utf-8").splitlines()
    assert names == [f"./images/{image['file_name']}" for image in images]
    found: Found = {}
    for image, name in zip(images, names, strict=True):
        size = np.array([int(image["width"]), int(image["height"])] * 2)
        lines = (folder / label_path(name)).read_text().splitlines()
        rows = [[float(part) for part in line.split()] for line in lines]
        found[int(image["image_id"])] = [
            (
                head.names[int(category)],
                score,
                list(np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * size),
            )
            for category, x, y, w, h, score in rows
        ]
    assert len(list((folder / "labels").rglob("*.txt"))) == len(images)
    return found


def read_voc(folder: Path) -> Found:
    names = (folder / "ImageSets" / "Main" / "trainval.txt").read_text(encoding="utf-8").splitlines()
    found: Found = {}
    for image, name in zip(listed_images(folder), names, strict=True):
        read = parse_voc((folder / "Annotations" / f"{name}.xml").read_bytes())
        assert read.file_name == image["file_name"]
        assert (str(read.width), str(read.height)) == (image["width"], image["height"])
        assert not read.malformed
        assert not any(one.difficult for one in read.objects)
        found[int(image["image_id"])] = [
            (one.name, one.score, (np.array(one.box) - FIRST_PIXEL).tolist()) for one in read.objects
        ]
    return found


def read_label_studio(folder: Path) -> Found:
    """By the published schema of pre-annotations: percents, names of the interface's two controls."""
    config = ElementTree.parse(folder / "labeling_config.xml").getroot()
    labels = config.find("RectangleLabels")
    assert labels is not None
    assert [label.get("value") for label in labels] == list(CLASSES)
    found: Found = {}
    for path in sorted(folder.glob("tasks-*.json")):
        for task in json.loads(path.read_text(encoding="utf-8")):
            assert task["data"]["image"].startswith("https://host/sub%20%26/%C3%A9%20")
            (prediction,) = task["predictions"]
            found[task["data"]["image_id"]] = boxes = []
            for region in prediction["result"]:
                assert region["type"] == "rectanglelabels"
                assert (region["from_name"], region["to_name"]) == (labels.get("name"), labels.get("toName"))
                value = region["value"]
                x, y = (
                    value[side] / 100 * region[f"original_{of}"]
                    for side, of in (("x", "width"), ("y", "height"))
                )
                w, h = (value[of] / 100 * region[f"original_{of}"] for of in ("width", "height"))
                boxes.append((value["rectanglelabels"][0], region["score"], [x, y, x + w, y + h]))
            ids = [region["id"] for region in prediction["result"]]
            assert len(set(ids)) == len(ids)
            assert prediction["score"] == min([region["score"] for region in prediction["result"]], default=1)
    return found


def test_yolo_without_scores_has_the_five_columns_of_trainers(tmp_path: Path) -> None:
    images = LabeledImages(
        images=pa.table([[0], [1], ["a.jpg"], [100], [50]], schema=IMAGE_SCHEMA),
        labels=Labels.of_image([(10, 10, 30, 20)], [1], [0.9]),
    )
    write_yolo(tmp_path, [images], HEADER, scores=False)
    assert (tmp_path / "labels" / "a.txt").read_text() == "1 0.2 0.3 0.2 0.2\n"
