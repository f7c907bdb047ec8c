"""Threshold policies: as many boxes as the labeled data lead to expect, and one rule for tables and arrays."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from analysis.thresholds import (
    AT_FLOOR,
    FLOOR,
    NO_BOX,
    NOT_PARTED,
    mixture_thresholds,
    prior_thresholds,
    round_thresholds,
)
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels
from storage.rounds.round import open_round, round_path
from storage.tables.label_table import label_table

CLASSES = ("disk", "square", "tee")
NUM_IMAGES = 50


@pytest.fixture
def pseudo() -> Labels:
    """50 images: 300 disks in two groups of scores, 30 squares of low scores, no tee."""
    rng = np.random.default_rng(0)
    scores = np.concatenate(
        [rng.normal(0.2, 0.03, 200), rng.normal(0.8, 0.05, 100), rng.uniform(0.05, 0.09, 30)]
    )
    order = rng.permutation(330)
    return Labels(
        boxes_N4=np.tile(np.array([0, 0, 9, 9], np.float32), (330, 1)),
        categories_N=np.repeat(np.array([0, 1], np.int32), [300, 30])[order],
        scores_N=np.clip(scores, 0.05, 1).astype(np.float32)[order],
        offsets_B1=np.linspace(0, 330, NUM_IMAGES + 1).astype(np.int64),
    )


@pytest.fixture
def asked(pseudo: Labels, workspace: Path, tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """The labeled data (5 images: 4 disks in 3, 2 squares, 1 tee) beside an incomplete round 7."""
    ids = list(range(NUM_IMAGES))
    round_ = open_round(round_path(str(tmp_path), 7))
    table = label_table([f"k{number}" for number in ids], ids, [(9, 9)] * NUM_IMAGES, pseudo)
    round_.labels().write("shard-000000", table, {})
    labeled = Dataset.open(str(workspace / "labeled"))
    return connect(Workspace(datasets=(labeled,), rounds=(round_,)))


def test_the_prior_keeps_as_many_boxes_an_image_as_the_labeled_data_have(
    asked: duckdb.DuckDBPyConnection, pseudo: Labels
) -> None:
    table = round_thresholds(asked, "prior", number=7, classes=CLASSES, score_threshold=0.5)
    disk, square, tee = table.to_pylist()
    assert disk["labeled_rate"] == 4 / 5
    assert (disk["boxes"], disk["pseudo_labels"], disk["reason"]) == (300, 40, None)
    assert (square["score_threshold"], square["reason"], square["pseudo_labels"]) == (FLOOR, AT_FLOOR, 0)
    assert (tee["score_threshold"], tee["reason"], tee["boxes"]) == (0.5, NO_BOX, 0)
    rates = table["labeled_rate"].to_numpy()
    of_scores = prior_thresholds(pseudo, rates, score_threshold=0.5)
    assert of_scores.tolist() == table["score_threshold"].to_pylist()


def test_a_class_that_the_labeled_data_lack_gets_no_pseudo_label(pseudo: Labels) -> None:
    thresholds = prior_thresholds(pseudo, [0, 0, 0], score_threshold=0.5)
    assert thresholds[0] == pseudo.scores_N[pseudo.categories_N == 0].max()


def test_the_mixture_parts_the_two_groups_of_scores(asked: duckdb.DuckDBPyConnection, pseudo: Labels) -> None:
    table = round_thresholds(asked, "mixture", number=7, classes=CLASSES, score_threshold=0.5)
    disk, square, tee = table.to_pylist()
    assert disk["pseudo_labels"] == 100
    assert (square["score_threshold"], square["reason"]) == (FLOOR, AT_FLOOR)
    assert (tee["score_threshold"], tee["reason"]) == (0.5, NOT_PARTED)
    of_scores = mixture_thresholds(pseudo, 3, score_threshold=0.5)
    np.testing.assert_allclose(of_scores, table["score_threshold"].to_numpy(), atol=5e-3)


def test_the_fixed_policy_is_one_threshold(asked: duckdb.DuckDBPyConnection, pseudo: Labels) -> None:
    table = round_thresholds(asked, "fixed", number=7, classes=CLASSES, score_threshold=0.3)
    assert table["score_threshold"].to_pylist() == [0.3] * 3
    assert table["pseudo_labels"].to_pylist() == [100, 0, 0]


def test_a_prior_without_labeled_images_is_an_error(tmp_path: Path, asked: object) -> None:
    alone = connect(Workspace(rounds=(open_round(round_path(str(tmp_path), 7)),)))
    with pytest.raises(ConfigError, match="expected labeled images"):
        round_thresholds(alone, "prior", number=7, classes=CLASSES, score_threshold=0.5)
