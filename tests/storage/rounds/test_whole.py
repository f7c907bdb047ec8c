"""Readers of a complete round: a table that is missing, changed or another's is an error, never other rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from storage.database.connect import connect
from storage.errors import InputError, StoreError
from storage.labels import Labels
from storage.rounds.compaction import compact
from storage.rounds.round import Round, open_round, round_path
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table
from tests.rounds import round_info

STEMS = ("shard-000000", "shard-000001", "shard-000002")
IMAGES, BOXES = 40, 6


@pytest.fixture
def whole(tmp_path: Path) -> Round:
    """A finished round of three tables, which knows the sha256 of each."""
    round_ = open_round(round_path(str(tmp_path / "labels"), 1))
    rng = np.random.default_rng(0)
    sha256 = {}
    for number, stem in enumerate(STEMS):
        corners = rng.uniform(0, 50, (IMAGES * BOXES, 2)).astype(np.float32)
        labels = Labels(
            boxes_N4=np.concatenate([corners, corners + 10], axis=1),
            categories_N=rng.integers(0, 3, IMAGES * BOXES).astype(np.int32),
            scores_N=rng.uniform(0, 1, IMAGES * BOXES).astype(np.float32),
            offsets_B1=np.arange(0, IMAGES * BOXES + 1, BOXES),
        )
        ids = [*range(number * IMAGES, (number + 1) * IMAGES)]
        table = label_table([f"key{image}" for image in ids], ids, [(60, 60)] * IMAGES, labels)
        sha256[stem] = round_.labels().write(stem, table, {})
    info = round_info(classes=("a", "b", "c"), num_images=120, num_boxes=720, sha256=sha256)
    return round_.finish(info)


def total(round_: Round) -> float:
    with connect(str(Path(round_.path).parent)) as con:
        [(answer,)] = con.sql("select sum(x1) + sum(score) + count(*) from boxes").fetchall()
    return float(answer)


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data)))
    return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]


@pytest.mark.parametrize("compacted", [False, True])
def test_no_flipped_bit_of_a_table_reaches_a_query_or_a_reader(whole: Round, compacted: bool) -> None:
    if compacted:
        whole = compact(whole, table_bytes=1).round
    expected, rng = total(whole), np.random.default_rng(1)
    stem = whole.labels().stems()[1]
    path = Path(whole.labels().path(stem))
    data = path.read_bytes()
    for _ in range(25):
        path.write_bytes(flip(data, rng))
        with pytest.raises(
            StoreError, match=r"expected the bytes with which the round was finished.*part-|shard-"
        ):
            total(whole)
        with pytest.raises(StoreError, match="expected the bytes with which the round was finished"):
            whole.labels().read(stem)
    path.write_bytes(data)
    assert total(whole) == expected


def test_no_flipped_bit_of_a_table_that_nobody_hashed_gives_other_rows(whole: Round) -> None:
    store, rng = LabelStore(whole.path), np.random.default_rng(2)
    path, expected = Path(store.path(STEMS[0])), store.read(STEMS[0])
    data, refused = path.read_bytes(), 0
    for _ in range(300):
        path.write_bytes(flip(data, rng))
        try:
            assert store.read(STEMS[0]).equals(expected)
        except StoreError:
            refused += 1
    assert refused > 250


def test_a_missing_table_is_an_error_of_every_query(whole: Round, tmp_path: Path) -> None:
    Path(whole.path, f"{STEMS[1]}.parquet").unlink()
    with pytest.raises(StoreError, match=r"got 1 missing, the first is shard-000001\.parquet.*restore it"):
        total(whole)


def test_a_table_under_the_name_of_another_is_an_error(whole: Round) -> None:
    shutil.copy(Path(whole.path, f"{STEMS[0]}.parquet"), Path(whole.path, f"{STEMS[1]}.parquet"))
    with pytest.raises(InputError, match="expected the bytes with which the round was finished"):
        total(whole)
    with pytest.raises(StoreError, match=r"expected the table shard-000001, got the table shard-000000"):
        LabelStore(whole.path).read(STEMS[1])  # where no sha256 is known


def test_a_round_that_an_earlier_version_finished_is_read(whole: Round) -> None:
    expected = total(whole)
    assert whole.info is not None
    Path(whole.path, "round.json").unlink()
    open_round(whole.path).finish(replace(whole.info, sha256={}))
    for stem in STEMS:
        table = pq.read_table(Path(whole.path, f"{stem}.parquet"))
        pq.write_table(
            table.replace_schema_metadata({"mixpl": '{"provenance": {}}'}),
            Path(whole.path, f"{stem}.parquet"),
        )
    assert total(whole) == expected
    assert len(open_round(whole.path).labels().read_all()) == 120
