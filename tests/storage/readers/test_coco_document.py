"""A COCO file as JSON: the values that `json` reads, whatever stands in it; damage is named with its place."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import files
from storage.errors import SourceError
from storage.readers.coco import read_coco
from storage.readers.coco_document import CocoMembers, read_document, read_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4)
    ),
    max_leaves=8,
)


def plain(members: CocoMembers) -> dict[str, Any]:
    records = [] if isinstance(members.annotations, msgspec.UnsetType) else members.annotations
    return {
        "images": [json.loads(bytes(record)) for record in members.images],
        "annotations": [json.loads(bytes(record)) for record in records],
        "categories": members.categories,
        "info": members.info,
    }


@settings(max_examples=60, deadline=None)
@given(
    images=st.lists(VALUES, max_size=5),
    annotations=st.lists(VALUES, max_size=5),
    info=VALUES,
    other=VALUES,
    order=st.permutations(["images", "annotations", "categories", "info", "other"]),
    indent=st.sampled_from([None, 1]),
)
def test_the_values_are_those_of_json_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[Any],
    annotations: list[Any],
    info: Any,
    other: Any,
    order: list[str],
    indent: int | None,
) -> None:
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [info],
        "info": info,
        "other": other,
    }
    path = tmp_path_factory.mktemp("json") / "some.json"
    path.write_text(json.dumps({name: document[name] for name in order}, indent=indent, ensure_ascii=False))
    members, sha256 = read_members(str(path))
    assert plain(members) | {"other": other} == document
    assert (document, sha256) == read_document(str(path))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_cut_anywhere_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    whole = json.dumps({"images": [{"x": "}]"}, 2.5, [1]], "info": {"y": [None]}, "licenses": "tail"})
    for length in range(1, len(whole)):
        path.write_text(whole[:length])
        place = r"\(char \d+\)" if whole[length - 1] == "}" else f"the end of the file at byte {length:,}"
        for read in (read_members, read_document):
            with pytest.raises(SourceError, match=rf"{place}: .*cut\.json; is the file complete"):
                read(str(path))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"images": [1, ]}', 15),
        ('{"images": [1 2]}', 14),
        ('{"images": [,1]}', 12),
        ('{"images": [1], }', 16),
        ('{"images": []} {}', 15),
        ('{"images" []}', 10),
        ('{"images": [], "info": nope}', 23),
        ('{"images": [], "annotations": [1, {"x": nope}]}', 40),
        ('{"images": [], "annotations": [{]]}', 32),
        ('{"images": [], "annotations": [{"x": 2.5.5}]}', 40),
        ('{"images": [], "annotations": [{"x": 02.5}]}', 38),
        ('{"images": [], "annotations": [{"x" 2}]}', 36),
        ("", 0),
    ],
)
def test_what_is_no_json_is_an_error_that_names_the_place(tmp_path: Path, text: str, place: int) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=rf"expected COCO JSON, got .*\(char {place}\): .*wrong\.json"):
        read_members(str(path))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "a list 'images', got list"),
        ("3", "a list 'images', got int"),
        ("{}", "a list 'images', got an object with no keys"),
        ('{"images": {"x": 1}, "b": 1}', "a list 'images', got an object with b, images"),
        ('{"images": [], "annotations": {"x": 1}}', "a list 'annotations', got an object with x"),
        ('{"images": [], "annotations": null}', "a list 'annotations', got NoneType"),
    ],
)
def test_json_of_another_shape_is_an_error_that_names_what_is_there(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    for read in (read_members, read_document):
        with pytest.raises(SourceError, match=rf"{complaint}: .*wrong\.json; give a COCO detection file"):
            read(str(path))


def test_a_byte_order_mark_is_passed_over_and_counts_for_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b'\xef\xbb\xbf{"images": [1]}')
    members, sha256 = read_members(str(path))
    assert plain(members)["images"] == [1]
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_document(str(path)) == ({"images": [1]}, sha256)


@pytest.mark.parametrize("word", ["NaN", "-Infinity", '"\\ud800"', "1e400"])
@pytest.mark.parametrize("member", ["annotations", "info", "licenses"])
def test_what_only_python_reads_is_read_wherever_it_stands(tmp_path: Path, word: str, member: str) -> None:
    path = tmp_path / "odd.json"
    value = f"[{word}, 1]"
    path.write_text(f'\ufeff{{"images": [{{"id": 1}}], "{member}": {value}}}', encoding="utf-8")
    members, _ = read_members(str(path))
    assert plain(members)["images"] == [{"id": 1}]
    if member != "licenses":
        assert repr(plain(members)[member]) == repr(json.loads(value))


def test_a_remote_file_is_read_as_a_local_one(tmp_path: Path) -> None:
    files.write_atomic("memory://coco/some.json", b'{"images": [1], "info": 2}')
    assert plain(read_members("memory://coco/some.json")[0]) == {
        "images": [1], "annotations": [], "categories": [], "info": 2,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["nope.json", "."])
def test_a_path_without_a_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    for read in (read_members, read_document):
        with pytest.raises(SourceError, match=r"expected a COCO annotation file, got .*check the path"):
            read(str(tmp_path / name))


DOCUMENT = {
    "images": [{"id": 1, "file_name": "caf\u00e9.jpg", "width": 10, "height": 10}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    "categories": [{"id": 1, "name": "K\u00f6ter"}],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(DOCUMENT, ensure_ascii=False).encode(encoding))
    source = read_coco(str(path))
    assert (source.file_names, source.classes) == (("caf\u00e9.jpg",), ("K\u00f6ter",))
    assert source.truth is not None
    assert source.truth.labels.boxes_N4.tolist() == [[1, 1, 3, 3]]
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_document(str(path))[0] == DOCUMENT


@pytest.mark.parametrize(
    ("place", "text", "encoding"),
    [
        ("file_name", "caf\u00e9.jpg", "latin-1"),
        ("file_name", "\u7167\u7247.jpg", "gbk"),
        ("name", "K\u00f6ter", "latin-1"),
        ("name", "\u72d7", "gbk"),
        ("info", "Stra\u00dfe", "cp1252"),
    ],
)
def test_another_encoding_is_one_line_with_file_and_byte(
    tmp_path: Path, place: str, text: str, encoding: str
) -> None:
    document = json.loads(json.dumps(DOCUMENT).replace("caf\\u00e9", "cafe").replace("K\\u00f6ter", "dog"))
    match place:
        case "file_name":
            document["images"][0]["file_name"] = text
        case "name":
            document["categories"][0]["name"] = text
        case _:
            document["info"] = {"description": text}
    data = json.dumps(document, ensure_ascii=False).encode(encoding)
    (tmp_path / "a.json").write_bytes(data)
    first = next(index for index, byte in enumerate(data) if byte > 127)
    for read in (read_coco, read_document):
        words = rf"another encoding at byte {first:,} \(.*a\.json; convert it from its own, with `iconv"
        with pytest.raises(SourceError, match=words):
            read(str(tmp_path / "a.json"))


@pytest.mark.parametrize("depth", [3_000, 200_000])
@pytest.mark.parametrize(
    "place", ['"bbox"', '"file_name"', '"name"', '"images"', "[1, 1, 2, 2]", "whole", "list of images"]
)
def test_values_nested_thousands_deep_are_one_line(tmp_path: Path, place: str, depth: int) -> None:
    deep, text = "[" * depth + "]" * depth, json.dumps(DOCUMENT)
    if place.startswith('"'):
        text = text.replace(place, f'"other": {deep}, {place}')
    else:
        text = {
            "whole": deep,
            "list of images": f'{{"images": {deep}}}',
            "[1, 1, 2, 2]": text.replace(place, deep),
        }[place]
    (tmp_path / "a.json").write_text(text)
    for read in (read_coco, read_document):
        with pytest.raises(SourceError, match=r"nested thousands deep: .*a\.json"):
            read(str(tmp_path / "a.json"))
