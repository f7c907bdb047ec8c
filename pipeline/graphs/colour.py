"""Colour operations as DALI fragments, drawn by the plan and chosen per image.

In: uint8 HWC images, and of each image the index of its operation in `settings.COLOUR_OPS` and its value.
Out: images of the same shape and type. The definitions are PIL's (`ImageEnhance`, `ImageOps`), built from
operators that agree with them; PIL cuts fractions off where these round, so values differ by at most 1
(saturation, which rounds twice, by 2). Wider:
- sharpness: PIL leaves the outermost pixels as they are, here they are smoothed with the mirrored image.
- equalize: PIL divides by a whole number of pixels a level, floor(n / 255) of the n pixels below the brightest
  level, here by n / 255 itself, so PIL's values are n / (255 floor(n / 255)) times as large: within 1 from
  300 x 451 on, 2 at 150 x 226, up to 21 at 50 x 50; PIL leaves an image of less than 255 such pixels as it is.

DALI's own contrast (about level 128) and hue are not used: they mean something else. An image whose operation
is the identity passes through untouched. These functions run inside a graph with conditionals.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, math, types
from nvidia.dali.types import DALIDataType, DALIImageType

from pipeline.graphs.graph import DataNode, Device
from pipeline.settings import COLOUR_OPS, ColourOp

_CODES: dict[ColourOp, int] = {name: index for index, name in enumerate(COLOUR_OPS)}
_DELTA = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / np.float32(13)


def apply_colour(image: DataNode, op: DataNode, value: DataNode, device: Device) -> DataNode:
    """Apply to each image the operation of number `op` with `value` (both on the CPU, scalars)."""
    if op != _CODES["identity"]:
        if op == _CODES["auto_contrast"]:
            image = auto_contrast(image)
        if op == _CODES["equalize"]:
            image = equalize(image)
        if op == _CODES["sharpness"]:
            image = sharpness(image, value, device)
        if op == _CODES["posterize"]:
            image = posterize(image, value, device)
        if op == _CODES["solarize"]:
            image = solarize(image, value, device)
        if op == _CODES["saturation"]:
            image = saturation(image, value, device)
        if op == _CODES["contrast"]:
            image = contrast(image, value)
        if op == _CODES["brightness"]:
            image = fn.brightness_contrast(image, brightness=value)
    return image


def auto_contrast(image: DataNode) -> DataNode:
    """Stretch each channel to 0..255; a channel of one level stays as it is."""
    low = fn.reductions.min(image, axes=[0, 1]).cpu()
    high = fn.reductions.max(image, axes=[0, 1]).cpu()
    varies = fn.cast(high > low, dtype=DALIDataType.FLOAT)
    step = varies * (high - low) / 255.0 + (1.0 - varies)
    return fn.crop_mirror_normalize(
        image, mean=low * varies, std=step, dtype=DALIDataType.UINT8, output_layout="HWC"
    )


def equalize(image: DataNode) -> DataNode:
    """Spread each channel's histogram; a channel of one level stays as it is.

    PIL's level is the share of darker pixels, DALI's that of pixels up to it less the darkest. Of the inverted
    image, DALI's is 1 less the share of darker pixels: inverted again, PIL's.
    """
    inverted = image ^ _constant(np.uint8(255))
    return fn.equalize(inverted) ^ _constant(np.uint8(255))


def sharpness(image: DataNode, factor: DataNode, device: Device) -> DataNode:
    """Blend each image with its 3x3 smoothing; 0 is smooth, 1 as it is, above sharper."""
    kernel = factor * _constant(_DELTA) + (1.0 - factor) * _constant(_SMOOTH)
    return fn.filter(image, on_device(kernel, device))


def posterize(image: DataNode, bits: DataNode, device: Device) -> DataNode:
    """Clear the `bits` lowest bits."""
    mask = fn.cast(256.0 - math.pow(2.0, bits), dtype=DALIDataType.UINT8)
    return image & on_device(mask, device)


def solarize(image: DataNode, level: DataNode, device: Device) -> DataNode:
    """Invert every value at or above `level`."""
    threshold = on_device(fn.cast(math.ceil(level), dtype=DALIDataType.INT16), device)
    return image ^ ((image >= threshold) * _constant(np.uint8(255)))


def saturation(image: DataNode, factor: DataNode, device: Device) -> DataNode:
    """Blend each image with its grey version; 0 is grey, 1 as it is, above more colourful."""
    share = on_device(factor, device)
    return fn.cast(image * share + _grey(image) * (1.0 - share), dtype=DALIDataType.UINT8)


def contrast(image: DataNode, factor: DataNode) -> DataNode:
    """Blend each image with its mean grey level; 0 is flat, 1 as it is, above starker."""
    mean = fn.reductions.mean(fn.cast(_grey(image), dtype=DALIDataType.FLOAT))
    return fn.brightness_contrast(image, contrast=factor, contrast_center=math.floor(mean + 0.5).cpu())


def on_device(node: DataNode, device: Device) -> DataNode:
    """Return a CPU value on the device of the images."""
    return node.gpu() if device == "cuda" else node


def _constant(value: npt.NDArray[np.float32] | np.uint8) -> DataNode:
    return types.Constant(value, device="cpu")  # type: ignore[no-untyped-call]


def _grey(image: DataNode) -> DataNode:
    """Return the luma (ITU-R 601), one channel."""
    return fn.color_space_conversion(image, image_type=DALIImageType.RGB, output_type=DALIImageType.GRAY)
