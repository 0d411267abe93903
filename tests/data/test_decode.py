"""What is done to one image: formats, colours, rotation, resizing, limits."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from data_samples import encoded, jpeg, picture
from PIL import Image, ImageOps

from netspec.data import decode
from netspec.data.decode import crop_image
from netspec.data.geometry import Geometry, centre, geometry_for
from netspec.data.source import BrokenImage
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec


def crop(content: bytes | Image.Image, geometry: Geometry, place=centre, mirror: bool = False) -> np.ndarray:
    out = np.full((geometry.height, geometry.width, geometry.channels), 77, np.uint8)
    crop_image(content, geometry, place, mirror, out)
    return out


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def reason(content: bytes) -> str:
    with pytest.raises(BrokenImage) as error:
        crop(content, Geometry(8, 8, 3))
    return str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP"])
def test_formats_are_known_by_content(kind):
    image = picture(1, 20, 20).quantize(64).convert("RGB")
    got = crop(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), Geometry(20, 20, 3))
    assert np.array_equal(got, pixels(image))


def test_a_crop_without_resizing_is_the_decoded_pixels():
    content = jpeg(1, 40, 48)
    whole = pixels(Image.open(io.BytesIO(content)))
    geometry = Geometry(24, 24, 3, 40)
    assert np.array_equal(crop(content, geometry), whole[8:32, 12:36])
    assert np.array_equal(crop(content, geometry, lambda rows, columns: (0, columns)), whole[0:24, 20:44])
    assert np.array_equal(crop(content, geometry, mirror=True), whole[8:32, 12:36][:, ::-1])


def test_places_lie_in_the_central_square():
    room = []

    def place(rows: int, columns: int) -> tuple[int, int]:
        room.append((rows, columns))
        return 0, 0

    crop(jpeg(1, 40, 100), Geometry(24, 20, 3, 40), place)
    assert room == [(16, 20)]


@pytest.mark.parametrize(("height", "width"), [(40, 61), (97, 33), (20, 20), (300, 200)])
def test_resizing_agrees_with_resizing_the_whole_picture_and_cropping_then(height, width):
    image = picture(2, height, width)
    geometry = Geometry(24, 24, 3, 32)
    scaled = geometry.scaled(height, width)
    assert min(scaled) == 32
    whole = pixels(image.resize(scaled[::-1], Image.Resampling.BILINEAR)).astype(int)
    top, left = (scaled[0] - 32) // 2 + 4, (scaled[1] - 32) // 2 + 4
    got = crop(encoded(image, "PNG"), geometry).astype(int)
    assert np.abs(got - whole[top : top + 24, left : left + 24]).max() <= 1


def test_small_images_grow_to_the_crop():
    assert Geometry(24, 24, 3).scaled(10, 20) == (24, 48)
    assert Geometry(24, 24, 3, 16).scaled(10, 20) == (24, 48)
    assert Geometry(10, 60, 3, 16).scaled(10, 20) == (30, 60)
    assert crop(jpeg(3, 1, 1), Geometry(24, 24, 3)).shape == (24, 24, 3)


def test_scaled_decoding_changes_next_to_nothing():
    content = encoded(picture(4, 600, 800), quality=95)
    got = crop(content, Geometry(60, 60, 3, 64)).astype(float)
    full = Image.open(io.BytesIO(content))
    full.load()
    plain = crop(full, Geometry(60, 60, 3, 64)).astype(float)
    assert 10 * np.log10(255**2 / ((got - plain) ** 2).mean()) > 45


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(turn):
    upright = picture(5, 20, 28)
    transpose = decode._TURNS.get(turn)
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(turn, transpose)
    stored = upright.transpose(undo) if undo is not None else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    got = crop(encoded(stored, "PNG", exif=exif), Geometry(20, 20, 3))
    assert np.array_equal(got, pixels(upright)[:, 4:24])


@pytest.mark.parametrize("turn", range(1, 9))
def test_jpegs_are_turned_as_pillow_turns_them(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(picture(5, 24, 32), exif=exif)
    upright = pixels(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    top, left = (upright.shape[0] - 20) // 2, (upright.shape[1] - 20) // 2
    expected = upright[top : top + 20, left : left + 20]
    assert np.array_equal(crop(content, Geometry(20, 20, 3, 24)), expected)
    assert np.array_equal(crop(content, Geometry(20, 20, 3, 24), mirror=True), expected[:, ::-1])


def png(depth: int, kind: int, pixel: tuple[int, ...]) -> bytes:
    """A PNG of 12 x 12 equal pixels, of kinds that Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">2I5B", 12, 12, depth, kind, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(pixel)}H", *pixel) * 12
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 12)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "pixel", "expected"),
    [
        (0, (0x80FF,), (128, 128, 128)),
        (2, (0x80FF, 0x1234, 0xFFFF), (128, 18, 255)),
        (4, (0x80FF, 0xFFFF), (128, 128, 128)),
        (6, (0x80FF, 0x1234, 0xFFFF, 0), (255, 255, 255)),
    ],
    ids=["grey", "colour", "grey and transparency", "colour and transparency"],
)
def test_of_16_bits_the_upper_eight_are_kept(kind, pixel, expected):
    assert (crop(png(16, kind, pixel), Geometry(12, 12, 3)) == expected).all()


