"""Views against plain float64 numpy: pixels, padding, every operation in its place, and what a caller relies on."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage import data

from pipeline.graphs.graph import GraphDevice
from pipeline.graphs.views import LabeledViews, PredictViews, StrongViews, UnlabeledViews
from pipeline.plans.view_plans import (
    ViewDraw,
    ViewPlan,
    plan_labeled,
    plan_strong,
    plan_test,
    plan_weak,
    view_plan,
)
from pipeline.settings import COLOUR_OPS, GEOMETRIC_OPS, ColourOp, ViewSettings
from tests.pipeline.reference import (
    bilinear,
    colour,
    coordinates,
    geometric_matrix,
    photo_like,
    resize_matrix,
)

SETTINGS = ViewSettings(short_range=(40, 150), long_max=180, test_short=90, test_long_max=120)
PLAIN = replace(SETTINGS, colour_ops=("identity",))


def encode(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def photos() -> list[bytes]:
    cat, coffee, astronaut = data.chelsea(), data.coffee(), data.astronaut()
    return [
        encode(cat[40:140, 60:200]),
        encode(coffee[:90, :70]),
        encode(astronaut[::4, ::4]),
        encode(cat[::3, ::3]),
    ]


def decoded(encoded: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))


def sizes(encoded: list[bytes]) -> list[tuple[int, int]]:
    return [decoded(one).shape[:2] for one in encoded]


def assert_batch_is(
    images_BCHW: torch.Tensor, plan: ViewPlan, expected: list[np.ndarray], atol: float
) -> None:
    """Undo the normalisation, compare each view within `atol` grey levels, and demand zeros beyond it."""
    assert images_BCHW.shape == (len(plan), 3, *plan.padded_size)
    assert images_BCHW.dtype == torch.float32
    assert images_BCHW.is_contiguous(memory_format=torch.channels_last)
    for image_CHW, (height, width), pixels in zip(images_BCHW, plan.sizes_B2, expected, strict=True):
        inside = image_CHW[:, :height, :width].permute(1, 2, 0).double().numpy()
        np.testing.assert_allclose(inside * SETTINGS.std + SETTINGS.mean, pixels, atol=atol)
        assert not image_CHW[:, height:].any()
        assert not image_CHW[:, :, width:].any()


@pytest.fixture(scope="module")
def unlabeled() -> UnlabeledViews:
    return UnlabeledViews(SETTINGS, batch_size=4)


@pytest.fixture(scope="module")
def labeled() -> LabeledViews:
    return LabeledViews(SETTINGS, batch_size=4)


@pytest.mark.parametrize("seed", range(4))
def test_both_views_are_bilinear_samples_of_the_decoded_image(unlabeled: UnlabeledViews, seed: int) -> None:
    encoded = photos()
    rng = np.random.default_rng(seed)
    weak, strong = plan_weak(rng, PLAIN, sizes(encoded)), plan_strong(rng, PLAIN, sizes(encoded))
    weak_BCHW, strong_views = unlabeled.run(encoded, weak, strong)
    pixels = [decoded(one) for one in encoded]
    expected = [bilinear(*one, None) for one in zip(pixels, weak.matrices_B33, weak.sizes_B2, strict=True)]
    assert_batch_is(weak_BCHW, weak, expected, atol=0.51)  # rounded to uint8
    for found, image, matrix, size in zip(
        strong_views, pixels, strong.matrices_B33, strong.sizes_B2, strict=True
    ):
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found, bilinear(image, matrix, size, 128), atol=0.51)


def test_labeled_and_test_views_are_bilinear_samples_too(labeled: LabeledViews) -> None:
    encoded = photos()
    plans = plan_labeled(np.random.default_rng(1), PLAIN, sizes(encoded)), plan_test(PLAIN, sizes(encoded))
    tests = PredictViews(SETTINGS, batch_size=4)
    for plan, images_BCHW in zip(
        plans, (labeled.run(encoded, plans[0]), tests.run(encoded, plans[1])), strict=True
    ):
        expected = [
            bilinear(decoded(one), matrix, size, None)
            for one, matrix, size in zip(encoded, plan.matrices_B33, plan.sizes_B2, strict=True)
        ]
        assert_batch_is(images_BCHW, plan, expected, atol=0.51)


COLOUR_VALUES: dict[ColourOp, tuple[float, float]] = {
    "posterize": (2, 4),
    "solarize": (100.5, 31.0),
    "sharpness": (0.2, 1.8),
    "saturation": (0.2, 1.8),
    "contrast": (0.2, 1.8),
    "brightness": (0.2, 1.8),
}
AMOUNTS = {"rotate": 0.5, "shear_x": -0.4, "shear_y": 0.3, "translate_x": 0.1, "translate_y": -0.07}


def coloured_plan(op: ColourOp, sources: list[tuple[int, int]], *, first: bool) -> ViewPlan:
    """Two values of an operation, on two images, beside a rotation."""
    draws = [
        ViewDraw(
            size=size,
            flip=flip,
            colour=op,
            colour_value=value,
            geometry="rotate",
            amount=0.2,
            colour_first=first,
        )
        for size, flip, value in zip(
            [(70, 91), (111, 83)], (False, True), COLOUR_VALUES.get(op, (1.0, 1.0)), strict=True
        )
    ]
    return view_plan(SETTINGS, sources, draws)


def uncoloured(plan: ViewPlan) -> ViewPlan:
    return replace(plan, colour_ops_B=np.zeros(len(plan), np.int64))


@pytest.fixture(scope="module")
def decoded_views() -> UnlabeledViews:
    return UnlabeledViews(SETTINGS, batch_size=4, decoded=True)


def two_pictures() -> list[np.ndarray]:
    return [photo_like(np.random.default_rng(0), 90, 120), coordinates(130, 100)]


@pytest.mark.parametrize("op", COLOUR_OPS)
def test_a_colour_operation_after_the_geometry_acts_on_the_warped_view(
    decoded_views: UnlabeledViews, op: ColourOp
) -> None:
    pictures = two_pictures()
    plan = coloured_plan(op, [one.shape[:2] for one in pictures], first=False)
    _, warped = decoded_views.run(pictures, plan, uncoloured(plan))
    _, views = decoded_views.run(pictures, plan, plan)
    for before, after, value in zip(warped, views, plan.colour_values_B, strict=True):
        tolerance = 1.0 if op in ("saturation", "contrast") else 0.51
        np.testing.assert_allclose(after, colour(before, op, value), atol=tolerance)


@pytest.mark.parametrize("op", COLOUR_OPS)
def test_a_colour_operation_before_the_geometry_acts_on_the_decoded_image(
    decoded_views: UnlabeledViews, op: ColourOp
) -> None:
    pictures = two_pictures()
    plan = coloured_plan(op, [one.shape[:2] for one in pictures], first=True)
    _, views = decoded_views.run(pictures, plan, plan)
    for picture, view, value, matrix, size in zip(
        pictures, views, plan.colour_values_B, plan.matrices_B33, plan.sizes_B2, strict=True
    ):
        coloured = colour(picture, op, value)
        tolerance = 1.5 if op in ("saturation", "contrast") else 1.01
        np.testing.assert_allclose(view, bilinear(coloured, matrix, size, 128), atol=tolerance)


@pytest.mark.parametrize("op", COLOUR_OPS)
def test_a_labeled_view_is_coloured_after_its_resize(op: ColourOp) -> None:
    pictures = two_pictures()
    graph = LabeledViews(SETTINGS, batch_size=2, decoded=True)
    plan = coloured_plan(op, [one.shape[:2] for one in pictures], first=False)
    before, after = graph.run(pictures, uncoloured(plan)), graph.run(pictures, plan)
    for index, (height, width) in enumerate(plan.sizes_B2):
        resized, view = (
            np.rint(
                one[index, :, :height, :width].permute(1, 2, 0).double().numpy() * SETTINGS.std
                + SETTINGS.mean
            )
            for one in (before, after)
        )
        expected = colour(resized.astype(np.uint8), op, plan.colour_values_B[index])
        tolerance = 1.0 if op in ("saturation", "contrast") else 0.51
        np.testing.assert_allclose(view, expected, atol=tolerance)


@pytest.mark.parametrize("op", [None, *GEOMETRIC_OPS])
@pytest.mark.parametrize("flip", [False, True])
def test_each_pixel_of_a_strong_view_says_where_it_came_from(
    decoded_views: UnlabeledViews, op: str | None, flip: bool
) -> None:
    """On an image of coordinates: by the method's own matrices, and by the inverse map read off the pixels."""
    sources, sizes = [(90, 120), (200, 150)], [(120, 160), (133, 100)]
    pictures = [coordinates(*size) for size in sources]
    amount = AMOUNTS[op] if op else 0.0
    draws = [ViewDraw(size=size, flip=flip, geometry=op, amount=amount) for size in sizes]
    plan = view_plan(SETTINGS, sources, draws)
    _, views = decoded_views.run(pictures, plan, plan)
    for picture, view, source, size in zip(pictures, views, sources, sizes, strict=True):
        matrix = resize_matrix(source, size, flip=flip)
        if op:
            matrix = geometric_matrix(op, amount, size) @ matrix
        np.testing.assert_allclose(view, bilinear(picture, matrix, size, 128), atol=0.51)
        y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
        inverse = np.linalg.inv(matrix)
        came_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] - 0.5
        came_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] - 0.5
        inside = (came_x > 0) & (came_y > 0) & (came_x < source[1] - 1) & (came_y < source[0] - 1)
        assert inside.mean() > 0.5
        assert np.abs(view[..., 0] - came_x)[inside].max() <= 0.51
        assert np.abs(view[..., 1] - came_y)[inside].max() <= 0.51


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["linear", "reference"])
def test_the_same_plan_gives_the_same_bytes_whatever_the_thread_count(seed: int, mode: str) -> None:
    encoded = photos()
    view = replace(SETTINGS, interpolation=mode)
    rng = np.random.default_rng(seed)
    weak, strong = plan_weak(rng, view, sizes(encoded)), plan_strong(rng, view, sizes(encoded))
    labeled_plan = plan_labeled(rng, view, sizes(encoded))
    results = []
    for threads, batch_size in ((1, 4), (2, 5), (4, 8)):
        graph = UnlabeledViews(view, batch_size=batch_size, device=GraphDevice(num_threads=threads))
        weak_BCHW, views = graph.run(encoded, weak, strong)
        labeled = LabeledViews(view, batch_size=batch_size, device=GraphDevice(num_threads=threads)).run(
            encoded, labeled_plan
        )
        results.append([weak_BCHW.numpy(), labeled.numpy(), *views])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_decoded_images_give_what_their_files_give(
    unlabeled: UnlabeledViews, decoded_views: UnlabeledViews
) -> None:
    encoded = photos()
    rng = np.random.default_rng(5)
    weak, strong = plan_weak(rng, SETTINGS, sizes(encoded)), plan_strong(rng, SETTINGS, sizes(encoded))
    one = unlabeled.run(encoded, weak, strong)
    two = decoded_views.run([decoded(file) for file in encoded], weak, strong)
    assert torch.equal(one[0], two[0])
    for first, second in zip(one[1], two[1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_results_stay_what_they_are_while_later_batches_run(unlabeled: UnlabeledViews) -> None:
    encoded = photos()
    kept, copies = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        weak, strong = plan_weak(rng, SETTINGS, sizes(encoded)), plan_strong(rng, SETTINGS, sizes(encoded))
        weak_BCHW, views = unlabeled.run(encoded, weak, strong)
        kept += [weak_BCHW.numpy(), *views[1:3]]
        copies += [array.copy() for array in kept[-3:]]
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_fewer_images_than_the_batch_size_are_a_batch(unlabeled: UnlabeledViews) -> None:
    encoded = photos()[:1]
    rng = np.random.default_rng(0)
    weak, strong = plan_weak(rng, SETTINGS, sizes(encoded)), plan_strong(rng, SETTINGS, sizes(encoded))
    weak_BCHW, views = unlabeled.run(encoded, weak, strong)
    assert (len(weak_BCHW), len(views)) == (1, 1)
    with pytest.raises(ValueError, match="1 to 4"):
        unlabeled.run(photos() * 2, weak, strong)


def test_grey_turned_palette_and_transparent_files_decode_as_pil_does() -> None:
    photo = data.chelsea()[::4, ::4].copy()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    palette, transparent = io.BytesIO(), io.BytesIO()
    Image.fromarray(photo).convert("P").save(palette, "PNG")
    Image.fromarray(photo).convert("RGBA").save(transparent, "PNG")
    encoded = [encode(photo[..., 0]), encode(photo, exif=exif), palette.getvalue(), transparent.getvalue()]
    as_is = replace(SETTINGS, test_short=min(photo.shape[:2]), test_long_max=10_000)
    plan = plan_test(as_is, sizes(encoded))
    images_BCHW = PredictViews(as_is, batch_size=4).run(encoded, plan)
    assert_batch_is(images_BCHW, plan, [decoded(one) for one in encoded], atol=1e-3)


def test_an_undecodable_image_raises_and_a_new_object_goes_on(unlabeled: UnlabeledViews) -> None:
    encoded = [*photos()[:1], b"not an image"]
    plan = plan_test(SETTINGS, [(100, 140), (100, 140)])
    with pytest.raises(RuntimeError, match="decod"):
        PredictViews(SETTINGS, batch_size=2).run(encoded, plan)
    assert (
        len(PredictViews(SETTINGS, batch_size=2).run(photos()[:2], plan_test(SETTINGS, sizes(photos()[:2]))))
        == 2
    )


def test_strong_views_made_alone_are_the_same_bytes(unlabeled: UnlabeledViews) -> None:
    encoded = photos()
    rng = np.random.default_rng(11)
    weak, strong = plan_weak(rng, SETTINGS, sizes(encoded)), plan_strong(rng, SETTINGS, sizes(encoded))
    _, beside_weak = unlabeled.run(encoded, weak, strong)
    _, alone = StrongViews(SETTINGS, batch_size=4).run(encoded, weak, strong)
    for one, other in zip(alone, beside_weak, strict=True):
        np.testing.assert_array_equal(one, other)
