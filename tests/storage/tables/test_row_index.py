"""A value's row is where it stands in the column, whatever else is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.tables.row_index import RowIndex

KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))  # a path holds no NUL


@given(column=st.lists(KEYS, unique=True), wanted=st.lists(KEYS))
def test_texts_are_found_where_they_stand(column: list[str], wanted: list[str]) -> None:
    _check(pa.chunked_array([column[:3], column[3:]], pa.string()), [*wanted, *column])


@given(column=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True), wanted=st.lists(st.integers(0, 9)))
def test_numbers_are_found_where_they_stand(column: list[int], wanted: list[int]) -> None:
    _check(pa.chunked_array([column], pa.int64()), [*wanted, *column])


def _check(column: pa.ChunkedArray, wanted: list[Any]) -> None:
    row_of = {value: row for row, value in enumerate(column.to_pylist())}
    index = RowIndex(column)
    expected = [row_of.get(value, -1) for value in wanted]
    np.testing.assert_array_equal(index.rows(wanted), expected)
    np.testing.assert_array_equal(index.rows(pa.array(wanted, column.type)), expected)


@pytest.mark.parametrize("longer", ["key-1x", "key-1é", "key-10"])
def test_a_longer_text_with_the_same_beginning_is_another(longer: str) -> None:
    assert RowIndex(pa.array(["key-1", "key-2"])).rows([longer, "key-2"]).tolist() == [-1, 1]
