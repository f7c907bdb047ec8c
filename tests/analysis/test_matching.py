"""Greedy matching equals pycocotools' on random boxes, with ties in score and IoU."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from analysis.matching import UNMATCHED, match_labels
from storage.labels import Labels

NUM_CLASSES = 3


def random_labels(rng, counts, *, decimals):
    """Boxes on a coarse grid, so that equal boxes, equal IoUs and equal scores are common."""
    num_boxes = int(np.sum(counts))
    corners = np.round(rng.uniform(0, 12, (num_boxes, 2)), decimals)
    sides = np.round(rng.uniform(1, 8, (num_boxes, 2)), decimals)
    return Labels(
        boxes_N4=np.concatenate([corners, corners + sides], axis=1).astype(np.float32),
        categories_N=rng.integers(0, NUM_CLASSES, num_boxes).astype(np.int32),
        scores_N=np.round(rng.random(num_boxes), 1).astype(np.float32),
        offsets_B1=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def coco_of(labels):
    rows = labels.image_rows()
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(labels))],
        "categories": [{"id": category} for category in range(NUM_CLASSES)],
        "annotations": [
            {
                "id": number + 1,
                "image_id": int(rows[number]),
                "category_id": int(labels.categories_N[number]),
                "bbox": [float(x1), float(y1), float(x2) - float(x1), float(y2) - float(y1)],
                "area": 1.0,
                "iscrowd": 0,
                "score": float(labels.scores_N[number]),
            }
            for number, (x1, y1, x2, y2) in enumerate(labels.boxes_N4.tolist())
        ],
    }
    coco.createIndex()
    return coco


def matches_of_pycocotools(detections, truth, threshold):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco_of(truth), coco_of(detections), "bbox")
        evaluation.params.iouThrs = np.array([threshold])
        evaluation.params.maxDets = [10_000]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
    found = np.full(len(detections.boxes_N4), UNMATCHED)
    for image in filter(None, evaluation.evalImgs):
        for detection, match in zip(image["dtIds"], image["dtMatches"][0], strict=True):
            found[detection - 1] = int(match) - 1
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    decimals=st.sampled_from([0, 1, 6]),
    threshold=st.sampled_from([0.3, 0.5, 0.75]),
    counts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 10)), min_size=1, max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_matches_are_those_of_pycocotools(seed, decimals, threshold, counts):
    rng = np.random.default_rng(seed)
    detections = random_labels(rng, [pair[0] for pair in counts], decimals=decimals)
    truth = random_labels(rng, [pair[1] for pair in counts], decimals=decimals)
    matches = match_labels(detections, truth, iou_threshold=threshold)
    np.testing.assert_array_equal(matches.truth_N, matches_of_pycocotools(detections, truth, threshold))
    assert (matches.iou_N[matches.matched()] >= threshold - 1e-9).all()
    assert matches.found(len(truth.boxes_N4)).sum() == matches.matched().sum()


@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_matches_above_a_score_do_not_depend_on_detections_below_it(seed, threshold):
    rng = np.random.default_rng(seed)
    detections = random_labels(rng, [20, 0, 15], decimals=1)
    truth = random_labels(rng, [10, 3, 12], decimals=1)
    kept = detections.scores_N > threshold
    all_matches = match_labels(detections, truth).truth_N[kept]
    np.testing.assert_array_equal(all_matches, match_labels(detections.keep(kept), truth).truth_N)


def test_a_box_of_another_class_or_another_image_is_never_matched():
    box = [[0, 0, 10, 10]]
    truth = Labels.concatenate([Labels.of_image(box, [1]), Labels.of_image(box, [0])])
    detections = Labels.concatenate([Labels.of_image(box, [0]), Labels.of_image(box, [1])])
    assert not match_labels(detections, truth).matched().any()


def test_two_tables_of_different_images_are_refused():
    with pytest.raises(ValueError, match="got 2 and 3"):
        match_labels(Labels.empty(2), Labels.empty(3))


def test_an_iou_threshold_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="got 50"):
        match_labels(Labels.empty(1), Labels.empty(1), iou_threshold=50)
