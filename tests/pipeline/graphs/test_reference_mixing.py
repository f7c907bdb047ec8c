"""Partners and tiles of the reference mode against torch's own interpolate, flip and arithmetic, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.graphs.mixing import Mixer, nearest
from pipeline.plans.mix_draws import draw_mosaic
from pipeline.plans.mix_plans import MixupPlan, MosaicPlan, mosaic_plan, plan_mix
from pipeline.plans.move_boxes import mixup_labels, mosaic_labels, place
from pipeline.settings import MixSettings, ViewSettings
from storage.labels import Labels
from tests.pipeline.reference import coordinates, photo_like

VIEW = ViewSettings(short_range=(40, 150), long_max=180, interpolation="reference")
MIX = MixSettings(mosaic_range=(40, 80), erase_ratio=(0.0, 0.3))
KEEPS_ALL = replace(MIX, drop_ratio=np.inf)
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (VIEW.mean, VIEW.std))


def normalised_image(image: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(image).permute(2, 0, 1).float() - MEAN) / STD


def published(
    image: np.ndarray, boxes_N4: np.ndarray, bounds: tuple[int, int], patches: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """What becomes of a cached view and its boxes: interpolated, mirrored, erased; float32 throughout."""
    height, width = image.shape[:2]
    scale = min(bounds[0] / height, bounds[1] / width)
    resized = functional.interpolate(normalised_image(image)[None], scale_factor=scale)[0]
    new_height, new_width = resized.shape[-2:]
    boxes = torch.from_numpy(boxes_N4).clone() * scale
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, new_width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, new_height)
    boxes[:, [0, 2]] = new_width - boxes[:, [2, 0]]
    pixels = resized.flip(-1)
    for x1, y1, x2, y2 in patches.tolist():
        pixels[:, y1:y2, x1:x2] = 0
    return pixels, boxes


def solid(boxes_N4: torch.Tensor) -> torch.Tensor:
    """Which boxes have two sides; the published code keeps the others, and its loss becomes NaN of them."""
    return (boxes_N4[:, 2:] - boxes_N4[:, :2] > 0.01).all(dim=1)


def views_with_boxes(seed: int, num_images: int) -> tuple[list[np.ndarray], Labels]:
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(num_images):
        height, width = rng.integers(30, 90, 2).tolist()
        corners = np.sort(rng.uniform(0, 1, (5, 2, 2)), axis=1) * [width, height]
        images.append(photo_like(rng, height, width))
        labels.append(Labels.of_image(corners.reshape(5, 4), np.arange(5)))
    return images, Labels.concatenate(labels)


def sizes(images: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [image.shape[:2] for image in images]


def own_patches(layer: object, index: int) -> np.ndarray:
    """The patches of one image, in its own pixels."""
    first, last = layer.patch_offsets_N1[index : index + 2]
    return layer.patches_P4[first:last] - np.tile(layer.offsets_N2[index][::-1], 2)


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return Mixer(VIEW, batch_size=4)


def resize_cases() -> list[tuple[int, int, float]]:
    """Sizes and scales: of all kinds, doubled, and a pixel or two larger."""
    rng = np.random.default_rng(0)
    cases = rng.integers(2, 250, (400, 4)).tolist()
    cases += [[h, w, 2 * h, 2 * w] for h, w, _, _ in cases[:20]]
    cases += [[h, w, h + case % 2, w + case % 3] for case, (h, w, _, _) in enumerate(cases[:200])]
    scaled = [(h, w, min(bound_h / h, bound_w / w)) for h, w, bound_h, bound_w in cases]
    return [(h, w, scale) for h, w, scale in scaled if min(int(h * scale), int(w * scale)) >= 1]


def keeps_a_side(height: int, width: int, scale: float) -> bool:
    return scale != 1 and (int(height * scale) == height or int(width * scale) == width)


def assert_nearest_is_interpolates(height: int, width: int, scale: float, device: str) -> None:
    image = coordinates(height, width)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float().contiguous()[None].to(device)
    expected = functional.interpolate(pixels, scale_factor=scale)[0].permute(1, 2, 0).cpu().numpy()
    found = nearest(image, expected.shape[:2], scale, flip=False)
    np.testing.assert_array_equal(found, expected)
    mirrored = nearest(torch.from_numpy(image).to(device), expected.shape[:2], scale, flip=True)
    np.testing.assert_array_equal(mirrored.cpu().numpy(), expected[:, ::-1])


def test_nearest_is_torchs_interpolate_bit_for_bit() -> None:
    compared = [case for case in resize_cases() if not keeps_a_side(*case)]
    assert len(compared) > 400
    for case in compared:
        assert_nearest_is_interpolates(*case, device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nearest_is_torchs_interpolate_on_cuda_where_a_side_is_kept_too() -> None:
    assert sum(keeps_a_side(*case) for case in resize_cases()) > 20
    for case in resize_cases():
        assert_nearest_is_interpolates(*case, device="cuda")


def test_a_side_that_keeps_its_length_is_copied_as_on_cuda() -> None:
    found = nearest(coordinates(100, 50), (101, 50), 1.01, flip=False)
    assert found[0, :, 0].tolist() == list(range(50))
    assert found[:3, 0, 1].tolist() == [0, 0, 1]


def published_mixup(
    plan: MixupPlan, current: list[np.ndarray], partner: list[np.ndarray], labels: tuple[Labels, Labels]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The batch and boxes of the published code, which are merged, split and merged again there."""
    assert plan.partner is not None
    bounds = tuple(-(-max(size[axis] for size in sizes(current)) // 32) * 32 for axis in (0, 1))
    batch = torch.zeros(len(current), 3, *plan.padded_size)
    boxes = []
    for index, (one, other) in enumerate(zip(current, partner, strict=True)):
        below = normalised_image(one)
        for x1, y1, x2, y2 in own_patches(plan.current, index).tolist():
            below[:, y1:y2, x1:x2] = 0
        above, above_boxes = published(
            other, labels[1].image(index).boxes_N4, bounds, own_patches(plan.partner, index)
        )
        below_boxes = torch.from_numpy(labels[0].image(index).boxes_N4).clone()
        for layer, pixels, moved in (
            (plan.current, below, below_boxes),
            (plan.partner, above, above_boxes),
        ):
            top, left = layer.offsets_N2[index].tolist()
            height, width = pixels.shape[-2:]
            batch[index, :, top : top + height, left : left + width] += pixels * 0.5
            moved += torch.tensor([left, top, left, top])
            boxes.append(moved)
    return batch, boxes


@pytest.mark.parametrize("seed", range(6))
def test_a_mixup_is_the_published_one(mixer: Mixer, seed: int) -> None:
    current, current_labels = views_with_boxes(seed, 4)
    cached, cached_labels = views_with_boxes(seed + 100, 8)
    rng = np.random.default_rng(seed)
    plan = plan_mix(rng, KEEPS_ALL, VIEW, sizes(current), sizes(cached)).mixup
    order = plan.partner_positions_B
    partner = [cached[position] for position in order]
    partner_labels = Labels.concatenate([cached_labels.image(position) for position in order])
    batch, boxes = published_mixup(plan, current, partner, (current_labels, partner_labels))
    found = mixer.mixup(plan, current, partner)
    torch.testing.assert_close(found, batch, rtol=0, atol=5e-7)
    mixed = mixup_labels(plan, current_labels, partner_labels)
    for index in range(4):
        expected = torch.cat(boxes[2 * index : 2 * index + 2])
        expected = expected[solid(expected)].numpy()
        np.testing.assert_allclose(mixed.image(index).boxes_N4, expected, rtol=0, atol=2e-5)


def published_mosaic(
    plan: MosaicPlan, bounds: tuple[int, int], tiles: list[np.ndarray], labels: Labels
) -> tuple[torch.Tensor, torch.Tensor]:
    """Four tiles that touch the centre cross of two by two quadrants."""
    pixels, boxes = [], []
    for index, tile in enumerate(tiles):
        patches = own_patches(plan.tiles, index)
        one, moved = published(tile, labels.image(index).boxes_N4, bounds, patches)
        pixels.append(one)
        boxes.append(moved)
    height = -(-max(one.shape[1] for one in pixels) // 16) * 16
    width = -(-max(one.shape[2] for one in pixels) // 16) * 16
    canvas = torch.zeros(1, 3, 2 * height, 2 * width)
    for index, one in enumerate(pixels):
        top = height - one.shape[1] if index < 2 else height
        left = width if index % 2 else width - one.shape[2]
        canvas[0, :, top : top + one.shape[1], left : left + one.shape[2]] += one
        boxes[index] += torch.tensor([left, top, left, top])
    return canvas, torch.cat(boxes)


@pytest.mark.parametrize("seed", range(6))
def test_a_mosaic_is_the_published_one(mixer: Mixer, seed: int) -> None:
    cached, cached_labels = views_with_boxes(seed, 8)
    rng = np.random.default_rng(seed)
    draw = draw_mosaic(rng, MIX, VIEW, 4, np.array(sizes(cached)))
    plan = mosaic_plan(KEEPS_ALL, VIEW, draw, sizes(cached))
    tiles = [cached[position] for position in plan.positions_4]
    labels = Labels.concatenate([cached_labels.image(position) for position in plan.positions_4])
    canvas, boxes = published_mosaic(plan, draw.bounds, tiles, labels)
    found = mixer.mosaic(plan, tiles)
    assert found.shape == canvas.shape
    torch.testing.assert_close(found, canvas, rtol=0, atol=5e-7)
    moved = mosaic_labels(plan, labels)
    np.testing.assert_allclose(moved.boxes_N4, boxes[solid(boxes)].numpy(), rtol=0, atol=2e-5)


def test_erased_boxes_are_those_of_the_published_rule() -> None:
    kept = 0
    for seed in range(40):
        images, labels = views_with_boxes(seed, 4)
        rng = np.random.default_rng(seed)
        mix = replace(MIX, erase_ratio=(0.0, 0.6))
        plan = plan_mix(rng, mix, VIEW, [(50, 50)] * 4, sizes(images) * 2).mixup
        assert plan.partner is not None
        order = plan.partner_positions_B
        partner_labels = Labels.concatenate([labels.image(position % 4) for position in order])
        left = place(partner_labels, plan.partner)
        for index, position in enumerate(order):
            patches = own_patches(plan.partner, index)
            _, boxes = published(images[position % 4], labels.image(position % 4).boxes_N4, (64, 64), patches)
            corners = torch.from_numpy(patches).float()
            low = torch.maximum(boxes[:, None, :2], corners[:, :2])
            high = torch.minimum(boxes[:, None, 2:], corners[:, 2:])
            shared = (high - low).clamp(0).prod(-1).sum(-1) / ((boxes[:, 2:] - boxes[:, :2]).prod(-1) + 1e-7)
            expected = torch.arange(5)[(shared < 0.7) & solid(boxes)].tolist()
            assert left.image(index).categories_N.tolist() == expected
            kept += len(expected)
    assert 100 < kept < 790  # of 800: the rule was put to the test


def test_fitted_sizes_cut_fractions_as_torch_does() -> None:
    rng = np.random.default_rng(0)
    short_of_the_bound = 0
    for _ in range(200):
        cached = [tuple(size) for size in rng.integers(20, 900, (8, 2)).tolist()]
        plan = plan_mix(rng, MixSettings(erase=False), VIEW, [(50, 60)], cached).mosaic
        assert plan is not None
        for position, size, scale in zip(
            plan.positions_4, plan.tiles.sizes_N2.tolist(), plan.tiles.scales_N, strict=True
        ):
            expected = functional.interpolate(torch.zeros(1, 1, *cached[position]), scale_factor=float(scale))
            assert size == list(expected.shape[-2:])
            longest = np.array(cached[position]) * scale
            short_of_the_bound += bool((np.round(longest, 6) - size >= 1).any())
    assert short_of_the_bound > 0  # 49.999999 becomes 49
