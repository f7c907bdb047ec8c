"""Images that PIL reads and the decoder of the pipeline (DALI) does not, or shows otherwise.

In: an image as PIL opened and loaded it, and its bytes. Out: why it must be left out, with what to do; None where
both decoders show the same upright pixels. Every rule, and every neighbour that passes, is tested with both, on the
CPU, in `tests/storage/test_shown_otherwise.py`. Sixteen bits a channel pass: DALI scales them to eight. Of several
pages or frames both show the first.
"""

from __future__ import annotations

import re
import struct
import zlib

from PIL import Image

ORIENTATION = 0x0112
"""The tag of EXIF and TIFF that says how the stored pixels are turned."""
SAVE_ANEW = "save it as PNG"
_TIFF_COMPRESSIONS = {
    "raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg", "packbits", "zstd", "group3", "group4",
    "tiff_ccitt",
}  # fmt: skip
_TIFF_MODES = {"1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B"}
_SAMPLE_FORMAT, _EXTRA_SAMPLES, _PHOTOMETRIC = 339, 338, 262
_UNSIGNED, _PREMULTIPLIED, _MIN_IS_WHITE = 1, 1, 0
_SHORT, _LONG = 3, 4
_SYCC = 18
"""A colour space of JPEG 2000."""
_BMP_RLE4 = 2


def shown_otherwise(image: Image.Image, data: bytes, orientation: int) -> str | None:
    """Return why an image must be left out; `orientation` is what PIL turns it by."""
    turned = _decoder_orientation(image, orientation)
    if turned != orientation:
        return (
            f"EXIF says its orientation in a way that decoders read differently ({orientation} or {turned}); "
            "turn the pixels and take that mark out"
        )
    match image.format:
        case "JPEG" if image.mode == "CMYK" and "adobe" not in image.info:
            return f"a CMYK JPEG that does not say whether its ink is inverted; {SAVE_ANEW}"
        case "PNG":
            return _png(data)
        case "WEBP":
            return _webp(image, data)
        case "TIFF":
            return _tiff(image)
        case "PPM":
            return _ppm(data)
        case "BMP":
            return _bmp(image, data)
        case "JPEG2000":
            return _jpeg2000(image, data)
    return None


def pil_orientation(image: Image.Image) -> int:
    """Return the orientation by which PIL turns an image; 1 where none of 2 to 8 is written."""
    try:
        value: object = image.getexif().get(ORIENTATION)
    except (SyntaxError, ValueError, struct.error):  # EXIF that is none: the pixels are fine
        return 1
    return next((orientation for orientation in range(2, 9) if value == orientation), 1)


def _decoder_orientation(image: Image.Image, orientation: int) -> int:
    """Return the orientation by which DALI turns an image: it reads no XMP, and of EXIF the last block."""
    blocks: list[bytes] = []
    match image.format:
        case "JPEG" | "MPO":
            segments = getattr(image, "applist", [])
            blocks = [data for name, data in segments if name == "APP1" and data.startswith(b"Exif\0\0")]
        case "PNG":
            blocks = [image.info.get("exif", b"")]
        case "WEBP" if not getattr(image, "is_animated", False):
            blocks = [image.info.get("exif", b"")]
        case "TIFF":
            return orientation
    return _orientation_in(blocks[-1].removeprefix(b"Exif\0\0")) if blocks else 1


