"""Finding data sets, rounds and runs below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.database.workspace import Workspace, discover
from storage.dataset.dataset import IMAGES_FILE, Dataset
from storage.errors import InputError
from storage.rounds.round import Round
from tests.rounds import round_info


def make_dataset(path: Path, name: str) -> None:
    Dataset(
        root=str(path),
        name=name,
        classes=(),
        category_ids=(),
        num_images=0,
        num_boxes=None,
        labeled=False,
        has_hidden_truth=False,
        source={},
        split=None,
        shards=(),
        hash=str(path),
    ).write()
    (path / IMAGES_FILE).touch()


def test_what_lies_below_is_found_at_any_depth_but_not_in_hidden_folders(tmp_path: Path) -> None:
    make_dataset(tmp_path / "demo" / "labeled", "labeled")
    make_dataset(tmp_path / ".hidden" / "labeled", "hidden")
    (tmp_path / "labels" / "round=0001").mkdir(parents=True)
    (tmp_path / "runs" / "mixpl").mkdir(parents=True)
    (tmp_path / "runs" / "mixpl" / "metrics.jsonl").touch()
    (tmp_path / "runs" / "scored" / "evaluations").mkdir(parents=True)
    found = discover(str(tmp_path))
    assert [dataset.name for dataset in found.datasets] == ["labeled"]
    assert [round_.number for round_ in found.rounds] == [1]
    assert sorted(found.run_names().values()) == ["mixpl", "scored"]
    assert not found.problems


def test_the_folder_itself_may_be_a_data_set(tmp_path: Path) -> None:
    make_dataset(tmp_path, "self")
    assert [dataset.name for dataset in discover(str(tmp_path)).datasets] == ["self"]


def test_the_search_ends_at_its_depth_and_at_links_to_parents(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a" / "b" / "c", "deep")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert discover(str(tmp_path), max_depth=2).datasets == ()
    assert len(discover(str(tmp_path), max_depth=3).datasets) == 1


def test_two_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for place in ("one", "two"):
        make_dataset(tmp_path / place / "labeled", "labeled")
        (tmp_path / place / "run").mkdir()
        (tmp_path / place / "run" / "metrics.jsonl").touch()
    make_dataset(tmp_path / "test", "test")
    found = discover(str(tmp_path))
    assert sorted(found.dataset_names().values()) == ["one/labeled", "test", "two/labeled"]
    assert sorted(found.run_names().values()) == ["one/run", "two/run"]


def test_a_damaged_folder_is_named_and_the_others_answer(tmp_path: Path) -> None:
    make_dataset(tmp_path / "good", "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "dataset.json").write_text("{")
    (tmp_path / "begun" / ".parts").mkdir(parents=True)
    found = discover(str(tmp_path))
    assert [dataset.name for dataset in found.datasets] == ["good"]
    damaged, unfinished = found.problems
    assert "bad/dataset.json" in damaged
    assert "got an unfinished one" in unfinished


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check --root"):
        discover(str(tmp_path / "nothing"))


def test_the_latest_round_of_a_data_set_is_the_complete_one_that_finished_last() -> None:
    def made(path: str, number: int, dataset: str, finished_at: str) -> Round:
        info = round_info(
            number=number,
            dataset_name=dataset,
            dataset_root=dataset,
            dataset_hash=dataset,
            seconds=0.0,
            finished_at=finished_at,
        )
        return Round(path=path, number=number, info=info)

    rounds = (
        made("old/round=0007", 7, "a", "2026-01-01T00:00:00.000+00:00"),
        made("new/round=0001", 1, "a", "2026-02-01T00:00:00.000+00:00"),
        made("other/round=0001", 1, "b", "2025-02-01T00:00:00.000+00:00"),
        Round(path="new/round=0002", number=2, info=None),
    )
    assert Workspace(rounds=rounds).latest_rounds() == {"new/round=0001", "other/round=0001"}
