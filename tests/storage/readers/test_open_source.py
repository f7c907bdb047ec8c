"""One door for every format: what a path looks like decides, and arguments that do not fit are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputError
from storage.readers.open_source import detect_format, open_source


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
        ("coco", {"subset": "val"}, "--subset with VOC and YOLO only, got a source of format coco"),
        ("voc", {"images": "x"}, "--images with an annotation file only, got a source of format voc"),
        ("yolo", {"keep_difficult": True}, "--keep-difficult with VOC only"),
        ("yolo", {"classes": ("a",)}, "--classes-from with a folder of images and VOC only"),
        ("folder", {"subset": "val"}, "--subset with VOC and YOLO only"),
    ],
)
def test_arguments_of_another_format_are_refused(
    tiny_coco: Any, voc: Path, yolo: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    paths = {"coco": tiny_coco.annotations, "voc": voc, "yolo": yolo, "folder": tiny_coco.images}
    with pytest.raises(InputError, match=words):
        open_source(str(paths[name]), **arguments)
