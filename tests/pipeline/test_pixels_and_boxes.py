"""The truth itself: flat coloured rectangles go through every graph, and their boxes must still frame them.

Each image has a background equal to the border and to the mean (so it normalises to 0) and up to six
rectangles, each of a colour of its own. After any plan, the pixels inside a box have its object's colour, and
no coloured pixel lies outside. Coverage is how far a pixel is on the way from the background to the colour; its
edge is where it is one half: a pixel's centre is inside the box exactly where it is above that.

Shapes: B images of h x w pixels, K objects of one image.
"""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.graphs.mixing import Mixer
from pipeline.graphs.views import LabeledViews, PredictViews, UnlabeledViews
from pipeline.plans.mix_plans import Layer, plan_mix
from pipeline.plans.move_boxes import mixup_labels, mosaic_labels, place, project
from pipeline.plans.view_plans import ViewPlan, plan_labeled, plan_strong, plan_test, plan_weak
from pipeline.settings import MixSettings, ViewSettings
from storage.labels import Labels

GREY = 128
STRAIGHT = ViewSettings(
    short_range=(40, 150),
    long_max=190,
    test_short=110,
    test_long_max=150,
    colour_ops=("identity",),
    geometric_ops=(),
    mean=(GREY, GREY, GREY),
    std=(1.0, 1.0, 1.0),
)
TILTED = replace(STRAIGHT, geometric_ops=("rotate", "shear_x", "shear_y"))
SQUARE = replace(STRAIGHT, resize="square", pad_multiple=24)
SHIFTED = replace(STRAIGHT, geometric_ops=("translate_x", "translate_y"))
MIX = MixSettings(mosaic_range=(60, 120), erase=False)
PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]])
SEEDS = range(8)


