"""Which round is meant: the one that was named, else the latest, never a guess between two."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.database.find_round import find_named_round, find_round, last_two_rounds
from storage.database.workspace import discover
from storage.errors import ConfigError
from storage.rounds.round import Round, open_round, round_path
from tests.rounds import round_info


def finished(root: Path, number: int, *, dataset: str = "a", at: str = "2026-01-01") -> Round:
    round_ = open_round(round_path(str(root), number))
    info = round_info(number=number, dataset_name=dataset, dataset_hash=f"hash-{dataset}", finished_at=at)
    return round_.finish(info)


def test_without_a_name_the_round_that_finished_last_is_meant(tmp_path: Path) -> None:
    late = finished(tmp_path / "x", 1, at="2026-02-01")
    finished(tmp_path / "x", 2, at="2026-01-01")
    (tmp_path / "x" / "round=0003").mkdir()
    assert find_round(discover(str(tmp_path))).path == late.path
    assert find_round(discover(str(tmp_path)), number=2).number == 2


def test_between_two_data_sets_nothing_is_guessed(tmp_path: Path) -> None:
    ours, theirs = finished(tmp_path / "x", 1), finished(tmp_path / "y", 1, dataset="b")
    workspace = discover(str(tmp_path))
    for number in (None, 1):
        with pytest.raises(ConfigError, match=rf"got 2: {ours.path}, {theirs.path}; name the folder of one"):
            find_round(workspace, number=number)
    for dataset in ("b", "hash-b"):
        assert find_round(workspace, dataset=dataset).path == theirs.path
    with pytest.raises(ConfigError, match=r"expected one round with number 1 below .*, got 2: "):
        find_named_round("1", root=str(tmp_path))
    assert find_named_round("1", root=str(tmp_path), dataset="b").path == theirs.path
    with pytest.raises(
        ConfigError, match="expected rounds of one data set, got those of a, b; give --dataset"
    ):
        last_two_rounds(str(tmp_path))


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got no round at all; write or finish one with `mixpl label`"):
        find_round(discover(str(tmp_path)))
    begun = tmp_path / "round=0001"
    begun.mkdir()
    with pytest.raises(ConfigError, match=r"round 7 below .*, got .*round=0001 \(incomplete\);"):
        find_round(discover(str(tmp_path)), number=7)
    damaged = tmp_path / "round=0002"
    damaged.mkdir()
    (damaged / "round.json").write_text("{")
    with pytest.raises(ConfigError, match=r"incomplete\), expected JSON"):
        find_round(discover(str(tmp_path)))
    assert find_named_round(str(begun), root="nowhere").number == 1
    with pytest.raises(ConfigError, match="got 'nothing', which is neither"):
        find_named_round("nothing", root=str(tmp_path))


def test_the_last_two_rounds_are_by_time(tmp_path: Path) -> None:
    finished(tmp_path, 1, at="2026-03-01")
    with pytest.raises(ConfigError, match=r"expected two complete rounds below .*, got 1"):
        last_two_rounds(str(tmp_path))
    finished(tmp_path, 2, at="2026-02-01")
    finished(tmp_path, 3, at="2026-01-01")
    assert [round_.number for round_ in last_two_rounds(str(tmp_path))] == [2, 1]
