"""Images held against both decoders: what passes looks the same in PIL and in DALI, all else is left out."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.graphs.graph import DataNode, Graph, decode, encoded_input, image_list
from storage.errors import SourceError
from storage.image_check import check_image

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Palette images")
HEIGHT, WIDTH = 40, 64
RNG = np.random.default_rng(0)
PIXELS = np.kron(RNG.integers(0, 255, (5, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
GREY = PIXELS[..., 0]
DEEP = GREY.astype(np.uint16) * 257
ALPHA = np.tile(np.arange(WIDTH, dtype=np.uint8) * 4, (HEIGHT, 1))
RGB = Image.fromarray(PIXELS)
RGBA = Image.fromarray(np.dstack([PIXELS, ALPHA]))
LA = Image.fromarray(np.dstack([GREY, ALPHA]))
XMP = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
SHORT, LONG, BYTE, TEXT, RATIONAL, FLOAT = (3, "H"), (4, "I"), (1, "B"), (2, "s"), (5, "II"), (11, "f")


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def tiff(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    tifffile.imwrite(sink, pixels, **options)
    return sink.getvalue()


def exif(kind: tuple[int, str], *values: Any, order: str = "<", count: int = 1) -> bytes:
    """Return an EXIF block whose one entry is the orientation, written as a value of some type."""
    code, form = kind
    value = struct.pack(f"{order}{form}", *values)
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", 26)
    entry = struct.pack(f"{order}HHI", 0x112, code, count) + inline
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 1)
    return b"Exif\0\0" + head + entry + struct.pack(f"{order}I", 0) + (value if len(value) > 4 else b"")


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def without_adobe(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]) :]


def png_text(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text) if name.startswith("XML") else info.add_text(name, text)
    return save(RGB, "PNG", pnginfo=info)


def bad_checksum(png: bytes) -> bytes:
    length = int.from_bytes(png[png.index(b"IDAT") - 4 : png.index(b"IDAT")])
    place = png.index(b"IDAT") + 4 + length
    return png[:place] + bytes([png[place] ^ 1]) + png[place + 1 :]


def deep_png(pixels: npt.NDArray[np.uint16], colours: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2"))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colours, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def pnm(kind: str, pixels: npt.NDArray[Any], white: int | None = 255, *, end: bytes = b"\n") -> bytes:
    lines = [kind, "# a comment", f"{WIDTH} {HEIGHT}", *([] if white is None else [str(white)]), ""]
    head = "\n".join(lines).encode()
    if kind in {"P1", "P2", "P3"}:
        return head + " ".join(map(str, pixels.ravel())).encode() + end
    return head + pixels.astype(">u2" if white and white > 255 else np.uint8).tobytes()


def bmp(bits: int, compression: int, data: bytes, *, middle: bytes = b"", sign: int = 1) -> bytes:
    start = 54 + len(middle)
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, sign * HEIGHT, 1, bits, compression, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + middle + data


def coloured(*shifts: int) -> bytes:
    high = PIXELS[::-1].astype("<u2") >> 3
    return sum(high[..., channel] << shift for channel, shift in enumerate(shifts)).astype("<u2").tobytes()  # type: ignore[union-attr]


JPEG, PNG, WEBP = save(RGB, "JPEG"), save(RGB, "PNG"), save(RGB, "WEBP")
SIX = exif(SHORT, 6)
BITS = (GREY > 128).astype(np.uint8)
PALETTE = bytes(side for index in range(16) for side in (index * 16, 255 - index * 16, index, 0))

SAME: dict[str, bytes] = {
    **{
        f"orientation {value} {kind}": save(RGB, kind, exif=exif(SHORT, value))
        for value in (0, *range(1, 10), 65535)
        for kind in ("JPEG", "PNG", "WEBP")
    },
    **{f"TIFF orientation {value}": save(RGB, "TIFF", tiffinfo={0x112: value}) for value in (0, 3, 6, 9)},
    "orientation of the other byte order": save(RGB, "JPEG", exif=exif(SHORT, 6, order=">")),
    "orientation as a long": save(RGB, "JPEG", exif=exif(LONG, 6)),
    "orientation as text": save(RGB, "JPEG", exif=exif(TEXT, b"6")),
    "no EXIF": JPEG,
    "EXIF that is none": save(RGB, "JPEG", exif=b"Exif\0\0garbage garbage"),
    "EXIF cut off": save(RGB, "JPEG", exif=SIX[:20]),
    "EXIF before XMP": with_segment(save(RGB, "JPEG", exif=SIX), b"http://ns.adobe.com/xap/1.0/\0" + XMP),
    "grey JPEG": save(RGB.convert("L"), "JPEG"),
    "CMYK JPEG": save(RGB.convert("CMYK"), "JPEG"),
    "progressive JPEG": save(RGB, "JPEG", progressive=True),
    "JPEG with more behind": JPEG + b"\0" * 100,
    "MPO": save(RGB, "MPO", save_all=True, append_images=[RGB.rotate(180)]),
    "palette PNG": save(RGB.convert("P"), "PNG"),
    "palette PNG with transparency": save(RGB.convert("P"), "PNG", transparency=bytes(range(200))),
    "PNG with a transparent colour": save(RGB, "PNG", transparency=(0, 0, 0)),
    "RGBA PNG": save(RGBA, "PNG"),
    "LA PNG": save(LA, "PNG"),
    "one-bit PNG": save(RGB.convert("1"), "PNG"),
    "16-bit RGB PNG": deep_png(PIXELS.astype(np.uint16) * 257, 2),
    "animated PNG": save(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)]),
    "lossless WebP": save(RGB, "WEBP", lossless=True),
    "RGBA WebP": save(RGBA, "WEBP"),
    "animated WebP": save(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)]),
    **{
        f"TIFF of mode {mode}": save(RGB.convert(mode), "TIFF", compression="tiff_lzw")
        for mode in ("1", "L", "RGBA", "CMYK", "YCbCr")
    },
    "TIFF by deflate": save(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF of fax pages": save(RGB.convert("1"), "TIFF", compression="group4"),
    "TIFF of pages": save(RGB, "TIFF", save_all=True, append_images=[RGB.resize((10, 10))]),
    "TIFF in tiles": tiff(PIXELS, photometric="rgb", tile=(16, 16)),
    "BigTIFF": tiff(PIXELS, photometric="rgb", bigtiff=True),
    "TIFF in planes": tiff(
        np.ascontiguousarray(PIXELS.transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    ),
    "TIFF whose 0 is white": tiff(GREY, photometric="miniswhite"),
    "16-bit RGB TIFF": tiff(PIXELS.astype(np.uint16) * 257, photometric="rgb"),
    "TIFF with opaque premultiplied colours": tiff(
        np.dstack([PIXELS, np.full_like(ALPHA, 255)]), photometric="rgb", extrasamples=["assocalpha"]
    ),
    "P6": pnm("P6", PIXELS),
    "P6 of 16 bits": pnm("P6", PIXELS.astype(int) * 257, 65535),
    "P5": pnm("P5", GREY),
    "P4": pnm("P4", np.packbits(BITS, axis=1), None),
    "P3": pnm("P3", PIXELS),
    "P3 with a space at its end": pnm("P3", PIXELS, end=b" "),
    "P2": pnm("P2", GREY),
    "P1": pnm("P1", BITS, None),
    "P1 without a newline at its end": pnm("P1", BITS, None, end=b""),
    "BMP": save(RGB, "BMP"),
    "BMP from the top": bmp(24, 0, PIXELS[:, :, ::-1].tobytes(), sign=-1),
    "palette BMP": save(RGB.convert("P"), "BMP"),
    "JPEG 2000": save(RGB, "JPEG2000"),
    "grey JPEG 2000": save(RGB.convert("L"), "JPEG2000"),
    "JPEG 2000 code stream": save(RGB, "JPEG2000", no_jp2=True),
}
CLOSE = {
    "palette TIFF": (save(RGB.convert("P"), "TIFF"), 1),
    "P3 whose white is 100": (pnm("P3", PIXELS // 3, 100), 1),
    "BMP of 16 bits with masks": (
        bmp(16, 3, coloured(10, 5, 0), middle=struct.pack("<III", 0x7C00, 0x3E0, 0x1F)),
        7,
    ),
}
"""What both decoders show, but for rounding, and the greatest difference."""
DEEP_GREY = {
    "PNG": save(Image.fromarray(DEEP), "PNG"),
    "TIFF": tiff(DEEP),
    "TIFF of the other byte order": tiff(DEEP, byteorder=">"),
    "JPEG 2000": save(Image.fromarray(DEEP), "JPEG2000"),
    "P5": pnm("P5", DEEP, 65535),
    "P2": pnm("P2", DEEP, 65535),
}
OTHERWISE = {
    **{
        f"orientation as {name} in {kind}": (save(RGB, kind, exif=block), "decoders read differently")
        for kind in ("JPEG", "PNG")
        for name, block in {
            "a byte": exif(BYTE, 6),
            "a long of the other byte order": exif(LONG, 6, order=">"),
            "a fraction": exif(RATIONAL, 6, 1),
            "a float": exif(FLOAT, 6.0),
            "no value": exif(SHORT, 6, count=0),
        }.items()
    },
    "orientation in XMP of JPEG": (
        with_segment(JPEG, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        "decoders read differently",
    ),
    "orientation in XMP of PNG": (
        png_text(**{"XML:com.adobe.xmp": XMP.decode()}),
        "decoders read differently",
    ),
    "orientation in a text of PNG": (
        png_text(**{"Raw profile type exif": f"\nexif\n{len(SIX):8d}\n{SIX.hex()}\n"}),
        "decoders read differently",
    ),
    "two EXIF blocks": (
        with_segment(save(RGB, "JPEG", exif=exif(SHORT, 1)), SIX),
        "decoders read differently",
    ),
    "animated WebP with orientation": (
        save(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)], exif=SIX),
        "decoders read differently",
    ),
    "CMYK JPEG without Adobe's mark": (without_adobe(save(RGB.convert("CMYK"), "JPEG")), "inverted"),
    "JPEG cut off": (JPEG[:-2], "truncated"),
    "PNG without IEND": (PNG[:-12], "without its last bytes"),
    "PNG with half an IEND": (PNG[:-4], "without its last bytes"),
    "PNG with a wrong checksum": (bad_checksum(PNG), "checksum"),
    "PNG cut off": (PNG[:-30], "truncated"),
    "lossless WebP with EXIF": (save(RGB, "WEBP", lossless=True, exif=exif(SHORT, 1)), "WebP with EXIF"),
    "RGBA WebP with EXIF": (save(RGBA, "WEBP", exif=exif(SHORT, 1)), "WebP with EXIF"),
    "GIF": (save(RGB, "GIF"), "GIF is not supported; save it as PNG"),
    "animated GIF": (save(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180)]), "not supported"),
    "float TIFF": (tiff(GREY.astype(np.float32)), "floats"),
    **{
        f"TIFF of {kind}": (tiff((GREY // 2).astype(kind)), "neither 8 nor 16 bits")
        for kind in ("int8", "int16", "int32", "uint32")
    },
    **{
        f"TIFF of mode {mode}": (save(image, "TIFF"), "neither 8 nor 16 bits")
        for mode, image in {"LA": LA, "PA": RGBA.convert("PA"), "LAB": RGB.convert("LAB")}.items()
    },
    "TIFF of bits": (save(RGB.convert("1"), "TIFF"), "single bits"),
    "TIFF by LZMA": (save(RGB, "TIFF", compression="lzma"), "compressed by lzma"),
    "TIFF with premultiplied colours": (
        tiff(np.dstack([PIXELS, ALPHA]), photometric="rgb", extrasamples=["assocalpha"]),
        "multiplied",
    ),
    "P3 without a newline at its end": (pnm("P3", PIXELS, end=b""), "without a newline"),
    "P2 without a newline at its end": (pnm("P2", GREY, end=b""), "without a newline"),
    "P1 without spaces": (pnm("P1", BITS, None).replace(b"0 ", b"0").replace(b"1 ", b"1"), "without spaces"),
    "P6 whose white is 100": (pnm("P6", PIXELS // 3, 100), "white is 100"),
    "P5 whose white is 1000": (pnm("P5", GREY.astype(int) * 3, 1000), "white is 1000"),
    "P3 whose white is 1000": (pnm("P3", PIXELS.astype(int) * 3, 1000), "white is 1000"),
    "P6 cut off": (pnm("P6", PIXELS)[:-10], "truncated"),
    "BMP of 16 bits": (bmp(16, 0, coloured(10, 5, 0)), "16 bits a pixel"),
    "BMP of 4 bits, compressed": (
        bmp(4, 2, (bytes([WIDTH, 0x12]) + b"\0\0") * HEIGHT + b"\0\1", middle=PALETTE),
        "4 bits that is compressed",
    ),
    "JPEG 2000 of luma and chroma": (save(RGB.convert("YCbCr"), "JPEG2000"), "luma and chroma"),
    "LA JPEG 2000": (save(LA, "JPEG2000"), "of mode LA"),
    "grey JPEG 2000 code stream": (save(RGB.convert("L"), "JPEG2000", no_jp2=True), "code stream of mode L"),
}


def by_dali(encoded: list[bytes]) -> list[npt.NDArray[np.uint8]]:
    def define() -> DataNode:
        return decode(encoded_input("encoded"), "cpu")

    graph = Graph(define, batch_size=len(encoded))
    (images,) = graph.run({"encoded": [np.frombuffer(data, np.uint8) for data in encoded]})
    return [np.array(image) for image in image_list(images)]


def by_pil(encoded: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded)) as image:
        image.load()
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def differ(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    return 255 if one.shape != other.shape else int(np.abs(one.astype(int) - other).max())


def test_what_passes_is_shown_alike_by_both_decoders() -> None:
    images = by_dali(list(SAME.values()))
    for (name, data), image in zip(SAME.items(), images, strict=True):
        checked = check_image(data)
        assert (checked.height, checked.width) == image.shape[:2], name
        assert differ(image, by_pil(data)) == 0, name


def test_what_passes_with_rounding_is_shown_alike() -> None:
    images = by_dali([data for data, _ in CLOSE.values()])
    for (name, (data, most)), image in zip(CLOSE.items(), images, strict=True):
        check_image(data)
        assert differ(image, by_pil(data)) <= most, name


def test_sixteen_bits_pass_and_are_scaled_to_eight() -> None:
    for (name, data), image in zip(DEEP_GREY.items(), by_dali(list(DEEP_GREY.values())), strict=True):
        check_image(data)
        assert differ(image, np.dstack([GREY] * 3)) == 0, name


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_dali_does_not_show_as_pil_does_is_left_out_with_its_reason(name: str) -> None:
    data, reason = OTHERWISE[name]
    with pytest.raises(SourceError, match=reason):
        check_image(data)
    try:
        (shown,), expected = by_dali([data]), by_pil(data)
    except (RuntimeError, OSError):  # one of them reads it not at all
        return
    assert differ(shown, expected) > 16


def test_a_tiff_of_sixteen_bits_whose_0_is_white_is_left_out() -> None:
    data = tiff(DEEP, photometric="miniswhite")
    with pytest.raises(SourceError, match="whose 0 is white"):
        check_image(data)
    assert differ(by_dali([data])[0], 255 - np.dstack([GREY] * 3)) > 16
