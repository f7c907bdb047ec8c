"""Reading COCO files: what is right stays, what is wrong is named, counted and handled as documented."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from storage.errors import SourceError
from storage.readers import coco_annotations
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.truth import Federated

SOUND: dict[str, Any] = {
    "images": [
        {"id": 4, "file_name": "b.jpg", "width": 100, "height": 50},
        {"id": 2, "file_name": "a.jpg", "width": 60, "height": 80},
    ],
    "annotations": [
        {"id": 1, "image_id": 2, "category_id": 9, "bbox": [10, 20, 5, 6], "area": 12.5, "iscrowd": 0},
        {"id": 2, "image_id": 4, "category_id": 3, "bbox": [0, 0, 100, 50]},
        {"id": 3, "image_id": 2, "category_id": 3, "bbox": [1, 2, 30, 40], "iscrowd": 1},
    ],
    "categories": [{"id": 9, "name": "star"}, {"id": 3, "name": "disk"}],
}
SOUND_BOX = {"image_id": 4, "category_id": 3, "bbox": [1, 1, 5, 5]}


def read(folder: Path, document: object) -> ImageSet:
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return read_coco(str(path))


def with_annotation(**fields: object) -> dict[str, Any]:
    document = copy.deepcopy(SOUND)
    document["annotations"].append({"id": 4, **SOUND_BOX, **fields})
    return document


def test_images_stay_in_file_order_and_classes_ascend_by_id(tmp_path: Path) -> None:
    source = read(tmp_path, SOUND)
    assert source.image_ids == (4, 2)
    assert source.file_names == ("b.jpg", "a.jpg")
    assert source.sizes.tolist() == [[50, 100], [80, 60]]
    assert source.classes == ("disk", "star")
    assert source.category_ids == (3, 9)
    assert not source.problems


def test_boxes_become_corners_and_crowds_are_kept_apart(tmp_path: Path) -> None:
    truth = read(tmp_path, SOUND).truth
    assert truth is not None
    assert truth.labels.boxes_N4.tolist() == [[0, 0, 100, 50], [10, 20, 15, 26]]
    assert truth.labels.categories_N.tolist() == [0, 1]
    assert truth.labels.counts().tolist() == [1, 1]
    assert truth.areas.tolist() == [5000, 12.5]
    assert truth.crowds.image(1).boxes_N4.tolist() == [[1, 2, 31, 42]]
    assert truth.crowds.counts().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"category_id": 77}, "unknown category (dropped)"),
        ({"image_id": 77}, "unknown image (dropped)"),
        ({"bbox": [5, 5, 0, 9]}, "zero-area box (dropped)"),
        ({"bbox": [5, 5, 9, -1]}, "zero-area box (dropped)"),
        ({"bbox": [200, 5, 9, 9]}, "box wholly outside its image (dropped)"),
        ({"bbox": [1, 2, 3]}, "malformed annotation (dropped)"),
        ({"bbox": [1, 2, 3, float("nan")]}, "malformed annotation (dropped)"),
        ({"bbox": [1, 2, 3, "four"]}, "malformed annotation (dropped)"),
        ({"category_id": None}, "malformed annotation (dropped)"),
        ({"id": 2, "bbox": [0, 0, 100, 50]}, "annotation twice (first kept)"),
    ],
)
def test_a_bad_annotation_is_dropped_counted_and_named(
    tmp_path: Path, fields: dict[str, object], kind: str
) -> None:
    source = read(tmp_path, with_annotation(**fields))
    assert source.problems.counts == {kind: 1}
    assert f"annotation {fields.get('id', 4)}" in source.problems.lines()[0]
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [1, 1]


def test_a_good_annotation_is_neither_counted_nor_dropped(tmp_path: Path) -> None:
    source = read(tmp_path, with_annotation())
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 1]
    assert not source.problems


def test_a_box_partly_outside_is_clipped_and_counted(tmp_path: Path) -> None:
    source = read(tmp_path, with_annotation(bbox=[90, 40, 30, 30]))
    assert source.truth is not None
    assert source.truth.labels.image(0).boxes_N4[1].tolist() == [90, 40, 100, 50]
    assert source.problems.counts == {"box partly outside its image (clipped)": 1}


def test_a_rounding_error_at_the_edge_is_clipped_without_a_word(tmp_path: Path) -> None:
    source = read(tmp_path, with_annotation(bbox=[90, 40, 10.4, 10.4]))
    assert source.truth is not None
    assert source.truth.labels.image(0).boxes_N4[1].tolist() == [90, 40, 100, 50]
    assert not source.problems


def test_an_id_of_two_files_makes_both_suspect_and_an_equal_record_counts_once(tmp_path: Path) -> None:
    document = copy.deepcopy(SOUND)
    document["images"].append({"id": 2, "file_name": "other.jpg", "width": 9, "height": 9})
    source = read(tmp_path, document)
    assert source.file_names == ("b.jpg",)
    kind = "image id of several files (all left out)"
    assert source.problems.examples[kind] == ["2 is a.jpg and other.jpg"]
    assert "unknown image (dropped)" in source.problems.counts
    document["images"][-1] = document["images"][0]
    assert read(tmp_path, document).problems.counts == {"image record twice (first kept)": 1}
    everywhere = [image | {"id": 1} for image in SOUND["images"]]
    with pytest.raises(SourceError, match="an id of its own for every image, got the same"):
        read(tmp_path, document | {"images": everywhere})


def test_a_file_that_two_images_name_is_said(tmp_path: Path) -> None:
    document = copy.deepcopy(SOUND)
    document["images"].append(document["images"][0] | {"id": 99})
    source = read(tmp_path, document)
    assert source.problems.counts == {"file named twice (each image keeps its own boxes)": 1}
    assert "b.jpg (ids " in source.problems.lines()[0]


@pytest.mark.parametrize("identity", [0, 1, "same", None])
def test_ids_of_annotations_may_repeat_and_only_equal_entries_are_doubles(
    tmp_path: Path, identity: object
) -> None:
    document = copy.deepcopy(SOUND)
    boxes = [{**SOUND_BOX, "id": identity, "bbox": [5, 5, 6 + n, 7]} for n in range(3)]
    document["annotations"] = [*boxes, *boxes[:1], *boxes[:1]]
    source = read(tmp_path, document)
    assert source.truth is not None
    if isinstance(identity, int):
        assert len(source.truth.labels.boxes_N4) == 3
        assert source.problems.counts == {"annotation twice (first kept)": 2}
        assert source.problems.remarks == {"id of several annotations (all kept)": 2}
    else:
        assert len(source.truth.labels.boxes_N4) == 5  # without a whole number for an id, none is a double


def test_ids_and_sizes_may_be_text_or_floats(tmp_path: Path) -> None:
    document = copy.deepcopy(SOUND)
    for image in document["images"]:
        image |= {"id": str(image["id"]), "width": float(image["width"]), "height": str(image["height"])}
    for category in document["categories"]:
        category["id"] = float(category["id"])
    for annotation in document["annotations"]:
        annotation |= {
            "image_id": float(annotation["image_id"]),
            "category_id": f" {annotation['category_id']}",
        }
    source, sound = read(tmp_path, document), read(tmp_path, SOUND)
    assert source.truth is not None
    assert sound.truth is not None
    assert source.truth.labels.boxes_N4.tolist() == sound.truth.labels.boxes_N4.tolist()
    assert (source.image_ids, source.category_ids) == (sound.image_ids, sound.category_ids)
    assert not source.problems


def test_crowds_are_counted_with_their_first_places_and_are_no_problem(tmp_path: Path) -> None:
    source = read(tmp_path, SOUND)
    assert source.problems.remarks == {"crowd region (kept apart, not trained on)": 1}
    assert "annotation 3" in source.problems.lines()[0]
    assert source.problems.as_json().keys() == source.problems.remarks.keys()
    assert not source.problems
    assert source.num_annotations == 3


def test_boxes_in_shares_of_the_image_are_recognised_by_the_whole_set(tmp_path: Path) -> None:
    document = copy.deepcopy(SOUND)
    share = {**SOUND_BOX, "bbox": [0.1, 0.2, 0.5, 0.5], "iscrowd": 0}
    document["annotations"] = [share | {"id": n, "bbox": [0.1, 0.2, 0.5, 0.05 * n]} for n in range(1, 12)]
    source = read(tmp_path, document)
    assert source.truth is not None
    width = source.sizes[source.image_ids.index(SOUND_BOX["image_id"]), 1]
    np.testing.assert_allclose(source.truth.labels.boxes_N4[0, ::2], [0.1 * width, 0.6 * width], rtol=1e-5)
    assert source.problems.remarks == {"box in shares of its image (taken times its size)": 11}
    document["annotations"] = document["annotations"][:2]
    assert read(tmp_path, document).problems.counts == {
        "box within the first pixel (kept; in shares of its image?)": 2
    }


def test_only_the_first_examples_of_many_are_named(tmp_path: Path) -> None:
    document = copy.deepcopy(SOUND)
    document["annotations"] += [{"id": 10 + n, **SOUND_BOX, "category_id": 77} for n in range(12)]
    line, _ = read(tmp_path, document).problems.lines()
    assert line.startswith("12 x unknown category (dropped): annotation 10: category 77;")
    assert line.endswith("and 7 more")


def test_without_annotations_a_file_is_unlabeled_and_with_an_empty_list_labeled(tmp_path: Path) -> None:
    unlabeled = {key: value for key, value in SOUND.items() if key != "annotations"}
    assert read(tmp_path, unlabeled).truth is None
    truth = read(tmp_path, unlabeled | {"annotations": []}).truth
    assert truth is not None
    assert truth.labels.counts().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "got list"),
        ({"annotations": []}, "a list 'images', got an object with annotations"),
        (SOUND | {"annotations": {}}, "a list 'annotations', got an object with no keys"),
        (SOUND | {"images": ["a.jpg"]}, r"got id = None: .*images\[0\]"),
        (SOUND | {"images": [{"id": "four", "file_name": "b", "width": 1, "height": 1}]}, "got id = 'four'"),
        (SOUND | {"images": [{"id": 4, "width": 1, "height": 1}]}, "got file_name = None"),
        (SOUND | {"images": [{"id": 2**70, "file_name": "b", "width": 1, "height": 1}]}, "got id = 11805"),
        (SOUND | {"images": [{"id": True, "file_name": "b", "width": 1, "height": 1}]}, "got id = True"),
        (SOUND | {"images": [{"id": 4, "file_name": "b", "width": 0, "height": 0}]}, "got width = 0"),
        (SOUND | {"categories": []}, "the categories of 3 annotations, got none"),
        (SOUND | {"categories": [{"id": 1}]}, "categories with 'id' and 'name'"),
        (SOUND | {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "'a' twice"),
        (SOUND | {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "1 twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, document: object, complaint: str
) -> None:
    with pytest.raises(SourceError, match=complaint) as caught:
        read(tmp_path, document)
    assert "annotations.json" in str(caught.value)


def test_a_missing_and_a_cut_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nope\.json.*check the path"):
        read_coco(str(tmp_path / "nope.json"))
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(SOUND)[:-10])
    with pytest.raises(SourceError, match=r"cut\.json; is the file complete\?"):
        read_coco(str(cut))


LVIS: dict[str, Any] = {
    "images": [
        {
            "id": 8,
            "coco_url": "http://images.example/train2017/000000000008.jpg",
            "width": 60,
            "height": 80,
            "neg_category_ids": [3, 9],
            "not_exhaustive_category_ids": [],
        },
        {
            "id": 9,
            "file_name": "own.jpg",
            "width": 60,
            "height": 80,
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [9, 77],
        },
    ],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 9, "bbox": [1, 1, 5, 5], "segmentation": [[1, 2]]}
    ],
    "categories": [{"id": 9, "name": "star", "frequency": "r"}, {"id": 3, "name": "disk", "frequency": "f"}],
}


def test_federated_fields_of_lvis_are_kept_as_class_indices(tmp_path: Path) -> None:
    source = read(tmp_path, LVIS)
    assert source.truth is not None
    assert source.truth.federated == Federated(absent=((0, 1), ()), not_exhaustive=((), (1,)))
    assert source.problems.counts == {"unknown category in not_exhaustive_category_ids (dropped)": 1}
    assert source.notes == {"class_frequency": ["f", "r"]}
    coco = read(tmp_path, SOUND)
    assert coco.truth is not None
    assert coco.truth.federated is None
    assert not coco.notes


def test_an_image_that_lvis_names_by_its_address_gets_folder_and_name(tmp_path: Path) -> None:
    assert read(tmp_path, LVIS).file_names == ("train2017/000000000008.jpg", "own.jpg")


def test_federated_fields_of_unlabeled_images_stay_out(tmp_path: Path) -> None:
    assert read(tmp_path, {key: value for key, value in LVIS.items() if key != "annotations"}).truth is None


def test_images_may_stand_after_annotations_and_ids_may_be_missing_or_text(tmp_path: Path) -> None:
    document = copy.deepcopy(SOUND)
    document["annotations"] += [
        dict(SOUND_BOX),
        {"id": "five", **SOUND_BOX},
        {"id": 9, **SOUND_BOX, "area": None},
    ]
    document = {key: document[key] for key in ("annotations", "categories", "images")}
    document["annotations"].append({"id": 10**30, **SOUND_BOX, "category_id": 77})
    source = read(tmp_path, document)
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [4, 1]
    assert source.truth.areas.tolist() == [5000, 25, 25, 25, 12.5]
    assert source.problems.counts == {"unknown category (dropped)": 1}
    assert f"annotation {10**30}: category 77" in source.problems.lines()[0]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),
            st.integers(1, 3),
            st.tuples(*[st.floats(0.5, 20)] * 4),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.integers(1, 40),
)
def test_boxes_and_areas_are_those_of_pycocotools_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], block: int
) -> None:
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": 50, "height": 50} for number in (3, 1, 4, 2)
    ]
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": [*box], "iscrowd": int(crowd)}
        | ({"area": box[2] * box[3] / 3} if with_area else {"area": box[2] * box[3]})
        for number, (image, category, box, crowd, with_area) in enumerate(rows, 1)
    ]
    folder = tmp_path_factory.mktemp("coco")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(coco_annotations, "_BLOCK", block)
        categories = [{"id": number, "name": str(number)} for number in (1, 2, 3)]
        source = read(folder, {"images": images, "annotations": annotations, "categories": categories})
        theirs = COCO(str(folder / "annotations.json"))
    assert source.truth is not None
    for row, image_id in enumerate(source.image_ids):
        own, expected = source.truth.image(row), theirs.imgToAnns[image_id]
        for labels, wanted in ((own.labels, 0), (own.crowds, 1)):
            entries = [entry for entry in expected if entry["iscrowd"] == wanted]
            assert [source.category_ids[number] for number in labels.categories_N] == [
                entry["category_id"] for entry in entries
            ]
            boxes = np.array([entry["bbox"] for entry in entries]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            np.testing.assert_array_equal(labels.boxes_N4, boxes.astype(np.float32))
        assert own.areas.tolist() == [entry["area"] for entry in expected if not entry["iscrowd"]]
