"""COCO figures from labels: equal to pycocotools' own summary, in percent, with rows for SQL."""

import contextlib
import io
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from analysis.coco_eval import evaluate_labels, evaluate_tables
from analysis.frequencies import rarest_classes
from storage.errors import StoreError
from storage.labels import Labels
from storage.tables.label_table import label_table
from storage.tables.truth_table import truth_table, with_truth_columns
from storage.truth import Federated, Truth

CLASSES = ("disk", "square", "tee")
COCO_FIGURES = [
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
]


@pytest.fixture(scope="module")
def scored():
    """Truth of 40 images and detections that are jittered truth, misses and inventions."""
    rng = np.random.default_rng(3)
    truths, detections = [], []
    for _ in range(40):
        num_boxes = int(rng.integers(0, 9))
        corners = rng.uniform(0, 200, (num_boxes, 2))
        boxes = np.concatenate([corners, corners + np.exp(rng.uniform(2, 5, (num_boxes, 2)))], axis=1)
        categories = rng.integers(0, 2, num_boxes)
        truths.append(Labels.of_image(boxes, categories))
        seen = rng.random(num_boxes) < 0.8
        jittered = boxes + rng.normal(0, 1.5, boxes.shape).clip(-3, 3)  # sides stay positive
        guessed = np.where(rng.random(num_boxes) < 0.9, categories, rng.integers(0, 3, num_boxes))
        detections.append(Labels.of_image(jittered[seen], guessed[seen], rng.random(seen.sum())))
    return Labels.concatenate(detections), Labels.concatenate(truths)


def as_coco_json(labels):
    rows = np.repeat(np.arange(len(labels)), labels.counts())
    return [
        {
            "id": number + 1,
            "image_id": int(rows[number]) + 1,
            "category_id": int(labels.categories_N[number]) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
            "score": float(labels.scores_N[number]),
        }
        for number, (x1, y1, x2, y2) in enumerate(labels.boxes_N4.tolist())
    ]


