"""Every colour operation against PIL and against its plain definition, on photographs, noise and flat images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from skimage import data

from pipeline.graphs.colour import apply_colour
from pipeline.graphs.graph import Graph, floats_input, integers_input, pixels_input
from pipeline.settings import COLOUR_OPS, ColourOp
from tests.pipeline.reference import colour

FACTORS = (0.1, 0.7, 1.0, 1.9)
VALUES: dict[str, tuple[float, ...]] = {"posterize": (0, 1, 3, 4, 8), "solarize": (0, 13.5, 128, 256)}
TOLERANCE = {"identity": 0, "posterize": 0, "solarize": 0, "saturation": 2}
PLAIN_TOLERANCE = {"saturation": 1.0, "contrast": 0.51, "solarize": 0, "posterize": 0, "identity": 0}
"""Grey levels from the unrounded definition; saturation rounds its grey version first."""


def colour_graph() -> Any:
    """Describe the fragment alone."""
    image = pixels_input("image", "cpu")
    return apply_colour(image, integers_input("op"), floats_input("value", 0), "cpu")


@pytest.fixture(scope="module")
def run() -> Callable[[list[np.ndarray], list[ColourOp], list[float]], list[np.ndarray]]:
    graph = Graph(colour_graph, batch_size=9)

    def run(images: list[np.ndarray], ops: list[ColourOp], values: list[float]) -> list[np.ndarray]:
        codes = np.array([COLOUR_OPS.index(op) for op in ops], np.int32)
        (output,) = graph.run({"image": images, "op": codes, "value": np.array(values, np.float32)})
        return [np.array(output.at(index)) for index in range(len(images))]

    return run


def pil(pixels: np.ndarray, op: ColourOp, value: float) -> np.ndarray:
    image = Image.fromarray(pixels)
    match op:
        case "identity":
            return pixels
        case "auto_contrast":
            return np.array(ImageOps.autocontrast(image))
        case "equalize":
            return np.array(ImageOps.equalize(image))
        case "sharpness":
            return np.array(ImageEnhance.Sharpness(image).enhance(value))
        case "posterize":
            if value == 8:  # PIL keeps at least one bit
                return np.zeros_like(pixels)
            return np.array(ImageOps.posterize(image, 8 - int(value)))
        case "solarize":
            return np.array(ImageOps.solarize(image, value))
        case "saturation":
            return np.array(ImageEnhance.Color(image).enhance(value))
        case "contrast":
            return np.array(ImageEnhance.Contrast(image).enhance(value))
        case "brightness":
            return np.array(ImageEnhance.Brightness(image).enhance(value))


def pictures() -> dict[str, np.ndarray]:
    squares = np.full((80, 90, 3), 128, np.uint8)
    squares[10:40, 20:60] = (250, 10, 30)
    squares[50:70, 5:30] = (5, 240, 20)
    return {
        "photo": data.chelsea()[::2, ::2].copy(),
        "noise": np.random.default_rng(0).integers(20, 200, (41, 67, 3)).astype(np.uint8),
        "flat": np.full((40, 50, 3), (10, 200, 77), np.uint8),
        "squares": squares,
    }


@pytest.mark.parametrize("op", [op for op in COLOUR_OPS if op not in ("equalize", "sharpness")])
def test_the_operation_is_pils(op: ColourOp, run: Callable[..., list[np.ndarray]]) -> None:
    values = VALUES.get(op, FACTORS)
    for name, picture in pictures().items():
        found = run([picture] * len(values), [op] * len(values), list(values))
        for value, pixels in zip(values, found, strict=True):
            difference = np.abs(pixels.astype(int) - pil(picture, op, value))
            assert difference.max() <= TOLERANCE.get(op, 1), (name, value)


def test_sharpness_is_pils_but_for_the_outermost_pixels(run: Callable[..., list[np.ndarray]]) -> None:
    for name, picture in pictures().items():
        found = run([picture] * len(FACTORS), ["sharpness"] * len(FACTORS), list(FACTORS))
        for value, pixels in zip(FACTORS, found, strict=True):
            difference = np.abs(pixels.astype(int) - pil(picture, "sharpness", value))
            assert difference[1:-1, 1:-1].max() <= 1, (name, value)


def test_equalize_is_pils_but_for_its_whole_number_of_pixels_a_level(
    run: Callable[..., list[np.ndarray]],
) -> None:
    """PIL divides by floor(n / 255), here n / 255 is meant; n: pixels below the brightest level."""
    for name, picture in pictures().items():
        (pixels,) = run([picture], ["equalize"], [1.0])
        from_pil = pil(picture, "equalize", 1.0)
        for channel in range(3):
            counts = np.bincount(picture[..., channel].ravel())
            below_brightest = counts.sum() - counts[-1]
            if below_brightest == 0:
                np.testing.assert_array_equal(pixels[..., channel], picture[..., channel])
                continue
            cut = below_brightest / (255 * (below_brightest // 255))
            difference = np.abs(pixels[..., channel].astype(int) - from_pil[..., channel])
            assert difference.max() <= 255 * (cut - 1) + 1, (name, channel)


def test_equalize_of_a_whole_photograph_is_within_one_level_of_pils(
    run: Callable[..., list[np.ndarray]],
) -> None:
    photo = data.chelsea()
    (pixels,) = run([photo], ["equalize"], [1.0])
    assert np.abs(pixels.astype(int) - pil(photo, "equalize", 1.0)).max() <= 1


@pytest.mark.parametrize("op", COLOUR_OPS)
def test_the_operation_is_the_plain_definition_rounded(
    op: ColourOp, run: Callable[..., list[np.ndarray]]
) -> None:
    values = VALUES.get(op, FACTORS)
    for name, picture in pictures().items():
        found = run([picture] * len(values), [op] * len(values), list(values))
        for value, pixels in zip(values, found, strict=True):
            np.testing.assert_allclose(
                pixels, colour(picture, op, value), atol=PLAIN_TOLERANCE.get(op, 0.51), err_msg=name
            )


def test_each_image_of_a_batch_gets_its_own_operation(run: Callable[..., list[np.ndarray]]) -> None:
    photo = pictures()["photo"]
    together = run([photo] * 9, list(COLOUR_OPS), [2.0 if op == "posterize" else 0.6 for op in COLOUR_OPS])
    for op, pixels in zip(COLOUR_OPS, together, strict=True):
        (alone,) = run([photo], [op], [2.0 if op == "posterize" else 0.6])
        np.testing.assert_array_equal(pixels, alone)
    assert len({pixels.tobytes() for pixels in together}) == 9
