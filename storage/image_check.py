"""The check every encoded image passes before it enters a shard.

In: the bytes of one image file, and the size its annotations speak of. Out: the extension that fits the
bytes and the size as a decoder gives it, after EXIF rotation. Guarantee: what passes decodes later; one
undecodable image stops a whole decoding graph. JPEGs are decoded at 1/8 scale, which reads every byte and
finds truncation and garbage at 1.4 ms an image.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from storage.errors import SourceError

EXTENSIONS = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp", "PPM": "ppm",
    "JPEG2000": "jp2",
}  # fmt: skip
"""Formats that the decoders of the pipeline read, as PIL names them. GIF is not one of them."""

_EXIF_ORIENTATION = 0x0112
_FIRST_QUARTER_TURN = 5
"""EXIF orientations from 5 on swap width and height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedImage:
    """What is known of an image that decodes. Width and height are as decoded, after EXIF rotation."""

    extension: str
    width: int
    height: int


def check_image(data: bytes, *, width: int = 0, height: int = 0) -> CheckedImage:
    """Decode an image and compare its size with the annotated one (0: not annotated).

    Raises SourceError with the reason, in a few words, when the image must be left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checked = _decode(data)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(str(error).replace("\n", " ") or type(error).__name__) from None
    if (width, height) not in {(0, 0), (checked.width, checked.height)}:
        raise SourceError(f"{width} x {height} annotated, {checked.width} x {checked.height} in the file")
    return checked


def header_size(file: BinaryIO) -> tuple[int, int]:
    """Return height and width after EXIF rotation from the head of an image file; (0, 0) where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                width, height = _turned_size(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0, 0
    return height, width


def _turned_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    if orientation >= _FIRST_QUARTER_TURN and image.format != "TIFF":  # PIL turns TIFF sizes itself
        return height, width
    return width, height


def _decode(data: bytes) -> CheckedImage:
    if not data:
        raise SourceError("empty file")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise SourceError(f"not an image: begins with {data[:8]!r}") from None
    with image:
        if image.format not in EXTENSIONS:
            raise SourceError(f"{image.format} is not supported")
        width, height = _turned_size(image)
        image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        return CheckedImage(extension=EXTENSIONS[image.format], width=width, height=height)
