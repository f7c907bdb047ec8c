"""A run on Pascal VOC: a function that returns the whole configuration."""

from __future__ import annotations

from jobs.recipes.detector_constants import with_detector
from jobs.recipes.train_config import TrainConfig
from model.detectors.spec import DetectorName


def voc(detector: DetectorName = "fasterrcnn-resnet50") -> TrainConfig:
    """VOC 2007 labeled, VOC 2012 unlabeled, tested on VOC 2007.

    Data: `mixpl prepare voc --root VOCdevkit`: 5,011 labeled and 11,540 unlabeled images, 4,952 to test on.
    Command: `torchrun --standalone --nproc-per-node 8 --no-python $(which mixpl) train voc --data.labeled
    data/voc/labeled --data.unlabeled data/voc/unlabeled --data.test data/voc/test`.
    Hardware: 8 GPUs, 1 labeled and 4 unlabeled images each; time: not measured.
    Published: the released recipes have none for VOC. A third of the length of COCO's 10 % is ours: it draws every
    labeled image 96 times (Faster R-CNN), about as often as that draws its 11,234 (128 times).
    """
    return with_detector(TrainConfig(), detector, length=1 / 3)
