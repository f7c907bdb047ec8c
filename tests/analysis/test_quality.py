"""Precision and recall of pseudo labels, by hand on a few boxes and as properties on many."""

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.matching import match_labels
from analysis.quality import QUALITY_SCHEMA, SIZE_BINS, pseudo_label_quality, quality_of_labels
from storage.errors import ConfigError
from storage.labels import Labels

CLASSES = ("disk", "square", "tee")


def counts(row):
    return tuple(row[name] for name in ("truth", "found", "pseudo_labels", "correct"))


def test_precision_and_recall_at_the_threshold_of_the_round(con):
    quality = pseudo_label_quality(con)
    assert quality.num_images == 4
    assert quality.score_threshold == 0.5
    overall = quality.overall()
    assert counts(overall) == (5, 2, 4, 2)
    assert (overall["precision"], overall["recall"]) == (0.5, pytest.approx(2 / 5))


def test_each_class_has_its_row_in_the_order_of_the_classes(con):
    rows = pseudo_label_quality(con, dataset="unlabeled").by_class()
    assert [row["class"] for row in rows] == list(CLASSES)
    assert [counts(row) for row in rows] == [(2, 2, 2, 2), (2, 0, 2, 0), (1, 0, 0, 0)]
    assert rows[2]["precision"] is None


def test_recall_goes_by_the_size_of_the_truth_and_precision_by_that_of_the_label(con):
    rows = {row["size_bin"]: counts(row) for row in pseudo_label_quality(con).by_size()}
    assert list(rows) == list(SIZE_BINS)
    assert rows["tiny"] == (1, 1, 2, 1)
    assert rows["small"] == (2, 1, 3, 1)
    assert rows["medium"] == (3, 1, 1, 1)
    assert rows["large"] == (0, 0, 0, 0)


def test_lower_thresholds_take_in_the_boxes_that_the_round_left_out(con):
    table = pseudo_label_quality(con, score_thresholds=[0.35, 0.1]).table
    rows = table.filter(pc.and_(pc.is_null(table["class"]), pc.is_null(table["size_bin"]))).to_pylist()
    assert [row["score_threshold"] for row in rows] == [0.1, 0.35, 0.5]
    assert [counts(row) for row in rows] == [(5, 3, 7, 3), (5, 3, 5, 3), (5, 2, 4, 2)]


def test_without_labels_of_known_truth_it_says_what_to_do(con):
    with pytest.raises(ConfigError, match="mixpl label"):
        pseudo_label_quality(con, dataset="labeled")


def test_the_summary_has_a_row_for_every_class_and_size_and_the_whole(con):
    quality = pseudo_label_quality(con)
    summary = quality.summary()
    assert summary["of"].to_pylist() == [*CLASSES, *SIZE_BINS, "all"]
    assert summary.slice(len(summary) - 1).to_pylist() == [
        {"of": "all"} | {name: quality.overall()[name] for name in summary.column_names[1:]}
    ]
    assert quality.title().endswith("4 images, score above 0.5")


def random_labels(rng, num_images, *, scored):
    num_boxes = rng.integers(0, 8, num_images)
    total = int(num_boxes.sum())
    corners = rng.integers(0, 60, (total, 2))
    return Labels(
        boxes_N4=np.concatenate([corners, corners + rng.integers(5, 120, (total, 2))], axis=1).astype(
            np.float32
        ),
        categories_N=rng.integers(0, 3, total).astype(np.int32),
        scores_N=(rng.integers(1, 20, total) / 20 if scored else np.ones(total)).astype(np.float32),
        offsets_B1=np.concatenate([[0], np.cumsum(num_boxes)]).astype(np.int64),
    )


@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.0, 0.25, 0.5, 0.9]))
@settings(max_examples=60, deadline=None)
def test_every_cell_equals_a_count_over_the_boxes_of_that_class_and_size(seed, threshold):
    rng = np.random.default_rng(seed)
    pseudo, truth = random_labels(rng, 6, scored=True), random_labels(rng, 6, scored=False)
    quality = quality_of_labels(pseudo, truth, classes=CLASSES, score_threshold=threshold)
    assert quality.table.schema == QUALITY_SCHEMA
    kept = pseudo.keep(pseudo.scores_N > threshold)
    matches = match_labels(kept, truth, iou_threshold=0.5)

    def select(labels, row):
        sides = labels.boxes_N4[:, 2:] - labels.boxes_N4[:, :2]
        low, high = SIZE_BINS.get(row["size_bin"], (0, np.inf))
        areas = sides[:, 0] * sides[:, 1]
        right_class = row["class"] is None or labels.categories_N == CLASSES.index(row["class"])
        return right_class & (areas >= low) & (areas < high)

    at = quality.table.filter(pc.equal(quality.table["score_threshold"], threshold)).to_pylist()
    assert len(at) == (1 + len(CLASSES)) * (1 + len(SIZE_BINS))
    for row in at:
        of_truth, of_pseudo = select(truth, row), select(kept, row)
        found = matches.found(len(truth.boxes_N4)) & of_truth
        correct = matches.matched() & of_pseudo
        assert counts(row) == (of_truth.sum(), found.sum(), of_pseudo.sum(), correct.sum())
        assert row["recall"] == (found.sum() / of_truth.sum() if of_truth.any() else None)
        assert row["precision"] == (correct.sum() / of_pseudo.sum() if of_pseudo.any() else None)


def test_two_images_without_any_box_give_nulls():
    quality = quality_of_labels(Labels.empty(2), Labels.empty(2), classes=CLASSES, score_threshold=0.5)
    assert quality.overall()["precision"] is None
    assert counts(quality.overall()) == (0, 0, 0, 0)
