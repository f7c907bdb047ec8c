"""The rules of `own`: from 20 labeled images on a CPU to 100,000 on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from jobs.recipes.asked import Asked
from jobs.recipes.detector_constants import CONVOLUTIONAL
from jobs.recipes.own.choices import GIVEN, Choices
from jobs.recipes.own.data_summary import DataSummary
from jobs.recipes.own.hardware import Hardware
from jobs.recipes.own.own_recipe import own
from jobs.recipes.own.rules import choose_settings, num_scorings, num_steps, rare_below, test_side
from jobs.recipes.train_config import ModelConfig, TrainConfig
from model.detectors.build import spec_of
from model.detectors.spec import DetectorName

test_side.__test__ = False  # type: ignore[attr-defined]  # a rule, not a test

CPU = Hardware(gpu_memory=None, published=False, lite0=True)
GPU = Hardware(gpu_memory=79.1, published=True, lite0=True)
FEW = DataSummary(
    num_labeled=20,
    num_unlabeled=185,
    num_test=87,
    num_boxes=285,
    short_side=480,
    long_side=640,
    small_object=0.176,
    median_class_share=1.0,
    rarest_class_share=0.4,
)
MANY = replace(FEW, num_labeled=100_000, num_unlabeled=1_000_000, num_test=5_000, small_object=0.02)


def fitted(data: DataSummary, hardware: Hardware, **given: object) -> TrainConfig:
    """Return what `own` makes of this data and machine; `given` holds settings of the first level."""
    asked = Asked(config=replace(own(), **given), options=frozenset(given))  # type: ignore[arg-type]
    choices = Choices(asked)
    choose_settings(choices, data, hardware)
    return choices.config()


def test_twenty_images_are_minutes_on_a_cpu_and_a_hundred_thousand_a_long_run_on_a_gpu() -> None:
    assert num_steps(FEW, CPU, 2, 2) == (300, "20 labeled images, each 30 times")
    assert num_steps(replace(FEW, num_labeled=5), CPU, 2, 2)[0] == 300
    assert num_steps(MANY, CPU, 2, 2) == (1_200, "the most on a CPU: minutes, not hours")
    assert num_steps(FEW, GPU, 4, 4) == (2_000, "the least on a GPU")
    assert num_steps(MANY, GPU, 4, 4) == (90_000, "the most on a GPU")


def test_steps_grow_with_the_square_root_of_the_labeled_images() -> None:
    steps = [
        num_steps(replace(FEW, num_labeled=n, num_unlabeled=0), GPU, 4, 4)[0] for n in (4_000, 16_000, 36_000)
    ]
    assert steps == [2_121, 4_243, 6_364]


def test_many_unlabeled_images_make_a_run_on_a_gpu_longer() -> None:
    data = replace(FEW, num_unlabeled=100_000)
    assert num_steps(data, GPU, 4, 4) == (37_500, "100,000 unlabeled images, each 1.5 times")
    assert num_steps(data, CPU, 2, 2)[0] == 300


@pytest.mark.parametrize(
    ("small_object", "short_side", "hardware", "side", "because"),
    [
        (0.032, 480, CPU, 256, "small objects are 15 px of 480; a CPU's bound"),
        (0.032, 480, GPU, 480, "small objects are 15 px of 480, 16 px are enough"),
        (0.2, 480, CPU, 192, "small objects are 96 px of 480, 16 px are enough"),
        (0.03, 300, GPU, 352, "small objects are 9 px of 300; the images are not larger"),
        (0.005, 3000, GPU, 800, "small objects are 15 px of 3000; a GPU's bound"),
        (0.5, 64, CPU, 64, "small objects are 32 px of 64; the images are not larger"),
        (0.5, 20, CPU, 32, "small objects are 10 px of 20; the images are not larger"),
    ],
)
def test_small_objects_keep_their_pixels_as_far_as_images_and_machine_allow(
    small_object: float, short_side: int, hardware: Hardware, side: int, because: str
) -> None:
    data = replace(FEW, small_object=small_object, short_side=short_side)
    assert test_side(data, hardware) == (side, because)


def test_only_classes_rarer_than_the_median_one_are_repeated() -> None:
    assert rare_below(replace(FEW, median_class_share=0.13, rarest_class_share=0.04))[0] == 0.13
    assert rare_below(FEW)[0] == 0.0
    assert rare_below(replace(FEW, rarest_class_share=0.1))[0] == 0.3
    assert rare_below(replace(FEW, median_class_share=0.2, rarest_class_share=0.2))[0] == 0.0


def test_scoring_while_training_costs_a_tenth_of_the_work_at_most_but_for_the_least() -> None:
    assert num_scorings(87, 600, 2, 2) == 5
    assert num_scorings(5_000, 2_000, 4, 4) == 1
    assert num_scorings(100_000, 600, 2, 2) == 1
    passes = 2_000 * (3 * 9 + 4)
    assert num_scorings(2_000, 2_000, 4, 4) == 3
    assert 3 * 2_000 <= 0.1 * passes < 4 * 2_000


def test_without_test_images_nothing_is_scored() -> None:
    assert fitted(replace(FEW, num_test=0), CPU).log.evaluate == 0


def test_what_is_given_wins_and_what_depends_on_it_follows() -> None:
    config = fitted(FEW, CPU, steps=30)
    assert (config.steps, config.burn_in, config.optim.warmup_steps, config.log.checkpoint) == (30, 10, 2, 3)


def test_a_given_setting_is_said_to_be_given() -> None:
    choices = Choices(Asked(config=replace(own(), steps=30), options=frozenset({"steps"})))
    choose_settings(choices, FEW, CPU)
    reasons = {choice.key: choice.because for choice in choices.made}
    assert reasons["steps"] == GIVEN
    assert reasons["burn_in"] != GIVEN


def test_no_setting_is_chosen_twice() -> None:
    choices = Choices(Asked(config=own(), options=frozenset()))
    choose_settings(choices, MANY, GPU)
    keys = [choice.key for choice in choices.made]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("data", [FEW, MANY])
@pytest.mark.parametrize("hardware", [CPU, replace(CPU, lite0=False), GPU, replace(GPU, gpu_memory=11.0)])
def test_every_fit_is_a_valid_configuration(data: DataSummary, hardware: Hardware) -> None:
    config = fitted(data, hardware)
    assert 0 < config.burn_in < config.steps
    assert config.view.short_range[0] < config.view.test_short < config.view.short_range[1]
    assert config.thresholds.policy == "prior"


def test_the_start_is_the_best_that_can_be_had() -> None:
    lite0 = fitted(FEW, CPU).model
    assert (lite0.name, lite0.backbone, lite0.size) == (
        "fcos-resnet50",
        "timm/tf_efficientnet_lite0",
        "compact",
    )
    assert fitted(FEW, GPU).model == ModelConfig(name="fasterrcnn-v2-resnet50", weights="coco")
    scratch = fitted(FEW, replace(CPU, lite0=False))
    assert scratch.model == ModelConfig(name="fcos-compact", weights="none")
    assert [config.optim.lr for config in (fitted(FEW, CPU), fitted(FEW, GPU), scratch)] == [1e-3, 1e-4, 3e-3]


@pytest.mark.parametrize("name", get_args(DetectorName))
def test_another_detector_brings_weights_that_it_has_and_an_optimiser_that_fits(name: DetectorName) -> None:
    asked = Asked(config=replace(own(), model=ModelConfig(name=name)), options=frozenset({"model.name"}))
    choices = Choices(asked)
    choose_settings(choices, FEW, CPU)
    config = choices.config()
    assert config.model.name == name
    assert config.model.weights in spec_of(name).weights or name == "fcos-resnet50"
    is_detr = name not in CONVOLUTIONAL
    assert (config.optim.clip, config.optim.lr <= 2e-4) == ((0.1, True) if is_detr else (10.0, False))
