"""The box kernel against plain Python written from the method, for any boxes and any plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plans.mix_draws import Patches
from pipeline.plans.mix_plans import plan_layer, plan_mix
from pipeline.plans.move_boxes import mixup_labels, mosaic_labels, place, project
from pipeline.plans.view_plans import plan_strong, plan_weak
from pipeline.settings import MixSettings, ViewSettings
from storage.labels import Labels
from tests.pipeline.reference import moved_box

VIEW = ViewSettings()
SEEDS = st.integers(0, 10_000)
UNTIMED = settings(deadline=None)
"""The first call loads the compiled kernel, which takes half a second."""


def random_labels(rng: np.random.Generator, sizes_B2: np.ndarray, most: int = 6) -> Labels:
    """Boxes inside their images, 0 to `most` each, told apart by their categories."""
    images = []
    for height, width in sizes_B2:
        corners = rng.uniform(0, 1, (rng.integers(most + 1), 2, 2)) * [width, height]
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        images.append(Labels.of_image(boxes, rng.integers(1000, size=len(boxes)), rng.random(len(boxes))))
    return Labels.concatenate(images)


def rows(labels: Labels, image: int) -> list[tuple[int, list[float]]]:
    one = labels.image(image)
    return list(zip(one.categories_N.tolist(), one.boxes_N4.tolist(), strict=True))


def reference(labels: Labels, matrix: np.ndarray, clip: np.ndarray, patches: np.ndarray) -> list:
    moved = [(category, moved_box(box, matrix, clip, patches)) for category, box in rows(labels, 0)]
    return [(category, box) for category, box in moved if box is not None]


def assert_same(got: list, expected: list) -> None:
    assert [category for category, _ in got] == [category for category, _ in expected]
    np.testing.assert_allclose([box for _, box in got], [box for _, box in expected], atol=2e-4)


@UNTIMED
@given(seed=SEEDS)
def test_projection_equals_the_reference_and_keeps_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = plan_strong(rng, VIEW, rng.integers(20, 500, (4, 2)))
    labels = random_labels(rng, plan.source_sizes_B2)
    moved = project(labels, plan.matrices_B33, plan.sizes_B2)
    for image, (height, width) in enumerate(plan.sizes_B2):
        clip = np.array([0, 0, width, height])
        expected = reference(labels.image(image), plan.matrices_B33[image], clip, np.zeros((0, 4)))
        assert_same(rows(moved, image), expected)


@UNTIMED
@given(seed=SEEDS)
def test_placing_equals_the_reference_with_its_erase_filter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mix = MixSettings(mosaic_range=(50, 400), erase_ratio=(0.0, 0.6))
    plan = plan_mix(rng, mix, VIEW, rng.integers(20, 300, (2, 2)), rng.integers(20, 300, (8, 2)))
    assert plan.mosaic is not None
    assert plan.mixup.partner is not None
    for layer in (plan.mixup.current, plan.mixup.partner, plan.mosaic.tiles):
        labels = random_labels(rng, layer.source_sizes_N2)
        placed = place(labels, layer)
        for image in range(len(layer)):
            (top, left), (height, width) = layer.offsets_N2[image], layer.sizes_N2[image]
            patches = layer.patches_P4[layer.patch_offsets_N1[image] : layer.patch_offsets_N1[image + 1]]
            clip = np.array([left, top, left + width, top + height])
            expected = reference(labels.image(image), layer.matrices_N33[image], clip, patches)
            assert_same(rows(placed, image), expected)


@UNTIMED
@given(seed=SEEDS)
def test_weak_to_original_and_back_returns_the_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = plan_weak(rng, VIEW, rng.integers(50, 500, (3, 2)))
    labels = random_labels(rng, plan.source_sizes_B2)
    wide = (labels.boxes_N4[:, 2:] - labels.boxes_N4[:, :2] > 1).all(axis=1)
    labels = labels.keep(wide)
    there = project(labels, plan.matrices_B33, plan.sizes_B2)
    back = project(there, np.linalg.inv(plan.matrices_B33), plan.source_sizes_B2)
    np.testing.assert_array_equal(back.offsets_B1, labels.offsets_B1)
    np.testing.assert_allclose(back.boxes_N4, labels.boxes_N4, atol=2e-3)
    np.testing.assert_array_equal(back.scores_N, labels.scores_N)


def placed_once(patches_P4: list[list[int]]) -> Labels:
    """A box of 10 x 10 in an image of 20 x 20, drawn as it is, under these patches."""
    layer = plan_layer(MixSettings(), [[20, 20]], patches=Patches.of_images([patches_P4]))
    return place(Labels.of_image([[5, 5, 15, 15]], [0]), layer)


def test_a_box_is_dropped_at_seventy_percent_and_kept_below() -> None:
    assert len(placed_once([[5, 5, 12, 15]]).boxes_N4) == 0
    assert len(placed_once([[5, 5, 12, 14]]).boxes_N4) == 1


def test_the_overlap_of_two_patches_counts_twice() -> None:
    assert len(placed_once([[5, 5, 9, 15]]).boxes_N4) == 1
    assert len(placed_once([[5, 5, 9, 15], [5, 5, 9, 15]]).boxes_N4) == 0


def test_a_box_without_patches_passes_unchanged() -> None:
    assert placed_once([]).boxes_N4.tolist() == [[5, 5, 15, 15]]


def test_a_sliver_at_the_border_is_dropped_and_its_image_stays() -> None:
    labels = Labels.of_image([[-5, 0, 0.01, 9], [-5, 0, 0.02, 9], [30, 0, 40, 9]], [0, 1, 2])
    moved = project(labels, np.eye(3)[None], np.array([[10, 30]]))
    assert moved.categories_N.tolist() == [1]
    assert len(project(labels.image(0), np.eye(3)[None], np.array([[10, 1]]))) == 1


def test_mixup_gives_each_image_its_own_boxes_then_its_partners() -> None:
    sizes = [(60, 80), (50, 50)]
    plan = plan_mix(np.random.default_rng(0), MixSettings(erase=False), VIEW, sizes, [(40, 40)] * 8).mixup
    assert plan.partner is not None
    current = Labels.concatenate(
        [Labels.of_image([[1, 1, 9, 9], [2, 2, 9, 9]], [1, 2]), Labels.of_image([], [])]
    )
    partner = Labels.concatenate(
        [Labels.of_image([[3, 3, 9, 9]], [3]), Labels.of_image([[4, 4, 9, 9], [5, 5, 9, 9]], [4, 5])]
    )
    mixed = mixup_labels(plan, current, partner)
    assert mixed.categories_N.tolist() == [1, 2, 3, 4, 5]
    assert mixed.offsets_B1.tolist() == [0, 3, 5]
    placed = place(partner, plan.partner)
    np.testing.assert_array_equal(mixed.boxes_N4[2:], placed.boxes_N4)


def test_a_mosaic_is_one_image_with_the_boxes_of_its_four_tiles() -> None:
    plan = plan_mix(
        np.random.default_rng(0), MixSettings(erase=False), VIEW, [(60, 80)], [(40, 40)] * 8
    ).mosaic
    assert plan is not None
    tiles = Labels.concatenate(
        [Labels.of_image([[1, 1, 9, 9]], [tile]) if tile != 2 else Labels.empty(1) for tile in range(4)]
    )
    mosaic = mosaic_labels(plan, tiles)
    assert mosaic.categories_N.tolist() == [0, 1, 3]
    assert mosaic.offsets_B1.tolist() == [0, 3]


def test_a_batch_without_any_box_stays_a_batch() -> None:
    plan = plan_mix(np.random.default_rng(0), MixSettings(), VIEW, [(60, 80)] * 4, [(40, 40)] * 8)
    assert plan.mosaic is not None
    mixed = mixup_labels(plan.mixup, Labels.empty(4), Labels.empty(4))
    mosaic = mosaic_labels(plan.mosaic, Labels.empty(4))
    assert [len(mixed), len(mixed.boxes_N4), len(mosaic), len(mosaic.boxes_N4)] == [4, 0, 1, 0]


def test_labels_of_another_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="labels: got those of 3 images, the plan was drawn for 2"):
        project(Labels.empty(3), np.stack([np.eye(3)] * 2), np.array([[9, 9]] * 2))
