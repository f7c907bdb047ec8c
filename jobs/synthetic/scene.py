"""One image of dense shapes: a pure function of (settings, seed, part, index).

In: `SceneSettings`, a seed, the part and the image's number. Out: `Scene`, uint8 pixels and tight boxes.
Guaranteed: image i depends only on (settings, seed, part, i), whichever process draws it; objects lie wholly
inside the image; two boxes share at most a quarter of the smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from jobs.synthetic.backgrounds import Pixels, draw_background
from jobs.synthetic.shapes import SHAPES, Part, ShapeMask, draw_shape, part_variants

PARTS: tuple[Part, ...] = ("train", "test")
MAX_OVERLAP = 0.25
MAX_ROTATION = np.radians(20)
PLACES_TRIED = 40
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneSettings:
    """What the images of a data set have in common."""

    size: int
    """Side of the square images in pixels."""
    num_classes: int
    """The first so many shape classes."""
    imbalance: float
    """How many times more often the first class is drawn than the last, in train; test is balanced."""
    num_objects: tuple[int, int]
    """Fewest and most objects an image; fewer where no free place is found."""
    heights: tuple[float, float]
    """Least and greatest object height in pixels, drawn evenly on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A drawn image with its truth."""

    pixels_HW3: npt.NDArray[np.uint8]
    boxes_N4: npt.NDArray[np.float64]
    """xyxy, tight to the drawn masks, in pixels."""
    categories_N: npt.NDArray[np.int64]
    variants_N: npt.NDArray[np.int64]


def class_shares(settings: SceneSettings, part: Part) -> npt.NDArray[np.float64]:
    """Return the share of each class among the objects: geometric in train, equal in test."""
    imbalance = settings.imbalance if part == "train" else 1.0
    weights = imbalance ** -np.linspace(0, 1, settings.num_classes)
    return np.asarray(weights / weights.sum())


def draw_scene(settings: SceneSettings, *, seed: int, part: Part, index: int) -> Scene:
    """Draw image `index` of a part."""
    rng = np.random.default_rng([seed, PARTS.index(part), index])
    pixels = draw_background(part, settings.size, rng)
    low, high = settings.num_objects
    num_objects = int(rng.integers(low, high + 1))
    categories = rng.choice(settings.num_classes, num_objects, p=class_shares(settings, part))
    variants = rng.choice(part_variants(part), num_objects)
    heights = np.exp(rng.uniform(np.log(settings.heights[0]), np.log(settings.heights[1]), num_objects))

    boxes: list[npt.NDArray[np.float64]] = []
    kept: list[int] = []
    for number in np.argsort(-heights):  # large objects first: small ones still find a place
        mask = draw_shape(
            SHAPES[categories[number]],
            int(variants[number]),
            height=float(heights[number]),
            rotation=float(rng.uniform(-MAX_ROTATION, MAX_ROTATION)),
        )
        corner = _free_place(mask, settings.size, boxes, rng)
        colours = _surface(mask.coverage_HW.shape, rng)
        if corner is not None:
            _paint(pixels, mask, corner, colours)
            boxes.append(mask.box_4 + np.tile(corner, 2))
            kept.append(int(number))
    return Scene(
        pixels_HW3=_develop(pixels, rng),
        boxes_N4=np.array(boxes).reshape(-1, 4),
        categories_N=categories[kept],
        variants_N=variants[kept],
    )


def _free_place(
    mask: ShapeMask, size: int, boxes: list[npt.NDArray[np.float64]], rng: np.random.Generator
) -> npt.NDArray[np.int64] | None:
    """The first of a few random corners (x, y) where the new box overlaps no other too much."""
    room = size - np.ceil(mask.box_4[2:]).astype(int)
    corners_P2 = (rng.random((PLACES_TRIED, 2)) * (room + 1)).astype(np.int64)
    if (room < 0).any():
        return None
    placed_P14 = (np.tile(corners_P2, 2) + mask.box_4)[:, None]
    others_14N4 = np.array(boxes).reshape(1, -1, 4)
    sides = np.minimum(placed_P14[..., 2:], others_14N4[..., 2:]) - np.maximum(
        placed_P14[..., :2], others_14N4[..., :2]
    )
    shared_PN = np.prod(np.clip(sides, 0, None), axis=2)
    smaller_PN = np.minimum(_area(placed_P14), _area(others_14N4))
    free_P = (shared_PN <= MAX_OVERLAP * smaller_PN).all(axis=1)
    return corners_P2[free_P.argmax()] if free_P.any() else None


def _area(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1))


def _surface(shape_HW: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    """Bright colours with soft shading and a little grain, shape (H, W, 3)."""
    colour = rng.uniform(0, 255, 3)
    colour += (255 - colour) * max(0.0, (rng.uniform(165, 225) - colour @ LUMA) / (255 - colour @ LUMA))
    height, width = shape_HW
    down, right = rng.uniform(-0.16, 0.16, 2)
    shade = 1 + down * np.linspace(-1, 1, height)[:, None] + right * np.linspace(-1, 1, width)
    grain = rng.normal(0, rng.uniform(2, 12), shape_HW)
    return np.asarray(colour * shade[:, :, None] + grain[:, :, None], np.float32)


def _paint(pixels_HW3: Pixels, mask: ShapeMask, corner: npt.NDArray[np.int64], colours_HW3: Pixels) -> None:
    """Lay a soft shadow, then the object, on the image in place."""
    left, top = corner
    height, width = mask.coverage_HW.shape
    for shift, amount in ((1, 0.35), (0, 1.0)):
        region = pixels_HW3[top + shift : top + shift + height, left + shift : left + shift + width]
        rows, columns = region.shape[:2]
        opacity = amount * mask.coverage_HW[:rows, :columns, None]
        target = colours_HW3[:rows, :columns] if shift == 0 else 0.25 * region
        region += opacity * (target - region)


def _develop(pixels_HW3: Pixels, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The camera: blur, contrast and brightness jitter, sensor noise."""
    size = len(pixels_HW3)
    image = Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8) * max(1.0, size / 160)))
    exposed = np.asarray(image, np.float32)
    mean = exposed.mean()
    exposed = (exposed - mean) * np.float32(rng.uniform(0.75, 1.1)) + np.float32(mean + rng.uniform(-15, 15))
    exposed += np.float32(rng.uniform(2, 10)) * rng.standard_normal(exposed.shape, np.float32)
    return np.asarray(np.clip(exposed, 0, 255), np.uint8)
