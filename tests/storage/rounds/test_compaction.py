"""Compaction: the same rows in fewer files, and whole labels at every moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage import files
from storage.database.connect import connect
from storage.errors import InputError
from storage.labels import Labels
from storage.rounds.compaction import compact
from storage.rounds.round import Round, open_round, round_path
from storage.tables.label_table import label_table
from tests.rounds import round_info

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


@pytest.mark.parametrize("moment", range(12))
def test_killed_at_any_moment_the_labels_are_whole_and_a_second_run_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    round_ = finished_round(tmp_path)
    before = answer(tmp_path)
    one_table = files.size(round_.labels().path("shard-000000"))
    left = [moment]

    def dying(call: Any) -> Any:
        def die_or_do(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return call(*arguments)

        return die_or_do

    with monkeypatch.context() as patch:
        for name in ("write_atomic", "remove_file", "remove_folder"):
            patch.setattr(files, name, dying(getattr(files, name)))
        killed = True
        try:
            compact(round_, table_bytes=7 * one_table // 2)
            killed = False
        except KeyboardInterrupt:
            pass
    assert killed == (moment < 11), "3 new tables, tables.json, 7 old tables"
    assert answer(tmp_path) == before
    compact(open_round(round_.path), table_bytes=7 * one_table // 2)
    assert answer(tmp_path) == before
    folders = sorted(path.name[:7] for path in (tmp_path / "round=0001").iterdir())
    assert folders == ["round.j", "tables-", "tables."]


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
