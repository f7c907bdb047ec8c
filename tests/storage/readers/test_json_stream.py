"""Arrays of a JSON file in pieces: the same values as `json` reads, whatever the chunks; damage is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.readers import json_stream
from storage.readers.json_stream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4)
    ),
    max_leaves=8,
)


def read(path: Path, **arguments: Any) -> tuple[dict[str, list[Any]], JsonStream]:
    stream = JsonStream(str(path), **{"arrays": ("a", "b"), "values": ("c",)} | arguments)
    found: dict[str, list[Any]] = {}
    for piece in stream.pieces():
        elements = found.setdefault(piece.member, [])
        assert piece.first == len(elements)
        assert [piece.element(index) for index in range(len(piece.spans_E2))] == piece.elements()
        elements += piece.elements()
    return found, stream


@settings(max_examples=60, deadline=None)
@given(
    a=st.lists(VALUES, max_size=5),
    b=st.lists(VALUES, max_size=5),
    c=VALUES,
    other=VALUES,
    order=st.permutations("abcd"),
    indent=st.sampled_from([None, 1]),
    chunk=st.integers(1, 40),
)
def test_the_values_are_those_of_json_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    a: list[Any],
    b: list[Any],
    c: Any,
    other: Any,
    order: list[str],
    indent: int | None,
    chunk: int,
) -> None:
    document = {"a": a, "b": b, "c": c, "d": other}
    path = tmp_path_factory.mktemp("json") / "some.json"
    path.write_text(json.dumps({name: document[name] for name in order}, indent=indent, ensure_ascii=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        patch.setattr(json_stream, "MAX_ELEMENTS", 2)
        found, stream = read(path)
    assert {name: found.get(name, []) for name in "ab"} == {"a": a, "b": b}
    assert stream.values == {"c": c}
    assert stream.names == order
    assert stream.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_cut_anywhere_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    whole = json.dumps({"a": [{"x": "}]"}, 2.5, [1]], "c": {"y": [None]}, "d": "tail"})
    for length in range(1, len(whole)):
        path.write_text(whole[:length])
        with pytest.raises(
            ValueError, match=rf"at byte [\d,]+ of {length:,}, got .*cut\.json; is the file complete"
        ):
            read(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, ]}',
        '{"a": [1 2]}',
        '{"a": [,1]}',
        '{"a": [1], }',
        '{"a": []} {}',
        '{"a" []}',
        '{"c": nope}',
        "[]",
    ],
)
def test_what_is_no_json_object_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"expected JSON, .*wrong\.json"):
        read(path)


def test_an_element_that_is_unsound_inside_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text('{"a": [1, {"x": nope}]}')
    (piece,) = JsonStream(str(path), arrays=("a",), values=()).pieces()
    assert piece.element(0) == 1
    with pytest.raises(ValueError, match=r"wrong\.json, a from \[1\] on"):
        piece.element(1)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert read(path)[0] == {"a": [1]}
