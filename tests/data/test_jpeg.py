"""JPEGs decoded without Pillow: the same bytes as with it, and the same files broken."""

from __future__ import annotations

import io
import itertools
import random
import tarfile
import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import simplejpeg
from data_samples import encoded, jpeg, picture, real
from PIL import Image

from netspec.data import decode
from netspec.data import jpeg as plain
from netspec.data.decode import crop_image
from netspec.data.geometry import Geometry, centre
from netspec.data.jpeg import Frame, plain_frame
from netspec.data.source import BrokenImage

SIZES = ((1, 1), (7, 5), (8, 8), (16, 16), (17, 23), (31, 33), (64, 48))


def crop(content: bytes, geometry: Geometry, place=centre, mirror: bool = False) -> np.ndarray | str:
    """The crop, or why the image is broken."""
    out = np.full((geometry.height, geometry.width, geometry.channels), 77, np.uint8)
    try:
        crop_image(content, geometry, place, mirror, out)
    except BrokenImage as error:
        return str(error)
    return out


def same_as_pillow(content: bytes, geometry: Geometry, place=centre, mirror: bool = False) -> bool:
    """Compare with Pillow's way; returns whether the other was taken."""
    way = plain.decode
    taken = []

    def observed(*arguments: object) -> object:
        taken.append(way(*arguments))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "decode", observed)
        found = crop(content, geometry, place, mirror)
        patch.setattr(plain, "decode", lambda *_: None)
        expected = crop(content, geometry, place, mirror)
    assert type(found) is type(expected)
    assert found == expected if isinstance(found, str) else np.array_equal(found, expected)
    return any(pixels is not None for pixels in taken)


def noisy(seed: int, height: int, width: int) -> Image.Image:
    """A picture with detail, so that every coefficient is in use."""
    grain = np.random.default_rng(seed).integers(-60, 61, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture(seed, height, width)) + grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_every_quality_and_size_gives_the_bytes_of_pillow(subsampling):
    kinds = ({}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}, {"comment": b"by hand"})
    for (height, width), quality, mirror in itertools.product(SIZES, (5, 50, 75, 90, 100), (False, True)):
        for number, kind in enumerate(kinds):
            content = encoded(noisy(number, height, width), subsampling=subsampling, quality=quality, **kind)
            assert plain_frame(content) == Frame(height, width, 3)
            assert same_as_pillow(content, Geometry(height, width, 3, min(height, width)), mirror=mirror)


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411"])
def test_subsamplings_that_pillow_does_not_write(subsampling):
    for (height, width), quality in itertools.product(SIZES, (30, 95)):
        pixels = np.asarray(noisy(quality, height, width))
        content = simplejpeg.encode_jpeg(pixels, quality, colorsubsampling=subsampling)
        assert same_as_pillow(content, Geometry(height, width, 3, min(height, width)))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_ones(channels):
    for (height, width), progressive in itertools.product(SIZES, (False, True)):
        content = encoded(noisy(1, height, width).convert("L"), progressive=progressive)
        assert plain_frame(content) == Frame(height, width, 1)
        for mirror in (False, True):
            assert same_as_pillow(content, Geometry(height, width, channels, min(height, width)), mirror=mirror)


def test_every_crop_of_every_width():
    """Mirroring swaps words of 1, 2, 4 or 8 bytes, as the width allows, from any byte on."""
    for grey, width in itertools.product((False, True), range(1, 18)):
        image = noisy(width, 20, 20)
        content = encoded(image.convert("L") if grey else image)
        for column in range(21 - width):
            geometry = Geometry(9, width, 1 if grey else 3, 20)
            assert same_as_pillow(content, geometry, lambda rows, columns, at=column: (3, at), mirror=True)


def kept(image: Image.Image, **options: object) -> bytes:
    return encoded(image, quality=90, **options)


