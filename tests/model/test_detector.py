"""What every detector promises, on each of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.detector import Detector, Target, has_area
from tests.model.conftest import MIN_SCORE

NOTHING = Target(boxes_N4=torch.zeros(0, 4), categories_N=torch.zeros(0, dtype=torch.int64))


def losses(detector: Detector, drawn: Any, targets: list[Target], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)  # torchvision samples proposals from the global generator
    return detector.losses(drawn.images_BCHW, drawn.sizes_B2, targets)


def test_loss_parts_are_finite_float32_scalars_whose_sum_reaches_every_learning_parameter(
    detector: Detector, drawn: Any
) -> None:
    parts = losses(detector, drawn, drawn.targets)
    assert all(
        part.shape == () and part.dtype == torch.float32 and part.isfinite() for part in parts.values()
    )
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert all(p.grad is None for p in detector.parameters() if not p.requires_grad)


@pytest.mark.parametrize("num_empty", [1, 2])
def test_images_without_boxes_give_finite_losses_and_gradients(
    detector: Detector, drawn: Any, num_empty: int
) -> None:
    parts = losses(detector, drawn, [*drawn.targets[: 2 - num_empty], *[NOTHING] * num_empty])
    assert all(part.isfinite() for part in parts.values())
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in detector.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_degenerate_boxes_change_nothing(detector: Detector, drawn: Any) -> None:
    points = torch.tensor([[10.0, 10.0, 10.0, 30.0], [20.0, 20.0, 40.0, 20.0], [5.0, 5.0, 5.0, 5.0]])
    spoiled = [
        Target(
            boxes_N4=torch.cat([target.boxes_N4, points]),
            categories_N=torch.cat([target.categories_N, torch.tensor([0, 1, 2])]),
        )
        for target in drawn.targets
    ]
    clean, dirty = losses(detector, drawn, drawn.targets), losses(detector, drawn, spoiled)
    assert {name: part.item() for name, part in clean.items()} == {
        name: part.item() for name, part in dirty.items()
    }


def test_predictions_lie_inside_the_valid_area_and_are_sorted_and_of_known_classes(
    detector: Detector, drawn: Any
) -> None:
    predictions = detector.predict(drawn.images_BCHW, drawn.sizes_B2)
    assert len(predictions) == len(drawn.sizes_B2)
    for found, (height, width) in zip(predictions, drawn.sizes_B2, strict=True):
        assert len(found) > 0
        assert len(found) <= getattr(detector, "max_detections", 100)
        assert found.boxes_N4.dtype == found.scores_N.dtype == torch.float32
        assert found.boxes_N4.min() >= 0
        assert (found.boxes_N4[:, 2:] <= torch.tensor([width, height])).all()
        assert has_area(found.boxes_N4).all()
        assert (found.scores_N >= MIN_SCORE).all()
        assert (found.scores_N.diff() <= 0).all()
        assert ((found.categories_N >= 0) & (found.categories_N < 3)).all()


@pytest.mark.parametrize("training", [True, False])
def test_predict_takes_no_gradient_and_gives_the_mode_back(
    detector: Detector, drawn: Any, training: bool
) -> None:
    detector.train(training)
    found = detector.predict(drawn.images_BCHW, drawn.sizes_B2)[0]
    assert detector.training is training
    assert all(module.training is training for module in detector.modules())
    assert not found.boxes_N4.requires_grad
    assert not found.scores_N.requires_grad


def test_autocast_changes_losses_little_and_keeps_boxes_in_float32(detector: Detector, drawn: Any) -> None:
    plain = losses(detector, drawn, drawn.targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = losses(detector, drawn, drawn.targets)
        found = detector.predict(drawn.images_BCHW, drawn.sizes_B2)[0]
    assert all(part.dtype == torch.float32 for part in mixed.values())
    total, total_mixed = sum(plain.values(), torch.zeros(())), sum(mixed.values(), torch.zeros(()))
    assert total_mixed.item() == pytest.approx(total.item(), rel=0.1)
    assert found.boxes_N4.dtype == torch.float32
    # in bfloat16 coordinates above 32 px would be multiples of a quarter
    assert (found.boxes_N4[:, 2:] * 4 % 1 != 0).any()


def test_the_same_seed_gives_the_same_losses_and_gradients_bit_for_bit(
    detector: Detector, drawn: Any
) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        runs = [run_once(detector, drawn) for _ in range(2)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def run_once(detector: Detector, drawn: Any) -> list[Tensor]:
    detector.zero_grad(set_to_none=True)
    parts = losses(detector, drawn, drawn.targets)
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in detector.parameters() if p.grad is not None]
    return [*(part.detach() for part in parts.values()), *gradients]


def test_calling_the_module_is_its_losses(detector: Detector, drawn: Any) -> None:
    expected = losses(detector, drawn, drawn.targets)
    torch.manual_seed(0)
    called = detector(drawn.images_BCHW, drawn.sizes_B2, drawn.targets)
    assert {name: part.item() for name, part in called.items()} == {
        name: part.item() for name, part in expected.items()
    }


def test_a_batch_that_does_not_fit_is_refused_in_words(detector: Detector, drawn: Any) -> None:
    images, sizes, targets = drawn.images_BCHW, drawn.sizes_B2, drawn.targets
    with pytest.raises(ValueError, match="2 images, 1 sizes"):
        detector.losses(images, sizes[:1], targets)
    with pytest.raises(ValueError, match="1 targets"):
        detector.losses(images, sizes, targets[:1])
    with pytest.raises(ValueError, match="multiple of 32, got 60 x 64"):
        detector.predict(images[:, :, :60], [(60, 64), (60, 64)])
    with pytest.raises(ValueError, match="image 1 within the padded 64 x 64, got 64 x 65"):
        detector.predict(images, [(64, 64), (64, 65)])


def test_a_box_has_area_only_when_both_sides_are_longer_than_a_hundredth_pixel() -> None:
    nan = float("nan")
    boxes = torch.tensor(
        [[0.0, 0, 1, 1], [0, 0, 0.01, 1], [0, 0, 1, 0.005], [2, 0, 1, 1], [0, 0, nan, 1], [0, 0, 0.02, 0.02]]
    )
    assert has_area(boxes).tolist() == [True, False, False, False, False, True]
