"""DuckDB over a store of this machine that answers short, breaks, and fails to the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import remote
from storage.database.connect import one_line
from storage.remote_view import RemoteView
from tests.faulty_store import Fault, FaultyStore, faulty_store

NUM_ROWS = 300_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    pq.write_table(pa.table({"number": np.arange(NUM_ROWS)}), tmp_path / "a.parquet")
    with faulty_store(tmp_path) as store:
        yield store


def ask(store: FaultyStore) -> int:
    with duckdb.connect() as con:
        con.register_filesystem(RemoteView(store.url))
        [(total,)] = con.read_parquet([f"{store.url}/a.parquet"]).sum("number").fetchall()
    return int(total)


@pytest.mark.parametrize("fault", ["short", "cut", "500"])
def test_a_failure_that_passes_is_not_seen_by_a_query(store: FaultyStore, fault: Fault) -> None:
    store.fail("a.parquet", fault, times=2)
    assert ask(store) == NUM_ROWS * (NUM_ROWS - 1) // 2


@pytest.mark.parametrize("fault", ["short", "500", "403"])
def test_one_that_stays_is_one_line_with_its_url(
    store: FaultyStore, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DEADLINE", 0.3)
    store.fail("a.parquet", fault)
    with pytest.raises(duckdb.Error) as caught:
        ask(store)
    line = one_line(caught.value)
    assert f"{store.url}/a.parquet" in line
    assert "Traceback" not in line
    assert "check the" in line
