"""Runs on COCO: functions that return the whole configuration.

A recipe's docstring holds its command, time and expected result.
"""

from __future__ import annotations

from jobs.recipes.train_config import TrainConfig


def coco_partial() -> TrainConfig:
    """COCO partial with Faster R-CNN ResNet-50 FPN: the paper's setting (arXiv 2312.07006, section 4.1).

    `mixpl train coco-partial --data.labeled data/coco-10/labeled --data.unlabeled data/coco-10/unlabeled`.
    Per process 1 labeled and 4 unlabeled images, 180,000 steps; the paper used 8 GPUs and reports 37.2 mAP with
    10 % labels. Not run here: neither COCO nor the ImageNet weights are part of this project.
    """
    return TrainConfig()
