"""The method in plain float64 numpy: what the graphs and the kernel are held against.

Written from the definitions alone, one image and one box at a time, with nothing of the project in it but the
number of a setting where a test hands it over. Coordinates are measured from edges: pixel i covers i to i + 1,
so its centre is at i + 0.5. Sizes are (height, width), boxes and patches xyxy, matrices 3 x 3 on (x, y, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
LUMA = np.array([0.299, 0.587, 0.114])


def coordinates(height: int, width: int) -> np.ndarray:
    """Draw an image that says where each pixel is: red is x, green is y, blue falls with both."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y, 255 - (x + y) // 2], axis=2).astype(np.uint8)


def photo_like(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw noise of all levels over a slope, so that histograms are neither flat nor empty."""
    slope = np.linspace(0, 120, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    return np.clip(slope + rng.normal(40, 25, (height, width, 3)), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- geometry


def resize_matrix(source: Sequence[int], size: Sequence[int], *, flip: bool) -> np.ndarray:
    """Scale by the ratio of the whole sizes, then mirror left to right."""
    y, x = size[0] / source[0], size[1] / source[1]
    return np.array([[-x if flip else x, 0, size[1] if flip else 0], [0, y, 0], [0, 0, 1]])


def geometric_matrix(name: str, amount: float, size: Sequence[int]) -> np.ndarray:
    """Rotate or shear about the centre, or translate by a fraction of the side."""
    (height, width), tangent = size, np.tan(amount)
    x, y, c, s = width / 2, height / 2, np.cos(amount), np.sin(amount)
    return {
        "rotate": np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [0, 0, 1]]),
        "shear_x": np.array([[1, tangent, -tangent * y], [0, 1, 0], [0, 0, 1]]),
        "shear_y": np.array([[1, 0, 0], [tangent, 1, -tangent * x], [0, 0, 1]]),
        "translate_x": np.array([[1, 0, amount * width], [0, 1, 0], [0, 0, 1]]),
        "translate_y": np.array([[1, 0, 0], [0, 1, amount * height], [0, 0, 1]]),
    }[name]


def bilinear(pixels: np.ndarray, matrix: np.ndarray, size: Sequence[int], border: int | None) -> np.ndarray:
    """Take one bilinear sample a pixel at the place that the inverse matrix names; no border: edges repeat."""
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


# ---------------------------------------------------------------------------------------------- colour


def colour(pixels: np.ndarray, op: str, value: float) -> np.ndarray:
    """Apply PIL's definition of an operation without its roundings; sharpness mirrors at the edge."""
    image = pixels.astype(np.float64)
    match op:
        case "identity":
            return image
        case "auto_contrast":
            return np.stack([_stretched(image[..., channel]) for channel in range(3)], axis=2)
        case "equalize":
            return np.stack([_equalized(pixels[..., channel]) for channel in range(3)], axis=2)
        case "sharpness":
            mirrored = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
            height, width = image.shape[:2]
            smooth = sum(
                SMOOTHING[y, x] * mirrored[y : y + height, x : x + width] for y in range(3) for x in range(3)
            )
            return np.clip(smooth + value * (image - smooth), 0, 255)
        case "posterize":
            return np.floor(image / 2**value) * 2**value
        case "solarize":
            return np.where(image >= value, 255 - image, image)
        case "saturation":
            grey = (image @ LUMA)[..., None]
            return np.clip(grey + value * (image - grey), 0, 255)
        case "contrast":
            mean = np.round((image @ LUMA).mean())
            return np.clip(mean + value * (image - mean), 0, 255)
        case "brightness":
            return np.clip(value * image, 0, 255)
    raise ValueError(op)


def _stretched(channel: np.ndarray) -> np.ndarray:
    low, high = channel.min(), channel.max()
    return channel if low == high else (channel - low) * 255 / (high - low)


def _equalized(channel: np.ndarray) -> np.ndarray:
    """255 times the pixels darker than a level, out of those below the brightest level."""
    counts = np.bincount(channel.ravel(), minlength=256)
    below_brightest = counts.sum() - counts[channel.max()]
    if below_brightest == 0:
        return channel.astype(np.float64)
    return (255 * (np.cumsum(counts) - counts) / below_brightest)[channel]


# ---------------------------------------------------------------------------------------------- mixing


def rounded_up(side: float, multiple: int) -> int:
    return int(-(-side // multiple) * multiple)


def fitted(source: Sequence[int], bounds: Sequence[int]) -> tuple[int, int]:
    """Scale a size by the largest factor with which it fits, rounded to whole pixels."""
    scale = min(bounds[0] / source[0], bounds[1] / source[1])
    height, width = (min(max(int(source[axis] * scale + 0.5), 1), bounds[axis]) for axis in (0, 1))
    return height, width


def normalised(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    return (pixels - np.array(mean)) / np.array(std)


def placed(
    pixels: np.ndarray, canvas: Sequence[int], offset: Sequence[int], patches: Sequence[Sequence[int]]
) -> np.ndarray:
    """Put an image with erased patches (in its own pixels) on a canvas of zeros."""
    erased = pixels.copy()
    for x1, y1, x2, y2 in patches:
        erased[y1:y2, x1:x2] = 0
    drawn = np.zeros((*canvas, pixels.shape[2]))
    drawn[offset[0] : offset[0] + len(erased), offset[1] : offset[1] + erased.shape[1]] = erased
    return drawn


def quadrants(sizes: Sequence[Sequence[int]], multiple: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return the size of a mosaic and the (y, x) of its four tiles, which touch the centre cross."""
    height, width = (rounded_up(max(size[axis] for size in sizes), multiple) for axis in (0, 1))
    corners = [
        (height - sizes[0][0], width - sizes[0][1]),
        (height - sizes[1][0], width),
        (height, width - sizes[2][1]),
        (height, width),
    ]
    return (2 * height, 2 * width), corners


# ---------------------------------------------------------------------------------------------- boxes


def moved_box(
    box: Sequence[float],
    matrix: np.ndarray,
    clip: Sequence[float],
    patches: Sequence[Sequence[float]] = (),
    drop_ratio: float = 0.7,
) -> list[float] | None:
    """Hull of the mapped corners, clipped to xyxy; None where a sliver is left or patches cover too much."""
    x1, y1, x2, y2 = (float(value) for value in box)
    corners = matrix @ np.array([[x1, x2, x1, x2], [y1, y1, y2, y2], [1, 1, 1, 1]])
    low = np.maximum(corners[:2].min(axis=1), clip[:2])
    high = np.minimum(corners[:2].max(axis=1), clip[2:])
    if (high - low <= 0.01).any():
        return None
    shared = [
        np.prod(np.maximum(np.minimum(high, patch[2:]) - np.maximum(low, patch[:2]), 0)) for patch in patches
    ]
    return None if sum(shared) / np.prod(high - low) >= drop_ratio else [*low, *high]
