"""Thresholds by class: kept with the round, followed by the views."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.database.connect import connect
from storage.errors import InputError
from storage.labels import Labels
from storage.rounds.round import Round, open_round, round_path
from storage.rounds.round_thresholds import THRESHOLD_SCHEMA, class_thresholds
from storage.tables.label_table import label_table
from tests.rounds import round_info


def thresholds(*values: float | None) -> pa.Table:
    rows = [
        {"category": index, "class": f"c{index}", "policy": "prior", "score_threshold": value}
        for index, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=THRESHOLD_SCHEMA)


def begun_round(root: Path) -> Round:
    round_ = open_round(round_path(str(root), 1))
    labels = Labels.of_image([(0, 0, 9, 9)] * 4, [0, 0, 1, 1], [0.9, 0.6, 0.6, 0.3])
    round_.labels().write("shard-000000", label_table(["k"], [1], [(9, 9)], labels), {})
    return round_


def finish(round_: Round) -> Round:
    return round_.finish(round_info(classes=("c0", "c1"), num_images=1, num_boxes=4))


def test_pseudo_labels_are_those_above_the_threshold_of_their_class(tmp_path: Path) -> None:
    round_ = begun_round(tmp_path)
    round_.write_thresholds(thresholds(0.7, 0.2))
    stored = finish(round_).thresholds()
    assert stored is not None
    assert class_thresholds(stored).tolist() == [0.7, 0.2]
    assert round_.labels().stems() == ["shard-000000"]
    con = connect(str(tmp_path))
    found = con.execute(
        "SELECT class, score::DECIMAL(3, 1)::VARCHAR FROM pseudo_labels ORDER BY ALL"
    ).fetchall()
    assert found == [("c0", "0.9"), ("c1", "0.3"), ("c1", "0.6")]
    shown = con.execute("SELECT class, policy, score_threshold FROM thresholds ORDER BY category").fetchall()
    assert shown == [("c0", "prior", 0.7), ("c1", "prior", 0.2)]


def test_a_round_without_them_shows_its_one_threshold(tmp_path: Path) -> None:
    finish(begun_round(tmp_path))
    shown = connect(str(tmp_path)).execute("SELECT class, policy, score_threshold FROM thresholds").fetchall()
    assert shown == [("c0", "fixed", 0.5), ("c1", "fixed", 0.5)]


def test_a_finished_round_keeps_its_thresholds(tmp_path: Path) -> None:
    round_ = begun_round(tmp_path)
    round_.write_thresholds(thresholds(0.7, 0.2))
    round_.write_thresholds(None)
    assert finish(round_).thresholds() is None
    with pytest.raises(InputError, match="got a finished one"):
        round_.write_thresholds(thresholds(0.1, 0.1))


@pytest.mark.parametrize("value", [1.5, float("nan"), None])
def test_no_threshold_outside_its_range_is_written(tmp_path: Path, value: float | None) -> None:
    with pytest.raises(InputError, match=r"thresholds within 0\.\.1, got .* of class 'c1'"):
        begun_round(tmp_path).write_thresholds(thresholds(0.5, value))


def test_a_damaged_or_newer_file_leaves_its_round_out_by_name(tmp_path: Path) -> None:
    from storage.database.workspace import discover

    finish(begun_round(tmp_path))
    location = tmp_path / "round=0001" / "thresholds.parquet"
    newer = thresholds(0.5, 0.5).replace_schema_metadata({"mixpl_thresholds": "2"})
    for damage, words in (
        (lambda: location.write_bytes(b"PAR1"), "expected a Parquet table of thresholds"),
        (lambda: pq.write_table(newer, location), "got version 2"),
    ):
        damage()
        workspace = discover(str(tmp_path))
        assert workspace.rounds == ()
        assert words in workspace.problems[0]
        assert "thresholds.parquet" in workspace.problems[0]
