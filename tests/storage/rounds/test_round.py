"""Rounds of pseudo labels: complete or visibly not, and never changed afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import InputError
from storage.labels import Labels
from storage.rounds.round import RoundInfo, list_rounds, open_round, round_path
from storage.tables.label_table import label_table


def info(number: int) -> RoundInfo:
    return RoundInfo(
        number=number,
        dataset_name="unlabeled",
        dataset_root="data/unlabeled",
        dataset_hash="d",
        classes=("disk", "ring"),
        score_threshold=0.4,
        num_images=1,
        num_boxes=1,
        seconds=2.5,
        provenance={"weights_hash": "w"},
    )


def write_labels(root: Path, number: int) -> None:
    table = label_table(["k"], [1], [(5, 5)], Labels.of_image([(0, 0, 1, 1)], [1], [0.9]))
    open_round(round_path(str(root), number)).labels(num_classes=2).write("shard-000000", table, {})


def test_a_round_is_incomplete_until_it_is_finished(tmp_path: Path) -> None:
    assert list_rounds(str(tmp_path)) == []
    write_labels(tmp_path, 3)
    (begun,) = list_rounds(str(tmp_path))
    assert (begun.number, begun.complete) == (3, False)
    finished = begun.finish(info(3))
    assert list_rounds(str(tmp_path)) == [finished]
    assert open_round(finished.path).info == finished.info
    assert finished.labels().stems() == ["shard-000000"]


def test_a_finished_round_is_never_finished_again(tmp_path: Path) -> None:
    write_labels(tmp_path, 1)
    (begun,) = list_rounds(str(tmp_path))
    begun.finish(info(1))
    before = (tmp_path / "round=0001" / "round.json").read_bytes()
    with pytest.raises(InputError, match="got a finished one"):
        begun.finish(info(1))
    assert (tmp_path / "round=0001" / "round.json").read_bytes() == before


def test_of_several_that_would_begin_a_round_one_does(tmp_path: Path) -> None:
    round_ = open_round(round_path(str(tmp_path), 1))
    assert round_.terms() is None
    assert round_.begin({"weights_hash": "w"})
    assert not round_.begin({"weights_hash": "other"})
    assert round_.terms() == {"weights_hash": "w"}
    assert [path.name for path in Path(round_.path).iterdir()] == ["begun.json"]


def test_other_names_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="named round=NUMBER, got 'labels'"):
        open_round(str(tmp_path / "labels"))
    write_labels(tmp_path, 1)
    for text, words in (
        ("{", "expected JSON"),
        ("[]", "expected the fields of a round, got .*`object`, got `array`"),
        ('{"schema_version": 9}', "got version 9"),
        (
            '{"schema_version": 1, "complete": true}',
            "expected the fields of a round.*missing required field `number`",
        ),
    ):
        (tmp_path / "round=0001" / "round.json").write_text(text)
        with pytest.raises(InputError, match=words):
            list_rounds(str(tmp_path))
