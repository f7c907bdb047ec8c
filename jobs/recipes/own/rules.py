"""The rules of `own`: what the data and the machine are, and the settings that follow.

In: `DataSummary`, `Hardware`, and what the command line gives. Out: choices with their reasons. Every rule is a
pure function of these; what is given on the command line is taken by the rules that come after it too.
docs/recipes.md states the rules for users.
"""

from __future__ import annotations

import math
from dataclasses import replace

from jobs.recipes.detector_constants import CONVOLUTIONAL, optimizer_of
from jobs.recipes.own.choices import Choices
from jobs.recipes.own.data_summary import DataSummary
from jobs.recipes.own.hardware import Hardware
from jobs.recipes.train_config import ModelConfig, OptimConfig
from model.detectors.build import spec_of
from model.detectors.spec import DetectorName
from model.detectors.timm_backbone import LITE0, LITE0_PACKAGE

SMALL_OBJECT_PIXELS = 16
"""Side that the small objects of a view should have: two cells of the finest stride, 8."""
SIDE_MULTIPLE = 32
LEAST_SIDE = 192
"""No test view is shorter, unless the images are."""
ENLARGED = 1.25
"""No test view is more times as large as the images: there is nothing more to see."""
CPU_SIDE, GPU_SIDE = 256, 800
LONG_SIDE = 1333 / 800
"""Longest side of a view, as a multiple of the short one (the paper's test views)."""
SCALES = (0.75, 1.25)
"""Short sides of the training views, as multiples of the test view's."""
TILES = (0.5, 1.0)
"""Sides of mosaic tiles, as multiples of the test view's short side (the paper's)."""

PASSES = 30
"""How often 20 labeled images are drawn; n of them sqrt(20 / n) times as often."""
CPU_STEPS, GPU_STEPS = (300, 1_200), (2_000, 90_000)
UNLABELED_PASSES = 1.5
"""How often a GPU draws every unlabeled image, where the steps allow it."""
BURN_IN = 1 / 3
"""Part of the steps that is supervised only: a teacher that knows nothing teaches nothing."""
RARE_BELOW = 0.3
"""No class in more than this share of the images is repeated."""
THRESHOLD_IMAGES = 100
"""Unlabeled images between two computations of the score thresholds."""
SCORING_SHARE = 0.1
"""Part of the computing that scoring while training may cost; and at most SCORINGS times."""
SCORINGS = 5
BACKWARD = 3
"""What learning from an image costs, in forward passes."""


def choose_settings(choices: Choices, data: DataSummary, hardware: Hardware) -> None:
    """Make all choices for this data on this machine."""
    choose_detector(choices, hardware)
    choose_views(choices, data, hardware)
    choose_batches(choices, hardware)
    choose_length(choices, data, hardware)
    choose_resampling(choices, data)
    choose_pseudo_labels(choices)
    choose_optimizer(choices)
    choose_intervals(choices, data)


def choose_detector(choices: Choices, hardware: Hardware) -> None:
    """Choose detector and start: the best weights that can be had, of a size that the machine can train."""
    start, because = starting_point(hardware)
    name = choices.choose("model.name", start.name, because)
    if name == start.name:
        choices.choose("model.backbone", start.backbone, because)
        choices.choose("model.weights", start.weights, because)
    else:
        weights = "imagenet" if "imagenet" in spec_of(name).weights else "none"
        choices.choose("model.weights", weights, "what there is for the backbone of that detector")
    wide = hardware.gpu_memory is not None or name == "fcos-compact"  # which has one size
    choices.choose(
        "model.size", "standard" if wide else "compact", "wide" if wide else "narrow: a CPU trains it"
    )


def starting_point(hardware: Hardware) -> tuple[ModelConfig, str]:
    """Return the detector with its start, and the reason."""
    if hardware.published:
        published = ModelConfig(name="fasterrcnn-v2-resnet50", weights="coco")
        return published, "a GPU, and weights from COCO can be had"
    if hardware.lite0:
        lite0 = ModelConfig(name="fcos-resnet50", backbone=LITE0, weights=LITE0_PACKAGE)
        return lite0, "the pretrained EfficientNet-Lite0 is installed"
    return ModelConfig(name="fcos-compact", weights="none"), "no pretrained weights are at hand"


