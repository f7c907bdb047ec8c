"""One door for every format: what a path looks like decides, and arguments that do not fit are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputError
from storage.readers.class_list import read_classes
from storage.readers.open_source import detect_format, open_source
from storage.readers.voc import VocOptions


def test_the_format_is_seen_from_the_path(tiny_coco: Any, voc: Path, yolo: Path, tmp_path: Path) -> None:
    assert detect_format(str(tiny_coco.annotations)) == "coco"
    assert detect_format(str(voc)) == detect_format(str(voc / "VOC2007")) == "voc"
    assert detect_format(str(yolo)) == detect_format(str(yolo / "data.yaml")) == "yolo"
    assert detect_format(str(tiny_coco.images)) == "folder"
    with pytest.raises(InputError, match=r"got neither: .*nowhere"):
        detect_format(str(tmp_path / "nowhere"))


def test_every_format_says_where_its_images_lie(tiny_coco: Any, voc: Path, yolo: Path) -> None:
    opened = (
        open_source(str(tiny_coco.annotations), images=str(tiny_coco.images)),
        open_source(str(tiny_coco.annotations), images=str(tiny_coco.images), kind="lvis"),
        open_source(str(voc), subset="test"),
        open_source(str(yolo), subset="val"),
        open_source(str(tiny_coco.images), classes=("a",), category_ids=(1,)),
        open_source(str(yolo), kind="folder"),
    )
    assert [len(source.images) for source in opened] == [30, 30, 1, 1, 30, 4]
    for source in opened:
        for name in source.images.file_names:
            assert (Path(source.images_root) / name).is_file()


def test_as_unlabeled_a_source_keeps_its_images_and_classes_alone(voc: Path) -> None:
    source = open_source(str(voc))
    bare = source.unlabeled().images
    assert source.images.truth is not None
    assert bare.truth is None
    assert (bare.classes, bare.image_ids) == (source.images.classes, source.images.image_ids)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("coco", {}, "expected --images"),
        ("coco", {"images": "nowhere"}, "nothing there: --images nowhere"),
        ("coco", {"subset": "val"}, "--subset with sources in parts only, got a source of format coco"),
        (
            "yolo",
            {"images": "x"},
            "--images with an annotation file only, got a source of format yolo",
        ),
        ("voc", {"images": "x"}, "nothing there: --images x"),
        ("yolo", {"voc": VocOptions(keep_difficult=True)}, "--keep-difficult with VOC only"),
        ("yolo", {"classes": ("a",)}, "expected classes of the list a, got disk, ring"),
        ("folder", {"subset": "val"}, "--subset with sources in parts only"),
    ],
)
def test_arguments_of_another_format_are_refused(
    tiny_coco: Any, voc: Path, yolo: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    paths = {"coco": tiny_coco.annotations, "voc": voc, "yolo": yolo, "folder": tiny_coco.images}
    with pytest.raises(InputError, match=words):
        open_source(str(paths[name]), **arguments)


@pytest.mark.parametrize(
    "annotations",
    [
        "a.xml",
        "Annotations/a.xml",
        "labels/a.txt",
        "a.txt",
        "annotations.json",
        "_annotations.csv",
        "obj.names",
    ],
)
def test_a_folder_with_annotations_is_refused_and_not_unlabeled_by_itself(
    tmp_path: Path, annotations: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "readme.txt").write_bytes(b"")
    assert detect_format(str(tmp_path)) == "folder"
    (tmp_path / annotations).parent.mkdir(exist_ok=True)
    (tmp_path / annotations).write_bytes(b"")
    with pytest.raises(InputError, match=f"such as {annotations}: .*--format folder"):
        open_source(str(tmp_path))
    assert open_source(str(tmp_path), kind="folder").images.truth is None


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_classes_are_mapped_by_name_for_every_format(
    tiny_coco: Any, voc: Path, yolo: Path, name: str
) -> None:
    path, images = {
        "coco": (tiny_coco.annotations, str(tiny_coco.images)),
        "yolo": (yolo, None),
        "voc": (voc, None),
    }[name]
    own = open_source(str(path), images=images).images
    classes = ("more", *reversed(own.classes))
    mapped = open_source(
        str(path), images=images, classes=classes, category_ids=tuple(range(len(classes)))
    ).images
    assert mapped.classes == classes
    assert own.truth is not None
    assert mapped.truth is not None
    for one, other in ((own.truth.labels, mapped.truth.labels), (own.truth.crowds, mapped.truth.crowds)):
        assert one.boxes_N4.tolist() == other.boxes_N4.tolist()
        assert [own.classes[row] for row in one.categories_N] == [classes[row] for row in other.categories_N]


@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        ("classes.txt", "\ufeffring\ndisk\n\n", (1, 2)),
        ("data.yaml", "names: [ring, disk]\n", (0, 1)),
        (
            "c.json",
            '{"images": [], "categories": [{"id": 4, "name": "ring"}, {"id": 9, "name": "disk"}]}',
            (4, 9),
        ),
    ],
)
def test_a_class_list_is_read_from_a_file(tmp_path: Path, name: str, text: str, ids: tuple[int, int]) -> None:
    (tmp_path / name).write_text(text)
    assert read_classes(str(tmp_path / name)) == (("ring", "disk"), ids)
