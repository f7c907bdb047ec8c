"""Replay: recorded draws give the bytes and boxes of the run they were recorded in, or of another program's."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.graphs.mixing import Mixer
from pipeline.graphs.views import LabeledViews, UnlabeledViews
from pipeline.inspect.replay import Replay
from pipeline.plans.mix_draws import MixupDraw, MosaicDraw, Patches, draw_mixup, draw_mosaic
from pipeline.plans.mix_plans import MixPlan, mixup_plan, mosaic_plan, plan_mix
from pipeline.plans.move_boxes import mixup_labels, mosaic_labels, project
from pipeline.plans.view_plans import ViewDraw, ViewPlan, plan_labeled, plan_strong, view_plan
from pipeline.settings import COLOUR_OPS, MixSettings, ViewSettings
from storage.labels import Labels
from tests.pipeline.reference import (
    bilinear,
    fitted,
    geometric_matrix,
    moved_box,
    normalised,
    photo_like,
    placed,
    quadrants,
    resize_matrix,
    rounded_up,
)

VIEW = ViewSettings(short_range=(40, 150), long_max=180)
MIX = MixSettings(mosaic_range=(40, 80), erase_ratio=(0.0, 0.3))
SIZES = [(90, 120), (130, 100), (60, 61), (77, 140)]
MODES = ("linear", "reference")


def pictures(seed: int = 0, sizes: list[tuple[int, int]] = SIZES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [photo_like(rng, *size) for size in sizes]


def truth(sizes: list[tuple[int, int]] = SIZES) -> Labels:
    return Labels.concatenate(
        [
            Labels.of_image([[2, 3, w // 2, h // 3], [w // 3, h // 2, w - 2, h - 1]], [index, index + 10])
            for index, (h, w) in enumerate(sizes)
        ]
    )


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def assert_same_labels(one: Labels, other: Labels) -> None:
    np.testing.assert_array_equal(one.boxes_N4, other.boxes_N4)
    np.testing.assert_array_equal(one.categories_N, other.categories_N)
    np.testing.assert_array_equal(one.offsets_B1, other.offsets_B1)


def recorded(settings: ViewSettings, plan: ViewPlan, seed: int) -> list[ViewDraw]:
    """Write down what `plan_strong` drew, by drawing the same numbers by hand in the order of the method."""
    rng = np.random.default_rng(seed)
    rng.integers(*settings.short_range, size=len(plan), endpoint=True)  # the sizes are read off the plan
    flips = rng.random(len(plan)) < settings.flip
    colours = [COLOUR_OPS[code] for code in rng.integers(len(COLOUR_OPS), size=len(plan))]
    values = [1.0] * len(plan)
    for index, name in enumerate(colours):
        if name in ("sharpness", "saturation", "contrast", "brightness"):
            values[index] = rng.uniform(0.1, 1.9)
        elif name == "posterize":
            values[index] = float(rng.integers(0, 5))
        elif name == "solarize":
            values[index] = rng.uniform(0, 256)
    operations = []
    for _ in range(len(plan)):
        name = settings.geometric_ops[rng.integers(5)]
        largest = 0.1 if name.startswith("translate") else np.deg2rad(30)
        operations.append((name, rng.uniform(-1, 1) * largest))
    firsts = rng.random(len(plan)) < 0.5
    return [
        ViewDraw(
            size=tuple(plan.sizes_B2[index].tolist()),
            flip=bool(flips[index]),
            colour=colours[index],
            colour_value=values[index],
            geometry=operations[index][0],
            amount=operations[index][1],
            colour_first=bool(firsts[index]),
        )
        for index in range(len(plan))
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_recorded_draws_of_strong_views_give_the_same_bytes_and_boxes(mode: str, seed: int) -> None:
    settings = replace(VIEW, interpolation=mode)
    images, labels = pictures(), truth()
    plan = plan_strong(np.random.default_rng(seed), settings, SIZES)
    _, expected = UnlabeledViews(settings, batch_size=4).run([png(image) for image in images], plan, plan)
    again = view_plan(settings, SIZES, recorded(settings, plan, seed))
    views, boxes = Replay(settings, batch_size=4).strong(again, images, labels)
    for one, other in zip(views, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert_same_labels(boxes, project(labels, plan.box_matrices_B33, plan.sizes_B2))


def test_a_replayed_labeled_view_is_that_of_its_file() -> None:
    plan = plan_labeled(np.random.default_rng(4), VIEW, SIZES)
    images = pictures()
    expected = LabeledViews(VIEW, batch_size=4).run([png(image) for image in images], plan)
    found, boxes = Replay(VIEW, batch_size=4).view(plan, images, truth())
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert_same_labels(boxes, project(truth(), plan.matrices_B33, plan.sizes_B2))


def redrawn(view: ViewSettings, seed: int, cached: list[tuple[int, int]]) -> MixPlan:
    """The plan of a step, made of its draws one by one."""
    rng = np.random.default_rng(seed)
    sizes, cache = np.array(SIZES), np.array(cached)
    mixup = draw_mixup(rng, MIX, view, sizes, cache)
    mosaic = draw_mosaic(rng, MIX, view, len(SIZES), cache)
    return MixPlan(
        mixup=mixup_plan(MIX, view, mixup, sizes, cached),
        mosaic=mosaic_plan(MIX, view, mosaic, cached),
    )


@pytest.mark.parametrize("mode", MODES)
def test_recorded_draws_of_mixing_give_the_same_bytes_and_boxes(mode: str) -> None:
    settings = replace(VIEW, interpolation=mode)
    cached_sizes = SIZES[::-1] + SIZES
    cached = pictures(1, cached_sizes), truth(cached_sizes)
    plan = plan_mix(np.random.default_rng(7), MIX, settings, SIZES, cached_sizes)
    assert plan.mosaic is not None
    partners, tiles = plan.mixup.partner_positions_B.tolist(), plan.mosaic.positions_4.tolist()
    mixer = Mixer(settings, batch_size=4)
    expected_mixup = mixer.mixup(plan.mixup, pictures(), [cached[0][at] for at in partners])
    expected_mosaic = mixer.mosaic(plan.mosaic, [cached[0][at] for at in tiles])

    again = redrawn(settings, 7, cached_sizes)
    assert again.mosaic is not None
    replay = Replay(settings, batch_size=4)
    mixed, mixed_boxes = replay.mixup(again.mixup, (pictures(), truth()), cached)
    mosaic, mosaic_boxes = replay.mosaic(again.mosaic, cached)
    np.testing.assert_array_equal(mixed.numpy(), expected_mixup.numpy())
    np.testing.assert_array_equal(mosaic.numpy(), expected_mosaic.numpy())
    partner_labels, tile_labels = (
        Labels.concatenate([cached[1].image(at) for at in positions]) for positions in (partners, tiles)
    )
    assert_same_labels(mixed_boxes, mixup_labels(plan.mixup, truth(), partner_labels))
    assert_same_labels(mosaic_boxes, mosaic_labels(plan.mosaic, tile_labels))


def test_a_strong_view_written_down_by_hand_is_the_plain_picture() -> None:
    image = photo_like(np.random.default_rng(3), 90, 120)
    draw = ViewDraw(size=(120, 160), flip=True, geometry="rotate", amount=np.deg2rad(12))
    plan = view_plan(VIEW, [image.shape[:2]], [draw])
    boxes = [[10, 20, 60, 70], [0, 0, 120, 90]]
    (view,), labels = Replay(VIEW, batch_size=1).strong(plan, [image], Labels.of_image(boxes, [1, 2]))
    matrix = geometric_matrix("rotate", draw.amount, draw.size) @ resize_matrix(
        (90, 120), draw.size, flip=True
    )
    np.testing.assert_allclose(view, bilinear(image, matrix, draw.size, 128), atol=0.51)
    expected = [moved_box(box, matrix, (0, 0, 160, 120)) for box in boxes]
    np.testing.assert_allclose(labels.boxes_N4, expected, atol=1e-4)


MOSAIC = MosaicDraw(
    positions_4=np.array([2, 0, 3, 1]),
    bounds=(100, 90),
    patches=Patches.of_images([[[3, 4, 40, 38], [44, 2, 88, 31]], [], [], [[0, 0, 25, 31]]]),
)


def test_a_mosaic_written_down_by_hand_is_the_plain_picture() -> None:
    cached, labels = pictures(), truth()
    plan = mosaic_plan(MixSettings(), VIEW, MOSAIC, SIZES)
    found, boxes = Replay(VIEW, batch_size=1).mosaic(plan, (cached, labels))

    order = MOSAIC.positions_4.tolist()
    tile_sizes = [fitted(SIZES[at], MOSAIC.bounds) for at in order]
    canvas, corners = quadrants(tile_sizes, 16)
    patches = [[[3, 4, 40, 38], [44, 2, 88, 31]], [], [], [[0, 0, 25, 31]]]
    expected, expected_boxes = np.zeros((*canvas, 3)), []
    for at, size, (top, left), erased in zip(order, tile_sizes, corners, patches, strict=True):
        matrix = resize_matrix(SIZES[at], size, flip=True)
        pixels = normalised(bilinear(cached[at], matrix, size, None), VIEW.mean, VIEW.std)
        expected += placed(pixels, canvas, (top, left), erased)
        for box in labels.image(at).boxes_N4:
            moved = moved_box(box, matrix, (0, 0, size[1], size[0]), erased)
            expected_boxes += [] if moved is None else [np.array(moved) + np.tile([left, top], 2)]
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), expected, atol=0.51 / min(VIEW.std) + 1e-5)
    np.testing.assert_allclose(boxes.boxes_N4, expected_boxes, atol=1e-4)
    assert len(expected_boxes) < len(labels.boxes_N4)  # a box was erased


def test_a_mixup_written_down_by_hand_is_the_plain_picture() -> None:
    current, cached, labels = pictures(0, SIZES[:2]), pictures(1), truth()
    bounds = [rounded_up(max(size[axis] for size in SIZES[:2]), 32) for axis in (0, 1)]
    partner_sizes = [fitted(SIZES[at], bounds) for at in (3, 2)]
    free = [np.maximum(one, other) for one, other in zip(SIZES[:2], partner_sizes, strict=True)]
    offsets = [free[0] - SIZES[0], np.array([0, 0])], [np.array([0, 0]), free[1] - partner_sizes[1]]
    patches = [[[0, 0, 60, 40]], []], [[[5, 6, 7, 8]], [[10, 10, 90, 100]]]
    draw = MixupDraw(
        positions_B=np.array([3, 2]),
        current_offsets_B2=np.array(offsets[0]),
        partner_offsets_B2=np.array(offsets[1]),
        current_patches=Patches.of_images(patches[0]),
        partner_patches=Patches.of_images(patches[1]),
    )
    plan = mixup_plan(MixSettings(), VIEW, draw, SIZES[:2], SIZES)
    now = current, truth(SIZES[:2])
    found, boxes = Replay(VIEW, batch_size=2).mixup(plan, now, (cached, labels))
    canvas = [rounded_up(max(size[axis] for size in free), 32) for axis in (0, 1)]
    for index, at in enumerate((3, 2)):
        matrix = resize_matrix(SIZES[at], partner_sizes[index], flip=True)
        below = normalised(current[index], VIEW.mean, VIEW.std)
        above = normalised(bilinear(cached[at], matrix, partner_sizes[index], None), VIEW.mean, VIEW.std)
        expected = 0.5 * placed(below, canvas, offsets[0][index], patches[0][index])
        expected += 0.5 * placed(above, canvas, offsets[1][index], patches[1][index])
        np.testing.assert_allclose(
            found[index].permute(1, 2, 0).numpy(), expected, atol=0.26 / min(VIEW.std) + 1e-5
        )
        expected_boxes = []
        for box in now[1].image(index).boxes_N4:
            moved = moved_box(box, np.eye(3), (0, 0, *SIZES[index][::-1]), patches[0][index])
            expected_boxes += [] if moved is None else [np.array(moved) + np.tile(offsets[0][index][::-1], 2)]
        for box in labels.image(at).boxes_N4:
            moved = moved_box(box, matrix, (0, 0, *partner_sizes[index][::-1]), patches[1][index])
            expected_boxes += [] if moved is None else [np.array(moved) + np.tile(offsets[1][index][::-1], 2)]
        np.testing.assert_allclose(boxes.image(index).boxes_N4, expected_boxes, atol=1e-4)


def test_draws_that_fit_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"draws of views: got 1, expected one for each of 4"):
        view_plan(VIEW, SIZES, [ViewDraw(size=(10, 10))])
    with pytest.raises(ValueError, match=r"size of a view: got \(0, 9\)"):
        ViewDraw(size=(0, 9))
    with pytest.raises(ValueError, match=r"colour: got 'sepia', expected any of identity"):
        ViewDraw(size=(9, 9), colour="sepia")
    with pytest.raises(ValueError, match=r"geometry: got 'swirl', expected None or any of rotate"):
        ViewDraw(size=(9, 9), geometry="swirl")
    with pytest.raises(ValueError, match=r"positions: got \[2, 0, 3, 1\], expected 0 to 2"):
        mosaic_plan(MixSettings(), VIEW, MOSAIC, SIZES[:3])
    with pytest.raises(ValueError, match=r"patches of 3 images, expected 4"):
        mosaic_plan(MixSettings(), VIEW, replace(MOSAIC, patches=Patches.of_images([[]] * 3)), SIZES)
    outside = Patches.of_images([[], [], [], [[0, 0, 25, 500]]])
    with pytest.raises(ValueError, match=r"erased patches: got \[0, 0, 25, 500\]"):
        mosaic_plan(MixSettings(), VIEW, replace(MOSAIC, patches=outside), SIZES)
    inverted = Patches.of_images([[], [], [], [[9, 9, 2, 20]]])
    with pytest.raises(ValueError, match=r"erased patches: got \[9, 9, 2, 20\]"):
        mosaic_plan(MixSettings(), VIEW, replace(MOSAIC, patches=inverted), SIZES)
    with pytest.raises(ValueError, match=r"bounds of a mosaic: got \(0, 90\)"):
        mosaic_plan(MixSettings(), VIEW, replace(MOSAIC, bounds=(0, 90)), SIZES)


@pytest.mark.parametrize(
    ("current", "partner", "message"),
    [
        ([[0, 0], [0, 41]], [[0, 0]] * 2, r"image 1: got \(y, x\) \[0, 41\], expected 0 to \[0, 40\]"),
        ([[0, 0]] * 2, [[0, -1], [0, 0]], r"image 0: got \(y, x\) \[0, -1\], expected 0 to \[0, 0\]"),
        ([[0, 0]], [[0, 0]] * 2, r"offsets: got 1, expected one for each of 2 images"),
    ],
)
def test_an_image_that_would_leave_its_canvas_is_refused(
    current: list[list[int]], partner: list[list[int]], message: str
) -> None:
    sizes, cached = [(64, 96), (64, 56)], [(64, 96)] * 2
    draw = MixupDraw(
        positions_B=np.array([0, 1]),
        current_offsets_B2=np.array(current),
        partner_offsets_B2=np.array(partner),
        current_patches=Patches.of_images([[], []]),
        partner_patches=Patches.of_images([[], []]),
    )
    with pytest.raises(ValueError, match=message):
        mixup_plan(MixSettings(), VIEW, draw, sizes, cached)


def test_strided_images_are_taken_as_they_look() -> None:
    """BGR read backwards and a crop: views of other memory, as other programs' logs give them."""
    wide = pictures(5, [(90 + 7, 120 + 4)])[0]
    strided = np.ascontiguousarray(wide[..., ::-1])[7:, 4:, ::-1]
    assert not strided.flags.c_contiguous
    image, labels = np.ascontiguousarray(strided), Labels.of_image([[10, 20, 60, 70]], [1])
    replay = Replay(VIEW, batch_size=1)
    plan = view_plan(VIEW, [(90, 120)], [ViewDraw(size=(70, 90), flip=True, geometry="shear_x", amount=0.3)])
    for stage in (replay.view, replay.strong):
        np.testing.assert_array_equal(
            stage(plan, [strided], labels)[0][0], stage(plan, [image], labels)[0][0]
        )
    cached = Labels.concatenate([labels] * 4)
    tiles = MosaicDraw(positions_4=np.arange(4), bounds=(64, 80), patches=Patches.of_images([[]] * 4))
    mosaic = mosaic_plan(MIX, VIEW, tiles, [(90, 120)] * 4)
    one, other = (replay.mosaic(mosaic, ([pixels] * 4, cached))[0] for pixels in (strided, image))
    np.testing.assert_array_equal(one.numpy(), other.numpy())
    mixup = plan_mix(np.random.default_rng(0), MIX, VIEW, [(90, 120)], [(90, 120)] * 8).mixup
    cached = [strided] * 8, Labels.concatenate([labels] * 8)
    one, other = (replay.mixup(mixup, ([pixels], labels), cached)[0] for pixels in (strided, image))
    np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_images_of_other_sizes_than_the_plan_are_refused() -> None:
    image, labels = pictures(0, [(100, 130)])[0], Labels.of_image([[10, 20, 60, 70]], [1])
    plan = view_plan(VIEW, [(90, 120)], [ViewDraw(size=(70, 90))])
    replay = Replay(VIEW, batch_size=1)
    for stage in (replay.view, replay.strong):
        with pytest.raises(
            ValueError, match=r"images: got sizes .* \[\[100, 130\]\], planned \[\[90, 120\]\]; make"
        ):
            stage(plan, [image], labels)
        with pytest.raises(ValueError, match=r"images: got sizes .* \[\], planned"):
            stage(plan, [], labels)