def test_what_is_left_to_pillow():
    exif, image = Image.Exif(), noisy(3, 24, 24)
    exif[0x0112] = 6
    files = {
        "turned by EXIF": kept(image, exif=exif),
        "a colour profile": kept(image, icc_profile=b"profile"),
        "CMYK": kept(image.convert("CMYK")),
        "RGB, not YCbCr": kept(image, keep_rgb=True),
        "several pictures": encoded(image, "MPO", save_all=True, append_images=[image]),
        "PNG": encoded(image, "PNG"),
        "nothing": b"",
        "a start": kept(image)[:20],
    }
    for content in files.values():
        assert plain_frame(content) is None
        assert not same_as_pillow(content, Geometry(24, 24, 3, 24))
    coloured = kept(image)
    assert not same_as_pillow(coloured, Geometry(24, 24, 1, 24))  # grey of colours
    assert not same_as_pillow(coloured, Geometry(16, 16, 3, 20))  # resized
    assert same_as_pillow(coloured, Geometry(16, 16, 3, 24))


def test_large_pictures_are_left_to_pillow(monkeypatch):
    content, geometry = jpeg(1, 40, 48), Geometry(40, 40, 3, 40)
    assert same_as_pillow(content, geometry)
    monkeypatch.setattr(plain, "MOST_PIXELS", 40 * 48 - 1)
    assert not same_as_pillow(content, geometry)


def damaged(count: int) -> Iterator[bytes]:
    """JPEGs with some bytes changed, or cut off, or with bytes after their end."""
    chance = random.Random(0)
    good = [
        encoded(noisy(i, 17, 23).convert(mode), progressive=progressive, restart_marker_blocks=restart)
        for i, (mode, progressive, restart) in enumerate(itertools.product(("RGB", "L"), (False, True), (0, 1)))
    ]
    for number in range(count):
        content = bytearray(good[number % len(good)])
        header = content.index(b"\xff\xda") + 14
        places = range(header) if number % 4 == 0 else range(len(content))  # a header has all the rules
        for _ in range(chance.randint(0, 4)):
            content[chance.choice(places)] = chance.choice((0, 0xFF, 0xD9, 0xE1, chance.randrange(256)))
        if number % 3 == 0:
            del content[chance.randrange(len(content)) :]
        yield bytes(content) + b"\xff\xd8 and more" * (number % 7 == 0)


def compare_damaged(count: int) -> None:
    taken = [same_as_pillow(content, Geometry(17, 17, 3, 17)) for content in damaged(count)]
    assert count // 20 < sum(taken) < count


def test_damaged_files_are_judged_as_by_pillow():
    compare_damaged(2000)


@pytest.mark.slow
def test_many_damaged_files_are_judged_as_by_pillow():
    compare_damaged(50_000)


PHOTOGRAPHS = [("imagenet-sample", "train"), ("imagenette", "train"), ("imagenette", "val"), ("cifar10", "train"),
               ("cifar10", "test")]


def compare_photographs(name: str, part: str, every: int) -> None:
    with tarfile.open(real(name) / f"{part}.tar") as archive:
        for number, member in enumerate(archive.getmembers()[::every]):
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                content = file.read()
                width, height = Image.open(io.BytesIO(content)).size
                for mirror in (False, True):
                    assert same_as_pillow(content, Geometry(height, width, 3, min(height, width)), mirror=mirror)
                shift = partial(lambda n, rows, columns: (n % (rows + 1), n * 7 % (columns + 1)), number)
                geometry = Geometry(height * 7 // 8, width * 7 // 8, 3, min(height, width))
                assert same_as_pillow(content, geometry, shift, number % 2 == 1)


@pytest.mark.parametrize(("name", "part"), PHOTOGRAPHS)
def test_photographs(name, part):
    compare_photographs(name, part, 331)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), PHOTOGRAPHS)
def test_all_photographs(name, part):
    compare_photographs(name, part, 1)


def test_each_thread_has_memory_of_its_own():
    contents = [jpeg(seed, 64, 64) for seed in range(4)]
    geometry = Geometry(64, 64, 3, 64)
    expected = [crop(content, geometry) for content in contents]
    wrong = []

    def check(number: int) -> None:
        wrong.extend(1 for _ in range(200) if not np.array_equal(crop(contents[number], geometry), expected[number]))

    threads = [threading.Thread(target=check, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert decode.MOST_PIXELS > plain.MOST_PIXELS