def choose_views(choices: Choices, data: DataSummary, hardware: Hardware) -> None:
    """Choose view sizes that leave small objects enough pixels, as far as images and machine allow."""
    side, because = test_side(data, hardware)
    side = choices.choose("view.test_short", side, because)
    choices.choose(
        "view.test_long_max", round(LONG_SIDE * side), "1.67 x the short side, as the paper has it"
    )
    low, high = (round(scale * side) for scale in SCALES)
    choices.choose("view.short_range", (low, high), "0.75 to 1.25 x the test view")
    choices.choose("view.long_max", round(LONG_SIDE * high), "1.67 x the short side")
    tiles = (round(TILES[0] * side), round(TILES[1] * side))
    choices.choose("mix.mosaic_range", tiles, "half to one test view a tile, as the paper has it")


def test_side(data: DataSummary, hardware: Hardware) -> tuple[int, str]:
    """Return the short side of a test view and the reason."""
    pixels = data.small_object * data.short_side
    small = f"small objects are {pixels:.0f} px of {data.short_side}"
    wanted = SMALL_OBJECT_PIXELS / data.small_object
    bounds = {
        f"{small}, {SMALL_OBJECT_PIXELS} px are enough": max(wanted, LEAST_SIDE),
        f"{small}; the images are not larger": ENLARGED * data.short_side,
        f"{small}; a GPU's bound": GPU_SIDE,
    }
    if hardware.gpu_memory is None:
        bounds[f"{small}; a CPU's bound"] = CPU_SIDE
    because = min(bounds, key=lambda reason: bounds[reason])
    return max(SIDE_MULTIPLE, math.floor(bounds[because] / SIDE_MULTIPLE) * SIDE_MULTIPLE), because


def choose_batches(choices: Choices, hardware: Hardware) -> None:
    """Choose images a step."""
    match hardware.gpu_memory:
        case None:
            labeled, unlabeled, because = 2, 2, "a CPU: many steps of few images"
        case memory if memory < 20:
            labeled, unlabeled, because = 1, 4, f"{memory:.0f} GiB: the paper's batch of one GPU"
        case memory:
            labeled, unlabeled, because = 4, 4, f"{memory:.0f} GiB"
    choices.choose("data.batch_labeled", labeled, because)
    choices.choose("data.batch_unlabeled", unlabeled, because)


def choose_length(choices: Choices, data: DataSummary, hardware: Hardware) -> None:
    """Choose steps and burn-in."""
    steps, because = num_steps(
        data, hardware, choices.value("data.batch_labeled"), choices.value("data.batch_unlabeled")
    )
    steps = choices.choose("steps", steps, because)
    choices.choose(
        "burn_in", round(BURN_IN * steps), "a third of the steps: until then a teacher knows little"
    )


def num_steps(
    data: DataSummary, hardware: Hardware, batch_labeled: int, batch_unlabeled: int
) -> tuple[int, str]:
    """Return the number of steps and the reason."""
    draws = PASSES * math.sqrt(20 * data.num_labeled)
    steps = draws / batch_labeled
    because = f"{data.num_labeled:,} labeled images, each {draws / data.num_labeled:.0f} times"
    on_gpu = hardware.gpu_memory is not None
    low, high = GPU_STEPS if on_gpu else CPU_STEPS
    seen = UNLABELED_PASSES * data.num_unlabeled / batch_unlabeled
    if on_gpu and seen > steps:
        steps, because = seen, f"{data.num_unlabeled:,} unlabeled images, each {UNLABELED_PASSES:g} times"
    if steps < low:
        return low, f"the least on a {'GPU' if on_gpu else 'CPU'}"
    if steps > high:
        return high, f"the most on a {'GPU' if on_gpu else 'CPU: minutes, not hours'}"
    return round(steps), because


