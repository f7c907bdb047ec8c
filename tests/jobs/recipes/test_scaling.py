"""The scaling rule keeps what an image does to a run, whatever the number of GPUs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from jobs.recipes.coco import coco_partial
from jobs.recipes.scaling import for_gpus
from jobs.recipes.train_config import LogConfig, OptimConfig, TrainConfig
from storage.errors import ConfigError


def test_sgd_on_one_gpu_takes_eight_times_the_steps_at_an_eighth_of_the_rate() -> None:
    one = for_gpus(coco_partial(), 1)
    assert (one.steps, one.optim.warmup_steps, one.log.checkpoint) == (1_440_000, 4_000, 8_000)
    assert (one.optim.lr, one.optim.weight_decay, one.optim.clip) == (0.00125, 1e-4, 20.0)
    assert one.data == coco_partial().data
    assert one.teacher == replace(coco_partial().teacher, reference_batch=8)


def test_adamw_goes_by_the_square_root_and_decays_as_much_in_a_whole_run() -> None:
    published = TrainConfig(steps=90_000, optim=OptimConfig(name="adamw", lr=1e-4, weight_decay=1e-4))
    two = for_gpus(published, 2)
    assert two.steps == 360_000
    assert two.optim.lr == pytest.approx(5e-5)

    def whole_decay(config: TrainConfig) -> float:
        return config.optim.lr * config.optim.weight_decay * config.steps

    assert whole_decay(two) == pytest.approx(whole_decay(published))


def test_every_number_of_steps_grows_with_the_run() -> None:
    published = replace(
        coco_partial(),
        burn_in=800,
        optim=OptimConfig(schedule="step", milestones=(80_000, 120_000)),
        log=LogConfig(checkpoint=1_000, evaluate=5_000),
    )
    four = for_gpus(published, 4)
    assert (four.burn_in, four.log.checkpoint, four.log.evaluate) == (1_600, 2_000, 10_000)
    assert four.optim.milestones == (160_000, 240_000)
    assert four.thresholds.every == 2 * published.thresholds.every


def test_the_teacher_averages_over_the_same_images() -> None:
    one = for_gpus(coco_partial(), 1).teacher
    k = 1 / one.reference_batch  # one labeled image a step
    published = max(one.momentum, one.warmup / (one.warmup + 6_000))
    scaled = 1 - (1 - max(one.momentum, one.warmup / (one.warmup + k * 48_000))) ** k
    assert 8 * math.log1p(-scaled) == pytest.approx(math.log1p(-published))


def test_as_published_nothing_changes_and_none_is_refused() -> None:
    assert for_gpus(coco_partial(), 8) == coco_partial()
    with pytest.raises(ConfigError, match="expected a recipe for 1 GPU or more, got 0"):
        for_gpus(coco_partial(), 0)
