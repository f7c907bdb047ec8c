"""Runs on the drawn data sets of `mixpl synth`: functions that return the whole configuration.

A recipe's docstring holds its command, time and expected result.
"""

from __future__ import annotations

from jobs.recipes.train_config import (
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    ResamplingConfig,
    TeacherConfig,
    TrainConfig,
    ViewConfig,
)
from model.method.gate import SemiSupervisedSettings
from pipeline.settings import MixSettings


def tiny() -> TrainConfig:
    """The drawn data set at 64 px with the compact FCOS: what the demo and the tests train.

    `mixpl train tiny --data.labeled demo/labeled --data.unlabeled demo/unlabeled`: see EXPERIMENTS.md for time
    and result.
    """
    return _drawn(size=64, steps=1800, burn_in=600)


def small() -> TrainConfig:
    """The drawn data set at 96 px with the compact FCOS.

    `mixpl train small --data.labeled data/small/labeled --data.unlabeled data/small/unlabeled`.
    """
    return _drawn(size=96, steps=2300, burn_in=800)


def _drawn(*, size: int, steps: int, burn_in: int) -> TrainConfig:
    """Return the recipe for square images of `size` px that are trained from scratch.

    Sizes keep the paper's proportions to a much narrower range, as objects are already small.
    """
    return TrainConfig(
        steps=steps,
        burn_in=burn_in,
        threads=1,  # the network is too small for more, and DALI works beside it
        data=DataConfig(batch_labeled=4, batch_unlabeled=4),
        view=ViewConfig(
            short_range=(round(0.75 * size), round(1.25 * size)),
            long_max=round(1.25 * size),
            test_short=size,
            test_long_max=round(1.25 * size),
        ),
        mix=MixSettings(mosaic_range=(round(0.75 * size), round(1.25 * size))),
        model=ModelConfig(name="fcos-compact", weights="none"),
        pseudo=SemiSupervisedSettings(unsup_weight=1.0),
        teacher=TeacherConfig(warmup=10.0, interval=1),
        optim=OptimConfig(name="adamw", lr=3e-3, weight_decay=0.05, warmup_steps=50, clip=10.0),
        resampling=ResamplingConfig(threshold=0.3),
        log=LogConfig(metrics=50, checkpoint=500, evaluate=200, online_labels=50),
    )
