"""The constants of a published recipe that go by the detector.

In: a configuration and a detector's name. Out: the configuration with that detector, its optimiser, clipping and
number of steps. Source: the released recipes of MixPL (arXiv 2312.07006) for 10 % of COCO: those with anchors or
points learn by SGD for 180,000 steps, DINO by AdamW for 90,000. The rest of the DETR family has DINO's constants,
Deformable DETR twice the learning rate, as the comments of that recipe say.
The score threshold is the detector's own (`model.detectors.build.spec_of`) and needs no place here.
"""

from __future__ import annotations

from dataclasses import replace

from jobs.recipes.train_config import OptimConfig, TrainConfig
from model.detectors.build import spec_of
from model.detectors.spec import DetectorName

SGD_STEPS, ADAMW_STEPS = 180_000, 90_000
SGD = OptimConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4, warmup_steps=500, clip=20.0)
ADAMW = OptimConfig(name="adamw", lr=1e-4, weight_decay=1e-4, backbone_lr=0.1, warmup_steps=0, clip=0.1)
CONVOLUTIONAL: tuple[DetectorName, ...] = (
    "fcos-compact",
    "fasterrcnn-resnet50",
    "fasterrcnn-v2-resnet50",
    "fcos-resnet50",
    "retinanet-resnet50",
)
"""Detectors with anchors or points; all others are of the DETR family."""


def with_detector(config: TrainConfig, name: DetectorName, *, length: float = 1.0) -> TrainConfig:
    """Return the configuration for this detector, `length` times as long as for 10 % of COCO."""
    steps = SGD_STEPS if name in CONVOLUTIONAL else ADAMW_STEPS
    weights = "imagenet" if "imagenet" in spec_of(name).weights else "none"
    return replace(
        config,
        steps=round(steps * length),
        optim=optimizer_of(name),
        model=replace(config.model, name=name, weights=weights),
    )


def optimizer_of(name: DetectorName) -> OptimConfig:
    """Return the optimiser of a detector in the published recipes."""
    if name in CONVOLUTIONAL:
        return SGD
    return replace(ADAMW, lr=2e-4) if name.startswith("deformable") else ADAMW