def draw(rng: np.random.Generator) -> tuple[bytes, np.ndarray, Labels]:
    """Return one encoded image, its pixels and its boxes: at most one object in each of 2 x 3 cells."""
    height, width = rng.integers(60, 120, 2)
    pixels = np.full((height, width, 3), GREY, np.uint8)
    boxes, categories = [], []
    for cell in rng.permutation(6)[: rng.integers(1, 7)]:
        cell_h, cell_w = height // 2, width // 3
        (y1, y2), (x1, x2) = (
            np.sort(rng.choice(cell_h, 2, replace=False)),
            np.sort(rng.choice(cell_w, 2, False)),
        )
        top, left = cell_h * (cell // 3), cell_w * (cell % 3)
        boxes.append([left + x1, top + y1, left + x2, top + y2])
        categories.append(cell)
        pixels[top + y1 : top + y2, left + x1 : left + x2] = PALETTE[cell]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue(), pixels, Labels.of_image(boxes, categories)


def draw_batch(seed: int, num_images: int = 4) -> tuple[list[bytes], list[tuple[int, int]], Labels]:
    drawn = [draw(np.random.default_rng([seed, index])) for index in range(num_images)]
    encoded, pixels, labels = zip(*drawn, strict=True)
    return list(encoded), [one.shape[:2] for one in pixels], Labels.concatenate(labels)


def coverage(image_HWC: np.ndarray, category: int, weight: float = 1.0) -> np.ndarray:
    """Return how much of each pixel has the colour of the category, 0 to 1; `image_HWC` is without the grey.

    Every channel must lie on its side: a pixel of another colour is on the wrong one somewhere.
    """
    direction = np.where(PALETTE[category] > GREY, 127.0, -128.0) * weight
    return np.clip((image_HWC / direction).min(axis=2), 0, None)


def assert_framed(
    image_HWC: np.ndarray, labels: Labels, scale: float, *, weight: float = 1.0, slack: float = 0.02
) -> None:
    """Straight plans: inside the box is the colour, outside is none of it, to `slack` pixels."""
    y, x = (axis + 0.5 for axis in np.indices(image_HWC.shape[:2]))
    blur = max(scale, 1 / scale) / 2 + 0.51  # an edge is spread over one source pixel
    for category in range(len(PALETTE)):
        covered = coverage(image_HWC, category, weight)
        owned = labels.boxes_N4[labels.categories_N == category]
        assert len(owned) <= 1
        if len(owned) == 0:
            assert covered.max() <= 0.5
            continue
        x1, y1, x2, y2 = owned[0]
        outside = (x < x1 - slack) | (x > x2 + slack) | (y < y1 - slack) | (y > y2 + slack)
        assert covered[outside].max(initial=0) <= 0.51
        inside = (x > x1 + blur) & (x < x2 - blur) & (y > y1 + blur) & (y < y2 - blur)
        np.testing.assert_allclose(covered[inside], 1, atol=0.01)
        if min(x2 - x1, y2 - y1) > 2 * blur:  # along the middle both ways, up to the very edge
            row = (np.abs(y - (y1 + y2) / 2) <= 0.5) & (x > x1 + slack) & (x < x2 - slack)
            column = (np.abs(x - (x1 + x2) / 2) <= 0.5) & (y > y1 + slack) & (y < y2 - slack)
            assert covered[row | column].min() >= 0.49


def assert_hulled(image_HWC: np.ndarray, labels: Labels) -> None:
    """Tilted plans: no coloured pixel outside the hull, and one within a pixel of each of its sides."""
    height, width = image_HWC.shape[:2]
    y, x = (axis + 0.5 for axis in np.indices((height, width)))
    for category in range(len(PALETTE)):
        covered = coverage(image_HWC, category)
        owned = labels.boxes_N4[labels.categories_N == category]
        if len(owned) == 0:
            assert covered.max() <= 0.5
            continue
        x1, y1, x2, y2 = owned[0]
        coloured = covered > 0.5
        assert not coloured[(x < x1 - 0.02) | (x > x2 + 0.02) | (y < y1 - 0.02) | (y > y2 + 0.02)].any()
        if x1 <= 0 or y1 <= 0 or x2 >= width or y2 >= height or min(x2 - x1, y2 - y1) < 8:
            continue  # cut by the border, or too thin to have a fully coloured pixel
        touched = covered > 0.1
        gaps = [x[touched].min() - x1, x2 - x[touched].max(), y[touched].min() - y1, y2 - y[touched].max()]
        assert max(gaps) <= 1.0


def scales(plan: ViewPlan) -> np.ndarray:
    ratios = plan.sizes_B2 / plan.source_sizes_B2
    return np.maximum(ratios, 1 / ratios).max(axis=1)


def inner(batch: object, plan: ViewPlan, index: int) -> np.ndarray:
    height, width = plan.sizes_B2[index]
    return batch[index, :, :height, :width].permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def unlabeled() -> UnlabeledViews:
    return UnlabeledViews(STRAIGHT, batch_size=8)


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return Mixer(STRAIGHT, batch_size=8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("settings", [STRAIGHT, SQUARE, SHIFTED], ids=["straight", "square", "shifted"])
def test_boxes_frame_their_objects_in_weak_and_strong_views(
    unlabeled: UnlabeledViews, settings: ViewSettings, seed: int
) -> None:
    encoded, sizes, labels = draw_batch(seed)
    rng = np.random.default_rng(seed)
    weak, strong = plan_weak(rng, settings, sizes), plan_strong(rng, settings, sizes)
    weak_BCHW, views = unlabeled.run(encoded, weak, strong)
    in_weak = project(labels, weak.matrices_B33, weak.sizes_B2)
    in_strong = project(in_weak, strong.matrices_B33 @ np.linalg.inv(weak.matrices_B33), strong.sizes_B2)
    for index, view in enumerate(views):
        assert_framed(inner(weak_BCHW, weak, index), in_weak.image(index), scales(weak)[index])
        assert_framed(view.astype(float) - GREY, in_strong.image(index), scales(strong)[index])


@pytest.mark.parametrize("seed", SEEDS)
def test_hulls_frame_their_objects_in_rotated_and_sheared_views(unlabeled: UnlabeledViews, seed: int) -> None:
    encoded, sizes, labels = draw_batch(seed)
    rng = np.random.default_rng(seed)
    weak, strong = plan_weak(rng, TILTED, sizes), plan_strong(rng, TILTED, sizes)
    _, views = unlabeled.run(encoded, weak, strong)
    in_strong = project(labels, strong.matrices_B33, strong.sizes_B2)
    for index, view in enumerate(views):
        assert_hulled(view.astype(float) - GREY, in_strong.image(index))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("settings", [STRAIGHT, SQUARE], ids=["straight", "square"])
def test_boxes_frame_their_objects_in_labeled_and_test_views(settings: ViewSettings, seed: int) -> None:
    encoded, sizes, labels = draw_batch(seed)
    plans = plan_labeled(np.random.default_rng(seed), settings, sizes), plan_test(settings, sizes)
    graphs = LabeledViews(settings, batch_size=4), PredictViews(settings, batch_size=4)
    for plan, graph in zip(plans, graphs, strict=True):
        images_BCHW = graph.run(encoded, plan)
        moved = project(labels, plan.matrices_B33, plan.sizes_B2)
        for index in range(4):
            assert_framed(inner(images_BCHW, plan, index), moved.image(index), scales(plan)[index])


def drawn_views(seed: int, num_images: int) -> tuple[list[np.ndarray], Labels]:
    """Return images that stand for strong views, with edges as sharp as drawn, and their boxes."""
    drawn = [draw(np.random.default_rng([seed, index])) for index in range(num_images)]
    return [pixels for _, pixels, _ in drawn], Labels.concatenate([labels for _, _, labels in drawn])


def in_order(labels: Labels, positions: np.ndarray) -> Labels:
    return Labels.concatenate([labels.image(position) for position in positions])


def layer_scale(layer: Layer, index: int) -> float:
    ratios = layer.sizes_N2[index] / layer.source_sizes_N2[index]
    return float(max(*ratios, *(1 / ratios)))


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_frame_their_objects_in_each_layer_of_a_mixup(mixer: Mixer, seed: int) -> None:
    """With one side's images blank, what is left is the other's: the current view, then its partner."""
    current, current_labels = drawn_views(seed, 4)
    cached, cached_labels = drawn_views(seed + 1000, 8)
    sizes = [[image.shape[:2] for image in images] for images in (current, cached)]
    plan = plan_mix(np.random.default_rng(seed), MIX, STRAIGHT, *sizes).mixup
    assert plan.partner is not None
    partner = [cached[position] for position in plan.partner_positions_B]
    partner_labels = in_order(cached_labels, plan.partner_positions_B)
    blank = [[np.full_like(image, GREY) for image in images] for images in (current, partner)]

    only_current = mixer.mixup(plan, current, blank[1]).permute(0, 2, 3, 1).numpy()
    only_partner = mixer.mixup(plan, blank[0], partner).permute(0, 2, 3, 1).numpy()
    both = mixer.mixup(plan, current, partner).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(only_current + only_partner, both, atol=1e-4)

    placed = [
        mixup_labels(plan, current_labels, Labels.empty(4)),
        mixup_labels(plan, Labels.empty(4), partner_labels),
    ]
    for index in range(4):
        for layer, images, labels in zip(plan.layers, (only_current, only_partner), placed, strict=True):
            assert_framed(images[index], labels.image(index), layer_scale(layer, index), weight=0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_frame_their_objects_in_a_mosaic(mixer: Mixer, seed: int) -> None:
    """One tile at a time beside three blank ones, then all four at once."""
    cached, cached_labels = drawn_views(seed, 8)
    sizes = [image.shape[:2] for image in cached]
    plan = plan_mix(np.random.default_rng(seed), MIX, STRAIGHT, [(60, 60)], sizes).mosaic
    assert plan is not None
    tiles, labels = (
        [cached[position] for position in plan.positions_4],
        in_order(cached_labels, plan.positions_4),
    )
    together = 0
    for index in range(4):
        alone = [tile if other == index else np.full_like(tile, GREY) for other, tile in enumerate(tiles)]
        (mosaic_HWC,) = mixer.mosaic(plan, alone).permute(0, 2, 3, 1).numpy()
        parts = [labels.image(other) if other == index else Labels.empty(1) for other in range(4)]
        moved = mosaic_labels(plan, Labels.concatenate(parts))
        assert_framed(mosaic_HWC, moved, layer_scale(plan.tiles, index))
        together = together + mosaic_HWC
    (mosaic_HWC,) = mixer.mosaic(plan, tiles).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(mosaic_HWC, together)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_box_is_kept_while_enough_of_its_object_is_left(mixer: Mixer, seed: int) -> None:
    """Patches hide exactly what they were planned over, in pixels as in boxes."""
    images, labels = drawn_views(seed, 6)
    settings = replace(MIX, erase=True, erase_patches=(1, 12), erase_ratio=(0.0, 0.5))
    plan = plan_mix(
        np.random.default_rng(seed), settings, STRAIGHT, [image.shape[:2] for image in images], []
    ).mixup
    layer = plan.current
    erased = mixer.mixup(plan, images, []).permute(0, 2, 3, 1).numpy()
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        hidden = np.zeros((height, width), bool)
        times = np.zeros((height, width))
        for x1, y1, x2, y2 in layer.patches_P4[
            layer.patch_offsets_N1[index] : layer.patch_offsets_N1[index + 1]
        ]:
            hidden[y1:y2, x1:x2] = True
            times[y1:y2, x1:x2] += 1
        expected = np.where(hidden[..., None], 0, image.astype(float) - GREY)
        np.testing.assert_allclose(erased[index, :height, :width], expected, atol=1e-4)
        kept = place(labels, layer).image(index)
        for category, (x1, y1, x2, y2) in zip(
            labels.image(index).categories_N, labels.image(index).boxes_N4, strict=True
        ):
            rows, columns = np.arange(height)[:, None], np.arange(width)[None]
            share_y = np.clip(np.minimum(rows + 1, y2) - np.maximum(rows, y1), 0, None)
            share_x = np.clip(np.minimum(columns + 1, x2) - np.maximum(columns, x1), 0, None)
            covered = (share_y * share_x * times).sum() / (share_y * share_x).sum()
            if abs(covered - 0.7) > 1e-3:
                assert (category in kept.categories_N) == (covered < 0.7)


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_the_weak_view_reach_the_mosaic_through_every_graph(
    unlabeled: UnlabeledViews, mixer: Mixer, seed: int
) -> None:
    """Weak, strong, mosaic: pixels resampled twice stay within half a strong pixel of their boxes."""
    encoded, sizes, labels = draw_batch(seed, 8)
    rng = np.random.default_rng(seed)
    weak, strong = plan_weak(rng, STRAIGHT, sizes), plan_strong(rng, SHIFTED, sizes)
    _, views = unlabeled.run(encoded, weak, strong)
    in_weak = project(labels, weak.matrices_B33, weak.sizes_B2)
    in_strong = project(in_weak, strong.matrices_B33 @ np.linalg.inv(weak.matrices_B33), strong.sizes_B2)
    plan = plan_mix(rng, MIX, STRAIGHT, [(60, 60)], strong.sizes_B2).mosaic
    assert plan is not None
    (mosaic_HWC,) = mixer.mosaic(plan, [views[position] for position in plan.positions_4]).permute(0, 2, 3, 1)
    labels_4 = in_order(in_strong, plan.positions_4)
    for index in range(4):
        (top, left), (height, width) = plan.tiles.offsets_N2[index], plan.tiles.sizes_N2[index]
        tile_HWC = np.zeros(mosaic_HWC.shape, np.float32)
        tile_HWC[top : top + height, left : left + width] = mosaic_HWC[
            top : top + height, left : left + width
        ]
        parts = [labels_4.image(other) if other == index else Labels.empty(1) for other in range(4)]
        moved = mosaic_labels(plan, Labels.concatenate(parts))
        ratio = layer_scale(plan.tiles, index)
        blur = ratio * max(4.0, scales(strong)[plan.positions_4[index]])
        assert_framed(tile_HWC, moved, blur, slack=0.5 * ratio)