def _orientation_in(exif: bytes) -> int:
    """Return the orientation in an EXIF block as DALI reads it: two bytes, whatever type they are said to have."""
    order = ">" if exif.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(num_entries):
            tag, value = struct.unpack_from(f"{order}H6xH", exif, start + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if value in range(2, 9) else 1
    except struct.error:  # none, or cut off
        pass
    return 1


def _png(data: bytes) -> str | None:
    position, view = 8, memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            return None
        end = position + 8 + length
        if kind == b"IDAT" and data[end : end + 4] != zlib.crc32(view[position + 4 : end]).to_bytes(4):
            return "a PNG whose pixels do not have their checksum; is the file damaged?"
        position = end + 4
    return "a PNG without its last bytes; is the file complete?"


def _webp(image: Image.Image, data: bytes) -> str | None:
    lossy_alone = not re.match(rb"VP8L|ALPH", data[30:34])  # the first chunk behind VP8X
    if "exif" in image.info and not lossy_alone:
        return f"a WebP with EXIF that is lossless or has transparency; take EXIF out or {SAVE_ANEW}"
    return None


def _tiff(image: Image.Image) -> str | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    compression = image.info.get("compression")
    if compression not in _TIFF_COMPRESSIONS:
        return f"a TIFF compressed by {compression}; {SAVE_ANEW}"
    if image.mode not in _TIFF_MODES or {*tags.get(_SAMPLE_FORMAT, ())} - {_UNSIGNED}:
        return (
            f"a TIFF whose pixels are neither 8 nor 16 bits a channel, or of mode {image.mode}; {SAVE_ANEW}"
        )
    if image.mode == "1" and compression == "raw":
        return f"a TIFF of single bits that is not compressed; {SAVE_ANEW}"
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        return f"a TIFF of 16 bits whose 0 is white; {SAVE_ANEW}"
    if tags.get(_EXTRA_SAMPLES) == (_PREMULTIPLIED,) and _is_translucent(image):
        return f"a TIFF whose colours are multiplied by their transparency; {SAVE_ANEW}"
    if tags.tagtype.get(ORIENTATION, _SHORT) not in {_SHORT, _LONG}:
        return "a TIFF whose orientation is no whole number; turn the pixels and take that mark out"
    return None


def _is_translucent(image: Image.Image) -> bool:
    lowest, _ = image.getchannel(image.getbands()[-1]).getextrema()
    return bool(lowest < 255)  # type: ignore[operator]


def _ppm(data: bytes) -> str | None:
    header = re.match(rb"(P[1-6])((?:\s|#[^\r\n]*)+\d+){2}", data)
    if header is None:
        return f"a {data[:2]!r} file; {SAVE_ANEW}"
    kind = header[1]
    if kind == b"P1" and re.search(rb"^[^#\r\n]*[01][01]", data[header.end() :], re.MULTILINE):
        return f"a P1 file without spaces between its pixels; {SAVE_ANEW}"
    if kind in {b"P2", b"P3"} and data[-1:].isdigit():
        return f"a {kind.decode()} file without a newline behind its last number; add one"
    highest = re.match(rb"(?:\s|#[^\r\n]*)+(\d+)", data[header.end() :])
    allowed = (255, 65535) if kind in {b"P5", b"P6"} else (*range(1, 256), 65535)
    if kind not in {b"P1", b"P4"} and (highest is None or int(highest[1]) not in allowed):
        return (
            f"a {kind.decode()} file whose white is {int(highest[1]) if highest else 'missing'}; {SAVE_ANEW}"
        )
    return None


def _bmp(image: Image.Image, data: bytes) -> str | None:
    compression = image.info.get("compression", 0)
    if compression == _BMP_RLE4:
        return f"a BMP of 4 bits that is compressed; {SAVE_ANEW}"
    if int.from_bytes(data[28:30], "little") == 16 and not compression:
        return f"a BMP of 16 bits a pixel; {SAVE_ANEW}"
    return None


def _jpeg2000(image: Image.Image, data: bytes) -> str | None:
    is_bare = data.startswith(b"\xff\x4f\xff\x51")
    if image.mode == "LA" or (is_bare and image.mode not in {"RGB", "RGBA"}):
        return f"a JPEG 2000 {'code stream ' * is_bare}of mode {image.mode}; {SAVE_ANEW}"
    colours = re.search(rb"colr\x01..(.{4})", data[:512], re.DOTALL)
    if colours and int.from_bytes(colours[1]) == _SYCC:
        return f"a JPEG 2000 of luma and chroma; {SAVE_ANEW}"
    return None
