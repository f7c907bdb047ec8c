"""What every detector promises, as plain functions over a detector that is built and not trained.

A check takes a detector, which it may change, and raises AssertionError. `CHECKS` are those that need no more;
`learn` and what follows it are for a detector that has learned eight drawn images. docs/add-a-detector.md runs all
of them on a detector that stands in its own text.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from analysis.coco_eval import evaluate_labels
from jobs.inference.tensor_labels import labels_of
from model.detector import Detections, Detector, Target, has_area
from model.method.optim import build_optimizer
from model.method.teacher import Teacher
from model.method.weight_update import clip_gradient
from storage.labels import Labels
from tests.model.drawn_batch import DrawnBatch, draw_batch

NUM_CLASSES = 3
LEAST_SIDE = 96
"""Pixels: the three levels of a DETR then have more cells than a compact one has queries."""
NUM_LEARNED = 8
"""Images that a detector learns by heart."""
NOTHING = Target(boxes_N4=torch.zeros(0, 4), categories_N=torch.zeros(0, dtype=torch.int64))
ROOT = Path(__file__).resolve().parents[2]


def batch_for(detector: Detector, num_images: int = 2, seed: int = 0) -> DrawnBatch:
    """Return images that the detector takes, with two large boxes each."""
    side = -(-LEAST_SIDE // detector.pad_multiple) * detector.pad_multiple
    return draw_batch(num_images=num_images, side=side, seed=seed, boxes_an_image=2, scale=2)


def losses(
    detector: Detector, batch: DrawnBatch, targets: Sequence[Target], seed: int = 0
) -> dict[str, Tensor]:
    """Return the parts of the loss; detectors that sample draw from the global generator."""
    torch.manual_seed(seed)
    return detector.losses(batch.images_BCHW, batch.sizes_B2, targets)


def total_of(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


def gradients(
    detector: Detector, batch: DrawnBatch, targets: Sequence[Target], seed: int = 0
) -> list[Tensor]:
    """Return the gradients that there are, of the sum of all parts."""
    detector.zero_grad(set_to_none=True)
    total_of(losses(detector, batch, targets, seed)).backward()  # type: ignore[no-untyped-call]
    return [parameter.grad.clone() for parameter in detector.parameters() if parameter.grad is not None]


def crowded(target: Target, num_boxes: int) -> Target:
    """Return a target of so many boxes: those of `target` again and again, each a little narrower."""
    index_N = torch.arange(num_boxes) % len(target.boxes_N4)
    shrink_N4 = torch.arange(num_boxes)[:, None] * torch.tensor([0.05, 0.05, -0.05, -0.05])
    return Target(boxes_N4=target.boxes_N4[index_N] + shrink_N4, categories_N=target.categories_N[index_N])


def losses_and_gradients_are_finite_for_any_number_of_boxes(detector: Detector) -> None:
    batch = batch_for(detector)
    first, second = batch.targets
    one = Target(boxes_N4=first.boxes_N4[:1], categories_N=first.categories_N[:1])
    for targets in ([first, second], [one, NOTHING], [crowded(first, 60), NOTHING], [NOTHING, NOTHING]):
        parts = losses(detector, batch, targets)
        assert parts
        for name, part in parts.items():
            assert part.shape == (), name
            assert part.dtype == torch.float32, name
            assert part.isfinite(), name
        found = gradients(detector, batch, targets)
        assert found
        assert all(gradient.isfinite().all() for gradient in found)


def gradients_reach_every_learning_parameter(detector: Detector, unreached: str | None = None) -> None:
    """Raise unless two images with boxes give every parameter that learns a gradient that is not zero.

    One step is made before: layers that start at zero let no gradient through to those below. `unreached`: a
    pattern that the names of those without must fit; there must then be some.
    """
    batch = batch_for(detector)
    optimizer = build_optimizer(detector, name="adamw", lr=1e-3, weight_decay=0.0)
    gradients(detector, batch, batch.targets, seed=0)
    optimizer.step()
    gradients(detector, batch, batch.targets, seed=1)
    learning = {name: value.grad for name, value in detector.named_parameters() if value.requires_grad}
    without = {name for name, gradient in learning.items() if gradient is None or not gradient.any()}
    strangers = {name for name in without if unreached is None or not re.search(unreached, name)}
    assert not strangers
    assert bool(without) == (unreached is not None), f"no parameter is without a gradient: drop {unreached}"


def calling_the_module_is_its_losses(detector: Detector) -> None:
    batch = batch_for(detector)
    expected = losses(detector, batch, batch.targets)
    torch.manual_seed(0)
    called = detector(batch.images_BCHW, batch.sizes_B2, batch.targets)
    assert {name: part.item() for name, part in called.items()} == {
        name: part.item() for name, part in expected.items()
    }


def degenerate_boxes_change_nothing(detector: Detector) -> None:
    batch = batch_for(detector)
    points = torch.tensor([[10.0, 10.0, 10.0, 30.0], [20.0, 20.0, 40.0, 20.0], [5.0, 5.0, 5.0, 5.0]])
    spoiled = [
        Target(
            boxes_N4=torch.cat([target.boxes_N4, points]),
            categories_N=torch.cat([target.categories_N, torch.tensor([0, 1, 2])]),
        )
        for target in batch.targets
    ]
    state = copy.deepcopy(detector.state_dict())
    clean = losses(detector, batch, batch.targets)
    detector.load_state_dict(state)  # live batch-norm has followed the images
    dirty = losses(detector, batch, spoiled)
    for name, part in clean.items():
        assert part.item() == dirty[name].item(), name


def the_same_seed_gives_the_same_losses_and_gradients_bit_for_bit(detector: Detector) -> None:
    batch = batch_for(detector)
    state = copy.deepcopy(detector.state_dict())
    runs = []
    for _ in range(2):
        detector.load_state_dict(state)
        runs.append(gradients(detector, batch, batch.targets))
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def predictions_lie_inside_the_image_and_are_sorted_and_few_and_of_known_classes(detector: Detector) -> None:
    batch = batch_for(detector)
    predictions = detector.predict(batch.images_BCHW, batch.sizes_B2)
    assert len(predictions) == len(batch.sizes_B2)
    for found, (height, width) in zip(predictions, batch.sizes_B2, strict=True):
        assert 0 < len(found) <= detector.max_detections
        assert found.boxes_N4.dtype == found.scores_N.dtype == torch.float32
        assert found.categories_N.dtype == torch.int64
        assert found.boxes_N4.min() >= 0
        assert (found.boxes_N4[:, 2:] <= torch.tensor([width, height])).all()
        assert has_area(found.boxes_N4).all()
        assert ((found.scores_N >= 0) & (found.scores_N <= 1)).all()
        assert (found.scores_N.diff() <= 0).all()
        assert ((found.categories_N >= 0) & (found.categories_N < NUM_CLASSES)).all()


def predict_is_deterministic_takes_no_gradient_and_gives_the_mode_back(detector: Detector) -> None:
    batch = batch_for(detector)
    found = []
    for training in (True, False):
        detector.train(training)
        found.append(detector.predict(batch.images_BCHW, batch.sizes_B2)[0])
        assert all(module.training is training for module in detector.modules())
    first, second = found
    assert torch.equal(first.boxes_N4, second.boxes_N4)
    assert torch.equal(first.scores_N, second.scores_N)
    assert not first.boxes_N4.requires_grad
    assert not first.scores_N.requires_grad


def bfloat16_changes_losses_little_and_keeps_boxes_in_float32(detector: Detector) -> None:
    batch = batch_for(detector)
    plain = total_of(losses(detector, batch, batch.targets)).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = losses(detector, batch, batch.targets)
        found = detector.predict(batch.images_BCHW, batch.sizes_B2)[0]
    assert all(part.dtype == torch.float32 for part in mixed.values())
    assert total_of(mixed).item() == pytest.approx(plain, rel=0.1)
    assert found.boxes_N4.dtype == found.scores_N.dtype == torch.float32
    # in bfloat16 coordinates from 32 px on would be multiples of a quarter
    far = found.boxes_N4[found.boxes_N4 > 32]
    assert (far * 4 % 1 != 0).any()


def groups_hold_every_parameter_once(detector: Detector) -> None:
    groups = detector.parameter_groups()
    held = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(held) == sorted(id(parameter) for parameter in detector.parameters())
    assert any(group.name == "backbone" for group in groups)
    assert all(group.lr_factor > 0 and group.decay_factor >= 0 for group in groups)


def candidates_have_a_class_each_and_boxes_give_some(detector: Detector) -> None:
    batch = batch_for(detector)
    torch.manual_seed(0)
    first, second = detector.candidates(batch.images_BCHW, batch.sizes_B2, [batch.targets[0], NOTHING])
    for found in (first, second):
        num_columns = NUM_CLASSES + 1 if found.activation == "softmax" else found.logits_AK.shape[1]
        assert found.logits_AK.shape == (len(found.classes_A), num_columns)
        assert found.boxes_A4.shape == (len(found.classes_A), 4)
        assert found.logits_AK.dtype == found.boxes_A4.dtype == torch.float32
        assert found.classes_A.dtype == torch.int64
        assert found.logits_AK.isfinite().all()
        assert found.boxes_A4.isfinite().all()
        assert ((found.classes_A >= -1) & (found.classes_A <= NUM_CLASSES)).all()
    foreground = (first.classes_A >= 0) & (first.classes_A < NUM_CLASSES)
    assert set(first.classes_A[foreground].tolist()) == set(batch.targets[0].categories_N.tolist())
    assert set(second.classes_A.tolist()) <= {-1, NUM_CLASSES}


def teacher_and_student_are_interchangeable(detector: Detector) -> None:
    batch = batch_for(detector)
    teacher = Teacher(detector, interval=1)
    same_predictions(teacher.detector, detector, batch)
    optimizer = build_optimizer(detector, name="sgd", lr=1e-3, weight_decay=0.0)
    gradients(detector, batch, batch.targets)
    optimizer.step()
    teacher.update(detector, 0)  # at iteration 0 the student's share is 1
    same_predictions(teacher.detector, detector, batch)
    detector.load_state_dict(teacher.detector.state_dict())


def a_resumed_detector_equals_one_that_never_stopped_bit_for_bit(detector: Detector) -> None:
    batch = batch_for(detector)
    optimizer = build_optimizer(detector, name="adamw", lr=1e-4, weight_decay=0.05)
    gradients(detector, batch, batch.targets, seed=0)
    optimizer.step()
    again = copy.deepcopy(detector)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    again.load_state_dict(copy.deepcopy(detector.state_dict()))
    resumed = build_optimizer(again, name="adamw", lr=1e-4, weight_decay=0.05)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, by in ((detector, optimizer), (again, resumed)):
        gradients(model, batch, batch.targets, seed=1)
        by.step()
    for name, value in detector.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def a_batch_that_does_not_fit_is_refused_in_words(detector: Detector) -> None:
    batch, multiple = batch_for(detector), detector.pad_multiple
    images, sizes, targets = batch.images_BCHW, batch.sizes_B2, batch.targets
    side = images.shape[-1]
    with pytest.raises(ValueError, match="2 images, 1 sizes"):
        detector.losses(images, sizes[:1], targets)
    with pytest.raises(ValueError, match="1 targets"):
        detector.losses(images, sizes, targets[:1])
    with pytest.raises(ValueError, match=f"multiple of {multiple}, got {side - 4} x {side}"):
        detector.predict(images[:, :, :-4], [(side - 4, side)] * 2)
    with pytest.raises(
        ValueError, match=f"image 1 within the padded {side} x {side}, got {side} x {side + 1}"
    ):
        detector.predict(images, [(side, side), (side, side + 1)])


CHECKS: tuple[Callable[[Detector], None], ...] = (
    losses_and_gradients_are_finite_for_any_number_of_boxes,
    calling_the_module_is_its_losses,
    degenerate_boxes_change_nothing,
    the_same_seed_gives_the_same_losses_and_gradients_bit_for_bit,
    predictions_lie_inside_the_image_and_are_sorted_and_few_and_of_known_classes,
    predict_is_deterministic_takes_no_gradient_and_gives_the_mode_back,
    bfloat16_changes_losses_little_and_keeps_boxes_in_float32,
    groups_hold_every_parameter_once,
    candidates_have_a_class_each_and_boxes_give_some,
    teacher_and_student_are_interchangeable,
    a_resumed_detector_equals_one_that_never_stopped_bit_for_bit,
    a_batch_that_does_not_fit_is_refused_in_words,
)


def same_predictions(one: Detector, other: Detector, batch: DrawnBatch) -> None:
    """Raise unless two detectors find the same; a copy may add in another order."""
    for mine, theirs in zip(
        one.predict(batch.images_BCHW, batch.sizes_B2),
        other.predict(batch.images_BCHW, batch.sizes_B2),
        strict=True,
    ):
        torch.testing.assert_close(mine.boxes_N4, theirs.boxes_N4, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(mine.scores_N, theirs.scores_N, atol=1e-5, rtol=1e-5)
        assert torch.equal(mine.categories_N, theirs.categories_N)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a small detector learns eight drawn images, and what padding may change in what it then finds."""

    steps: int = 60
    lr: float = 1e-3
    images_a_step: int = 8
    max_gradient: float = 10.0
    """Largest norm of the gradient."""
    least_ap50: float = 90.0
    """In percent, on the eight images."""
    sure: float = 0.5
    """The score above which a detection has to stay when its image is padded."""
    padded_iou: float = 0.8
    """Least IoU of a detection that is sure with one of its class on the same image, padded wider or higher."""
    padded_score: float = 0.2
    """Largest change of its score."""


