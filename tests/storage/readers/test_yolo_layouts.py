"""YOLO sets without data.yaml: darknet's obj.data, and lists of class names beside label files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from storage.errors import SourceError
from storage.readers.image_set import ImageSet
from storage.readers.open_source import detect_format, open_source
from storage.readers.yolo import read_yolo
from tests.tool_sources import (
    BOXES,
    YOLO,
    cvat_ultralytics,
    cvat_yolo,
    label_studio_yolo,
    labelimg_yolo,
    roboflow_darknet,
    roboflow_yolo,
    write_files,
)


def boxes_of(source: ImageSet) -> list[list[float]]:
    assert source.truth is not None
    return np.round(source.truth.labels.boxes_N4, 3).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("subset", ["val", "valid", "Validation"])
def test_the_other_subset_of_obj_data_is_read_in_any_spelling(tmp_path: Path, subset: str) -> None:
    cvat_yolo(tmp_path)
    with (tmp_path / "obj.data").open("a") as file:
        file.write("valid = data/valid.txt\n")
    write_files(tmp_path, {"valid.txt": "data/obj_valid_data/im0.jpg\n", "obj_valid_data/im0.txt": YOLO})
    write_files(tmp_path, {"obj_valid_data/im0.jpg": None})
    source = open_source(str(tmp_path), subset=subset).images
    assert source.file_names == ("obj_valid_data/im0.jpg",)
    assert boxes_of(source) == [[*map(float, box)] for box in BOXES.values()]
    assert not source.problems


def test_obj_data_itself_may_be_given(tmp_path: Path) -> None:
    cvat_yolo(tmp_path)
    assert detect_format(str(tmp_path / "obj.data")) == "yolo"
    assert len(open_source(str(tmp_path / "obj.data")).images) == 2


@pytest.mark.parametrize(
    ("image", "label"), [("im0", "1a2b3c4d-im0"), ("1a2b3c4d-im0", "im0"), ("IM0", "im0")]
)
def test_label_files_are_found_with_and_without_the_hash_of_label_studio(
    tmp_path: Path, image: str, label: str
) -> None:
    write_files(tmp_path, {"classes.txt": "cat\ndog\n", f"labels/{label}.txt": YOLO})
    write_files(tmp_path, {f"images/{image}.jpg": None, "images/5e6f7a8b-im1.jpg": None})
    source, _ = read_yolo(str(tmp_path))
    assert len(boxes_of(source)) == 2
    assert not source.problems
    assert source.problems.examples["label file in another place or spelling (taken)"] == [
        f"images/{image}.jpg: labels/{label}.txt"
    ]


def test_a_label_file_that_fits_two_images_without_their_hashes_is_taken_for_none(tmp_path: Path) -> None:
    write_files(tmp_path, {"classes.txt": "cat\ndog\n", "labels/im0.txt": YOLO, "labels/im2.txt": YOLO})
    write_files(tmp_path, {"labels/00000000-im1.txt": YOLO, "labels/11111111-im1.txt": YOLO})
    write_files(tmp_path, dict.fromkeys(("images/im1.jpg", "images/im0.jpg")))
    source, _ = read_yolo(str(tmp_path))
    assert len(boxes_of(source)) == 2
    lost = source.problems.examples["label file without an image (not read)"]
    assert lost == ["labels/00000000-im1.txt", "labels/11111111-im1.txt", "labels/im2.txt"]


def test_the_ids_that_label_studio_gave_go_before_the_lines(tmp_path: Path) -> None:
    label_studio_yolo(tmp_path)
    notes = {"categories": [{"id": 1, "name": "cat"}, {"id": 0, "name": "dog"}]}
    (tmp_path / "notes.json").write_text(json.dumps(notes))
    source, _ = read_yolo(str(tmp_path))
    assert source.truth is not None
    assert [source.classes[row] for row in source.truth.labels.categories_N] == ["dog", "cat"]


@pytest.mark.parametrize(("subset", "image"), [("train", "train/im0.jpg"), ("valid", "valid/im2.jpg")])
def test_roboflow_darknet_has_its_subsets(tmp_path: Path, subset: str, image: str) -> None:
    roboflow_darknet(tmp_path)
    assert image in open_source(str(tmp_path), subset=subset).images.file_names


@pytest.mark.parametrize("subset", ["val", "valid"])
def test_roboflow_yolo_has_its_subsets(tmp_path: Path, subset: str) -> None:
    roboflow_yolo(tmp_path)
    source = open_source(str(tmp_path), subset=subset).images
    assert source.file_names == ("valid/images/im2.jpg",)
    assert len(boxes_of(source)) == 2


def test_a_list_of_classes_among_labels_and_an_empty_line_in_it(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"labels/classes.txt": "\ufeffcat\r\n\r\ndog\r\n", "labels/im0.txt": "2 0.5 0.5 0.1 0.1\n"}
    )
    write_files(tmp_path, {"images/im0.jpg": None})
    source = open_source(str(tmp_path)).images
    assert (source.classes, source.category_ids) == (("cat", "dog"), (0, 2))
    assert source.truth is not None
    assert source.truth.labels.categories_N.tolist() == [1]


@pytest.mark.parametrize(
    ("write", "lost", "words"),
    [
        (cvat_yolo, "obj.names", r"expected .*obj\.names, which .*obj\.data names, got nothing there"),
        (cvat_yolo, "train.txt", r"expected .*train\.txt, which .*obj\.data names"),
        (cvat_yolo, "obj_train_data/*.jpg", "expected images with the label files, got none .*Save images"),
        (
            label_studio_yolo,
            "images/*.jpg",
            "expected images with the label files, got none .*YOLO with Images",
        ),
        (cvat_ultralytics, "images/*/*.jpg", "expected images with the label files, got none .*Save images"),
        (labelimg_yolo, "classes.txt", r"such as im0\.txt: .*classes\.txt, or take .*--format folder"),
    ],
)
def test_an_export_that_lacks_a_part_is_an_error_that_says_so(
    tmp_path: Path, write: object, lost: str, words: str
) -> None:
    write(tmp_path)  # type: ignore[operator]
    for path in tmp_path.glob(lost):
        path.unlink()
    with pytest.raises(SourceError, match=words):
        open_source(str(tmp_path))


@pytest.mark.parametrize("text", ["", "cat\ncat\n", "\n\n"])
def test_a_list_of_classes_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    labelimg_yolo(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(SourceError, match=r"expected different class names, a line each, .*classes\.txt"):
        read_yolo(str(tmp_path))


def test_a_folder_that_is_forced_to_be_yolo_says_what_was_looked_for(tmp_path: Path) -> None:
    write_files(tmp_path, {"im0.jpg": None})
    with pytest.raises(SourceError, match=r"expected data\.yaml, obj\.data or a list of class names"):
        open_source(str(tmp_path), kind="yolo")
