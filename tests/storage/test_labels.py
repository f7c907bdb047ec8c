"""Ragged boxes of many images."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.labels import Labels


def labels_of(counts: list[int]) -> Labels:
    """Images whose boxes are numbered through."""
    total = sum(counts)
    return Labels(
        boxes_N4=np.arange(4 * total, dtype=np.float32).reshape(-1, 4),
        categories_N=np.arange(total, dtype=np.int32),
        scores_N=np.linspace(0, 1, total, dtype=np.float32),
        offsets_B1=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


counts_of_images = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(counts_of_images)
def test_taken_apart_and_put_together_labels_are_the_same(counts: list[int]) -> None:
    labels = labels_of(counts)
    again = Labels.concatenate([labels.image(index) for index in range(len(labels))])
    for name in ("boxes_N4", "categories_N", "scores_N", "offsets_B1"):
        np.testing.assert_array_equal(getattr(again, name), getattr(labels, name))


@given(counts_of_images, st.integers(0, 2**32 - 1))
def test_keeping_some_boxes_keeps_every_image_and_the_right_boxes(counts: list[int], seed: int) -> None:
    labels = labels_of(counts)
    mask_N = np.random.default_rng(seed).random(len(labels.scores_N)) < 0.5
    kept = labels.keep(mask_N)
    assert len(kept) == len(labels)
    for index in range(len(labels)):
        own_N = mask_N[labels.offsets_B1[index] : labels.offsets_B1[index + 1]]
        np.testing.assert_array_equal(kept.image(index).categories_N, labels.image(index).categories_N[own_N])


def test_no_parts_make_no_images() -> None:
    assert len(Labels.concatenate([])) == 0
    assert Labels.empty(3).counts().tolist() == [0, 0, 0]


@given(counts_of_images)
def test_scaled_labels_differ_in_their_sides_alone(counts: list[int]) -> None:
    labels = labels_of(counts)
    doubled = labels.scaled(2.0)
    assert doubled.boxes_N4.dtype == np.float32
    np.testing.assert_array_equal(doubled.boxes_N4, 2 * labels.boxes_N4)
    np.testing.assert_array_equal(doubled.offsets_B1, labels.offsets_B1)
    np.testing.assert_array_equal(doubled.scores_N, labels.scores_N)


def test_a_score_counts_only_when_strictly_above_the_threshold() -> None:
    labels = Labels.of_image(np.zeros((3, 4)), [0, 0, 0], [0.25, 0.5, 0.75])
    assert labels.above(0.5).scores_N.tolist() == [0.75]


@given(counts_of_images, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_keeps_more(counts: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    labels = labels_of(counts)
    assert (labels.above(high).counts() <= labels.above(low).counts()).all()


def test_a_threshold_for_each_class_keeps_only_what_is_strictly_above_its_own() -> None:
    labels = Labels.of_image(np.zeros((4, 4)), [0, 0, 1, 1], [0.5, 0.6, 0.3, 0.2])
    assert labels.above(np.array([0.5, 0.25])).categories_N.tolist() == [0, 1]


def test_each_box_knows_the_row_of_its_image() -> None:
    box = [[0, 0, 10, 10]]
    labels = Labels.concatenate(
        [Labels.of_image(box * 2, [0, 1]), Labels.empty(1), Labels.of_image(box, [0])]
    )
    assert labels.image_rows().tolist() == [0, 0, 2]
