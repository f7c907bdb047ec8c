"""Views of the reference mode against plain float64 numpy, and their boxes against float32 homographies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.graphs.views import UnlabeledViews
from pipeline.loaders.batch import UnlabeledPlan
from pipeline.plans.geometry import geometric_matrix, reference_matrices
from pipeline.plans.mix_plans import plan_mix
from pipeline.plans.move_boxes import project
from pipeline.plans.view_plans import ViewDraw, plan_labeled, plan_strong, plan_test, plan_weak, view_plan
from pipeline.settings import GEOMETRIC_OPS, MixSettings, ViewSettings
from storage.labels import Labels
from tests.pipeline.batches import open_loader
from tests.pipeline.reference import bilinear, colour, coordinates, photo_like, resize_matrix

VIEW = ViewSettings(short_range=(40, 150), long_max=180, interpolation="reference")
MIX = MixSettings(mosaic_range=(40, 80), erase_ratio=(0.0, 0.3))


def homography(name: str, amount: float, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The published maps: of pixel centres (x, y), and of box edges; the same numbers for both."""
    (height, width), tangent = size, np.tan(amount)
    x, y, c, s = (width - 1) / 2, (height - 1) / 2, np.cos(amount), np.sin(amount)
    of_both = {
        "rotate": np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [0, 0, 1]]),
        "shear_x": np.array([[1, tangent, 0], [0, 1, 0], [0, 0, 1]]),
        "shear_y": np.array([[1, 0, 0], [tangent, 1, 0], [0, 0, 1]]),
        "translate_x": np.array([[1, 0, int(width * amount)], [0, 1, 0], [0, 0, 1]]),
        "translate_y": np.array([[1, 0, 0], [0, 1, int(height * amount)], [0, 0, 1]]),
    }[name]
    to_centres, to_edges = np.eye(3), np.eye(3)
    to_centres[:2, 2], to_edges[:2, 2] = -0.5, 0.5
    return to_edges @ of_both @ to_centres, of_both


@pytest.mark.parametrize("name", GEOMETRIC_OPS)
@pytest.mark.parametrize("size", [(97, 140), (600, 401)])
def test_geometric_operations_move_pixels_by_centres_and_boxes_by_edges(
    name: str, size: tuple[int, int]
) -> None:
    for amount in (-0.5, -0.0731, 0.0, 0.0999, 0.5):
        found = reference_matrices(name, amount, height=size[0], width=size[1])
        for one, other in zip(found, homography(name, amount, size), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)


def test_pixels_and_boxes_part_by_less_than_two_fifths_of_a_pixel() -> None:
    largest = {}
    for name in GEOMETRIC_OPS:
        amount = 0.1 if name.startswith("translate") else np.deg2rad(30)
        pixels, boxes = reference_matrices(name, amount, height=480, width=640)
        corners = np.array([[0, 640, 0, 640], [0, 0, 480, 480], [1, 1, 1, 1]])
        largest[name] = np.linalg.norm(((pixels - boxes) @ corners)[:2], axis=0).max()
    assert round(largest["rotate"], 3) == 0.366
    assert round(largest["shear_x"], 3) == round(largest["shear_y"], 3) == 0.289
    assert largest["translate_x"] == largest["translate_y"] == 0


def test_only_a_rotation_keeps_the_pixels_of_the_default_mode() -> None:
    rotation, _ = reference_matrices("rotate", 0.3, height=100, width=150)
    np.testing.assert_allclose(rotation, geometric_matrix("rotate", 0.3, height=100, width=150))
    shear, _ = reference_matrices("shear_x", 0.3, height=100, width=150)
    assert np.abs(shear - geometric_matrix("shear_x", 0.3, height=100, width=150)).max() > 10