def test_a_plan_of_the_other_interpolation_is_refused() -> None:
    image, labels = pictures(0, [(90, 120)])[0], Labels.of_image([[10, 20, 60, 70]], [1])
    plan = view_plan(replace(VIEW, interpolation="reference"), [(90, 120)], [ViewDraw(size=(70, 90))])
    with pytest.raises(ValueError, match=r"got a plan made for 'reference', expected one for 'linear'"):
        Replay(VIEW, batch_size=1).strong(plan, [image], labels)


def test_the_share_at_which_a_box_is_dropped_is_that_of_the_plan() -> None:
    image, labels = pictures(0, [(64, 96)])[0], Labels.of_image([[0, 0, 10, 10]], [1])
    draw = MixupDraw(
        positions_B=np.zeros(0, np.int64),
        current_offsets_B2=np.zeros((0, 2), np.int64),
        partner_offsets_B2=np.zeros((0, 2), np.int64),
        current_patches=Patches.of_images([[[0, 0, 10, 6]]]),
        partner_patches=Patches.of_images([]),
    )
    for drop_ratio, left in ((0.7, 1), (0.6, 0)):
        plan = mixup_plan(MixSettings(drop_ratio=drop_ratio), VIEW, draw, [(64, 96)], [])
        nothing: tuple[list[np.ndarray], Labels] = ([], Labels.empty(0))
        _, boxes = Replay(VIEW, batch_size=1).mixup(plan, ([image], labels), nothing)
        assert len(boxes.boxes_N4) == left