def learn(detector: Detector, lesson: Lesson) -> float:
    """Train on eight images and return AP50 on them, in percent."""
    batch = batch_for(detector, num_images=NUM_LEARNED, seed=1)
    optimizer = build_optimizer(detector, name="adamw", lr=lesson.lr, weight_decay=1e-4)
    for step in range(lesson.steps):
        part = part_of(
            batch, first=step * lesson.images_a_step % NUM_LEARNED, num_images=lesson.images_a_step
        )
        gradients(detector, part, part.targets, seed=step)
        clip_gradient(detector.parameters(), lesson.max_gradient)
        for group in optimizer.param_groups:  # the last quarter at a tenth
            group["lr"] = group["initial_lr"] * (1.0 if 4 * step < 3 * lesson.steps else 0.1)
        optimizer.step()
    found = labels_of(detector.predict(batch.images_BCHW, batch.sizes_B2))
    return float(evaluate_labels(found, truth_of(batch), classes=("a", "b", "c")).figures["AP50"])


def part_of(batch: DrawnBatch, *, first: int, num_images: int) -> DrawnBatch:
    """Return the images from `first` on."""
    chosen = slice(first, first + num_images)
    return DrawnBatch(
        images_BCHW=batch.images_BCHW[chosen], sizes_B2=batch.sizes_B2[chosen], targets=batch.targets[chosen]
    )


