"""The check every encoded image passes before it enters a shard.

In: the bytes of one image file, and the size its annotations speak of. Out: the extension that fits the
bytes and the size as a decoder gives it, after EXIF rotation. Guarantee: what passes decodes later, and shows
what PIL shows (`storage.shown_otherwise`); one undecodable image stops a whole decoding graph. JPEGs are
decoded at 1/8 scale, which reads every byte and finds truncation and garbage at 1.4 ms an image.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import BinaryIO, Literal

from PIL import Image, UnidentifiedImageError

from storage.errors import SourceError
from storage.shown_otherwise import SAVE_ANEW, pil_orientation, shown_otherwise

EXTENSIONS = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp", "PPM": "ppm",
    "JPEG2000": "jp2",
}  # fmt: skip
"""Formats that the decoders of the pipeline read, as PIL names them. GIF is not one of them."""

Frame = Literal["upright", "stored"]
"""What boxes and sizes are of: the image as EXIF turns it, which is what decoders show, or its pixels as stored."""

_FIRST_QUARTER_TURN = 5
"""EXIF orientations from 5 on swap width and height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedImage:
    """What is known of an image that decodes. Width and height are as decoded, after EXIF rotation."""

    extension: str
    width: int
    height: int
    orientation: int = 1
    """How EXIF says that the stored pixels are turned; 1 where it does not say."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Return the width and height of the pixels as stored."""
        size = (self.width, self.height)
        return size[::-1] if self.orientation >= _FIRST_QUARTER_TURN else size

    @property
    def keeps_its_size(self) -> bool:
        """Return whether the image is turned so that its size alone does not tell stored from upright boxes."""
        return self.orientation > 1 and (self.orientation < _FIRST_QUARTER_TURN or self.width == self.height)


def check_image(data: bytes, *, width: int = 0, height: int = 0, frame: Frame = "upright") -> CheckedImage:
    """Decode an image and compare its size with the annotated one, which is of this frame (0: not annotated).

    Raises SourceError with the reason, in a few words, when the image must be left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checked = _decode(data)
    except SourceError:
        raise
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise SourceError(f"larger than {limit:,} pixels; cut it into tiles") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceError(str(error).replace("\n", " ") or type(error).__name__) from None
    if (width, height) not in {(0, 0), _size_in(checked, frame)}:
        raise SourceError(_why_not_of(checked, width, height, frame))
    return checked


def _size_in(checked: CheckedImage, frame: Frame) -> tuple[int, int]:
    return (checked.width, checked.height) if frame == "upright" else checked.stored_size


def _why_not_of(checked: CheckedImage, width: int, height: int, frame: Frame) -> str:
    """Return why an image is left out whose annotated size is not the one of its file in this frame."""
    upright, stored = (
        f"{size[0]} x {size[1]}" for size in ((checked.width, checked.height), checked.stored_size)
    )
    if (width, height) not in {(checked.width, checked.height), checked.stored_size}:
        return f"{width} x {height} annotated, {upright if frame == 'upright' else stored} in the file"
    other = (
        "--boxes stored, if its boxes are of the stored pixels" if frame == "upright" else "no --boxes stored"
    )
    return (
        f"{width} x {height} annotated; the file is {stored} stored, {upright} upright by EXIF orientation "
        f"{checked.orientation}: give {other}"
    )


def header_size(file: BinaryIO, *, frame: Frame = "upright") -> tuple[int, int]:
    """Return height and width in this frame from the head of an image file; (0, 0) where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                orientation = pil_orientation(image)
                width, height = _turned_size(image, orientation)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0, 0
    if frame == "stored" and orientation >= _FIRST_QUARTER_TURN:
        return width, height
    return height, width


def _turned_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    width, height = image.size
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
            raise SourceError(f"{image.format} is not supported; {SAVE_ANEW}")
        orientation = pil_orientation(image)
        width, height = _turned_size(image, orientation)
        if image.mode == "F":
            raise SourceError("pixels are floats; convert it to 8 bits a channel")
        image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        reason = shown_otherwise(image, data, orientation)
        if reason is not None:
            raise SourceError(reason)
        extension = EXTENSIONS[image.format]
        return CheckedImage(extension=extension, width=width, height=height, orientation=orientation)
