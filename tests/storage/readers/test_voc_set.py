"""Pascal VOC as tools leave it: without lists, folders in any spelling, and the small oddities of each tool.

The shapes of the files are those that labelImg, Label Studio, CVAT and Roboflow write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from storage.errors import SourceError
from storage.readers.image_set import ImageSet
from storage.readers.open_source import detect_format, open_source
from storage.readers.voc import VocOptions, read_voc

Box = tuple[float, float, float, float]
Objects = Sequence[tuple[str, Box]]
SIZE = "<size><width>50</width><height>40</height><depth>3</depth></size>"
HAT = (("hat", (11.0, 6.0, 30.0, 15.0)),)


def annotation(objects: Objects, *, head: str = "", size: str = SIZE, extra: str = "") -> str:
    body = "".join(
        f"<object><name>{name}</name>{extra}<bndbox>"
        f"<xmin>{box[0]:g}</xmin><ymin>{box[1]:g}</ymin><xmax>{box[2]:g}</xmax><ymax>{box[3]:g}</ymax>"
        "</bndbox></object>"
        for name, box in objects
    )
    return f"<annotation>{head}{size}{body}</annotation>"


def write_files(root: Path, images: Sequence[str], texts: dict[str, str]) -> Path:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40)).save(root / name)
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def boxes_of(source: ImageSet) -> dict[str, list[tuple[str, list[float]]]]:
    """Return class and box of each object by the file name of its image."""
    assert source.truth is not None
    labels = source.truth.labels
    return {
        name: [
            (source.classes[category], box)
            for category, box in zip(
                labels.image(row).categories_N, labels.image(row).boxes_N4.tolist(), strict=True
            )
        ]
        for row, name in enumerate(source.file_names)
    }


def kinds(source: ImageSet) -> dict[str, int]:
    """Return the counts of problems and remarks by the words before their brackets."""
    counts = source.problems.counts | source.problems.remarks
    return {kind.partition(" (")[0]: count for kind, count in counts.items()}


HAT_BOX = ("hat", [10.0, 5.0, 30.0, 15.0])


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("a.jpg", "a.xml"),
        ("A.JPG", "a.xml"),
        ("a.png", "a.xml"),
        ("images/a.jpg", "annotations/a.xml"),
        ("Images/a.jpg", "Annotations/a.xml"),
        ("JPEGImages/a.jpg", "Annotations/a.xml"),
        ("jpegimages/a.jpeg", "ANNOTATIONS/a.xml"),
        ("img/a.jpg", "xmls/a.xml"),
        ("images/a.jpg", "annotations/xmls/a.xml"),
        ("a.jpg", "Annotations/a.xml"),
        ("site 1/cam/a.jpg", "site 1/cam/a.xml"),
        ("images/site/a.jpg", "annotations/site/a.xml"),
        ("site/images/a.jpg", "site/labels/a.xml"),
        ("images/a.jpg", "Annotations/batch7/a.xml"),
        ("a.jpg", "a.jpg.xml"),
        ("images/a.PNG", "annotations/a.png.XML"),
    ],
)
def test_an_annotation_file_finds_its_image_in_every_usual_layout(
    tmp_path: Path, image: str, place: str
) -> None:
    write_files(tmp_path, [image], {place: annotation(HAT)})
    assert detect_format(str(tmp_path)) == "voc"
    source = open_source(str(tmp_path))
    assert source.images_root == str(tmp_path)
    assert boxes_of(source.images) == {image: [HAT_BOX]}
    assert not source.images.problems


def test_labelimg_leaves_xml_beside_images_and_names_the_computer_it_ran_on(tmp_path: Path) -> None:
    head = (
        "<folder>Desktop</folder><filename>IMG_{}.jpg</filename><path>C:\\Users\\me\\Desktop\\IMG_{}.jpg</path>"
        "<source><database>Unknown</database></source>"
    )
    extra = "<pose>Unspecified</pose><truncated>0</truncated><difficult>{}</difficult>"
    write_files(
        tmp_path,
        ["one.jpg", "two.jpg", "sub/one.jpg", "new.jpg"],
        {
            "one.xml": annotation(HAT, head=head.format(1, 1), extra=extra.format(0)),
            "two.xml": annotation([("dog", (1, 1, 50, 40))], head=head.format(2, 2), extra=extra.format(1)),
            "sub/one.xml": annotation([], head=head.format(3, 3)),
        },
    )
    source = read_voc(str(tmp_path))
    assert boxes_of(source) == {"one.jpg": [HAT_BOX], "sub/one.jpg": [], "two.jpg": []}
    assert source.truth is not None
    assert source.truth.difficult is not None
    assert source.truth.difficult.boxes_N4.tolist() == [[0, 0, 50, 40]]
    assert kinds(source) == {"no annotation file": 1, "difficult object": 1}
    assert source.problems.examples[next(iter(source.problems.counts))] == ["new.jpg"]
    assert source.notes == {"format": "voc", "corners": "pixels-from-1"}
    assert source.image_ids == (1, 2, 3)


def test_an_image_without_annotation_file_is_empty_where_asked_for(tmp_path: Path) -> None:
    write_files(tmp_path, ["a.jpg", "b.jpg"], {"a.xml": annotation(HAT)})
    source = read_voc(str(tmp_path), options=VocOptions(unannotated="empty"))
    assert boxes_of(source) == {"a.jpg": [HAT_BOX], "b.jpg": []}
    assert not source.problems
    assert source.notes["images_without_annotation_file"] == "1 (taken as images without objects)"


@pytest.mark.parametrize("name", ["predefined_classes.txt", "classes.txt"])
def test_a_list_of_classes_gives_their_order_where_it_has_all(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, ["a.jpg"], {"a.xml": annotation(HAT), name: "zebra\nhat\n\n"})
    assert read_voc(str(tmp_path)).classes == ("zebra", "hat")
    (tmp_path / name).write_text("zebra\n")
    source = read_voc(str(tmp_path))
    assert source.classes == ("hat",)
    assert kinds(source) == {"list of classes without some that occur": 1}


def test_label_studio_leaves_no_lists_and_names_without_suffix(tmp_path: Path) -> None:
    head = (
        "<folder>images</folder><filename>3f2a-a.v1</filename><source><database>MyDatabase</database>"
        "<annotation>COCO2017</annotation><image>flickr</image><flickrid>NULL</flickrid><annotator>1</annotator>"
        "</source><owner><flickrid>NULL</flickrid><name>Label Studio</name></owner>"
    )
    extra = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
    write_files(
        tmp_path,
        ["images/3f2a-a.v1.png"],
        {
            "Annotations/3f2a-a.v1.xml": annotation(
                [("hat", (2, 5, 30, 15)), ("hat", (4, 1, 50, 40))], head=head, extra=extra
            )
        },
    )
    source = read_voc(str(tmp_path))
    assert boxes_of(source) == {
        "images/3f2a-a.v1.png": [("hat", [2.0, 5.0, 30.0, 15.0]), ("hat", [4.0, 1.0, 50.0, 40.0])]
    }
    assert source.notes["corners"] == "edges-from-0"
    assert kinds(source) == {"object of Label Studio": 2}


CVAT_LABELS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nzebra:1,2,3::\nhat:250,50,83::\n"


def write_cvat(root: Path, image: str = "JPEGImages/cam 1/a.jpg") -> Path:
    extra = "<truncated>0</truncated><occluded>1</occluded><difficult>0</difficult>"
    text = annotation(
        [("hat", (10.25, 5.5, 30.75, 15.5))],
        head="<folder></folder><filename>cam 1/a.jpg</filename>",
        extra=extra,
    )
    attributes = "<attributes><attribute><name>track_id</name><value>7</value></attribute></attributes>"
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    return write_files(
        root,
        [image],
        {
            "Annotations/cam 1/a.xml": text.replace("</object>", f"{part}{attributes}</object>"),
            "ImageSets/Main/default.txt": "cam 1/a\n",
            "ImageSets/Main/hat_default.txt": "cam 1/a  1\n",
            "ImageSets/Main/zebra_default.txt": "cam 1/a -1\n",
            "labelmap.txt": CVAT_LABELS,
        },
    )


def test_cvat_writes_one_list_fractions_and_a_labelmap(tmp_path: Path) -> None:
    source = read_voc(str(write_cvat(tmp_path)))
    assert boxes_of(source) == {"JPEGImages/cam 1/a.jpg": [("hat", [10.25, 5.5, 30.75, 15.5])]}
    assert source.classes == ("zebra", "hat")
    assert source.notes == {"format": "voc", "subset": "default"}
    assert kinds(source) == {"corner with a fraction": 1}
    assert not source.problems
    for subset in ("hat_default", "zebra_default"):
        assert read_voc(str(tmp_path), subset=subset).file_names == source.file_names


def test_annotations_that_left_a_tool_without_images_find_them_elsewhere(tmp_path: Path) -> None:
    write_cvat(tmp_path / "cvat", image="../photos/cam 1/a.jpg")
    (tmp_path / "cvat/JPEGImages").mkdir()
    write_files(tmp_path / "plain", [], {"a.xml": annotation(HAT)})
    photos = str(tmp_path / "photos")
    for name in ("cvat", "plain"):
        source = open_source(str(tmp_path / name), images=photos)
        assert source.images_root == photos
        assert source.images.file_names == ("cam 1/a.jpg",)
        assert source.images.truth is not None
        assert len(source.images.truth.labels.boxes_N4) == 1
    with pytest.raises(SourceError, match=r"1 annotation files, got 0 images and .*: a\.xml: .* --images"):
        read_voc(str(tmp_path / "plain"))


def write_roboflow(root: Path) -> Path:
    texts = {"README.roboflow.txt": "", "README.dataset.txt": ""}
    objects = {"train": [("hat", (1, 6, 31, 16)), ("dog", (11, 1, 51, 41))], "valid": HAT, "test": []}
    images = []
    for number, (subset, its_objects) in enumerate(objects.items()):
        name = f"im{number}_jpg.rf.0123abc"
        images.append(f"{subset}/{name}.jpg")
        head = f"<folder></folder><filename>{name}.jpg</filename><path>{name}.jpg</path>"
        texts[f"{subset}/{name}.xml"] = annotation(its_objects, head=head, extra="<occluded>0</occluded>")
    return write_files(root, images, texts)


def test_roboflow_has_folders_of_subsets_and_train_is_read_unless_another_is_named(tmp_path: Path) -> None:
    write_roboflow(tmp_path)
    source = read_voc(str(tmp_path))
    assert source.file_names == ("train/im0_jpg.rf.0123abc.jpg",)
    assert source.notes["subset"] == "train"
    assert source.notes["other_subsets"] == "test, val"
    assert not source.problems
    valid = read_voc(str(tmp_path), subset="valid")
    assert valid.file_names == ("valid/im1_jpg.rf.0123abc.jpg",)
    assert "other_subsets" not in valid.notes
    assert valid.classes == source.classes == ("dog", "hat")
    assert len(read_voc(str(tmp_path), subset="all")) == 3
    with pytest.raises(SourceError, match=r"folders of subsets \(test, train, val, all\), got dev2"):
        read_voc(str(tmp_path), subset="dev2")


def test_roboflow_counts_edges_from_one_as_a_corner_beyond_the_image_shows(tmp_path: Path) -> None:
    source = read_voc(str(write_roboflow(tmp_path)))
    assert boxes_of(source)["train/im0_jpg.rf.0123abc.jpg"] == [
        ("hat", [0.0, 5.0, 30.0, 15.0]),
        ("dog", [10.0, 0.0, 50.0, 40.0]),
    ]
    assert source.notes["corners"] == "edges-from-1"


def test_subsets_that_are_not_plain_are_asked_for(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        ["train/a.jpg", "b.jpg", "test/c.jpg"],
        {place: annotation(HAT) for place in ("train/a.xml", "b.xml", "test/c.xml")},
    )
    with pytest.raises(SourceError, match=r"\(test, train, all\), got none and 1 annotated images beside"):
        read_voc(str(tmp_path))
    assert read_voc(str(tmp_path), subset="train").file_names == ("train/a.jpg",)
    assert read_voc(str(tmp_path), subset="all").file_names == ("b.jpg", "test/c.jpg", "train/a.jpg")
    (tmp_path / "b.xml").unlink()
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "train").rename(tmp_path / "val")
    with pytest.raises(SourceError, match=r"\(test, val, all\), got none: "):
        read_voc(str(tmp_path))


@pytest.mark.parametrize("subset", ["train", "val"])
def test_a_folder_without_subsets_has_none_to_name(tmp_path: Path, subset: str) -> None:
    write_files(tmp_path, ["a.jpg"], {"a.xml": annotation(HAT)})
    with pytest.raises(SourceError, match=rf"\(none, or all\), got {subset}"):
        read_voc(str(tmp_path), subset=subset)


def test_the_filename_counts_only_where_the_own_name_finds_nothing(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        ["a.jpg", "b.jpg", "photo.png", "other.jpg"],
        {
            "a.xml": annotation(HAT, head="<filename>b.jpg</filename>"),
            "b.xml": annotation([], head="<filename>elsewhere.jpg</filename>"),
            "000001.xml": annotation([], head="<filename>C:\\x\\photo.png</filename>"),
            "000002.xml": annotation([], head="<filename>other</filename>"),
        },
    )
    source = read_voc(str(tmp_path))
    assert boxes_of(source) == {"a.jpg": [HAT_BOX], "b.jpg": [], "other.jpg": [], "photo.png": []}
    assert kinds(source) == {"<filename> of another image": 1}
    assert next(iter(source.problems.examples.values())) == ["a.xml: a.jpg, not b.jpg"]


@pytest.mark.parametrize(
    ("images", "texts", "kind", "example"),
    [
        (["a.jpg"], {"lost.xml": annotation([])}, "annotation file without an image", "lost.xml"),
        (
            ["a.jpg", "x/s.jpg", "y/s.jpg"],
            {"z/s.xml": annotation([]), "x/s.xml": annotation([]), "y/s.xml": annotation([])},
            "annotation file without an image",
            "z/s.xml",
        ),
        (
            ["a.jpg", "s.png", "s.bmp"],
            {"s.xml": annotation([])},
            "annotation file without an image",
            "s.xml (near: s.bmp, s.png)",
        ),
        (
            ["a.jpg"],
            {"Annotations/a.xml": annotation([])},
            "second annotation file of an image",
            "Annotations/a.xml: a.jpg",
        ),
        (["a.jpg", "s.jpg"], {"s.xml": "<annotation><ob"}, "broken annotation file", "s.xml: expected a VOC"),
        (
            ["a.jpg"],
            {"pom.xml": "<project/>"},
            "file *.xml that is no annotation file",
            "pom.xml: expected a",
        ),
    ],
)
def test_what_does_not_fit_together_is_counted_and_named(
    tmp_path: Path, images: list[str], texts: dict[str, str], kind: str, example: str
) -> None:
    write_files(tmp_path, images, {"a.xml": annotation(HAT), **texts})
    source = read_voc(str(tmp_path))
    assert boxes_of(source)["a.jpg"] == [HAT_BOX]
    ((found, count),) = ((kind_, count) for kind_, count in source.problems.counts.items() if kind in kind_)
    assert count == 1
    assert source.problems.examples[found][0].startswith(example)


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_two_images_of_a_name_are_told_apart_by_the_filename(tmp_path: Path, suffix: str) -> None:
    head = f"<filename>a.{suffix}</filename>"
    write_files(tmp_path, ["a.png", "a.bmp"], {"a.xml": annotation(HAT, head=head)})
    assert boxes_of(read_voc(str(tmp_path))) == {f"a.{suffix}": [HAT_BOX]}


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<size><width>0</width><height>0</height></size>",
        "<size><width>50</width></size>",
        "<size><width>50.0</width><height>40.0</height></size>",
    ],
)
def test_a_size_that_is_missing_zero_or_a_float_is_that_of_the_image(tmp_path: Path, size: str) -> None:
    write_files(tmp_path, ["a.jpg"], {"a.xml": annotation([("hat", (11, 6, 60, 15))], size=size)})
    source = read_voc(str(tmp_path))
    assert source.sizes.tolist() == [[40, 50]]
    assert boxes_of(source) == {"a.jpg": [("hat", [10.0, 5.0, 50.0, 15.0])]}


def test_masks_are_no_images_that_lack_annotations(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        ["images/a.jpg", "annotations/trimaps/a.png", "SegmentationClass/a.png", "masks/b.png"],
        {"annotations/xmls/a.xml": annotation(HAT)},
    )
    source = read_voc(str(tmp_path))
    assert boxes_of(source) == {"images/a.jpg": [HAT_BOX]}
    assert not source.problems


@pytest.mark.parametrize(
    "text", ["", "<annotations><image/></annotations>", "<annotation", "no xml", "<a><annotation/></a>"]
)
def test_other_xml_is_no_voc(tmp_path: Path, text: str) -> None:
    write_files(tmp_path, ["a.jpg"], {"a.xml": text})
    with pytest.raises(SourceError):
        detect_format(str(tmp_path))
    with pytest.raises(SourceError, match=r"got neither: .*; check the path"):
        read_voc(str(tmp_path))


def test_an_annotation_file_of_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, ["a.jpg", "b.jpg"], {"b.xml": annotation(HAT)})
    (tmp_path / "a.xml").write_bytes(annotation([("帽子", (1, 1, 2, 2))]).encode("gbk"))
    source = open_source(str(tmp_path)).images
    assert boxes_of(source) == {"b.jpg": [HAT_BOX]}
    assert kinds(source) == {"broken annotation file": 1}
    assert source.problems.lines()[0].rpartition("a.xml: ")[2].startswith("expected text in UTF-8, got")


@pytest.mark.parametrize(
    ("image", "written"),
    [
        ("caf\u00e9 1.jpg", "cafe\u0301 1.xml"),
        ("a b.jpg", "a%20b.xml"),
        ("IMG_7.JPG", "img_7.xml"),
        ("images/Über.png", "Annotations/über.xml"),
    ],
)
def test_names_are_found_as_other_systems_write_them(tmp_path: Path, image: str, written: str) -> None:
    write_files(tmp_path, [image], {written: annotation(HAT)})
    assert boxes_of(read_voc(str(tmp_path))) == {image: [HAT_BOX]}


def test_objects_are_read_wherever_they_stand_and_each_of_their_boxes(tmp_path: Path) -> None:
    text = annotation([("hat", (11, 6, 30, 15)), ("dog", (1, 1, 5, 5))])
    second = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    text = text.replace("</object></annotation>", second)
    text = text.replace("</size>", "</size><objects>").replace("</annotation>", "</objects></annotation>")
    write_files(tmp_path, ["a.jpg"], {"a.xml": text})
    boxes = boxes_of(read_voc(str(tmp_path)))["a.jpg"]
    assert boxes == [HAT_BOX, ("dog", [0.0, 0.0, 5.0, 5.0]), ("dog", [1.0, 1.0, 5.0, 5.0])]


def test_a_set_in_a_store_is_read_as_on_disk(tmp_path: Path) -> None:
    write_roboflow(tmp_path / "roboflow")
    write_cvat(tmp_path / "cvat")
    store = fsspec.filesystem("memory")
    for name in ("roboflow", "cvat"):
        store.put(str(tmp_path / name), f"/{tmp_path.name}/{name}", recursive=True)
        here, there = open_source(str(tmp_path / name)), open_source(f"memory://{tmp_path.name}/{name}")
        assert boxes_of(here.images) == boxes_of(there.images) != {}
        assert here.images.sha256 == there.images.sha256
    store.rm(f"/{tmp_path.name}", recursive=True)


def test_annotation_files_are_seen_among_many_other_xml_files(tmp_path: Path) -> None:
    others = {f"{number}.xml": "<project/>" for number in range(9)}
    write_files(tmp_path, ["z.jpg"], {"z.xml": annotation(HAT), **others})
    source = open_source(str(tmp_path)).images
    assert boxes_of(source) == {"z.jpg": [HAT_BOX]}
    assert kinds(source) == {"file *.xml that is no annotation file": 9}


def test_where_no_pair_is_sound_each_reason_is_said(tmp_path: Path) -> None:
    write_files(tmp_path, ["a.png", "a.bmp", "b.jpg"], {"a.xml": annotation(HAT), "b.xml": "<annotation>"})
    with pytest.raises(
        SourceError, match=r"3 images and .*: a\.xml \(near: a\.bmp, a\.png\); .*broken .*: b\.xml"
    ):
        read_voc(str(tmp_path))
