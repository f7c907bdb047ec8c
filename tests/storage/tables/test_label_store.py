"""Label tables: round trip, checks, deterministic files."""

from __future__ import annotations

import math
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InputError
from storage.labels import Labels
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table, table_labels
from storage.tables.schemas import LABEL_SCHEMA, TRUTH_SCHEMA
from storage.tables.truth_table import table_areas, table_crowds, truth_table


def random_labels(counts: list[int], seed: int = 0) -> Labels:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (sum(counts), 2, 2)).astype(np.float32)
    return Labels(
        boxes_N4=np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
        categories_N=rng.integers(0, 3, sum(counts), dtype=np.int32),
        scores_N=rng.random(sum(counts), dtype=np.float32),
        offsets_B1=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def table_of(labels: Labels, step: int | None = None) -> pa.Table:
    ids = list(range(len(labels)))
    return label_table([f"{number:012d}" for number in ids], ids, [(40, 50)] * len(ids), labels, step=step)


def assert_equal(one: Labels, other: Labels) -> None:
    for name in ("boxes_N4", "categories_N", "scores_N", "offsets_B1"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)


@given(st.lists(st.integers(0, 6), max_size=8), st.integers(0, 2**31))
def test_labels_survive_the_table_in_whole_in_slices_and_in_chunks(counts: list[int], seed: int) -> None:
    labels = random_labels(counts, seed)
    table = table_of(labels, step=7)
    assert table.schema == LABEL_SCHEMA
    assert_equal(table_labels(table), labels)
    half = len(counts) // 2
    assert_equal(table_labels(table.slice(half)), labels.images(half, len(counts)))
    assert_equal(table_labels(pa.concat_tables([table.slice(0, half), table.slice(half)])), labels)


def test_labels_survive_the_file(tmp_path: Path) -> None:
    labels = random_labels([2, 0, 3])
    store = LabelStore(str(tmp_path), num_classes=3)
    store.write("shard-000000", table_of(labels, step=5), {"round": 2, "weights_hash": "ab"})
    table = store.read("shard-000000")
    assert_equal(table_labels(table), labels)
    assert table["width"].to_pylist() == [50] * 3
    assert table["height"].to_pylist() == [40] * 3
    assert table["step"].to_pylist() == [5] * 3
    assert store.provenance("shard-000000") == {"round": 2, "weights_hash": "ab"}


def test_an_image_labeled_as_empty_differs_from_one_not_labeled(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path))
    store.write("shard-000000", table_of(Labels.empty(2)), {})
    assert store.read("shard-000000")["boxes"].to_pylist() == [[], []]
    assert store.has("shard-000000")
    assert not store.has("shard-000001")


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for run in ("one", "other"):
        LabelStore(str(tmp_path / run)).write("s", table_of(random_labels([1, 4])), {"b": 1, "a": [2]})
        written.append((tmp_path / run / "s.parquet").read_bytes())
    assert written[0] == written[1]


def test_all_files_are_read_in_the_order_of_their_stems(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path))
    assert store.read_all().schema == LABEL_SCHEMA
    for stem in ("shard-000001", "shard-000000"):
        table = table_of(random_labels([1, 2]))
        keys = pa.array([f"{stem}-{index}" for index in range(2)])
        store.write(stem, table.set_column(0, "key", keys), {"stem": stem})
    (tmp_path / ".shard-000002.parquet.1-a.tmp").write_bytes(b"half")
    assert store.stems() == ["shard-000000", "shard-000001"]
    everything = store.read_all(columns=["key", "boxes"])
    assert everything["key"].to_pylist()[0] == "shard-000000-0"
    assert len(everything) == 4


def test_duckdb_reads_the_boxes_without_help(tmp_path: Path) -> None:
    labels = random_labels([2, 0, 1])
    LabelStore(str(tmp_path)).write("s", table_of(labels), {})
    query = f"SELECT max(b[3]) FROM (SELECT unnest(boxes) b FROM '{tmp_path}/s.parquet')"
    [(widest,)] = duckdb.execute(query).fetchall()
    assert widest == pytest.approx(float(labels.boxes_N4[:, 2].max()))


