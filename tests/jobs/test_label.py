from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.label import LabelConfig, label
from jobs.labeling import label_round
from jobs.labeling.label_round import choose_round, complete_round
from jobs.labeling.round_tables import TableCounts
from storage.database.connect import connect
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError
from storage.rounds.compaction import compact
from storage.rounds.round import list_rounds, open_round
from storage.tables.label_store import LabelStore


def tables(labels: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(labels.glob("round=0001/*.parquet"))}


def config(trained: Path, data: Path, out: Path, **changes: object) -> LabelConfig:
    return LabelConfig(run=str(trained), data=str(data), out=str(out), threads=1, **changes)  # type: ignore[arg-type]


def test_a_round_has_a_row_for_every_image_and_says_where_it_came_from(
    drawn: Path, trained: Path, tmp_path: Path
) -> None:
    assert label(config(trained, drawn / "unlabeled", tmp_path / "labels", score_threshold=0.06)) == 0
    (round_,) = list_rounds(str(tmp_path / "labels"))
    assert round_.info is not None
    unlabeled = Dataset.open(str(drawn / "unlabeled"))
    table = round_.labels().read_all()
    assert sorted(table["key"].to_pylist()) == sorted(unlabeled.images()["key"].to_pylist())
    assert round_.info.num_images == 380
    assert round_.info.score_threshold == 0.06
    provenance = round_.labels().provenance("shard-000000")
    assert provenance["teacher_step"] == 12
    assert provenance["round"] == 1
    assert len(provenance["weights_hash"]) == len(provenance["split_hash"]) == 64


def test_a_killed_job_continues_and_ends_in_the_same_bytes(
    drawn: Path, trained: Path, tmp_path: Path
) -> None:
    assert label(config(trained, drawn / "unlabeled", tmp_path / "whole")) == 0
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "jobs.cli", "label", str(trained), "--data", str(drawn / "unlabeled")]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [*command, "--out", str(broken)],
            stdout=said,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    deadline = time.monotonic() + 90
    while not tables(broken) and process.poll() is None:
        assert time.monotonic() < deadline, "no table within 90 s"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = tables(broken)
    assert 0 < len(before) < len(tables(tmp_path / "whole")), "the job was to be killed in the middle"
    assert not list_rounds(str(broken))[0].complete
    times = {name: (broken / "round=0001" / name).stat().st_mtime_ns for name in before}
    assert label(config(trained, drawn / "unlabeled", broken)) == 0
    assert tables(broken) == tables(tmp_path / "whole")
    assert times == {name: (broken / "round=0001" / name).stat().st_mtime_ns for name in before}
    assert list_rounds(str(broken))[0].complete


