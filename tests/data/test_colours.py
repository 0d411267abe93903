"""Every kind of pixels that a file or a PIL image may have: docs/data.md has a row of its table for each case here."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from data_samples import encoded, picture
from PIL import Image, ImageCms
from places import ROOT

from netspec.data.decode import crop_image
from netspec.data.geometry import Geometry, centre
from netspec.data.source import BrokenImage

SIZE = 12
GREY, COLOUR = (90,), (200, 30, 60)
WHITE = (255, 255, 255)


def shown(content: bytes | Image.Image) -> tuple[int, int, int]:
    """The colour of the middle of the crop."""
    out = np.full((SIZE, SIZE, 3), 77, np.uint8)
    crop_image(content, Geometry(SIZE, SIZE, 3), centre, False, out)
    return tuple(out[SIZE // 2, SIZE // 2].tolist())


def png(depth: int, kind: int, sample: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG whose rows are ``sample`` over and over; ``chunks`` stand before the pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">2I5B", SIZE, SIZE, depth, kind, 0, 0, 0)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    row = b"\0" + (sample * SIZE)[: -(-SIZE * channels * depth // 8)]
    body = b"".join(chunk(*one) for one in chunks) + chunk(b"IDAT", zlib.compress(row * SIZE)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def tiff(tags: dict[int, tuple[str, list[int]]], pixels: bytes) -> bytes:
    """An uncompressed TIFF of SIZE x SIZE pixels, of kinds that Pillow does not write."""
    all_tags = {256: ("H", [SIZE]), 257: ("H", [SIZE]), 259: ("H", [1]), 273: ("I", [8]), 278: ("H", [SIZE]),
                279: ("I", [len(pixels)]), **tags}  # fmt: skip
    pixels += b"\0" * (len(pixels) % 2)
    start, extra = 8 + len(pixels), b""
    entries = struct.pack("<H", len(all_tags))
    room = start + 2 + 12 * len(all_tags) + 4
    for tag, (kind, values) in sorted(all_tags.items()):
        data = struct.pack(f"<{len(values)}{kind}", *values)
        if len(data) > 4:
            data, extra = struct.pack("<I", room + len(extra)), extra + data
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + data.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + pixels + entries + b"\0\0\0\0" + extra


def grey_tiff(bits: int, sample: bytes, *, white_is_zero: bool = False, format: int = 1) -> bytes:
    pixels = (sample * SIZE * SIZE)[: SIZE * SIZE * bits // 8]
    photometric = 0 if white_is_zero else 1
    return tiff({258: ("H", [bits]), 262: ("H", [photometric]), 277: ("H", [1]), 339: ("H", [format])}, pixels)


def jpeg_without_adobe(content: bytes) -> bytes:
    """The JPEG without its Adobe marker (APP14)."""
    start = content.index(b"\xff\xee")
    return content[:start] + content[start + 2 + struct.unpack(">H", content[start + 2 : start + 4])[0] :]


def lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    changed = ImageCms.applyTransform(plain("RGB", COLOUR), to_lab)
    assert changed is not None
    return changed


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (SIZE, SIZE), colour)


def palette(**info: object) -> Image.Image:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, *COLOUR])
    image.info.update(info)
    return image


def premultiplied(mode: str, *levels: int) -> Image.Image:
    return plain({"La": "LA", "RGBa": "RGBA"}[mode], levels).convert(mode)


cmyk = encoded(plain("CMYK", (0, 255, 255, 0)), quality=95)
RANGE = "range is not known"
tRNS = b"tRNS"
CASES: dict[str, list[tuple[object, object]]] = {
    "1": [
        (png(1, 0, b"\xff"), WHITE),
        (png(1, 0, b"\x00"), (0, 0, 0)),
        (encoded(plain("1", 1), "TIFF"), WHITE),
        (encoded(plain("1", 1), "PPM"), WHITE),
        (plain("1", 1), WHITE),
    ],
    "L, 2 bits": [(png(2, 0, b"\x55"), (85, 85, 85)), (grey_tiff(2, b"\xaa"), (170, 170, 170))],
    "L, 4 bits": [(png(4, 0, b"\x55"), (85, 85, 85)), (grey_tiff(4, b"\xaa"), (170, 170, 170))],
    "L": [
        (encoded(plain("L", 90), kind), GREY * 3) for kind in ("JPEG", "PNG", "BMP", "TIFF", "PPM")
    ] + [(grey_tiff(8, b"\x0a", white_is_zero=True), (245, 245, 245)), (plain("L", 90), GREY * 3)],
    "I;16, I;16B, I;16L, I;16N": [
        (png(16, 0, b"\x80\xff"), (128, 128, 128)),
        (grey_tiff(16, b"\xff\x80"), (128, 128, 128)),
        (grey_tiff(16, b"\xff\x0f", white_is_zero=True), (240, 240, 240)),
        (plain("I;16", 0x80FF), (128, 128, 128)),
        (plain("I;16B", 0x80FF), (128, 128, 128)),
        (plain("I;16L", 0x80FF), (128, 128, 128)),
        (plain("I;16N", 0x80FF), (128, 128, 128)),
    ],
    "I;16, 12 bits": [(grey_tiff(12, b"\x80\xf8\x0f"), (128, 128, 128))],
    "I, up to 65535": [
        (b"P5 12 12 65535\n" + b"\x80\xff" * 144, (128, 128, 128)),
        (b"P5 12 12 4095\n" + b"\x08\x08" * 144, (128, 128, 128)),
        (plain("I", 0x80FF), (128, 128, 128)),
    ],
    "I, beyond": [
        (grey_tiff(32, b"\0\0\1\0"), RANGE),
        (grey_tiff(16, b"\x05\0", format=2), RANGE),
        (plain("I", 65536), RANGE),
        (plain("I", -1), RANGE),
    ],
    "F": [
        (encoded(plain("F", 0.5), "TIFF"), RANGE),
        (b"Pf\n12 12\n-1.0\n" + struct.pack("<f", 0.5) * 144, RANGE),
        (plain("F", 0.5), RANGE),
    ],
    "P": [
        (encoded(palette(), kind), COLOUR) for kind in ("PNG", "GIF", "BMP", "TIFF")
    ] + [(palette(), COLOUR), (png(2, 3, b"\x55", (b"PLTE", bytes((0, 0, 0, *COLOUR)))), COLOUR)],
    "P, transparent": [
        (encoded(palette(), "PNG", transparency=1), WHITE),
        (encoded(palette(), "PNG", transparency=0), COLOUR),
        (encoded(palette(), "PNG", transparency=b"\xff\x80"), (227, 142, 157)),
        (encoded(palette(), "GIF", transparency=1), WHITE),
        (palette(transparency=1), WHITE),
    ],
    "PA": [(palette().convert("PA"), COLOUR)],
    "LA, La": [
        (encoded(plain("LA", (90, 0)), "PNG"), WHITE),
        (encoded(plain("LA", (90, 255)), "TIFF"), GREY * 3),
        (png(16, 4, b"\x80\xff\xff\xff"), (128, 128, 128)),
        (plain("LA", (90, 255)), GREY * 3),
        (premultiplied("La", 90, 255), GREY * 3),
        (premultiplied("La", 90, 0), WHITE),
    ],
    "RGB": [
        (encoded(plain("RGB", COLOUR), kind, **options), COLOUR)
        for kind, options in (("PNG", {}), ("BMP", {}), ("PPM", {}), ("TIFF", {}), ("WEBP", {"lossless": True}))
    ] + [(plain("RGB", COLOUR), COLOUR)],
    "RGB, 16 bits": [
        (png(16, 2, b"\xc8\xff\x1e\x00\x3c\x80"), COLOUR),
        (tiff({258: ("H", [16] * 3), 262: ("H", [2]), 277: ("H", [3])}, b"\xff\xc8\x00\x1e\x80\x3c" * 144), COLOUR),
        (b"P6 12 12 65535\n" + b"\xc8\xff\x1e\x00\x3c\x80" * 144, COLOUR),
    ],
    "1, L, I;16 or RGB with a transparent colour": [
        (png(1, 0, b"\xff", (tRNS, b"\0\1")), WHITE),
        (png(1, 0, b"\0", (tRNS, b"\0\0")), WHITE),
        (png(1, 0, b"\0", (tRNS, b"\0\1")), (0, 0, 0)),
        (png(2, 0, b"\x55", (tRNS, b"\0\1")), WHITE),
        (png(4, 0, b"\x55", (tRNS, b"\0\5")), WHITE),
        (png(4, 0, b"\x44", (tRNS, b"\0\x44")), (68, 68, 68)),
        (png(8, 0, b"\x5a", (tRNS, b"\0\x5a")), WHITE),
        (png(16, 0, b"\x80\xff", (tRNS, b"\x80\xff")), WHITE),
        (png(16, 0, b"\x80\xff", (tRNS, b"\x80\xfe")), (128, 128, 128)),
        (png(8, 2, bytes(COLOUR), (tRNS, b"\0\xc8\0\x1e\0\x3c")), WHITE),
        (png(8, 2, bytes(COLOUR), (tRNS, b"\0\xc8\0\x1e\0\x3d")), COLOUR),
        (png(16, 2, b"\xc8\xff\x1e\x00\x3c\x80", (tRNS, b"\xc8\xff\x1e\x00\x3c\x80")), WHITE),
    ],
    "RGBA, RGBa": [
        (encoded(plain("RGBA", (*COLOUR, 255)), "PNG"), COLOUR),
        (encoded(plain("RGBA", (*COLOUR, 0)), "PNG"), WHITE),
        (encoded(plain("RGBA", (*COLOUR, 0)), "TIFF"), WHITE),
        (encoded(plain("RGBA", (*COLOUR, 0)), "WEBP", lossless=True, exact=True), WHITE),
        (png(16, 6, b"\xc8\xff\x1e\x00\x3c\x80\xff\xff"), COLOUR),
        (plain("RGBA", (*COLOUR, 255)), COLOUR),
        (premultiplied("RGBa", *COLOUR, 255), COLOUR),
        (premultiplied("RGBa", *COLOUR, 0), WHITE),
    ],
    "RGBX": [(plain("RGBX", (*COLOUR, 0)), COLOUR), (encoded(plain("RGBX", (*COLOUR, 0)), "TIFF"), COLOUR)],
    "CMYK": [
        (encoded(plain("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (plain("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        (cmyk, (255, 0, 0)),
        (jpeg_without_adobe(cmyk), (255, 0, 0)),
    ],
    "YCbCr": [
        (plain("RGB", COLOUR).convert("YCbCr"), COLOUR),
        (encoded(plain("RGB", COLOUR), quality=95), COLOUR),
    ],
    "HSV": [(plain("RGB", COLOUR).convert("HSV"), COLOUR)],
    "LAB": [(lab(), COLOUR), (encoded(lab(), "TIFF"), COLOUR)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [pytest.param(*case, id=f"{kind} {i}") for kind, cases in CASES.items() for i, case in enumerate(cases)],
)
def test_pixels_of_every_kind(content, expected):
    if isinstance(expected, str):
        with pytest.raises(BrokenImage, match=expected):
            shown(content)
        return
    tolerance = 4 if expected in (COLOUR, (255, 0, 0)) else 1
    assert np.abs(np.subtract(shown(content), expected)).max() <= tolerance


def test_the_table_of_the_documentation_has_a_row_for_each_kind():
    text = (ROOT / "docs" / "data.md").read_text()
    table = text.partition("## Pixels")[2].partition("\n## ")[0]
    rows = [row.split("|")[1].strip().replace("`", "") for row in re.findall(r"^\|.*", table, re.M)][2:]
    assert rows == list(CASES)


def test_every_mode_of_pillow_has_a_row():
    told = {mode for kind in CASES for mode in re.findall(r"[1A-Za-z]\w*(?:;16[BLN]?)?", kind.replace("bits", ""))}
    assert set(Image.MODES) <= told


def test_grey_of_16_bits_is_turned_with_its_bits_known():
    exif = Image.Exif()
    exif[0x0112] = 6
    half = Image.fromarray(np.repeat([[0x10FF, 0xF0FF]], SIZE, 0).repeat(SIZE // 2, 1).astype(np.uint16))
    out = np.zeros((SIZE, SIZE, 1), np.uint8)
    crop_image(encoded(half, "TIFF", exif=exif), Geometry(SIZE, SIZE, 1), centre, False, out)
    assert (out[: SIZE // 2] == 0x10).all() and (out[SIZE // 2 :] == 0xF0).all()


def test_networks_of_one_channel_see_luma():
    image = picture(7, SIZE, SIZE)
    out = np.zeros((SIZE, SIZE, 1), np.uint8)
    crop_image(encoded(image, "PNG"), Geometry(SIZE, SIZE, 1), centre, False, out)
    assert np.array_equal(out[:, :, 0], np.asarray(Image.open(io.BytesIO(encoded(image, "PNG"))).convert("L")))