def test_cmyk_jpegs_and_transparent_gifs():
    geometry = Geometry(12, 12, 3)
    red = encoded(Image.new("CMYK", (12, 12), (0, 255, 255, 0)), quality=95)
    assert np.abs(crop(red, geometry).astype(int) - (255, 0, 0)).max() <= 3
    image = Image.new("P", (12, 12), 0)
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.paste(1, (0, 0, 12, 6))
    got = crop(encoded(image, "GIF", transparency=0), geometry)
    assert (got[6:] == 255).all()
    assert (got[:6] == (0, 100, 0)).all()


def test_colours():
    grey = picture(6, 12, 12).convert("L")
    grey16 = Image.fromarray((pixels(grey).astype(np.uint16) << 8) + 99)
    geometry = Geometry(12, 12, 3)
    for image in (grey, grey16):
        got = crop(encoded(image, "PNG"), geometry)
        assert np.array_equal(got, np.repeat(pixels(grey)[:, :, None], 3, 2))
    bits = grey.convert("1")
    assert np.array_equal(crop(encoded(bits, "PNG"), geometry)[:, :, 1], pixels(bits).astype(np.uint8) * 255)
    red = Image.new("CMYK", (12, 12), (0, 255, 255, 0))
    assert np.abs(crop(encoded(red, "TIFF"), geometry).astype(int) - (255, 0, 0)).max() <= 3
    clear = Image.new("RGBA", (12, 12), (200, 0, 0, 0))
    clear.paste((0, 100, 0, 255), (0, 0, 12, 6))
    for content in (encoded(clear, "PNG"), encoded(clear.quantize(), "PNG")):
        got = crop(content, geometry)
        assert (got[6:] == 255).all()
        assert (got[:6] == (0, 100, 0)).all()
    assert "mode 'F'" in reason(encoded(Image.new("F", (9, 9)), "TIFF"))


def test_one_channel():
    image = picture(7, 12, 12)
    assert np.array_equal(crop(encoded(image, "PNG"), Geometry(12, 12, 1))[:, :, 0], pixels(image.convert("L")))


def test_what_is_refused(monkeypatch):
    content = jpeg(8)
    assert reason(b"") == "an empty file"
    assert reason(b"no image") == "not an image in a known format"
    assert "runcated" in reason(content[: len(content) // 2])
    assert "truncated" in reason(content[:-40])
    assert reason(content[:100])
    monkeypatch.setattr(decode, "MOST_PIXELS", 1000)
    assert "48 x 40 pixels; more than 1,000 are refused" in reason(content)


def test_a_bomb_is_refused_before_it_is_decoded():
    content = encoded(picture(9), "PNG")
    header = b"IHDR" + struct.pack(">2I", 12_000, 12_000) + content[24:29]
    bomb = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    assert reason(bomb) == "12000 x 12000 pixels; more than 100,000,000 are refused"


def damaged(count: int):
    """Good files of each format with some bytes changed, cut out or cut off, from a fixed seed."""
    random = np.random.default_rng(0)
    kinds = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        *(encoded(picture(i, 17, 23), kind) for i, kind in enumerate(kinds)),
        encoded(picture(7, 17, 23), progressive=True, exif=exif),
        encoded(picture(8, 17, 23).convert("CMYK")),
        encoded(picture(9, 17, 23).quantize(), "PNG", transparency=3),
        encoded(picture(10, 17, 23), "GIF", save_all=True, append_images=[picture(11, 17, 23)]),
        encoded(picture(12, 17, 23), "TIFF", compression="tiff_lzw"),
        png(16, 2, (1, 2, 3)),
    ]
    good = [np.frombuffer(file, np.uint8) for file in files]
    for number in range(count):
        content = good[number % len(good)].copy()
        places = random.integers(0, len(content), random.integers(1, 9))
        content[places] = random.integers(0, 256, len(places), dtype=np.uint8)
        if number % 3 == 0:
            content = content[: random.integers(0, len(content))]
        yield content.tobytes()


def fuzz(count: int) -> None:
    outcomes = {"good": 0, "broken": 0}
    for content in damaged(count):
        began = time.monotonic()
        try:
            crop(content, Geometry(16, 16, 3))
            outcomes["good"] += 1
        except BrokenImage as error:
            outcomes["broken"] += 1
            assert "\n" not in str(error)
            assert len(str(error)) <= 200
        assert time.monotonic() - began < 10
    assert min(outcomes.values()) > count // 20


def test_damaged_files_are_good_or_broken_but_never_a_traceback():
    fuzz(500)


@pytest.mark.slow
def test_five_thousand_damaged_files():
    fuzz(5000)


def test_geometry_for():
    assert geometry_for(DataSpec(resize=256, crop=224), (224, 224, 3)) == Geometry(224, 224, 3, 256)
    with pytest.raises(NetspecError, match=r"data.crop is 200, but the network's input is 224 x 224"):
        geometry_for(DataSpec(crop=200), (224, 224, 3))
    with pytest.raises(NetspecError, match=r"not \[10\]"):
        geometry_for(DataSpec(), (10,))