@pytest.mark.parametrize("colour_first", [True, False])
@pytest.mark.parametrize("name", [None, *GEOMETRIC_OPS])
def test_a_strong_view_is_resized_then_coloured_and_warped_in_either_order(
    name: str | None, colour_first: bool
) -> None:
    pictures = [photo_like(np.random.default_rng(1), 90, 120), coordinates(130, 100)]
    sources, view_sizes = [(90, 120), (130, 100)], [(70, 93), (180, 138)]
    amount = 0.07 if name and name.startswith("translate") else 0.35
    draws = [
        ViewDraw(
            size=size,
            flip=flip,
            colour="brightness",
            colour_value=0.6,
            geometry=name,
            amount=amount,
            colour_first=colour_first,
        )
        for size, flip in zip(view_sizes, (True, False), strict=True)
    ]
    plan = view_plan(VIEW, sources, draws)
    graph = UnlabeledViews(VIEW, batch_size=2, decoded=True)
    _, views = graph.run(pictures, plan, plan)
    for picture, view, source, draw in zip(pictures, views, sources, draws, strict=True):
        resized = bilinear(picture, resize_matrix(source, draw.size, flip=draw.flip), draw.size, None)
        warp = homography(name, amount, draw.size)[0] if name else np.eye(3)
        if colour_first:
            expected = bilinear(colour(np.rint(resized), "brightness", 0.6), warp, draw.size, 128)
        else:
            expected = colour(bilinear(np.rint(resized), warp, draw.size, 128), "brightness", 0.6)
        np.testing.assert_allclose(view, expected, atol=1.5)
        assert np.abs(view - expected).mean() < 0.5


def test_boxes_reach_the_strong_view_by_the_published_homography() -> None:
    """Float32 products, the inverse of the weak view, a clip to the original: as the published code has them."""
    rng = np.random.default_rng(0)
    wide = replace(VIEW, short_range=(400, 1200), long_max=1333)
    worst, compared = 0.0, 0
    for _ in range(60):
        source = rng.integers(300, 900, 2)
        weak, strong = plan_weak(rng, wide, [source]), plan_strong(rng, wide, [source])
        low = rng.uniform(0, 0.6, (6, 2))
        corners = np.concatenate([low, low + rng.uniform(0.05, 0.4, (6, 2))], axis=1)
        weak_boxes = (corners * np.tile(weak.sizes_B2[0][::-1], 2)).astype(np.float32)
        there = torch.from_numpy(np.linalg.inv(weak.matrices_B33[0].astype(np.float32)))
        back = torch.from_numpy(strong.box_matrices_B33[0].astype(np.float32))
        original = hull(torch.from_numpy(weak_boxes), there, source)
        expected = hull(original, back, strong.sizes_B2[0])
        plan = UnlabeledPlan(
            keys=("a",),
            image_ids_B=np.zeros(1, np.int64),
            weak=weak,
            strong=strong,
            mix=plan_mix(rng, MIX, VIEW, strong.sizes_B2, []),
        )
        moved = plan.strong_labels(Labels.of_image(weak_boxes, np.arange(6)))
        expected = expected[moved.categories_N]
        compared += len(expected)
        worst = max(worst, float(np.abs(moved.boxes_N4 - expected.numpy()).max(initial=0)))
    assert compared > 200
    assert worst < 5e-4  # float64 here


def test_boxes_take_one_hull_from_the_weak_to_the_strong_view_where_the_published_code_takes_two() -> None:
    """A weak view that only resizes and flips makes no difference; one that is turned does: two hulls are wider."""
    boxes = np.array([[30, 40, 60, 80]], np.float32)
    plain = ViewDraw(size=(180, 240), flip=True)
    for weak_draw, wider in ((plain, 0.0), (replace(plain, geometry="rotate", amount=0.2), 5.0)):
        weak = view_plan(VIEW, [(90, 120)], [weak_draw])
        strong = view_plan(VIEW, [(90, 120)], [ViewDraw(size=(120, 160), geometry="rotate", amount=-0.3)])
        there = torch.from_numpy(np.linalg.inv(weak.box_matrices_B33[0]).astype(np.float32))
        back = torch.from_numpy(strong.box_matrices_B33[0].astype(np.float32))
        two = hull(hull(torch.from_numpy(boxes), there, np.array([90, 120])), back, strong.sizes_B2[0])
        one = hull(torch.from_numpy(boxes), back @ there, strong.sizes_B2[0])
        plan = UnlabeledPlan(
            keys=("a",),
            image_ids_B=np.zeros(1, np.int64),
            weak=weak,
            strong=strong,
            mix=plan_mix(np.random.default_rng(0), MIX, VIEW, strong.sizes_B2, []),
        )
        found = plan.strong_labels(Labels.of_image(boxes, [0])).boxes_N4
        np.testing.assert_allclose(found, one.numpy(), rtol=0, atol=1e-3)
        grown = (two - one).abs().sum()
        assert grown >= wider if wider else grown < 1e-3


