"""COCO's detection figures, by pycocotools, from labels instead of JSON files.

In: detections and truth as `Labels` of the same images (or as label tables, aligned by key), class names, and
where known the annotated areas, the crowd regions, the difficult objects and the federated fields. Out:
`Evaluation`: the twelve COCO figures, AP and AP50 of every class, AP50 of boxes below 16 x 16 px, AP and AP50 of
the tail; `to_table()` for SQL. All values are percent; NaN (null in the table) where there is no truth to
measure on.
Guaranteed: equal to `COCOeval` on the same boxes.

The tail is the rarest third of the classes that the scored set has (`analysis.frequencies.rarest_classes`): the
same classes for every run that is scored on one set.

Federated truth (LVIS, arXiv 1908.03195) says of a class in an image that its objects have boxes, that it is absent,
or nothing. The rules are those of LVIS' own evaluation: the 300 best detections of an image count; detections of a
class of which nothing is known are left out; where not every object of a class has a box, an unmatched detection of
it is ignored. The last recall is then `AR_300` in place of `AR_100`. Other truth is scored by COCO's rules.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from analysis.frequencies import rarest_classes
from storage.boxes import LARGE_AREA, SMALL_AREA, TINY_AREA, area, xyxy_to_xywh
from storage.errors import StoreError
from storage.labels import Labels
from storage.tables.label_table import table_labels
from storage.tables.truth_table import table_areas, table_crowds, table_difficult, table_federated
from storage.truth import Federated

Floats = npt.NDArray[np.float64]

EVALUATION_SCHEMA = pa.schema(
    [
        pa.field("class", pa.string()),
        pa.field("metric", pa.string()),
        pa.field("value", pa.float64()),
    ]
)
"""One row a figure; `class` is null for figures over all classes."""

_HUGE = 1e10  # COCO's upper end of "all" and "large"
_RANGES = {
    "all": (0.0, _HUGE),
    "small": (0.0, SMALL_AREA),
    "medium": (SMALL_AREA, LARGE_AREA),
    "large": (LARGE_AREA, _HUGE),
    "tiny": (0.0, TINY_AREA),
}
_MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits, each for one class in one image."""
_MAX_FEDERATED = 300
"""LVIS's limit, for all classes of one image together."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """What detections are worth, in percent."""

    classes: tuple[str, ...]
    tail: tuple[str, ...]
    """The classes of the tail, the rarest last."""
    figures: dict[str, float]
    """AP, AP50, AP75, AP_small, AP_medium, AP_large, AR_1, AR_10, AR_100, AR_small, AR_medium, AR_large (the
    twelve of COCO, in its order), then AP50_tiny, AP_tail and AP50_tail."""
    ap_C: Floats
    """AP of each class."""
    ap50_C: Floats
    num_truth_C: npt.NDArray[np.int64]
    """Truth boxes of each class, crowds not counted."""

    def to_table(self) -> pa.Table:
        """Return one row a figure (EVALUATION_SCHEMA)."""
        rows: list[tuple[str | None, str, float]] = [
            (None, name, value) for name, value in self.figures.items()
        ]
        for metric, values_C in (("AP", self.ap_C), ("AP50", self.ap50_C), ("num_truth", self.num_truth_C)):
            rows += [(name, metric, float(value)) for name, value in zip(self.classes, values_C, strict=True)]
        names, metrics, values = zip(*rows, strict=True)
        defined = [None if np.isnan(value) else value for value in values]
        return pa.table([names, metrics, defined], schema=EVALUATION_SCHEMA)


def evaluate_labels(
    detections: Labels,
    truth: Labels,
    *,
    classes: Sequence[str],
    areas_M: npt.ArrayLike | None = None,
    crowds: Labels | None = None,
    difficult: Labels | None = None,
    federated: Federated | None = None,
) -> Evaluation:
    """Score detections against the truth of the same images, in the same order.

    `areas_M` are the annotated areas of the truth boxes that decide on small, medium and large (COCO: of the
    object's mask); width x height where not given. Detections on `crowds` and on `difficult` objects (Pascal VOC)
    count neither for nor against; on a crowd by the share of the detection inside it, on a difficult object by IoU.
    `federated` says of which classes without a box something is known.
    """
    crowds = crowds or Labels.empty(len(truth))
    difficult = difficult or Labels.empty(len(truth))
    assert len(detections) == len(truth) == len(crowds) == len(difficult), "of the same images"
    if federated is not None:
        regions = (truth, crowds, difficult)
        detections = _of_known_classes(_best(detections, _MAX_FEDERATED), regions, federated, len(classes))
    areas = area(truth.boxes_N4.astype(np.float64)) if areas_M is None else np.asarray(areas_M, float)
    precision_TRKAM, recall_TKAM = _accumulate(
        truth=_annotations(truth, areas)
        + _annotations(crowds, area(crowds.boxes_N4), crowd=True)
        + _annotations(difficult, area(difficult.boxes_N4), crowd=True, difficult=True),
        detections=_annotations(detections, area(detections.boxes_N4.astype(np.float64))),
        num_images=len(truth),
        num_classes=len(classes),
        federated=federated,
    )
    tail = rarest_classes(truth)
    figures = _figures(precision_TRKAM, recall_TKAM, _limits(federated))
    whole_TRK = precision_TRKAM[:, :, :, 0, -1]
    ap_C = np.array([_percent(whole_TRK[:, :, number]) for number in range(len(classes))])
    ap50_C = np.array([_percent(whole_TRK[0, :, number]) for number in range(len(classes))])
    figures |= {"AP_tail": _percent(whole_TRK[:, :, tail]), "AP50_tail": _percent(whole_TRK[0][:, tail])}
    return Evaluation(
        classes=tuple(classes),
        tail=tuple(classes[category] for category in tail),
        figures=figures,
        ap_C=ap_C,
        ap50_C=ap50_C,
        num_truth_C=np.bincount(truth.categories_N, minlength=len(classes)),
    )


def evaluate_tables(detections: pa.Table, truth: pa.Table, *, classes: Sequence[str]) -> Evaluation:
    """Score a table of detections against a truth table; the rows may stand in any order.

    Raises StoreError naming an image that only one of the two holds: a missing row would count as an image
    without detections.
    """
    wanted, keys = truth["key"].to_pylist(), detections["key"].to_pylist()
    if different := sorted(set(wanted) ^ set(keys)):
        raise StoreError(
            f"expected detections of exactly the {len(wanted)} images of the truth, got {len(keys)}; "
            f"{len(different)} keys stand in only one of the two, the first is {different[0]!r}; "
            "label all images again"
        )
    row_of = {key: row for row, key in enumerate(keys)}
    aligned = detections.take(pa.array([row_of[key] for key in wanted], pa.int64()))
    return evaluate_labels(
        table_labels(aligned),
        table_labels(truth),
        classes=classes,
        areas_M=table_areas(truth),
        crowds=table_crowds(truth),
        difficult=table_difficult(truth),
        federated=table_federated(truth),
    )


def _best(detections: Labels, limit: int) -> Labels:
    """The best detections of each image; of equal scores the earlier ones."""
    images_N = detections.image_rows()
    order_N = np.lexsort((-detections.scores_N, images_N))
    keep_N = np.empty(len(order_N), bool)
    keep_N[order_N] = np.arange(len(order_N)) - detections.offsets_B1[images_N] < limit
    return detections.keep(keep_N)


def _of_known_classes(
    detections: Labels, regions: Sequence[Labels], federated: Federated, num_classes: int
) -> Labels:
    """The detections of classes that their image either has or is known not to have."""
    known_BK = np.zeros((len(detections), num_classes), bool)
    for labels in regions:
        known_BK[labels.image_rows(), labels.categories_N] = True
    for image, absent in enumerate(federated.absent):
        known_BK[image, list(absent)] = True
    images_N = detections.image_rows()
    return detections.keep(known_BK[images_N, detections.categories_N])


def _limits(federated: Federated | None) -> tuple[int, ...]:
    return _MAX_DETECTIONS if federated is None else (*_MAX_DETECTIONS[:-1], _MAX_FEDERATED)


class _Eval(COCOeval):  # type: ignore[misc]
    """COCOeval with difficult objects and with classes of which not every object has a box.

    A difficult object is ignored as often as it is hit, as a crowd is, but it is hit by plain IoU.
    """

    not_exhaustive: Sequence[Sequence[int]] | None = None
    """Class indices, image by image."""

    def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: N802  # the name that COCOeval calls
        truth, detections = self._gts[imgId, catId], self._dts[imgId, catId]
        if not any(entry["difficult"] for entry in truth):
            return super().computeIoU(imgId, catId)
        limit = self.params.maxDets[-1]
        best = np.argsort([-entry["score"] for entry in detections], kind="mergesort")[:limit]
        share_of_detection = [int(entry["iscrowd"] and not entry["difficult"]) for entry in truth]
        boxes = [detections[number]["bbox"] for number in best]
        return mask.iou(boxes, [entry["bbox"] for entry in truth], share_of_detection)

    def evaluateImg(self, imgId: int, catId: int, aRng: Any, maxDet: int) -> Any:  # noqa: N802
        result = super().evaluateImg(imgId, catId, aRng, maxDet)
        if result is not None and self.not_exhaustive and catId in self.not_exhaustive[imgId]:
            result["dtIgnore"] |= result["dtMatches"] == 0  # it may be one of the objects without a box
        return result


def _annotations(
    labels: Labels, areas_N: npt.NDArray[Any], *, crowd: bool = False, difficult: bool = False
) -> list[dict[str, Any]]:
    images_N = labels.image_rows()
    columns = (
        images_N.tolist(),
        labels.categories_N.tolist(),
        xyxy_to_xywh(labels.boxes_N4.astype(np.float64)).tolist(),
        labels.scores_N.tolist(),
        areas_N.tolist(),
    )
    return [
        {
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "score": score,
            "area": size,
            "iscrowd": int(crowd),
            "difficult": difficult,
        }
        for image, category, box, score, size in zip(*columns, strict=True)
    ]


def _accumulate(
    *,
    truth: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    num_images: int,
    num_classes: int,
    federated: Federated | None,
) -> tuple[Floats, Floats]:
    """COCOeval's precision (thresholds, recalls, classes, ranges, limits) and recall; -1 where undefined."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _Eval(
            _coco(truth, num_images, num_classes), _coco(detections, num_images, num_classes), "bbox"
        )
        evaluation.not_exhaustive = None if federated is None else federated.not_exhaustive
        evaluation.params.areaRng = [list(bounds) for bounds in _RANGES.values()]
        evaluation.params.areaRngLbl = list(_RANGES)
        evaluation.params.maxDets = list(_limits(federated))
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _coco(annotations: list[dict[str, Any]], num_images: int, num_classes: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(num_images)],
        "categories": [{"id": category} for category in range(num_classes)],
        # ids start at 1: pycocotools writes 0 where nothing matched
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
    }
    coco.createIndex()
    return coco


def _figures(precision_TRKAM: Floats, recall_TKAM: Floats, limits: Sequence[int]) -> dict[str, float]:
    ranges = list(_RANGES)
    best_TRKA, best_TKA = precision_TRKAM[..., -1], recall_TKAM[..., -1]
    figures = {
        "AP": _percent(best_TRKA[..., 0]),
        "AP50": _percent(best_TRKA[0, ..., 0]),
        "AP75": _percent(best_TRKA[5, ..., 0]),
    }
    figures |= {f"AP_{name}": _percent(best_TRKA[..., ranges.index(name)]) for name in ranges[1:4]}
    figures |= {f"AR_{limit}": _percent(recall_TKAM[:, :, 0, number]) for number, limit in enumerate(limits)}
    figures |= {f"AR_{name}": _percent(best_TKA[..., ranges.index(name)]) for name in ranges[1:4]}
    return figures | {"AP50_tiny": _percent(best_TRKA[0, ..., ranges.index("tiny")])}


def _percent(values: Floats) -> float:
    """Mean of the defined values in percent; NaN where none is."""
    defined = values[values > -1]
    return 100 * float(defined.mean()) if defined.size else float("nan")
