"""A run on LVIS: a function that returns the whole configuration."""

from __future__ import annotations

from dataclasses import replace

from jobs.recipes.detector_constants import with_detector
from jobs.recipes.train_config import ResamplingConfig, TrainConfig
from model.detectors.spec import DetectorName

RARE_BELOW = 1e-3
"""LVIS's resampling threshold (arXiv 1908.03195, section 4.3): a class in fewer than this share of the images."""


def lvis(detector: DetectorName = "fasterrcnn-resnet50") -> TrainConfig:
    """LVIS with a part of its images labeled; images of rare classes are repeated (LVIS's threshold 0.001).

    Data: `mixpl split lvis_v1_train.json --percent 10 --out data/lvis/split`, then
    `mixpl shard data/lvis/split/labeled.json --images coco --out data/lvis/labeled`, the same for `unlabeled.json`,
    and `mixpl shard lvis_v1_val.json --images coco --out data/lvis/val`.
    Command: `torchrun --standalone --nproc-per-node 8 --no-python $(which mixpl) train lvis --data.labeled
    data/lvis/labeled --data.unlabeled data/lvis/unlabeled --data.test data/lvis/val`. Scored by LVIS's federated
    rules: a class that nobody looked for in an image counts neither way.
    Hardware: 8 GPUs, 1 labeled and 4 unlabeled images each; time: not measured. Published: none with MixPL.
    """
    config = with_detector(TrainConfig(), detector)
    return replace(config, resampling=ResamplingConfig(threshold=RARE_BELOW))