def hull(boxes_N4: torch.Tensor, matrix: torch.Tensor, size: np.ndarray) -> torch.Tensor:
    corners_N42 = boxes_N4[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    points = torch.cat([corners_N42, torch.ones(len(corners_N42), 4, 1)], dim=2) @ matrix.T
    moved = torch.cat([points[..., :2].amin(1), points[..., :2].amax(1)], dim=1)
    limits = torch.tensor([size[1], size[0]] * 2, dtype=torch.float32)
    return moved.clamp(min=0).minimum(limits)


def test_weak_labeled_and_test_views_are_those_of_the_default_mode() -> None:
    linear = replace(VIEW, interpolation="linear")
    source = [(90, 120), (130, 100)]
    for planner in (plan_weak, plan_labeled):
        one, other = (planner(np.random.default_rng(2), view, source) for view in (VIEW, linear))
        np.testing.assert_array_equal(one.matrices_B33, other.matrices_B33)
        np.testing.assert_array_equal(one.box_matrices_B33, one.matrices_B33)
    np.testing.assert_array_equal(
        plan_test(VIEW, source).matrices_B33, plan_test(linear, source).matrices_B33
    )


def test_the_default_mode_keeps_pixels_and_boxes_on_one_matrix() -> None:
    linear = ViewSettings()
    strong = plan_strong(np.random.default_rng(0), linear, [(480, 640)] * 30)
    np.testing.assert_array_equal(strong.box_matrices_B33, strong.matrices_B33)
    reference = plan_strong(
        np.random.default_rng(0), replace(linear, interpolation="reference"), [(480, 640)] * 30
    )
    assert (np.abs(reference.box_matrices_B33 - reference.matrices_B33).max(axis=(1, 2)) > 0.001).any()
    np.testing.assert_array_equal(reference.sizes_B2, strong.sizes_B2)
    boxes = Labels.concatenate([Labels.of_image([[100, 100, 300, 200]], [0])] * 30)
    moved = [project(boxes, plan.box_matrices_B33, plan.sizes_B2) for plan in (strong, reference)]
    assert len(moved[0]) == len(moved[1]) == 30


def test_a_training_batch_of_the_reference_mode_differs_in_mixed_pixels_alone(draw_set: Any) -> None:
    """The same draws: weak and labeled views are the same bytes, partners and tiles are not."""
    sets = draw_set("labeled", 5, labeled=True), draw_set("unlabeled", 9, first_id=100)
    view = ViewSettings(short_range=(48, 80), long_max=128, geometric_ops=(), colour_ops=())
    batches = []
    for mode in ("linear", "reference"):
        chosen = replace(view, interpolation=mode)
        with open_loader(*sets, view=chosen, mix=MIX, num_steps=5) as loader:
            batches.append(list(loader))
    for linear, reference in zip(*batches, strict=True):
        assert torch.equal(linear.weak.images_BCHW, reference.weak.images_BCHW)
        assert torch.equal(linear.labeled.images_BCHW, reference.labeled.images_BCHW)
    assert batches[1][-1].mosaic is not None
    assert not torch.equal(batches[0][-1].student.images_BCHW, batches[1][-1].student.images_BCHW)
