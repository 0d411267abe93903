"""The compiled resizing against Pillow's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from netspec.prepare.resample import resized


def pillow(pixels: np.ndarray, box: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """In two steps, so that the order of the passes is known: versions of Pillow choose it differently."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    left, top, right, bottom = box
    narrow = image.resize((width, image.height), Image.Resampling.BILINEAR, (left, 0, right, image.height))
    return np.asarray(narrow.resize((width, height), Image.Resampling.BILINEAR, (0, top, width, bottom)))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "out"),
    [(375, 500, 256), (500, 333, 256), (257, 256, 256), (100, 90, 256), (1, 1, 8), (1023, 700, 256), (64, 3, 5)],
)
def test_central_square_as_pillow_resizes_it(height: int, width: int, out: int) -> None:
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = noise(height, width)
    assert np.array_equal(resized(pixels, box, out, out)[..., :3], pillow(pixels, box, out, out))


def test_any_box_as_pillow_resizes_it() -> None:
    random = np.random.default_rng(5)
    for _ in range(60):
        height, width, rows, columns = (int(n) for n in random.integers(2, 90, 4))
        left, right = sorted(random.uniform(0, width, 2))
        top, bottom = sorted(random.uniform(0, height, 2))
        if right - left < 0.5 or bottom - top < 0.5:
            continue
        box = (left, top, right, bottom)
        pixels = noise(height, width)
        expected = pillow(pixels, box, rows, columns)
        assert np.array_equal(resized(pixels, box, rows, columns)[..., :3], expected), (height, width, box)


def test_within_one_level_of_pillow_in_one_step() -> None:
    for height, width in ((500, 333), (333, 500), (90, 1000)):
        pixels = noise(height, width)
        image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
        expected = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(resized(pixels, (0, 0, width, height), 256, 256)[..., :3] - expected).max() <= 1


def test_extremes_neither_wrap_nor_drift() -> None:
    for value in (0, 255):
        assert (resized(np.full((301, 299, 4), value, np.uint8), (0, 0, 299, 301), 64, 64) == value).all()