def truth_of(batch: DrawnBatch) -> Labels:
    return Labels.concatenate(
        [Labels.of_image(target.boxes_N4.numpy(), target.categories_N.numpy()) for target in batch.targets]
    )


def padding_changes_little(trained: Detector, lesson: Lesson) -> None:
    """Raise unless what a trained detector is sure of stays when the batch is padded wider, and when higher."""
    batch = batch_for(trained, num_images=NUM_LEARNED, seed=1)
    multiple = trained.pad_multiple
    found = trained.predict(batch.images_BCHW, batch.sizes_B2)
    assert sum(int((of_image.scores_N > lesson.sure).sum()) for of_image in found) >= NUM_LEARNED
    for padding in ((0, multiple), (0, 0, 0, multiple)):
        padded_BCHW = torch.nn.functional.pad(batch.images_BCHW, padding)
        for of_image, other in zip(found, trained.predict(padded_BCHW, batch.sizes_B2), strict=True):
            for index in (of_image.scores_N > lesson.sure).nonzero()[:, 0].tolist():
                partner = has_partner(of_image, index, other, lesson)
                assert partner, f"{of_image.boxes_N4[index]} has no partner under {padding}"


def has_partner(found: Detections, index: int, other: Detections, lesson: Lesson) -> bool:
    iou_N = box_iou(found.boxes_N4[index][None], other.boxes_N4)[0]
    near_N = (iou_N >= lesson.padded_iou) & (other.categories_N == found.categories_N[index])
    change_N = (other.scores_N - found.scores_N[index]).abs()
    return bool((near_N & (change_N <= lesson.padded_score)).any())


def two_ranks_agree(*builders: str) -> None:
    """Train two processes, one without a box, by the exchange of `mixpl train`; raise unless their weights agree.

    `builders`: names of detectors, or `FILE.py:FUNCTION` that returns one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.two_ranks", *builders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == list(builders)
