"""Compaction: the same rows in fewer files, and whole labels at every moment."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage import files
from storage.database.connect import connect
from storage.errors import InputError
from storage.labels import Labels
from storage.rounds import compaction
from storage.rounds.compaction import compact
from storage.rounds.round import Round, open_round, round_path
from storage.tables.label_table import label_table
from tests.rounds import round_info
from tests.together import TRIALS, together

NUM_TABLES = 7


def finished_round(root: Path, *, num_boxes: int = NUM_TABLES, keys: tuple[str, ...] = ()) -> Round:
    round_ = open_round(round_path(str(root), 1))
    for number in range(NUM_TABLES):
        key = keys[number] if keys else f"k{number}"
        table = label_table([key], [number], [(9, 9)], Labels.of_image([(0, 0, 1, number)], [0], [0.9]))
        round_.labels().write(f"shard-{number:06d}", table, {"run": "mixpl"})
    return round_.finish(round_info(classes=("disk",), num_images=NUM_TABLES, num_boxes=num_boxes))


def answer(root: Path) -> list[tuple[Any, ...]]:
    return connect(str(root)).execute("SELECT key, y2, score FROM pseudo_labels ORDER BY key").fetchall()


def test_few_tables_say_what_many_said(tmp_path: Path) -> None:
    round_ = finished_round(tmp_path)
    before, rows = answer(tmp_path), round_.labels().read_all()
    one_table = files.size(round_.labels().path("shard-000000"))
    done = compact(round_, table_bytes=7 * one_table // 2)
    assert (done.tables_before, done.tables_after, done.removed) == (7, 3, 7)
    assert answer(tmp_path) == before
    assert done.round.labels().read_all().equals(rows)
    assert done.round.labels().provenance(done.round.labels().stems()[0]) == {"run": "mixpl"}
    assert list((tmp_path / "round=0001").glob("shard-*")) == []
    again = compact(open_round(round_.path))
    assert (again.tables_after, again.removed) == (3, 0)


def die_before_step(path: str, table_bytes: int, moment: int) -> None:
    """Compact, and be killed before one of the steps that change files."""
    left = [moment]

    def counted(call: Any) -> Any:
        def die_or_do(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*arguments, **named)

        return die_or_do

    for name in ("write_atomic", "remove_file", "remove_folder"):
        setattr(files, name, counted(getattr(files, name)))
    compaction.write_if_absent = counted(compaction.write_if_absent)  # type: ignore[attr-defined]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
    compact(open_round(path), table_bytes=table_bytes)


def test_killed_before_any_step_the_labels_are_whole_and_a_second_run_ends_it(tmp_path: Path) -> None:
    exit_code, moment = -signal.SIGKILL, 0
    while exit_code == -signal.SIGKILL:
        round_ = finished_round(tmp_path / str(moment))
        rows = round_.labels().read_all()
        table_bytes = 7 * files.size(round_.labels().path("shard-000000")) // 2
        process = multiprocessing.get_context("fork").Process(
            target=die_before_step, args=(round_.path, table_bytes, moment)
        )
        process.start()
        process.join(60)
        assert open_round(round_.path).labels().read_all().equals(rows)
        assert (
            compact(open_round(round_.path), table_bytes=table_bytes).round.labels().read_all().equals(rows)
        )
        entries = sorted(path.name[:7] for path in Path(round_.path).iterdir())
        assert entries == ["round.j", "tables-", "tables."]
        assert process.exitcode is not None
        exit_code, moment = process.exitcode, moment + 1
    assert exit_code == 0
    assert moment > 3 + 1 + 7, "3 new tables, tables.json, 7 old tables, and the hidden files of each"


def test_a_round_that_is_not_whole_is_left_as_it_is(tmp_path: Path) -> None:
    for name, changes, words in (
        ("counts", {"num_boxes": 8}, "7 images and 8 boxes as round.json says, got 7 and 7"),
        ("twice", {"keys": ("a", "b", "c", "d", "e", "f", "a")}, "each image once, got 1 keys in two tables"),
    ):
        round_ = finished_round(tmp_path / name, **changes)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=words):
            compact(round_, table_bytes=1)
        assert len(open_round(round_.path).labels().stems()) == NUM_TABLES
    with pytest.raises(InputError, match="expected a complete round"):
        compact(open_round(round_path(str(tmp_path), 9)))


def test_tables_of_a_newer_mixpl_ask_for_an_update(tmp_path: Path) -> None:
    round_ = compact(finished_round(tmp_path)).round
    head = tmp_path / "round=0001" / "tables.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"schema_version": 9}))
    with pytest.raises(InputError, match=r"version 1, got version 9: .*tables\.json; a newer mixpl wrote it"):
        open_round(round_.path)


def compact_or_say(rank: int, trial: int, root: str) -> str:
    time.sleep(rank * (trial % 8) * 1e-3)  # the other is at another step each time
    try:
        return f"{compact(open_round(round_path(f'{root}/{trial}', 1)), table_bytes=1).tables_after} tables"
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("trials", TRIALS)
def test_two_compactions_at_once_lose_no_label(tmp_path: Path, trials: int) -> None:
    for trial in range(trials):
        finished_round(tmp_path / str(trial))
    before = answer(tmp_path / "0")
    for trial, said in enumerate(together(compact_or_say, str(tmp_path), trials=trials)):
        assert answer(tmp_path / str(trial)) == before
        assert f"{NUM_TABLES} tables" in said
        assert all("tables" in line or "another `mixpl rounds compact` is writing" in line for line in said)
        (folder,) = (tmp_path / str(trial) / "round=0001").glob("tables-*")
        assert len([*folder.iterdir()]) == NUM_TABLES


@pytest.mark.parametrize("trials", TRIALS)
def test_two_compactions_at_once_lose_no_label_where_there_are_no_locks(
    tmp_path: Path, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an object store."""
    monkeypatch.setattr(compaction, "locked", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(compaction, "_remove_strays", lambda _: None)
    for trial in range(trials):
        finished_round(tmp_path / str(trial))
    before = answer(tmp_path / "0")
    for trial, said in enumerate(together(compact_or_say, str(tmp_path), trials=trials)):
        assert answer(tmp_path / str(trial)) == before
        assert said == (f"{NUM_TABLES} tables",) * 2


def compact_or_ask(rank: int, trial: int, root: str) -> list[tuple[Any, ...]] | str:
    if rank == 0:
        return compact_or_say(rank, trial, root)
    try:
        return answer(Path(root) / str(trial))
    except (InputError, duckdb.IOException) as error:
        return str(error)


@pytest.mark.parametrize("trials", TRIALS)
def test_a_query_during_a_compaction_sees_all_rows_or_says_so(tmp_path: Path, trials: int) -> None:
    for trial in range(trials):
        finished_round(tmp_path / str(trial))
    before = answer(tmp_path / "0")
    for _, rows in together(compact_or_ask, str(tmp_path), trials=trials):
        told = any(words in rows for words in ("compacted at this moment", "No files found", "No such file"))
        assert told or rows == before, rows


@pytest.mark.parametrize("damage", ["cut", "gone", "one byte", "other rows", "other round"])
def test_old_tables_stay_where_the_new_ones_do_not_hold_their_rows(tmp_path: Path, damage: str) -> None:
    round_, other = finished_round(tmp_path / "a"), finished_round(tmp_path / "b", keys=tuple("abcdefg"))
    folder = Path(round_.path)
    old = {path: path.read_bytes() for path in folder.glob("shard-*")}
    table = Path(compact(round_).round.labels().path(compact(round_).round.labels().stems()[0]))
    for path, data in old.items():
        path.write_bytes(data)
    data = table.read_bytes()
    match damage:
        case "cut":
            table.write_bytes(data[:-20])
        case "gone":
            table.unlink()
        case "one byte":
            table.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
        case "other rows":  # of an old table
            path = folder / "shard-000003.parquet"
            old[path] = Path(other.labels().path("shard-000003")).read_bytes()
            path.write_bytes(old[path])
        case "other round":
            theirs = compact(other).round.labels()
            table.write_bytes(Path(theirs.path(theirs.stems()[0])).read_bytes())
    with pytest.raises(InputError, match=r"no old table was removed for it|the table stays"):
        compact(open_round(round_.path))
    there = {path: path.read_bytes() for path in folder.glob("shard-*")}
    assert there == ({path: data for path, data in old.items() if path in there} if "rows" in damage else old)
    assert folder / "shard-000003.parquet" in there


def test_only_what_compactions_made_is_removed(tmp_path: Path) -> None:
    round_ = finished_round(tmp_path)
    for name in ("tables-notes/a.txt", "tables-0123abcd/mine.txt", "tables-0123abcd/part-000000.parquet"):
        (Path(round_.path) / name).parent.mkdir(exist_ok=True)
        (Path(round_.path) / name).write_bytes(b"")
    compact(round_)
    left = {str(path.relative_to(round_.path)) for path in Path(round_.path).rglob("*") if path.is_file()}
    assert {"tables-notes/a.txt", "tables-0123abcd/mine.txt"} <= left
    assert "tables-0123abcd/part-000000.parquet" not in left
