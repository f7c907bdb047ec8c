"""Reading YOLO data sets: data.yaml in its dialects, label files beside images, each bad line named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.errors import SourceError
from storage.readers.yolo import read_yolo
from storage.readers.yolo_labels import label_path
from storage.readers.yolo_yaml import read_yaml


def test_boxes_become_corners_in_pixels_with_their_scores(yolo: Path) -> None:
    source, root = read_yolo(str(yolo / "data.yaml"))
    assert source.file_names == tuple(f"images/train/{name}.jpg" for name in "abc")
    assert (Path(root) / source.file_names[0]).exists()
    assert source.image_ids == (1, 2, 3)
    assert (source.classes, source.category_ids) == (("disk", "ring"), (0, 1))
    assert source.truth is not None
    labels = source.truth.labels
    np.testing.assert_allclose(labels.boxes_N4[:2], [[20, 10, 30, 30], [0, 0, 10, 20]], atol=1e-5)
    assert labels.scores_N.tolist() == [1, 0.75, 1]
    assert labels.categories_N.tolist() == [0, 1, 1]


def test_a_polygon_gives_its_bounding_box(yolo: Path) -> None:
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    np.testing.assert_allclose(source.truth.labels.image(2).boxes_N4, [[10, 4, 30, 36]], atol=1e-5)


def test_an_image_without_a_label_file_is_empty_and_counted(yolo: Path) -> None:
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 0, 1]
    assert source.notes["images_without_label_file"] == 1
    assert not source.problems


def test_a_subset_without_any_label_file_is_unlabeled(yolo: Path) -> None:
    source, _ = read_yolo(str(yolo), subset="val")
    assert source.truth is None
    assert source.file_names == ("images/val/d.jpg",)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("7 0.5 0.5 0.1 0.1", "unknown class (dropped)"),
        ("0 0.5 0.5 0.1", "malformed line (dropped)"),
        ("0.5 0.5 0.5 0.1 0.1", "malformed line (dropped)"),
        ("disk 0.5 0.5 0.1 0.1", "malformed line (dropped)"),
        ("0 0.5 nan 0.1 0.1", "malformed line (dropped)"),
        ("0 0.5 0.5 0.1 0.1 1.5", "malformed line (dropped)"),
        ("0 0.5 0.5 0.1 0.1 nan", "malformed line (dropped)"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "malformed line (dropped)"),
        ("inf 0.5 0.5 0.1 0.1", "malformed line (dropped)"),
        ("0 0.5 0.5 0 0.1", "zero-area box (dropped)"),
        ("0 0.5 0.5 -0.1 0.1", "zero-area box (dropped)"),
        ("0 1.5 0.5 0.1 0.1", "box wholly outside its image (dropped)"),
        ("0 1.0 0.5 0.5 0.1", "box partly outside its image (clipped)"),
        ("1 0.5 0.5 0.1 0.1", "line twice (first kept)"),
    ],
)
def test_a_bad_line_is_counted_and_named(yolo: Path, line: str, kind: str) -> None:
    (yolo / "labels/train/b.txt").write_text(f"1 0.5 0.5 0.1 0.1\n{line}\n\n")
    source, _ = read_yolo(str(yolo))
    assert source.problems.counts == {kind: 1}
    assert "labels/train/b.txt" in source.problems.lines()[0]
    assert source.truth is not None
    assert source.truth.labels.counts()[1] == (2 if "clipped" in kind else 1)


def test_boxes_of_an_image_without_a_size_are_dropped_and_the_image_named(yolo: Path) -> None:
    (yolo / "images/train/a.jpg").write_bytes(b"not an image")
    source, _ = read_yolo(str(yolo))
    kind = "image without a readable size (its boxes dropped)"
    assert source.problems.examples[kind] == ["images/train/a.jpg"]
    assert source.problems.counts == {kind: 1}
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [0, 0, 1]


def test_the_size_is_the_one_after_exif_rotation(yolo: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (50, 40)).save(yolo / "images/train/a.jpg", exif=exif)
    source, _ = read_yolo(str(yolo))
    assert source.sizes[0].tolist() == [50, 40]
    stored, _ = read_yolo(str(yolo), frame="stored")
    assert stored.sizes[0].tolist() == [40, 50]
    assert stored.truth is not None
    np.testing.assert_allclose(stored.truth.labels.boxes_N4[0], [20, 10, 30, 30], atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\nnames: {0: disk, 1: ring}\n",
        "path: ../yolo\ntrain: [images/train]\nnames: [disk, ring]\n",
        "path: {root}\ntrain: {root}/images/train/\nnames: [disk, ring]\n",
        "train: ../images/train\nnames: [disk, ring]\n",
        "path: not/here\ntrain: ./images/train\nnames: [disk, ring]\n",
        "train: list.txt\nnames: [disk, ring]\n",
    ],
)
def test_every_dialect_of_data_yaml_names_the_same_images(yolo: Path, text: str) -> None:
    expected, _ = read_yolo(str(yolo))
    (yolo / "list.txt").write_text(f"./images/train/c.jpg\nimages/train/a.jpg\n{yolo}/images/train/b.jpg\n")
    (yolo / "data.yaml").write_text(text.replace("{root}", str(yolo)))
    source, root = read_yolo(str(yolo))
    assert [Path(root, name).resolve() for name in source.file_names] == [
        yolo / name for name in expected.file_names
    ]
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 0, 1]


def test_class_indices_with_gaps_keep_their_numbers(yolo: Path) -> None:
    (yolo / "data.yaml").write_text("train: images/train\nnames: {5: ring, 1: disk}\n")
    source, _ = read_yolo(str(yolo))
    assert (source.classes, source.category_ids) == (("disk", "ring"), (1, 5))
    assert source.problems.counts == {"unknown class (dropped)": 1}
    assert source.truth is not None
    assert source.truth.labels.categories_N.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: images/train\n", "expected 'names'"),
        ("names: [a, a]\n", "expected 'names'"),
        ("names: {a: b}\n", "expected 'names'"),
        ("names: [", "expected YAML"),
        ("- 1\n", "expected 'names'"),
        ("names: [a]\nval: images/val\n", "one of the subsets val, got 'train'"),
        ("names: [a]\ntrain: nowhere\n", "below .*, got 'nowhere'"),
        ("names: [a]\ntrain: /etc\n", "below .*, got '/etc'"),
        ("names: [a]\ntrain: labels/train\n", "expected images in train: labels/train, got none"),
        ("names: [a]\ntrain: outside.txt\n", "in a list of"),
    ],
)
def test_a_data_yaml_that_cannot_be_used_is_an_error_that_names_it(
    yolo: Path, text: str, complaint: str
) -> None:
    (yolo / "outside.txt").write_text("../../secret.jpg\n")
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(SourceError, match=complaint) as caught:
        read_yolo(str(yolo))
    assert "data.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_in_another_encoding_is_an_error_that_names_it(yolo: Path) -> None:
    (yolo / "latin.txt").write_bytes(b"./caf\xe9.jpg\n")
    (yolo / "data.yaml").write_text("names: [a]\ntrain: latin.txt\n")
    with pytest.raises(SourceError, match=r"expected text in UTF-8, got .*latin\.txt; convert it"):
        read_yolo(str(yolo))


def test_a_missing_data_yaml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.yaml.*check the path"):
        read_yaml(str(tmp_path / "data.yaml"))


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.b.png", "train/labels/a.b.txt"),
        ("images/images/a.jpg", "images/labels/a.txt"),
        ("train/a.jpg", "train/a.txt"),
        ("s3://bucket/images/a.jpg", "s3://bucket/labels/a.txt"),
    ],
)
def test_labels_lie_where_yolos_trainers_look(image: str, labels: str) -> None:
    assert label_path(image) == labels


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("Images", "Labels"),
        ("JPEGImages", "labels"),
        ("image", "label"),
        ("img", "Labels"),
        ("pictures", "pictures"),
    ],
)
def test_labels_are_found_in_the_folders_that_tools_use(yolo: Path, images: str, labels: str) -> None:
    (yolo / "images").rename(yolo / images)
    if images == labels:
        for path in (yolo / "labels/train").iterdir():
            path.rename(yolo / images / "train" / path.name)
    else:
        (yolo / "labels").rename(yolo / labels)
    (yolo / "data.yaml").write_text(f"train: {images}/train\nnames: [disk, ring]\n")
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 0, 1]


def test_label_files_elsewhere_are_no_unlabeled_set(yolo: Path) -> None:
    (yolo / "labels").rename(yolo / "boxes")
    with pytest.raises(
        SourceError, match=r"no label file found.*looked for labels/train/a\.txt.*such as boxes/train/a\.txt"
    ):
        read_yolo(str(yolo))


@pytest.mark.parametrize(
    ("image", "label"),
    [("b c.jpg", "b%20c.txt"), ("b.jpg", "b.TXT"), ("B.JPG", "b.txt"), ("b\u00e9.jpg", "be\u0301.txt")],
)
def test_a_label_file_of_another_spelling_is_taken_and_one_without_image_named(
    yolo: Path, image: str, label: str
) -> None:
    (yolo / "images/train/b.jpg").rename(yolo / "images/train" / image)
    (yolo / "labels/train" / label).write_text("0 0.5 0.5 0.2 0.5\n")
    (yolo / "labels/train/lost.txt").write_text("0 0.5 0.5 0.2 0.5\n")
    (yolo / "labels/train/classes.txt").write_text("disk\nring\n")
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    assert source.truth.labels.counts().tolist().count(1) == 2
    remark = "label file in another place or spelling (taken)"
    assert source.problems.examples[remark] == [f"images/train/{image}: labels/train/{label}"]
    assert source.problems.examples["label file without an image (not read)"] == ["labels/train/lost.txt"]


@pytest.mark.parametrize(
    ("shape", "points"), [((2, 2), "0.1 0.1 0.9 0.9"), ((2, 3), "0.1 0.1 2 0.9 0.9 0"), ((1, 2), "0.9 0.9")]
)
def test_key_points_after_a_box_are_passed_over(yolo: Path, shape: tuple[int, int], points: str) -> None:
    with (yolo / "data.yaml").open("a") as file:
        file.write(f"kpt_shape: {[*shape]}\n")
    (yolo / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.2 0.5 {points}\n")
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    np.testing.assert_allclose(source.truth.labels.image(0).boxes_N4, [[20, 10, 30, 30]], atol=1e-5)


@pytest.mark.parametrize("place", ["images/train", "train/images", "images"])
def test_a_yaml_without_subsets_takes_the_usual_folder(yolo: Path, place: str) -> None:
    if place == "train/images":
        (yolo / "train").mkdir()
        (yolo / "images/train").rename(yolo / place)
        (yolo / "labels/train").rename(yolo / "train/labels")
    if place == "images":
        for kind in ("images", "labels"):
            for path in (yolo / kind / "train").iterdir():
                path.rename(yolo / kind / path.name)
            (yolo / kind / "train").rmdir()
    (yolo / "data.yaml").write_text("nc: 2\nnames: [disk, ring]\n")
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    assert len(source.truth.labels.boxes_N4) == 3


def test_a_yaml_that_names_no_subset_says_which_line_is_missing(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [disk]\n")
    with pytest.raises(SourceError, match=r"expected train, val or test.*add a line such as `train: images`"):
        read_yolo(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_label_files_and_lists_of_other_systems_are_decoded(yolo: Path, encoding: str) -> None:
    label = yolo / "labels/train/a.txt"
    label.write_bytes(label.read_text().encode(encoding))
    (yolo / "train.txt").write_bytes("images/train/a.jpg\r\nimages/train/c.jpg\r\n".encode(encoding))
    (yolo / "data.yaml").write_bytes("train: train.txt\r\nnames: [disk, ring]\r\n".encode(encoding))
    source, _ = read_yolo(str(yolo))
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 1]


@pytest.mark.parametrize(("name", "encoding"), [("照片", "gbk"), ("Köter", "cp1252"), ("写真", "shift_jis")])
def test_a_list_in_another_encoding_is_read_where_its_names_are_there(
    yolo: Path, name: str, encoding: str
) -> None:
    (yolo / "images/train/b.jpg").rename(yolo / f"images/train/{name}.jpg")
    (yolo / "train.txt").write_bytes(f"images/train/a.jpg\nimages/train/{name}.jpg\n".encode(encoding))
    (yolo / "data.yaml").write_text("train: train.txt\nnames: [disk, ring]\n")
    source, _ = read_yolo(str(yolo))
    assert f"images/train/{name}.jpg" in source.file_names
    assert any("no UTF-8 (taken as" in kind for kind in source.problems.remarks)
    (yolo / f"images/train/{name}.jpg").unlink()
    with pytest.raises(SourceError, match=r"expected text in UTF-8, got .*train\.txt"):
        read_yolo(str(yolo))
