"""Mixup and mosaic against plain float64 numpy written from the method."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.mix_plans import Layer, plan_mix
from pipeline.mixing import Mixer
from pipeline.settings import MixSettings, ViewSettings

VIEW = ViewSettings()
MIX = MixSettings(mosaic_range=(40, 80), erase_ratio=(0.0, 0.3))


def random_views(seed: int, num_images: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*rng.integers(30, 90, 2), 3), dtype=np.uint8) for _ in range(num_images)]


def view_sizes(images: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [image.shape[:2] for image in images]


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, edge pixels repeated, float64."""
    for axis, size in enumerate((height, width)):
        old = pixels.shape[axis]
        places = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        below = np.floor(places).astype(int)
        share = (places - below).reshape([-1 if index == axis else 1 for index in range(3)])
        above = np.minimum(below + 1, old - 1)
        pixels = pixels.take(below, axis) * (1 - share) + pixels.take(above, axis) * share
    return pixels


def canvases(layer: Layer, images: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """Each image resized, flipped, normalised, placed, erased."""
    drawn = []
    for index, image in enumerate(images):
        (height, width), (top, left) = layer.sizes_N2[index], layer.offsets_N2[index]
        pixels = resized(image.astype(np.float64), height, width)
        if layer.flips_N[index]:
            pixels = pixels[:, ::-1]
        canvas = np.zeros((*size, 3))
        canvas[top : top + height, left : left + width] = (pixels - VIEW.mean) / VIEW.std
        for x1, y1, x2, y2 in layer.patches_P4[
            layer.patch_offsets_N1[index] : layer.patch_offsets_N1[index + 1]
        ]:
            canvas[y1:y2, x1:x2] = 0
        drawn.append(canvas)
    return drawn


def pixels(images_BCHW: torch.Tensor) -> np.ndarray:
    assert images_BCHW.dtype == torch.float32
    assert images_BCHW.is_contiguous(memory_format=torch.channels_last)
    return images_BCHW.permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return Mixer(VIEW, batch_size=4, num_threads=1)


@pytest.mark.parametrize("seed", range(6))
def test_mixup_is_the_weighted_sum_of_two_placed_and_erased_images(mixer: Mixer, seed: int) -> None:
    current, cached = random_views(seed, 4), random_views(seed + 100, 8)
    settings = replace(MIX, weights=((0.5, 0.5), (0.3, 0.7), (1.0, 0.25))[seed % 3])
    plan = plan_mix(np.random.default_rng(seed), settings, view_sizes(current), view_sizes(cached)).mixup
    assert plan.partner is not None
    partner = [cached[position] for position in plan.partner_positions_B]
    found = pixels(mixer.mixup(plan, current, partner))
    assert found.shape[1:3] == plan.padded_size
    below = canvases(plan.current, current, plan.padded_size)
    above = canvases(plan.partner, partner, plan.padded_size)
    for mixed, one, other in zip(found, below, above, strict=True):
        expected = settings.weights[0] * one + settings.weights[1] * other
        rounded = 0.51 / min(VIEW.std) * settings.weights[1]  # the partner is resampled in whole grey levels
        np.testing.assert_allclose(mixed, expected, atol=rounded + 1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_a_mosaic_is_four_placed_and_erased_images(mixer: Mixer, seed: int) -> None:
    cached = random_views(seed, 8)
    plan = plan_mix(np.random.default_rng(seed), MIX, [(50, 50)], view_sizes(cached)).mosaic
    assert plan is not None
    tiles = [cached[position] for position in plan.positions_4]
    (found,) = pixels(mixer.mosaic(plan, tiles))
    expected = sum(canvases(plan.tiles, tiles, plan.padded_size))
    np.testing.assert_allclose(found, expected, atol=0.51 / min(VIEW.std) + 1e-5)


@pytest.mark.parametrize("erase", [True, False])
def test_without_partners_the_images_are_only_erased(mixer: Mixer, erase: bool) -> None:
    current = random_views(7, 3)
    plan = plan_mix(np.random.default_rng(7), replace(MIX, erase=erase), view_sizes(current), []).mixup
    found = pixels(mixer.mixup(plan, current, []))
    expected = canvases(plan.current, current, plan.padded_size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_offset_on_a_wide_canvas_is_met_exactly(mixer: Mixer) -> None:
    image = np.full((1, 1, 3), 255, np.uint8)
    layer = Layer(
        source_sizes_N2=np.ones((1, 2), np.int64),
        sizes_N2=np.ones((1, 2), np.int64),
        flips_N=np.array([False]),
        offsets_N2=np.zeros((1, 2), np.int64),
        patches_P4=np.zeros((0, 4), np.int64),
        patch_offsets_N1=np.zeros(2, np.int64),
    )
    plan = plan_mix(np.random.default_rng(0), MIX, [(1, 1)], []).mixup
    for left in range(0, 1344, 7):
        moved = replace(layer, offsets_N2=np.array([[left % 32, left]]))
        found = mixer.mixup(replace(plan, current=moved, padded_size=(32, 1344)), [image], [])
        assert found[0, 0].nonzero().tolist() == [[left % 32, left]]


def test_a_batch_of_one_and_any_thread_count_give_the_same_bytes(mixer: Mixer) -> None:
    current, cached = random_views(1, 4), random_views(2, 8)
    plan = plan_mix(np.random.default_rng(3), MIX, view_sizes(current), view_sizes(cached)).mixup
    partner = [cached[position] for position in plan.partner_positions_B]
    threaded = Mixer(VIEW, batch_size=9, num_threads=3)
    assert torch.equal(mixer.mixup(plan, current, partner), threaded.mixup(plan, current, partner))
    alone = plan_mix(np.random.default_rng(3), MIX, view_sizes(current[:1]), view_sizes(cached)).mixup
    assert mixer.mixup(alone, current[:1], [cached[0]]).shape == (1, 3, *alone.padded_size)


def test_the_views_themselves_are_never_changed(mixer: Mixer) -> None:
    current = random_views(5, 4)
    copies = [image.copy() for image in current]
    plan = plan_mix(np.random.default_rng(5), MIX, view_sizes(current), view_sizes(current * 2))
    mixer.mixup(plan.mixup, current, [current[position] for position in plan.mixup.partner_positions_B])
    for image, copy in zip(current, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_views_of_other_sizes_than_planned_are_refused(mixer: Mixer) -> None:
    plan = plan_mix(np.random.default_rng(0), MIX, [(50, 60)], []).mixup
    with pytest.raises(ValueError, match=r"strong views: got sizes \[\[40, 60\]\], planned \[\[50, 60\]\]"):
        mixer.mixup(plan, [np.zeros((40, 60, 3), np.uint8)], [])
