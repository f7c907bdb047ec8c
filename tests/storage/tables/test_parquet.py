"""A table that is not there, or is no table, names its file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from storage import files
from storage.tables.parquet import UNREADABLE, read_parquet, reason, write_parquet


@pytest.mark.parametrize("root", ["local", "memory://tables"])
def test_a_table_that_is_not_there_is_an_error_that_names_it(root: str, tmp_path: Path) -> None:
    location = f"{tmp_path if root == 'local' else root}/none.parquet"
    with pytest.raises(FileNotFoundError) as caught:
        read_parquet(location)
    assert caught.value.filename is not None
    assert str(caught.value.filename) == location
    assert location not in reason(caught.value)


def test_a_table_whose_pages_are_damaged_is_an_error_that_says_what_arrow_said(tmp_path: Path) -> None:
    location = str(tmp_path / "damaged.parquet")
    write_parquet(location, pa.table({"n": list(range(1000))}))
    data = bytearray(files.read_bytes(location))
    data[4:400] = bytes(396)
    files.write_atomic(location, bytes(data))
    with pytest.raises(UNREADABLE) as caught:
        read_parquet(location)
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == location
    assert reason(caught.value)
    assert location not in reason(caught.value)
