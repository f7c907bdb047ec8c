"""CVAT's XML: boxes as written, boxes around other shapes, and every shape that is none counted and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.errors import SourceError
from storage.readers.cvat import read_cvat
from storage.readers.image_set import ImageSet
from storage.readers.open_source import detect_format, open_source
from tests.tool_sources import BOXES, cvat_box, cvat_image, cvat_images_of_a_project, cvat_xml, write_files


def read_shapes(root: Path, shapes: str) -> ImageSet:
    xml = cvat_xml(cvat_image("im0.jpg", shapes))
    write_files(root, {"annotations.xml": xml, "images/im0.jpg": None})
    return read_cvat(str(root))[0]


@pytest.mark.parametrize(
    ("shape", "box", "remark"),
    [
        ('<polygon label="dog" points="10,10;30,12;20,25"/>', (10, 10, 30, 25), "polygon"),
        ('<ellipse label="dog" cx="20" cy="20" rx="10" ry="4"/>', (10, 16, 30, 24), "ellipse"),
        ('<ellipse label="dog" cx="20" cy="20" rx="10" ry="4" rotation="90"/>', (16, 10, 24, 30), "ellipse"),
        ('<mask label="dog" rle="3, 2" left="10" top="20" width="5" height="7"/>', (10, 20, 15, 27), "mask"),
        (cvat_box("dog", (10, 20, 30, 24), more='rotation="90"'), (18, 12, 22, 32), "turned box"),
    ],
)
def test_the_box_around_another_shape_is_taken_and_said(
    tmp_path: Path, shape: str, box: tuple[float, ...], remark: str
) -> None:
    source = read_shapes(tmp_path, shape)
    assert source.truth is not None
    np.testing.assert_allclose(source.truth.labels.boxes_N4, [box], atol=1e-4)
    assert source.truth.labels.categories_N.tolist() == [1]
    assert source.problems.remarks == {f"{remark} (the box around it taken)": 1}
    assert not source.problems


@pytest.mark.parametrize(
    ("shape", "kind", "named"),
    [
        ('<polyline label="dog" points="1,2;3,4"/>', "no box: polyline (dropped)", "im0.jpg: dog polyline"),
        ('<points label="dog" points="1,2"/>', "no box: points (dropped)", "im0.jpg: dog points"),
        ('<cuboid label="dog" xtl1="1"/>', "no box: cuboid (dropped)", "im0.jpg: dog cuboid"),
        (
            '<skeleton label="dog"><points label="1" points="1,2"/></skeleton>',
            "no box: skeleton (dropped)",
            "im0.jpg: dog skeleton",
        ),
        ('<polygon label="dog" points="1,2;3,4"/>', "malformed shape (dropped)", 'points="1,2;3,4"'),
        ('<polygon label="dog" points="1,2;3;4,5"/>', "malformed shape (dropped)", 'points="1,2;3;4,5"'),
        (cvat_box("dog", (1, 2, "x", 4)), "malformed shape (dropped)", 'xbr="x"'),  # type: ignore[arg-type]
        (cvat_box("dog", (1, 2, 3, float("nan"))), "malformed shape (dropped)", 'ybr="nan"'),
        (cvat_box("", (1, 2, 3, 4)), "malformed shape (dropped)", 'label=""'),
        (cvat_box("dog", (9, 9, 3, 4)), "zero-area box (dropped)", "im0.jpg: dog [9.0, 9.0, 3.0, 4.0]"),
        (cvat_box("cat", BOXES["cat"]), "object twice (first kept)", "im0.jpg: cat [10.0"),
    ],
)
def test_what_is_no_box_is_counted_and_named(tmp_path: Path, shape: str, kind: str, named: str) -> None:
    source = read_shapes(tmp_path, cvat_box("cat", BOXES["cat"]) + shape)
    assert source.problems.counts == {kind: 1}
    assert named in source.problems.examples[kind][0]
    assert source.truth is not None
    assert len(source.truth.labels.boxes_N4) == 1
    assert source.num_annotations == 2


def test_a_tag_of_an_image_is_a_remark_and_an_undeclared_label_a_class(tmp_path: Path) -> None:
    source = read_shapes(tmp_path, '<tag label="night"/>' + cvat_box("yak", (1, 2, 3, 4)))
    assert source.classes == ("cat", "dog", "yak")
    assert [*source.problems.remarks] == [
        "tag of a whole image (no box)",
        "class that is not declared (added)",
    ]
    assert source.num_annotations == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk", "iso-8859-1"])
def test_xml_is_decoded_as_it_declares(tmp_path: Path, encoding: str) -> None:
    label = {"gbk": "猫", "iso-8859-1": "Köter"}.get(encoding, "猫 Köter")
    xml = cvat_xml(cvat_image("im0.jpg", cvat_box(label, (1, 2, 3, 4))), labels=(label,))
    declared = encoding.removesuffix("-sig")
    write_files(tmp_path, {"im0.jpg": None})
    (tmp_path / "annotations.xml").write_bytes(
        xml.replace('encoding="utf-8"', f'encoding="{declared}"').encode(encoding)
    )
    assert open_source(str(tmp_path)).images.classes == (label,)


def test_a_project_in_subsets_is_read_one_by_one(tmp_path: Path) -> None:
    cvat_images_of_a_project(tmp_path)
    source = open_source(str(tmp_path), subset="val")
    assert source.images.file_names == ("im0.jpg",)
    assert source.images_root.endswith("images/Validation")
    assert source.images.truth is not None
    assert source.images.truth.labels.boxes_N4.tolist() == [[1, 2, 3, 4]]
    with pytest.raises(SourceError, match=r"subsets Train, Validation, got test: .*--subset"):
        open_source(str(tmp_path), subset="test")


def test_the_xml_alone_is_read_with_its_images_elsewhere(tmp_path: Path) -> None:
    xml = cvat_xml(cvat_image("photos\\IM0.jpg", cvat_box("cat", BOXES["cat"])))
    write_files(tmp_path, {"job_7.xml": xml, "elsewhere/im0.jpg": None, "elsewhere/other.jpg": None})
    source = open_source(str(tmp_path / "job_7.xml"), images=str(tmp_path / "elsewhere"))
    assert source.images.file_names == ("im0.jpg",)
    assert source.images.problems.remarks == {"image that no annotation names (left out)": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            cvat_xml('<track id="0" label="cat"><box frame="0"/></track>'),
            "tracks of a video: .*for images 1.1",
        ),
        (cvat_xml(""), "expected images in a source of cvat, got none"),
        (
            cvat_xml(cvat_image("im0.jpg"))[:-20],
            "expected XML of CVAT, got .*annotations.xml; is the file complete",
        ),
    ],
)
def test_an_xml_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    write_files(tmp_path, {"annotations.xml": text, "im0.jpg": None})
    assert detect_format(str(tmp_path)) == "cvat"
    with pytest.raises(SourceError, match=words):
        read_cvat(str(tmp_path))
