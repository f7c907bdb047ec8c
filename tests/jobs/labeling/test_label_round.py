"""The round that a job writes: one for all its workers, also for those that start at the same moment."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.labeling.label_round import choose_round
from storage import files
from storage.rounds.round import list_rounds
from tests.together import TRIALS, together


def choose(rank: int, trial: int, root: str, weights: tuple[str, ...]) -> str:
    time.sleep(rank * (trial % 4) * 1e-4)  # the others are at another step each time
    provenance = {"weights_hash": weights[rank], "trial": trial}
    return choose_round(f"{root}/{trial}", provenance, score_threshold=0.5).path


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize("weights", [("w", "w", "w"), ("w", "w", "other")])
def test_workers_that_start_together_share_one_round(
    tmp_path: Path, trials: int, weights: tuple[str, ...]
) -> None:
    answers = together(choose, str(tmp_path), weights, trials=trials, processes=3)
    for trial, paths in enumerate(answers):
        assert paths[0] == paths[1], "workers of one job write to one round"
        assert (paths[2] == paths[0]) == (weights[2] == weights[0])
        rounds = list_rounds(str(tmp_path / str(trial)))
        assert [round_.number for round_ in rounds] == list(range(1, 1 + len(set(weights))))
        assert {terms["provenance"]["weights_hash"] for round_ in rounds if (terms := round_.terms())} == {
            *weights
        }
        assert not list((tmp_path / str(trial)).glob(".*"))


def test_what_killed_workers_left_is_removed_and_the_work_of_others_stays(tmp_path: Path) -> None:
    round_ = choose_round(str(tmp_path), {"weights_hash": "w"}, score_threshold=0.5)
    folder = Path(round_.path)
    (tmp_path / ".round=0002.77-0123abcd.tmp").mkdir()
    (folder / ".shard-000000.parquet.77-0123abcd.tmp").write_bytes(b"half")
    (folder / ".notes.tmp").write_bytes(b"of nobody here")
    with files.local_atomic(str(folder / "shard-000001.parquet")) as temporary:
        temporary.write_bytes(b"being written")
        choose_round(str(tmp_path), {"weights_hash": "w"}, score_threshold=0.5)
        assert temporary.exists()
    assert sorted(path.name for path in folder.iterdir()) == [
        ".notes.tmp",
        "begun.json",
        "shard-000001.parquet",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["round=0001"]