@pytest.mark.parametrize(
    ("box", "category", "score", "complaint"),
    [
        ((math.nan, 0, 1, 1), 0, 0.5, "finite boxes"),
        ((0, 0, math.inf, 1), 0, 0.5, "finite boxes"),
        ((2, 0, 1, 1), 0, 0.5, "x1 <= x2"),
        ((0, 2, 1, 1), 0, 0.5, "y1 <= y2"),
        ((0, 0, 1, 1), 3, 0.5, r"categories within 0\.\.2, got 3"),
        ((0, 0, 1, 1), -1, 0.5, r"categories within 0\.\.2, got -1"),
        ((0, 0, 1, 1), 0, 1.5, r"scores within 0\.\.1, got 1.5"),
        ((0, 0, 1, 1), 0, math.nan, r"scores within 0\.\.1, got nan"),
    ],
)
def test_an_unsound_box_is_refused_by_file_and_key(
    tmp_path: Path, box: tuple[float, ...], category: int, score: float, complaint: str
) -> None:
    good = Labels.of_image([(0, 0, 1, 1)], [0], [0.5])
    table = table_of(Labels.concatenate([good, Labels.of_image([box], [category], [score])]))
    store = LabelStore(str(tmp_path), num_classes=3)
    with pytest.raises(InputError, match=complaint) as caught:
        store.write("shard-000003", table, {})
    assert "key '000000000001'" in str(caught.value)
    assert "shard-000003.parquet" in str(caught.value)
    assert store.stems() == []


def test_two_rows_of_one_image_are_refused(tmp_path: Path) -> None:
    table = table_of(random_labels([1]))
    with pytest.raises(InputError, match="key '000000000000' twice"):
        LabelStore(str(tmp_path)).write("s", pa.concat_tables([table, table]), {})


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    table = table_of(random_labels([2]))
    fewer = pa.array([[0.5]], LABEL_SCHEMA.field("scores").type)
    broken = table.set_column(table.column_names.index("scores"), "scores", fewer)
    with pytest.raises(InputError, match="as many scores as boxes"):
        LabelStore(str(tmp_path)).write("s", broken, {})


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without scores"):
        LabelStore(str(tmp_path)).write("s", table_of(random_labels([1])).drop_columns(["scores"]), {})


def test_truth_keeps_areas_and_keeps_crowds_out_of_the_boxes(tmp_path: Path) -> None:
    labels, crowds = random_labels([2, 0, 1]), random_labels([0, 1, 0], seed=1)
    table = truth_table(table_of(labels), areas_N=np.array([10.0, 20, 30]), crowds=crowds)
    store = LabelStore(str(tmp_path), num_classes=3)
    store.write("s", table, {})
    again = store.read("s")
    assert again.schema.remove_metadata() == TRUTH_SCHEMA
    assert_equal(table_labels(again), labels)
    assert table_areas(again).tolist() == [10, 20, 30]
    np.testing.assert_array_equal(table_crowds(again).boxes_N4, crowds.boxes_N4)
    assert table_crowds(again).counts().tolist() == [0, 1, 0]


def test_a_plain_table_has_no_crowds_and_the_areas_of_its_boxes() -> None:
    table = table_of(Labels.of_image([(0, 0, 4, 5)], [1]))
    assert table_crowds(table).counts().tolist() == [0]
    assert table_areas(table).tolist() == [20]


def test_a_missing_a_damaged_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path))
    with pytest.raises(InputError, match=r"got no file: .*nope\.parquet"):
        store.read("nope")
    store.write("cut", table_of(random_labels([3])), {})
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"expected a Parquet label table.*cut\.parquet"):
        store.read("cut")
    holed = whole[:4] + bytes(300) + whole[304:]  # the footer is whole, the pages are not
    (tmp_path / "cut.parquet").write_bytes(holed)
    with pytest.raises(InputError, match=r"expected a Parquet label table.*cut\.parquet"):
        store.read("cut")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(InputError, match=r"fields of a label table, got .*foreign\.parquet"):
        store.read("foreign")
