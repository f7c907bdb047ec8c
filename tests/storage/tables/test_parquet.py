"""Tables read back: no thread of Arrow is left at work, so none can meet the end of Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage.errors import StoreError
from storage.tables.parquet import THREADED_BYTES, read_parquet, with_schema, write_parquet

READ = """
import sys
from pathlib import Path
from storage.tables.label_store import LabelStore
from storage.tables.parquet import read_parquet
read_parquet(sys.argv[1])
try:
    LabelStore(sys.argv[2]).read("damaged")
except Exception as error:
    print(type(error).__name__)
threads = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
print(sum(not name.startswith("jemalloc") for name in threads), "threads")
"""


def test_no_thread_is_left_behind_a_table_that_was_read_or_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(str(path), pa.table({f"c{column}": range(1000) for column in range(8)}))
    damaged = bytearray(path.read_bytes())
    damaged[4:60] = b"\xff" * 56
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    ended = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["StoreError", "1 threads"], ended
    assert ended.stderr == ""


def test_a_table_of_many_bytes_is_read_as_any_other(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(THREADED_BYTES // 4), "b": np.arange(THREADED_BYTES // 4) * 3})
    write_parquet(f"{tmp_path}/t.parquet", table)
    assert read_parquet(f"{tmp_path}/t.parquet").equals(table)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1]}, "expected a column b, got a: WHERE; REMEDY"),
        ({"a": [None], "b": ["x"]}, "expected no nulls in column a, got 1: WHERE; REMEDY"),
        ({"a": ["x"], "b": ["x"]}, r"expected int64 in column a, got string \(.*\): WHERE; REMEDY"),
        ({"a": [[1]], "b": ["x"]}, r"expected int64 in column a, got list.*: WHERE; REMEDY"),
    ],
)
def test_a_table_of_another_schema_is_named_by_its_column(columns: dict[str, object], words: str) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    with pytest.raises(StoreError, match=words):
        with_schema(pa.table(columns), schema, where="WHERE", remedy="REMEDY", nullable=("b",))
