"""Metadata is left out where it changes no pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from data_samples import encoded, picture
from PIL import Image

from netspec.data.jpeg import plain_frame
from netspec.prepare.bare_jpeg import bare_jpeg


def exif(orientation: int | None) -> Image.Exif:
    found = Image.Exif()
    found[0x010F] = "Maker"
    if orientation is not None:
        found[0x0112] = orientation
    return found


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def camera(content: bytes) -> bytes:
    """As cameras write: EXIF first, and no JFIF header."""
    assert content[2:4] == b"\xff\xe0"
    return content[:2] + content[20:]


SAME = {
    "exif": encoded(picture(1), quality=90, exif=exif(None)),
    "upright": encoded(picture(2), quality=90, exif=exif(1)),
    "profile": encoded(picture(3), quality=90, icc_profile=b"profile" * 20_000),
    "progressive": encoded(picture(4), quality=90, exif=exif(1), progressive=True, comment=b"by hand"),
    "grey": encoded(picture(5).convert("L"), quality=90, exif=exif(1)),
    "camera": camera(encoded(picture(6), quality=90, exif=exif(1))),
    "several pictures": encoded(picture(7), "MPO", save_all=True, append_images=[picture(8)]),
    "nothing": encoded(picture(9), quality=90),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_pixels_on_the_fast_path(name: str) -> None:
    bare = bare_jpeg(SAME[name])
    assert bare is not None and plain_frame(bare) is not None
    assert b"Exif" not in bare and b"profile" not in bare
    assert np.array_equal(pixels(bare), pixels(SAME[name]))


RGB = encoded(picture(2), keep_rgb=True)
LEFT = {
    "turned": encoded(picture(1), exif=exif(6)),
    "mirrored": encoded(picture(1), exif=exif(2)),
    "RGB by Adobe's marker": RGB,
    "RGB by names": RGB[:2] + RGB[18:],
    "CMYK": encoded(picture(3).convert("CMYK")),
    "PNG": encoded(picture(4), "PNG"),
    "empty": b"",
    "cut short": SAME["exif"][:60],
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_pillow(name: str) -> None:
    assert bare_jpeg(LEFT[name]) is None
