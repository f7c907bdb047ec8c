"""Runs on COCO: functions that return the whole configuration.

A recipe's docstring holds its command, data, hardware, time and the published figure (mAP on val2017, percent).
What goes by the detector stands in `detector_constants.py`.
"""

from __future__ import annotations

from jobs.recipes.detector_constants import with_detector
from jobs.recipes.train_config import TrainConfig
from model.detectors.spec import DetectorName


def coco_partial(detector: DetectorName = "fasterrcnn-resnet50") -> TrainConfig:
    """1, 2, 5 or 10 % of COCO labeled: the paper's setting (arXiv 2312.07006, section 4.1).

    Data: `mixpl prepare coco-partial --root coco --percent 10`.
    Command: `torchrun --standalone --nproc-per-node 8 --no-python $(which mixpl) train coco-partial --data.labeled
    data/coco-10-fold-1/labeled --data.unlabeled data/coco-10-fold-1/unlabeled --data.test data/coco-val`, and
    `--model.name` for another detector, which brings its own optimiser, length and score threshold.
    Hardware: 8 GPUs, 1 labeled and 4 unlabeled images each; time: not measured.
    Published: Faster R-CNN 25.1 (1 %), 33.5 (5 %), 37.2 (10 %), supervised only 10.7, 21.0, 26.6; DINO 31.7, 34.7
    (2 %), 40.1, 44.6; with 10 %, read off a figure: FCOS 37.3, RetinaNet 36.0, Deformable DETR 40.5, DAB-DETR
    36.2.
    """
    return with_detector(TrainConfig(), detector)


def coco_full(detector: DetectorName = "fasterrcnn-resnet50") -> TrainConfig:
    """All of COCO labeled, unlabeled2017 unlabeled.

    Data: `mixpl prepare coco-full --root coco`.
    Command: as `coco_partial`, with `train coco-full` and the folders below data/coco-full.
    Hardware: 8 GPUs, 1 labeled and 4 unlabeled images each; time: not measured.
    Published: Faster R-CNN 46.2 (supervised only 41.0), DINO 55.2. The released recipes have none for this setting:
    its length, four times that of 10 %, is ours.
    """
    return with_detector(TrainConfig(), detector, length=4.0)