def test_torchrun_says_which_worker_a_process_is(
    drawn: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank, found in ((1, {f"shard-{n:06d}.parquet" for n in (1, 3, 5, 7)}), (0, None)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert label(config(trained, drawn / "unlabeled", tmp_path)) == 0
        assert found is None or tables(tmp_path).keys() == found
    (round_,) = list_rounds(str(tmp_path))
    assert round_.complete


def test_workers_share_a_round_and_the_last_one_completes_it(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for worker in (1, 0):
        out = config(trained, drawn / "unlabeled", tmp_path, worker=worker, workers=2)
        assert label(out) == 0
        (round_,) = list_rounds(str(tmp_path))
        assert round_.complete == (worker == 0)
    assert "have no labels of every image yet, the first is shard-000000.tar" in capsys.readouterr().out


def test_a_worker_that_finds_the_round_completed_meanwhile_says_so(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = open_round(str(tmp_path / "round=0001"))  # as a worker that is done at the same moment sees it
    label(config(trained, drawn / "unlabeled", tmp_path))
    (finished,) = list_rounds(str(tmp_path))
    assert finished.info is not None
    before = {path.name: path.read_bytes() for path in (tmp_path / "round=0001").iterdir()}
    complete_round(begun, finished.info, num_above=0, policy="fixed", labeled=None)
    assert "another worker completed the round" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "round=0001").iterdir()} == before


def test_the_same_weights_label_once_and_other_weights_make_the_next_round(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        label(config(trained, drawn / "unlabeled", tmp_path))
    assert "is complete" in capsys.readouterr().out
    label(config(trained, drawn / "unlabeled", tmp_path, weights="student"))
    assert [round_.number for round_ in list_rounds(str(tmp_path))] == [1, 2]
    con = connect(str(tmp_path))
    assert con.sql("select round from rounds where latest").fetchall() == [(2,)]


def test_changed_images_and_a_vanished_shard_keep_the_round_open_and_all_others_are_labeled(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(drawn / "unlabeled", damaged)
    first = Dataset.open(str(damaged)).images().to_pylist()[0]
    with (damaged / first["shard"]).open("r+b") as tar:
        tar.seek(first["offset"])
        tar.write(b"\0" * first["size"])
    (damaged / "shard-000003.tar").unlink()
    with pytest.raises(StoreError, match=r"got none of 2, the first is shard-000000\.tar"):
        label(config(trained, damaged, tmp_path / "labels"))
    said = capsys.readouterr().err
    assert f"shard-000000.tar {first['key']}: its bytes were changed since the set was written" in said
    assert "shard-000003.tar" in said
    (round_,) = list_rounds(str(tmp_path / "labels"))
    assert not round_.complete
    assert round_.labels().stems() == [f"shard-{number:06d}" for number in (1, 2, 4, 5, 6, 7)]


def test_a_folder_that_is_no_run_is_named(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such run or checkpoint"):
        label(config(tmp_path / "nothing", drawn / "unlabeled", tmp_path / "labels"))
    with pytest.raises(StoreError, match="no complete checkpoint"):
        label(config(tmp_path, drawn / "unlabeled", tmp_path / "labels"))


def test_two_teachers_that_begin_at_once_have_a_round_each(tmp_path: Path) -> None:
    ours, theirs = {"weights_hash": "a"}, {"weights_hash": "b"}
    first = choose_round(str(tmp_path), ours, score_threshold=0.5)
    second = choose_round(str(tmp_path), theirs, score_threshold=0.5)  # no table is written yet
    assert (first.number, second.number) == (1, 2)
    assert choose_round(str(tmp_path), ours, score_threshold=0.5) == first


def test_another_threshold_is_refused_for_a_round_that_stands(
    drawn: Path, trained: Path, tmp_path: Path
) -> None:
    assert label(config(trained, drawn / "unlabeled", tmp_path, score_threshold=0.06)) == 0
    with pytest.raises(ConfigError, match=r"expected --score-threshold 0\.06, .*got 0\.9"):
        label(config(trained, drawn / "unlabeled", tmp_path, score_threshold=0.9))
    with pytest.raises(ConfigError, match=r"must lie in 0 \.\. 1"):
        config(trained, drawn / "unlabeled", tmp_path, score_threshold=5.0)


def test_a_complete_round_that_lost_a_table_says_so_and_how_it_comes_back(
    drawn: Path, trained: Path, tmp_path: Path
) -> None:
    job = config(trained, drawn / "unlabeled", tmp_path)
    assert label(job) == 0
    before = tables(tmp_path)
    (tmp_path / "round=0001" / "shard-000002.parquet").unlink()
    with pytest.raises(
        StoreError, match=r"got 1 missing, the first is shard-000002\.parquet.*delete.*round\.json"
    ):
        label(job)
    (tmp_path / "round=0001" / "round.json").unlink()
    assert label(job) == 0
    assert tables(tmp_path) == before
    assert label(job) == 0
    compact(list_rounds(str(tmp_path))[0])
    (tmp_path / "round=0001" / "round.json").unlink()
    with pytest.raises(
        StoreError, match=r"expected round\.json in a compacted round.*delete the whole folder"
    ):
        label(job)
    assert not tables(tmp_path)  # nothing was written beside the packed tables
    shutil.rmtree(tmp_path / "round=0001")
    assert label(job) == 0
    assert tables(tmp_path) == before


def test_a_fault_of_ours_is_not_taken_for_a_faster_worker(
    drawn: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = open_round(str(tmp_path / "round=0001"))
    label(config(trained, drawn / "unlabeled", tmp_path))
    (finished,) = list_rounds(str(tmp_path))
    assert finished.info is not None

    def fail(*_args: object, **_settings: object) -> None:
        raise ValueError("zip() argument 2 is shorter than argument 1")

    monkeypatch.setattr(label_round, "write_class_thresholds", fail)
    with pytest.raises(ValueError, match="zip"):
        complete_round(begun, finished.info, num_above=0, policy="fixed", labeled=None)


def test_a_round_is_counted_while_it_is_written_and_sql_counts_the_same(
    drawn: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_args: object, **_settings: object) -> None:
        raise AssertionError("a table of this process is read back")

    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "read", refuse)
        assert label(config(trained, drawn / "unlabeled", tmp_path / "fixed", score_threshold=0.06)) == 0
    assert label(config(trained, drawn / "unlabeled", tmp_path / "mixture", threshold_policy="mixture")) == 0
    printed = capsys.readouterr().out
    for out in ("fixed", "mixture"):
        con = connect(str(tmp_path / out))
        [(boxes, images)] = con.sql("select sum(len(scores)), count(*) from labels").fetchall()
        [(above,)] = con.sql("select count(*) from pseudo_labels").fetchall()
        (round_,) = list_rounds(str(tmp_path / out))
        assert round_.info is not None
        assert (round_.info.num_boxes, round_.info.num_images) == (boxes, images)
        assert f"{images} images, {above} pseudo labels with" in printed


def test_a_score_at_the_threshold_is_counted_as_sql_compares_it() -> None:
    table = pa.table({"scores": pa.array([[0.6, 0.5], [], [0.7]], pa.list_(pa.float32()))})
    counts = TableCounts.of_table(table, score_threshold=0.6)
    assert (counts.images, counts.boxes) == (3, 3)
    assert counts.above == int((np.array([0.6, 0.5, 0.7], np.float32).astype(np.float64) > 0.6).sum()) == 2
    assert TableCounts.of_table(table.slice(1, 1), score_threshold=0.6) == TableCounts(
        images=1, boxes=0, above=0
    )


def test_labeling_imports_neither_the_trainer_nor_the_evaluation() -> None:
    code = "import sys, jobs.label; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "jobs.labeling.label_round" in loaded
    assert not {"jobs.training.train_step", "analysis.coco_eval"} & set(loaded)