def test_the_twelve_figures_are_those_of_pycocotools_from_files(scored, tmp_path):
    detections, truth = scored
    truth_file, detection_file = tmp_path / "truth.json", tmp_path / "detections.json"
    truth_file.write_text(
        json.dumps(
            {
                "images": [{"id": number + 1} for number in range(len(truth))],
                "categories": [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)],
                "annotations": as_coco_json(truth),
            }
        )
    )
    detection_file.write_text(json.dumps(as_coco_json(detections)))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth_file))
        reference = COCOeval(coco, coco.loadRes(str(detection_file)), "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    figures = evaluate_labels(detections, truth, classes=CLASSES).figures
    assert list(figures)[:12] == COCO_FIGURES
    np.testing.assert_allclose([figures[name] for name in COCO_FIGURES], 100 * reference.stats, rtol=1e-12)
    assert 20 < figures["AP"] < 80


def test_nothing_is_printed(scored, capsys):
    evaluate_labels(*scored, classes=CLASSES)
    assert capsys.readouterr().out == ""


def test_perfect_detections_score_a_hundred_and_classes_without_truth_are_null(scored):
    _, truth = scored
    evaluation = evaluate_labels(truth, truth, classes=CLASSES)
    assert evaluation.figures["AP"] == evaluation.figures["AP_tail"] == pytest.approx(100)
    assert math.isnan(evaluation.ap_C[2])
    rows = evaluation.to_table().to_pylist()
    assert {"class": "tee", "metric": "AP", "value": None} in rows
    assert {"class": None, "metric": "AP50", "value": pytest.approx(100)} in rows


def test_small_objects_below_16_px_have_their_own_figure():
    truth = Labels.of_image([[0, 0, 10, 10], [50, 50, 90, 90]], [0, 0])
    only_large_found = Labels.of_image([[50, 50, 90, 90]], [0], [0.9])
    figures = evaluate_labels(only_large_found, truth, classes=["disk"]).figures
    assert figures["AP50_tiny"] == 0
    assert figures["AP_medium"] == pytest.approx(100)
    assert math.isnan(figures["AP_large"])


def test_annotated_areas_decide_on_the_size_bin():
    truth = Labels.of_image([[0, 0, 40, 40]], [0])
    figures = evaluate_labels(truth, truth, classes=["disk"], areas_M=[100.0]).figures
    assert figures["AP50_tiny"] == pytest.approx(100)
    assert math.isnan(figures["AP_medium"])


def test_detections_on_a_crowd_do_not_count():
    truth, crowds = Labels.of_image([[0, 0, 20, 20]], [0]), Labels.of_image([[40, 0, 100, 60]], [0])
    detections = Labels.of_image([[50, 10, 70, 30], [0, 0, 20, 20]], [0, 0], [0.9, 0.8])
    without = evaluate_labels(detections, truth, classes=["disk"]).figures["AP"]
    with_crowds = evaluate_labels(detections, truth, classes=["disk"], crowds=crowds).figures["AP"]
    assert without < 60 < with_crowds == pytest.approx(100)


def test_detections_of_a_difficult_object_count_neither_for_nor_against():
    truth, difficult = Labels.of_image([[0, 0, 20, 20]], [0]), Labels.of_image([[40, 0, 100, 60]], [0])
    twice_on_it = [[40, 0, 100, 60], [41, 1, 99, 59]]
    detections = Labels.of_image([*twice_on_it, [0, 0, 20, 20]], [0, 0, 0], [0.9, 0.8, 0.7])
    figures = evaluate_labels(detections, truth, classes=["disk"], difficult=difficult).figures
    assert figures["AP50"] == pytest.approx(100)
    assert evaluate_labels(detections, truth, classes=["disk"]).figures["AP50"] < 50
    missed = evaluate_labels(
        Labels.of_image(truth.boxes_N4, [0]), truth, classes=["disk"], difficult=difficult
    )
    assert missed.figures["AR_100"] == pytest.approx(100)


def test_a_small_detection_inside_a_difficult_object_is_wrong_as_one_inside_a_crowd_is_not():
    truth, region = Labels.of_image([[0, 0, 20, 20]], [0]), Labels.of_image([[40, 0, 100, 60]], [0])
    detections = Labels.of_image([[50, 10, 70, 30], [0, 0, 20, 20]], [0, 0], [0.9, 0.8])
    as_difficult = evaluate_labels(detections, truth, classes=["disk"], difficult=region).figures["AP"]
    as_crowd = evaluate_labels(detections, truth, classes=["disk"], crowds=region).figures["AP"]
    assert as_difficult < 60 < as_crowd == pytest.approx(100)


def test_tables_bring_their_difficult_objects(scored):
    detections, truth = scored
    easy_M = np.arange(len(truth.boxes_N4)) % 2 == 0
    easy, difficult = truth.keep(easy_M), truth.keep(~easy_M)
    detection_table, truth_table_ = tables(detections, easy)
    known = Truth(labels=easy, areas=np.zeros(0), crowds=Labels.empty(len(easy)), difficult=difficult)
    found = evaluate_tables(detection_table, with_truth_columns(truth_table_, known), classes=CLASSES).figures
    assert found == evaluate_labels(detections, easy, classes=CLASSES, difficult=difficult).figures
    assert found["AP50"] > evaluate_labels(detections, easy, classes=CLASSES).figures["AP50"] + 1


def test_no_detections_at_all_score_zero(scored):
    _, truth = scored
    assert evaluate_labels(Labels.empty(len(truth)), truth, classes=CLASSES).figures["AP"] == 0


def tables(detections, truth):
    keys = [f"{number:06d}" for number in range(len(truth))]
    sizes = np.full((len(truth), 2), 400)
    labels = label_table(keys, np.arange(len(truth)), sizes, truth)
    areas = np.prod(truth.boxes_N4[:, 2:] - truth.boxes_N4[:, :2], axis=1, dtype=np.float64)
    return (
        label_table(keys, np.arange(len(truth)), sizes, detections),
        truth_table(labels, areas_N=areas, crowds=Labels.empty(len(truth))),
    )


def test_tables_are_aligned_by_key(scored):
    detections, truth = tables(*scored)
    shuffled = detections.take(pa.array(np.random.default_rng(0).permutation(len(detections))))
    expected = evaluate_labels(*scored, classes=CLASSES).figures
    assert evaluate_tables(shuffled, truth, classes=CLASSES).figures == pytest.approx(expected, nan_ok=True)


def test_a_missing_image_is_named(scored):
    detections, truth = tables(*scored)
    with pytest.raises(StoreError, match="'000000'"):
        evaluate_tables(detections.slice(1), truth, classes=CLASSES)


def test_the_tail_is_the_rarest_third_of_the_classes_that_the_images_have(scored):
    detections, truth = scored
    rarest = rarest_classes(truth).tolist()
    assert len(rarest) == 1
    evaluation = evaluate_labels(detections, truth, classes=CLASSES)
    assert evaluation.figures["AP_tail"] == pytest.approx(evaluation.ap_C[rarest[0]])
    assert evaluation.figures["AP50_tail"] == pytest.approx(evaluation.ap50_C[rarest[0]])
    nothing = evaluate_labels(detections, Labels.empty(len(truth)), classes=CLASSES)
    assert math.isnan(nothing.figures["AP_tail"])


FOUND, ELSEWHERE = [0, 0, 20, 20], [40, 0, 60, 20]


@pytest.mark.parametrize(
    ("absent", "not_exhaustive", "ap50"),
    [
        (((), ()), ((), ()), 100),  # nothing is known of disks in the second image
        (((), (0,)), ((), ()), 50),  # the second image has none: the better-scoring detection there is wrong
        (
            ((), (0,)),
            ((), (0,)),
            100,
        ),  # none is known to be there, and not all have boxes: neither right nor wrong
        (((1,), (1,)), ((0,), ()), 100),
    ],
)
def test_a_detection_of_a_class_of_which_nothing_is_known_counts_neither_for_nor_against(
    absent, not_exhaustive, ap50
):
    truth = Labels.concatenate([Labels.of_image([FOUND], [0]), Labels.empty(1)])
    detections = Labels.concatenate(
        [Labels.of_image([FOUND], [0], [0.5]), Labels.of_image([ELSEWHERE], [0], [0.9])]
    )
    federated = Federated(absent=absent, not_exhaustive=not_exhaustive)
    figures = evaluate_labels(detections, truth, classes=CLASSES, federated=federated).figures
    assert figures["AP50"] == pytest.approx(ap50)


def test_where_not_every_object_has_a_box_a_second_detection_is_ignored_and_a_miss_is_not():
    truth = Labels.of_image([FOUND, ELSEWHERE], [0, 0])
    detections = Labels.of_image([[80, 0, 99, 20], FOUND], [0, 0], [0.9, 0.5])
    figures = {}
    for name, not_exhaustive in (("all", ()), ("some", (0,))):
        federated = Federated(absent=((),), not_exhaustive=(not_exhaustive,))
        figures[name] = evaluate_labels(detections, truth, classes=["disk"], federated=federated).figures
    # one of two objects is found: precision 1/2 or 1 on 51 of the 101 recalls
    assert figures["all"]["AP50"] == pytest.approx(100 * 51 / 101 / 2)
    assert figures["some"]["AP50"] == pytest.approx(100 * 51 / 101)
    assert figures["some"]["AR_300"] == pytest.approx(50)


def test_300_detections_of_an_image_count_where_the_truth_is_federated():
    truth = Labels.of_image([FOUND, FOUND], [0, 1])
    boxes = np.tile([[40.0, 0, 60, 20]], (302, 1))
    boxes[[299, 301]] = FOUND
    categories, scores = np.array([0] * 300 + [1, 1]), np.linspace(0.9, 0.1, 302)
    federated = Federated(absent=((),), not_exhaustive=((),))
    found = evaluate_labels(
        Labels.of_image(boxes, categories, scores), truth, classes=CLASSES, federated=federated
    )
    assert found.ap50_C[0] == pytest.approx(100 / 300)  # the 300th detection of the image is right
    assert found.ap50_C[1] == 0  # the 302nd would be
    assert "AR_100" not in found.figures


def random_federated(rng, num_images):
    absent = [tuple(np.flatnonzero(rng.random(3) < 0.3).tolist()) for _ in range(num_images)]
    partly = [tuple(np.flatnonzero(rng.random(3) < 0.3).tolist()) for _ in range(num_images)]
    return Federated(absent=tuple(absent), not_exhaustive=tuple(partly))


def plain_ap(detections, truth, federated, category, iou_threshold):
    """AP of one class by LVIS' rules, in plain Python."""
    num_truth, ranked = 0, []
    for image in range(len(truth)):
        seen, true = detections.image(image), truth.image(image)
        targets = [box for box, one in zip(true.boxes_N4, true.categories_N, strict=True) if one == category]
        num_truth += len(targets)
        if not targets and category not in federated.absent[image]:
            continue
        rows = [
            row for row in np.argsort(-seen.scores_N, kind="stable") if seen.categories_N[row] == category
        ]
        for row in rows:
            overlaps = [plain_iou(seen.boxes_N4[row], target) for target in targets]
            if overlaps and max(overlaps) >= iou_threshold:
                targets.pop(int(np.argmax(overlaps)))
                ranked.append((seen.scores_N[row], True))
            elif category not in federated.not_exhaustive[image]:
                ranked.append((seen.scores_N[row], False))
    right = np.array([right for _, right in sorted(ranked, key=lambda pair: -pair[0])], bool)
    recalls, precisions = right.cumsum() / num_truth, right.cumsum() / np.arange(1, len(right) + 1)
    reached = [precisions[recalls >= recall] for recall in np.linspace(0, 1, 101)]
    return 100 * np.mean([values.max() if len(values) else 0 for values in reached])


def plain_iou(box, other):
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = float(np.prod(sides.clip(0)))
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared)


@pytest.mark.parametrize("seed", range(5))
def test_federated_scoring_equals_a_plain_reference(scored, seed):
    detections, truth = scored
    federated = random_federated(np.random.default_rng(seed), len(truth))
    evaluation = evaluate_labels(detections, truth, classes=CLASSES, federated=federated)
    for category in (0, 1):
        assert evaluation.ap50_C[category] == pytest.approx(
            plain_ap(detections, truth, federated, category, 0.5)
        )
    assert evaluation.figures["AP50"] != evaluate_labels(detections, truth, classes=CLASSES).figures["AP50"]


def test_tables_bring_their_federated_fields(scored):
    detections, truth = scored
    federated = random_federated(np.random.default_rng(0), len(truth))
    detection_table, plain_table = tables(detections, truth)
    known = Truth(labels=truth, areas=np.zeros(0), crowds=Labels.empty(len(truth)), federated=federated)
    found = evaluate_tables(detection_table, with_truth_columns(plain_table, known), classes=CLASSES)
    expected = evaluate_labels(detections, truth, classes=CLASSES, federated=federated)
    assert found.figures == pytest.approx(expected.figures, nan_ok=True)
    assert "AR_300" in found.figures
