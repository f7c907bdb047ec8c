"""Textured backgrounds: crops of photos from the installed scikit-image wheel, blended with colour noise.

In: a part, an image size and a generator. Out: pixels_HW3, float32, 0 .. 165. Guaranteed: the photos behind
train and test are disjoint, and the brightness of both is drawn alike, so that only the texture differs.
Nothing is downloaded: the photos are read from the wheel's own files.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from jobs.synthetic.shapes import Part
from storage.errors import SourceError

Pixels = npt.NDArray[np.float32]

PHOTOS: dict[Part, tuple[str, ...]] = {
    "train": (
        "astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "hubble_deep_field.jpg",
        "motorcycle_left.png",
    ),
    "test": (
        "camera.png", "clock_motion.png", "gravel.png", "ihc.png", "moon.png", "retina.jpg", "rocket.jpg",
    ),
}  # fmt: skip
BRIGHTEST = 165.0  # the luma at which the colours of objects begin


def draw_background(part: Part, size: int, rng: np.random.Generator) -> Pixels:
    """Return pixels_HW3 of one background with its clutter."""
    pixels = _crop(photos(part)[rng.integers(len(PHOTOS[part]))], size, rng)
    pixels = pixels + rng.uniform(0.25, 0.6) * (colour_field(size, rng) - pixels)
    pixels = (pixels - pixels.mean()) * (rng.uniform(16, 34) / (pixels.std() + 1)) + rng.uniform(50, 100)
    strokes_HW1 = _strokes(size, rng)
    pixels += strokes_HW1 * (0.45 * colour_field(size, rng) + 70 - pixels)
    return np.asarray(np.clip(pixels, 0, BRIGHTEST), np.float32)


def colour_field(size: int, rng: np.random.Generator) -> Pixels:
    """Return pixels_HW3 that go smoothly through a few random colours."""
    cells = int(rng.integers(2, 6))
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)


@cache
def photos(part: Part) -> tuple[Image.Image, ...]:
    """Return the RGB photos of a part, decoded once a process.

    Raises SourceError where the installed scikit-image carries no such photo.
    """
    spec = importlib.util.find_spec("skimage")
    folder = (
        Path(spec.submodule_search_locations[0]) / "data"
        if spec and spec.submodule_search_locations
        else None
    )
    missing = [name for name in PHOTOS[part] if folder is None or not (folder / name).is_file()]
    if folder is None or missing:
        raise SourceError(
            f"expected the photos {', '.join(missing)} inside the installed scikit-image ({folder}); "
            "install a wheel of scikit-image >= 0.24 from the package index"
        )
    return tuple(Image.open(folder / name).convert("RGB") for name in PHOTOS[part])


def _crop(photo: Image.Image, size: int, rng: np.random.Generator) -> Pixels:
    """A random square of the photo, a quarter to nine tenths of its short side, turned and mirrored."""
    side = rng.uniform(0.25, 0.9) * min(photo.size)
    left, top = rng.random(2) * (np.array(photo.size) - side)
    square = photo.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side), reducing_gap=2.0
    )
    pixels = np.rot90(np.asarray(square, np.float32), int(rng.integers(4)))
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def _strokes(size: int, rng: np.random.Generator) -> Pixels:
    """Opacity, shape (H, W, 1), of thin lines, arcs and specks scattered as clutter."""
    mask = Image.new("L", (2 * size, 2 * size))
    canvas = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(3, 9))):
        opacity, width = int(rng.integers(70, 220)), int(rng.integers(1, 5))
        x, y, spread_x, spread_y = rng.uniform(0, 2 * size, 2).tolist() + rng.uniform(8, size, 2).tolist()
        start, sweep = rng.uniform(0, 360), rng.uniform(40, 150)
        match int(rng.integers(3)):
            case 0:
                angle = np.radians(start)
                end = (x + spread_x * np.cos(angle), y + spread_x * np.sin(angle))
                canvas.line([(x, y), end], fill=opacity, width=width)
            case 1:
                canvas.arc(
                    [x, y, x + spread_x, y + spread_y], start, start + sweep, fill=opacity, width=width
                )
            case _:
                canvas.ellipse([x, y, x + width + 1, y + width + 1], fill=opacity)
    return np.asarray(mask.reduce(2), np.float32)[:, :, None] / np.float32(255)
