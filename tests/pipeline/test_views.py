"""Views against plain float64 numpy and PIL: pixels, padding, colour order, and what a caller may rely on."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from skimage import data

from pipeline.settings import COLOUR_OPS, ViewSettings
from pipeline.view_plans import ViewPlan, plan_labeled, plan_strong, plan_test, plan_weak
from pipeline.views import LabeledViews, TestViews, UnlabeledViews

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


def bilinear(pixels: np.ndarray, matrix: np.ndarray, size: np.ndarray, border: int | None) -> np.ndarray:
    """One bilinear sample a pixel at the place that the inverse matrix names, float64."""
    inverse = np.linalg.inv(matrix)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    left = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] - 0.5
    top = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] - 0.5
    height, width = pixels.shape[:2]

    def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        values = pixels[rows.clip(0, height - 1), columns.clip(0, width - 1)].astype(np.float64)
        if border is not None:
            values[(rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)] = border
        return values

    row, column = np.floor(top).astype(int), np.floor(left).astype(int)
    down, right = (top - row)[..., None], (left - column)[..., None]
    above = at(row, column) * (1 - right) + at(row, column + 1) * right
    below = at(row + 1, column) * (1 - right) + at(row + 1, column + 1) * right
    return above * (1 - down) + below * down


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
    return UnlabeledViews(SETTINGS, batch_size=4, num_threads=1)


@pytest.fixture(scope="module")
def labeled() -> LabeledViews:
    return LabeledViews(SETTINGS, batch_size=4, num_threads=1)


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
    tests = TestViews(SETTINGS, batch_size=4, num_threads=1)
    for plan, images_BCHW in zip(
        plans, (labeled.run(encoded, plans[0]), tests.run(encoded, plans[1])), strict=True
    ):
        expected = [
            bilinear(decoded(one), matrix, size, None)
            for one, matrix, size in zip(encoded, plan.matrices_B33, plan.sizes_B2, strict=True)
        ]
        assert_batch_is(images_BCHW, plan, expected, atol=0.51)


def test_a_colour_operation_comes_after_the_geometry_or_before_it(unlabeled: UnlabeledViews) -> None:
    encoded = photos()
    rng = np.random.default_rng(2)
    weak, strong = plan_weak(rng, PLAIN, sizes(encoded)), plan_strong(rng, PLAIN, sizes(encoded))
    ops = [COLOUR_OPS.index(name) for name in ("brightness", "contrast", "brightness", "contrast")]
    strong = replace(
        strong,
        colour_ops_B=np.array(ops),
        colour_values_B=np.full(4, 0.5),
        colour_first_B=np.array([False, False, True, True]),
    )
    _, views = unlabeled.run(encoded, weak, strong)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast) * 2
    for index, (enhancer, view) in enumerate(zip(enhancers, views, strict=True)):
        pixels, geometry = decoded(encoded[index]), (strong.matrices_B33[index], strong.sizes_B2[index], 128)
        if strong.colour_first_B[index]:
            pixels = np.asarray(enhancer(Image.fromarray(pixels)).enhance(0.5))
            expected = bilinear(pixels, *geometry)
        else:
            warped = np.round(bilinear(pixels, *geometry)).astype(np.uint8)
            expected = np.asarray(enhancer(Image.fromarray(warped)).enhance(0.5)).astype(float)
        np.testing.assert_allclose(view, expected, atol=2)


def test_a_labeled_view_is_coloured_after_its_resize(labeled: LabeledViews) -> None:
    encoded = photos()[:1]
    plan = plan_labeled(np.random.default_rng(0), PLAIN, sizes(encoded))
    plan = replace(
        plan, colour_ops_B=np.array([COLOUR_OPS.index("solarize")]), colour_values_B=np.array([100.0])
    )
    resized = np.round(bilinear(decoded(encoded[0]), plan.matrices_B33[0], plan.sizes_B2[0], None))
    expected = np.where(resized >= 100, 255 - resized, resized)
    found = labeled.run(encoded, plan)[0, :, : len(resized), : resized.shape[1]].permute(1, 2, 0).numpy()
    off = np.abs(found * SETTINGS.std + SETTINGS.mean - expected).max(axis=2) > 1.1
    assert off.mean() < 0.01  # a pixel that rounds across the level is inverted or not


@pytest.mark.parametrize("seed", range(3))
def test_the_same_plan_gives_the_same_bytes_whatever_the_thread_count(
    unlabeled: UnlabeledViews, seed: int
) -> None:
    encoded = photos()
    rng = np.random.default_rng(seed)
    weak, strong = plan_weak(rng, SETTINGS, sizes(encoded)), plan_strong(rng, SETTINGS, sizes(encoded))
    threaded = UnlabeledViews(SETTINGS, batch_size=8, num_threads=3)
    one, other = unlabeled.run(encoded, weak, strong), threaded.run(encoded, weak, strong)
    assert torch.equal(one[0], other[0])
    for first, second in zip(one[1], other[1], strict=True):
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
    images_BCHW = TestViews(as_is, batch_size=4, num_threads=1).run(encoded, plan)
    assert_batch_is(images_BCHW, plan, [decoded(one) for one in encoded], atol=1e-3)


def test_an_undecodable_image_raises_and_a_new_object_goes_on(unlabeled: UnlabeledViews) -> None:
    encoded = [*photos()[:1], b"not an image"]
    plan = plan_test(SETTINGS, [(100, 140), (100, 140)])
    with pytest.raises(RuntimeError, match="decod"):
        TestViews(SETTINGS, batch_size=2).run(encoded, plan)
    assert (
        len(TestViews(SETTINGS, batch_size=2).run(photos()[:2], plan_test(SETTINGS, sizes(photos()[:2]))))
        == 2
    )


def test_strong_views_made_alone_are_the_same_bytes(unlabeled: UnlabeledViews) -> None:
    encoded = photos()
    rng = np.random.default_rng(11)
    weak, strong = plan_weak(rng, SETTINGS, sizes(encoded)), plan_strong(rng, SETTINGS, sizes(encoded))
    _, beside_weak = unlabeled.run(encoded, weak, strong)
    no_weak, alone = UnlabeledViews(SETTINGS, batch_size=4, num_threads=1, weak=False).run(
        encoded, weak, strong
    )
    assert no_weak is None
    for one, other in zip(alone, beside_weak, strict=True):
        np.testing.assert_array_equal(one, other)