def choose_resampling(choices: Choices, data: DataSummary) -> None:
    """Choose the share of the images below which a class is rare."""
    threshold, because = rare_below(data)
    choices.choose("resampling.threshold", threshold, because)


def rare_below(data: DataSummary) -> tuple[float, str]:
    """Return the resampling threshold and the reason."""
    median, rarest = data.median_class_share, data.rarest_class_share
    shares = f"the rarest class is in {rarest:.1%} of the images, the median one in {median:.1%}"
    threshold = round(min(RARE_BELOW, median), 4)
    return (threshold, shares) if rarest < threshold else (0.0, f"{shares}: none is rare")


def choose_pseudo_labels(choices: Choices) -> None:
    """Choose whose boxes count: as many of each class as the labeled images have."""
    choices.choose("thresholds.policy", "prior", "few labels make a teacher that is right at low scores")
    every = max(1, round(THRESHOLD_IMAGES / choices.value("data.batch_unlabeled")))
    choices.choose("thresholds.every", every, f"from the last {THRESHOLD_IMAGES} unlabeled images")
    choices.choose("pseudo.gate", "any_image", "an image without an object closes no gate")
    choices.choose("pseudo.unsup_weight", 1.0, "half the paper's: these pseudo labels are weaker")
    choices.choose("teacher.warmup", 10.0, "the teacher averages over the last tenth of a short run")
    choices.choose("teacher.interval", 1, "few steps: follow each")


def choose_optimizer(choices: Choices) -> None:
    """Choose the optimiser by detector and start."""
    optim, because = fitting_optimizer(choices.value("model.name"), choices.value("model.weights"))
    choices.choose("optim.name", optim.name, "needs no tuning by the size of the batch")
    choices.choose("optim.lr", optim.lr, because)
    choices.choose("optim.backbone_lr", optim.backbone_lr, because)
    choices.choose("optim.weight_decay", optim.weight_decay, because)
    warmup = min(500, round(0.05 * choices.value("steps")))
    choices.choose("optim.warmup_steps", warmup, "a twentieth of the steps, at most 500")
    choices.choose("optim.clip", optim.clip, because)


def fitting_optimizer(name: DetectorName, weights: str) -> tuple[OptimConfig, str]:
    """Return AdamW for a detector that starts from these weights, and the reason."""
    if name not in CONVOLUTIONAL:
        return optimizer_of(name), "as published for the DETR family"
    optim = OptimConfig(name="adamw", lr=1e-4, backbone_lr=0.1, weight_decay=0.05, clip=10.0)
    if weights == "none":
        return replace(optim, lr=3e-3, backbone_lr=1.0), "all weights are new"
    if weights in ("imagenet", LITE0_PACKAGE):
        return replace(optim, lr=1e-3), "a new detector on a trained backbone"
    return optim, "a trained detector"


def choose_intervals(choices: Choices, data: DataSummary) -> None:
    """Choose when to score and to save."""
    steps = choices.value("steps")
    if data.num_test:
        times = num_scorings(
            data.num_test, steps, choices.value("data.batch_labeled"), choices.value("data.batch_unlabeled")
        )
        because = f"{times} times on {data.num_test:,} test images, a tenth of the work or less"
        choices.choose("log.evaluate", math.ceil(steps / times), because)
    else:
        choices.choose("log.evaluate", 0, "no test images")
    choices.choose(
        "log.checkpoint", min(1_000, math.ceil(steps / 10)), "every tenth of the run, or 1,000 steps"
    )
    choices.choose("log.metrics", min(20, math.ceil(steps / 50)), "fifty lines or more")
    choices.choose("log.online_labels", min(100, math.ceil(steps / 20)), "twenty files or more")


def num_scorings(num_test: int, steps: int, batch_labeled: int, batch_unlabeled: int) -> int:
    """Return how often the test images can be scored while training for a tenth of the work; at least once."""
    student = batch_labeled + batch_unlabeled + 1  # the mosaic
    passes = steps * (BACKWARD * student + batch_unlabeled)
    return max(1, min(SCORINGS, math.floor(SCORING_SHARE * passes / num_test)))
