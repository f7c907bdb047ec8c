"""The check before a shard: what passes and what is left out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from storage.errors import InputError
from storage.image_check import check_image


def encoded(kind: str, *, orientation: int | None = None, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    sink = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).convert(mode).save(sink, kind, **({"exif": exif} if orientation else {}))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("kind", "extension"),
    [("JPEG", "jpg"), ("PNG", "png"), ("BMP", "bmp"), ("TIFF", "tif"), ("WEBP", "webp"), ("PPM", "ppm")],
)
def test_an_image_passes_with_the_extension_of_its_bytes(kind: str, extension: str) -> None:
    checked = check_image(encoded(kind), width=60, height=40)
    assert (checked.extension, checked.width, checked.height) == (extension, 60, 40)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_pass(mode: str) -> None:
    assert check_image(encoded("JPEG", mode=mode)).width == 60


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_size_is_the_one_after_exif_rotation(kind: str) -> None:
    checked = check_image(encoded(kind, orientation=6))
    assert (checked.width, checked.height) == (40, 60)
    assert check_image(encoded(kind, orientation=3)).width == 60


def test_a_truncated_jpeg_is_left_out_wherever_it_is_cut() -> None:
    data = encoded("JPEG")
    for length in (len(data) - 2, len(data) // 2, 200, 20):
        with pytest.raises(InputError, match=r"(?i)truncated|not an image"):
            check_image(data[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not an image: begins with b'<html>no'"),
        (encoded("GIF"), "GIF is not supported"),
        (encoded("PNG")[:100], "truncated"),
    ],
)
def test_what_no_decoder_reads_is_left_out_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_image(data)


def test_an_image_of_another_size_than_annotated_is_left_out() -> None:
    with pytest.raises(InputError, match="61 x 40 annotated, 60 x 40 in the file"):
        check_image(encoded("JPEG"), width=61, height=40)
