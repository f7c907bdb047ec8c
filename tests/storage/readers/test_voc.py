"""Reading Pascal VOC: boxes that include their last pixel, difficult objects apart, both years."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import SourceError
from storage.labels import Labels
from storage.readers.open_source import open_source
from storage.readers.voc import VOC_CLASSES, VocOptions, read_voc
from storage.readers.voc_annotation import parse_voc
from storage.readers.voc_set import UNANNOTATED


def difficult_of(source: Any) -> Labels:
    assert source.truth is not None
    assert source.truth.difficult is not None
    return source.truth.difficult


def test_boxes_cover_their_last_pixel_and_difficult_objects_are_kept_apart(voc: Path) -> None:
    source = read_voc(str(voc / "VOC2007"))
    assert source.file_names == ("JPEGImages/000005.jpg", "JPEGImages/000007.jpg")
    assert source.image_ids == (5, 7)
    assert source.classes == VOC_CLASSES
    assert source.sizes.tolist() == [[40, 50]] * 2
    assert source.truth is not None
    assert source.truth.labels.image(0).boxes_N4.tolist() == [[0, 0, 50, 40]]
    assert [source.classes[number] for number in source.truth.labels.categories_N] == ["dog", "dog"]
    assert difficult_of(source).image(1).boxes_N4.tolist() == [[10, 5, 20, 25]]
    assert [source.classes[number] for number in difficult_of(source).categories_N] == ["cat", "cat"]
    assert not source.problems


def test_difficult_objects_are_like_any_other_where_asked_for(voc: Path) -> None:
    source = read_voc(str(voc / "VOC2007"), options=VocOptions(keep_difficult=True))
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 2]
    assert difficult_of(source).counts().tolist() == [0, 0]


def test_the_folder_above_holds_both_years_and_ids_stay_apart(voc: Path) -> None:
    source = read_voc(str(voc))
    assert source.file_names == tuple(
        f"{year}/JPEGImages/{name}.jpg"
        for year, name in (("VOC2007", "000005"), ("VOC2007", "000007"), ("VOC2012", "2008_000002"))
    )
    assert source.image_ids == (5, 7, 2008000002)
    assert read_voc(str(voc), subset="test").image_ids == (9,)


def test_lists_of_one_class_have_a_second_column(voc: Path) -> None:
    main = voc / "VOC2007/ImageSets/Main"
    (main / "dog_trainval.txt").write_text("000005  1\n000007 -1\n")
    assert read_voc(str(voc / "VOC2007"), subset="dog_trainval").image_ids == (5, 7)


def test_names_with_spaces_and_other_suffixes_are_found_and_numbered(voc: Path, write_voc: Any) -> None:
    year = voc / "VOC2007"
    (year / "ImageSets/Main/own.txt").write_text("my dog 2\n000005\n")
    write_voc(year, "my dog 2", [("dog", (1, 1, 9, 9), 0)])
    text = (year / "Annotations/my dog 2.xml").read_text()
    (year / "Annotations/my dog 2.xml").write_text(text.replace("my dog 2.jpg", "my dog 2.png"))
    source = read_voc(str(year), subset="own")
    assert source.file_names == ("JPEGImages/my dog 2.png", "JPEGImages/000005.jpg")
    assert source.image_ids == (1, 2)


def test_other_classes_than_vocs_are_sorted_and_given_ones_are_kept(voc: Path, write_voc: Any) -> None:
    year = voc / "VOC2007"
    for name in ("000005", "000007"):
        write_voc(year, name, [("zebu", (1, 1, 9, 9), 0), ("ant", (1, 1, 9, 9), 0)])
    assert read_voc(str(year)).classes == ("ant", "zebu")
    source = open_source(str(year), classes=("zebu",), category_ids=(1,)).images
    assert source.classes == ("zebu",)
    assert source.problems.counts == {"class that is not in the list (dropped)": 2}


def test_one_class_of_vocs_does_not_make_a_set_one_of_vocs(voc: Path, write_voc: Any) -> None:
    for name, classes in (("000005", ("person", "hat")), ("000007", ("car", "truck"))):
        write_voc(voc / "VOC2007", name, [(kind, (1, 1, 9, 9), 0) for kind in classes])
    source = read_voc(str(voc / "VOC2007"))
    assert source.classes == ("car", "hat", "person", "truck")
    assert source.truth is not None
    assert source.truth.labels.counts().tolist() == [2, 2]


@pytest.mark.parametrize("encoding", ["utf8", "GBK", "ISO-8859-1", "UTF-16", "utf-8"])
def test_xml_is_decoded_as_it_declares(voc: Path, encoding: str) -> None:
    name = "狗" if encoding in {"GBK", "utf8"} else "Köter"
    path = voc / "VOC2007/Annotations/000007.xml"
    text = path.read_text().replace("<name>dog</name>", f"<name>{name}</name>")
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    assert name in read_voc(str(voc / "VOC2007")).classes


def test_an_image_without_annotation_is_left_out_and_a_list_without_any_is_unlabeled(voc: Path) -> None:
    annotations = voc / "VOC2007/Annotations"
    (annotations / "000005.xml").unlink()
    source = read_voc(str(voc / "VOC2007"))
    assert source.image_ids == (7,)
    assert source.problems.counts == {UNANNOTATED: 1}
    empty = read_voc(str(voc / "VOC2007"), options=VocOptions(unannotated="empty"))
    assert empty.image_ids == (5, 7)
    assert empty.truth is not None
    assert empty.truth.labels.counts().tolist() == [0, 1]
    assert empty.sizes.tolist() == [[40, 50]] * 2
    assert "1 (taken as images without objects)" in empty.notes.values()
    (annotations / "000007.xml").unlink()
    unlabeled = read_voc(str(voc / "VOC2007"))
    assert unlabeled.truth is None
    assert unlabeled.image_ids == (5, 7)
    assert not unlabeled.problems


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10, 10, 5, 20), "zero-area box (dropped)"),
        ((60, 10, 70, 20), "box wholly outside its image (dropped)"),
        ((10, 10, 60, 20), "box partly outside its image (clipped)"),
        (("nan", 1, 2, 2), "malformed object (dropped)"),
        (("one", 1, 2, 2), "malformed object (dropped)"),
    ],
)
def test_a_bad_object_is_counted_and_named(voc: Path, write_voc: Any, box: Any, kind: str) -> None:
    write_voc(voc / "VOC2007", "000007", [("dog", (1, 1, 9, 9), 0), ("cat", box, 0)])
    source = read_voc(str(voc / "VOC2007"))
    assert source.problems.counts == {kind: 1}
    assert "000007" in source.problems.lines()[0]


def test_broken_xml_and_a_doubled_line_are_counted_and_named(voc: Path) -> None:
    year = voc / "VOC2007"
    (year / "Annotations/000007.xml").write_text("<annotation><object>")
    (year / "ImageSets/Main/trainval.txt").write_text("000005\n000007\n000005\n")
    source = read_voc(str(year))
    assert source.image_ids == (5,)
    assert source.problems.counts == {
        "broken annotation file (image left out)": 1,
        "image listed twice (first kept)": 1,
    }


@pytest.mark.parametrize("encoding", ["nonsense", "utf-7", "utf-16"])
def test_an_annotation_file_of_an_unknown_encoding_is_broken(voc: Path, encoding: str) -> None:
    path = voc / "VOC2007/Annotations/000007.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    assert read_voc(str(voc / "VOC2007")).problems.counts == {"broken annotation file (image left out)": 1}


def test_a_list_in_another_encoding_is_an_error_that_names_it(voc: Path) -> None:
    (voc / "VOC2007/ImageSets/Main/latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(SourceError, match=r"expected text in UTF-8, got .*latin\.txt; convert it"):
        read_voc(str(voc / "VOC2007"), subset="latin")


def test_a_missing_size_is_read_from_the_image(voc: Path, write_voc: Any) -> None:
    write_voc(voc / "VOC2007", "000005", [("dog", (1, 1, 60, 9), 0)], head="<segmented>0</segmented>")
    source = read_voc(str(voc / "VOC2007"))
    assert source.sizes[0].tolist() == [40, 50]
    assert source.truth is not None
    assert source.truth.labels.image(0).boxes_N4.tolist() == [[0, 0, 50, 9]]


def test_scores_of_other_tools_are_read(voc: Path) -> None:
    text = (voc / "VOC2007/Annotations/000005.xml").read_text()
    assert [one.score for one in parse_voc(text.encode()).objects] == [1, 1]
    scored = text.replace("<difficult>0", "<confidence>0.25</confidence><difficult>0")
    assert [one.score for one in parse_voc(scored.encode()).objects] == [0.25, 1]
    wrong = text.replace("<difficult>0", "<score>nan</score><difficult>0")
    assert parse_voc(wrong.encode()).malformed == ("dog: a score outside 0..1",)


def test_the_hash_follows_the_annotations(voc: Path, write_voc: Any) -> None:
    before = read_voc(str(voc / "VOC2007")).sha256
    write_voc(voc / "VOC2007", "000005", [("dog", (1, 1, 51, 40), 0)])
    assert read_voc(str(voc / "VOC2007")).sha256 != before


def test_a_folder_that_is_none_and_a_list_that_is_none_are_errors(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"lists lie deeper: .*holds ImageSets of VOCdevkit/VOC2007/"):
        read_voc(str(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match=r"or annotation files .* got neither"):
        read_voc(str(tmp_path / "none"))
    with pytest.raises(SourceError, match=r"Main/nope\.txt; name one of its lists with --subset"):
        read_voc(str(voc), subset="nope")


POLYGON = "<polygon><x1>10</x1><y1>10</y1><x2>40</x2><y2>12</y2><x3>30</x3><y3>25</y3></polygon>"
TURNED = "<robndbox><cx>20</cx><cy>20</cy><w>20</w><h>10</h><angle>1.5707963</angle></robndbox>"
POINTS = (
    "<polygon><pt><x>10</x><y>10</y></pt><pt><x>40</x><y>12</y></pt><pt><x>30</x><y>25</y></pt></polygon>"
)


@pytest.mark.parametrize(
    ("outline", "box"), [(POLYGON, [10, 10, 40, 25]), (POINTS, [10, 10, 40, 25]), (TURNED, [15, 10, 25, 30])]
)
def test_an_outline_stands_for_the_bndbox_that_is_missing(voc: Path, outline: str, box: list[int]) -> None:
    path = voc / "VOC2007/Annotations/000007.xml"
    path.write_text(f"<annotation><object><name>dog</name>{outline}</object></annotation>")
    source = read_voc(str(voc / "VOC2007"))
    assert source.truth is not None
    np.testing.assert_allclose(source.truth.labels.image(1).boxes_N4, [box], atol=1e-4)
    assert source.problems.remarks["no bndbox (the box around its outline taken)"] == 1
    assert not source.problems


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("<name>dog</name>", "dog has no bndbox, polygon or robndbox"),
        ("<name>dog</name><bndbox><xmin>a</xmin></bndbox>", "dog: bndbox with xmin 'a'"),
        ("<name>dog</name><polygon><x1>3</x1></polygon>", "dog: polygon with x1 '3'"),
        ("<name> </name><bndbox/>", "no name"),
    ],
)
def test_what_is_wrong_with_an_object_is_said(voc: Path, inside: str, words: str) -> None:
    path = voc / "VOC2007/Annotations/000007.xml"
    path.write_text(f"<annotation><object>{inside}</object></annotation>")
    examples = read_voc(str(voc / "VOC2007")).problems.examples
    assert examples["malformed object (dropped)"] == [f"JPEGImages/000007.jpg: {words}"]


def test_difficult_objects_are_counted_with_the_option_that_takes_them(voc: Path) -> None:
    source = read_voc(str(voc / "VOC2007"))
    ((kind, count),) = source.problems.remarks.items()
    assert count == 2
    assert "difficult" in kind
    assert "--keep-difficult" in kind
    assert not read_voc(str(voc / "VOC2007"), options=VocOptions(keep_difficult=True)).problems.remarks


def test_corners_from_zero_are_edges_and_said(voc: Path, write_voc: Any) -> None:
    write_voc(voc / "VOC2007", "000007", [("dog", (0, 3, 10, 20), 0), ("cat", (5, 6, 50, 40), 0)])
    source = read_voc(str(voc / "VOC2007"))
    assert source.truth is not None
    assert source.truth.labels.image(1).boxes_N4.tolist() == [[0, 3, 10, 20], [5, 6, 50, 40]]
    assert {kind.partition(" (")[0]: count for kind, count in source.problems.remarks.items()} == {
        "corner from 0": 1,
        "difficult object": 1,
    }
