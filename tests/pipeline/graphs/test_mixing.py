"""Mixup and mosaic against plain float64 numpy written from the method."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.graphs.graph import GraphDevice
from pipeline.graphs.mixing import Mixer
from pipeline.plans.mix_plans import Layer, plan_layer, plan_mix
from pipeline.settings import MixSettings, ViewSettings
from tests.pipeline.reference import bilinear, coordinates, normalised, placed, resize_matrix

VIEW = ViewSettings()
MIX = MixSettings(mosaic_range=(40, 80), erase_ratio=(0.0, 0.3))


def random_views(seed: int, num_images: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*rng.integers(30, 90, 2), 3), dtype=np.uint8) for _ in range(num_images)]


def view_sizes(images: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [image.shape[:2] for image in images]


def canvases(layer: Layer, images: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """Each image resized, flipped, normalised, placed, erased."""
    drawn = []
    for index, image in enumerate(images):
        source, sides = layer.source_sizes_N2[index], layer.sizes_N2[index]
        matrix = resize_matrix(source, sides, flip=layer.flips_N[index])
        pixels = normalised(bilinear(image, matrix, sides, None), VIEW.mean, VIEW.std)
        first, last = layer.patch_offsets_N1[index : index + 2]
        offset = layer.offsets_N2[index]
        patches = layer.patches_P4[first:last] - [*offset[::-1], *offset[::-1]]
        drawn.append(placed(pixels, size, offset, patches))
    return drawn


def pixels(images_BCHW: torch.Tensor) -> np.ndarray:
    assert images_BCHW.dtype == torch.float32
    assert images_BCHW.is_contiguous(memory_format=torch.channels_last)
    return images_BCHW.permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return Mixer(VIEW, batch_size=4)


@pytest.mark.parametrize("seed", range(6))
def test_mixup_is_the_weighted_sum_of_two_placed_and_erased_images(mixer: Mixer, seed: int) -> None:
    current, cached = random_views(seed, 4), random_views(seed + 100, 8)
    settings = replace(MIX, weights=((0.5, 0.5), (0.3, 0.7), (1.0, 0.25))[seed % 3])
    plan = plan_mix(
        np.random.default_rng(seed), settings, VIEW, view_sizes(current), view_sizes(cached)
    ).mixup
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
    plan = plan_mix(np.random.default_rng(seed), MIX, VIEW, [(50, 50)], view_sizes(cached)).mosaic
    assert plan is not None
    tiles = [cached[position] for position in plan.positions_4]
    (found,) = pixels(mixer.mosaic(plan, tiles))
    expected = sum(canvases(plan.tiles, tiles, plan.padded_size))
    np.testing.assert_allclose(found, expected, atol=0.51 / min(VIEW.std) + 1e-5)


@pytest.mark.parametrize("erase", [True, False])
def test_without_partners_the_images_are_only_erased(mixer: Mixer, erase: bool) -> None:
    current = random_views(7, 3)
    plan = plan_mix(np.random.default_rng(7), replace(MIX, erase=erase), VIEW, view_sizes(current), []).mixup
    found = pixels(mixer.mixup(plan, current, []))
    expected = canvases(plan.current, current, plan.padded_size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_offset_on_a_wide_canvas_is_met_exactly(mixer: Mixer) -> None:
    image = np.full((1, 1, 3), 255, np.uint8)
    layer = plan_layer(MIX, [(1, 1)])
    plan = plan_mix(np.random.default_rng(0), MIX, VIEW, [(1, 1)], []).mixup
    for left in range(0, 1344, 7):
        moved = replace(layer, offsets_N2=np.array([[left % 32, left]]))
        found = mixer.mixup(replace(plan, current=moved, padded_size=(32, 1344)), [image], [])
        assert found[0, 0].nonzero().tolist() == [[left % 32, left]]


@pytest.mark.parametrize("mode", ["linear", "reference"])
def test_any_thread_count_and_batch_size_give_the_same_bytes(mode: str) -> None:
    current, cached = random_views(1, 4), random_views(2, 8)
    plan = plan_mix(
        np.random.default_rng(3),
        MIX,
        replace(VIEW, interpolation=mode),
        view_sizes(current),
        view_sizes(cached),
    )
    assert plan.mosaic is not None
    results = []
    for threads, batch_size in ((1, 4), (2, 9), (4, 16)):
        mixer = Mixer(VIEW, batch_size=batch_size, device=GraphDevice(num_threads=threads))
        partner = [cached[position] for position in plan.mixup.partner_positions_B]
        tiles = [cached[position] for position in plan.mosaic.positions_4]
        results.append((mixer.mixup(plan.mixup, current, partner), mixer.mosaic(plan.mosaic, tiles)))
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])


def test_a_batch_may_be_of_one_image(mixer: Mixer) -> None:
    current, cached = random_views(1, 1), random_views(2, 8)
    alone = plan_mix(np.random.default_rng(3), MIX, VIEW, view_sizes(current), view_sizes(cached)).mixup
    assert mixer.mixup(alone, current, [cached[0]]).shape == (1, 3, *alone.padded_size)


def test_each_pixel_of_a_mosaic_says_where_it_came_from(mixer: Mixer) -> None:
    """On images of coordinates: the column that a pixel names, read off it, is that of the mirrored resize."""
    sources = [(60, 90), (100, 50), (80, 80), (33, 120)]
    cached = [coordinates(*source) for source in sources]
    plan = plan_mix(np.random.default_rng(0), replace(MIX, erase=False), VIEW, [(9, 9)], sources * 2).mosaic
    assert plan is not None
    tiles = [(cached * 2)[position] for position in plan.positions_4]
    (found,) = pixels(mixer.mosaic(plan, tiles))
    found = found * VIEW.std + VIEW.mean
    for tile, (top, left), (height, width) in zip(
        tiles, plan.tiles.offsets_N2, plan.tiles.sizes_N2, strict=True
    ):
        inside = found[top : top + height, left : left + width]
        columns = (width - 0.5 - np.arange(width)) * tile.shape[1] / width - 0.5
        rows = (np.arange(height) + 0.5) * tile.shape[0] / height - 0.5
        columns, rows = columns.clip(0, tile.shape[1] - 1), rows.clip(0, tile.shape[0] - 1)
        assert np.abs(inside[..., 0] - columns[None]).max() <= 0.51
        assert np.abs(inside[..., 1] - rows[:, None]).max() <= 0.51


def test_the_views_themselves_are_never_changed(mixer: Mixer) -> None:
    current = random_views(5, 4)
    copies = [image.copy() for image in current]
    plan = plan_mix(np.random.default_rng(5), MIX, VIEW, view_sizes(current), view_sizes(current * 2))
    mixer.mixup(plan.mixup, current, [current[position] for position in plan.mixup.partner_positions_B])
    for image, copy in zip(current, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_views_of_other_sizes_than_planned_are_refused(mixer: Mixer) -> None:
    plan = plan_mix(np.random.default_rng(0), MIX, VIEW, [(50, 60)], []).mixup
    with pytest.raises(
        ValueError, match=r"strong views: got sizes .* \[\[40, 60\]\], planned \[\[50, 60\]\]"
    ):
        mixer.mixup(plan, [np.zeros((40, 60, 3), np.uint8)], [])


def test_a_partner_that_keeps_its_size_is_mirrored_all_the_same(mixer: Mixer) -> None:
    rng = np.random.default_rng(0)
    current, partner = (rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(2))
    plan = plan_mix(rng, replace(MIX, erase=False), VIEW, [(64, 96)], [(64, 96)] * 8).mixup
    assert plan.partner is not None
    assert plan.partner.sizes_N2.tolist() == [[64, 96]]
    (found,) = pixels(mixer.mixup(plan, [current], [partner]))
    expected = (current.astype(np.float64) + partner[:, ::-1]) / 2
    np.testing.assert_allclose(found * VIEW.std + VIEW.mean, expected, atol=1e-3)
