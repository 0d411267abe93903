"""From one image of a source to one of a shard: decoded, resized, cut to a square, encoded; and what is odd of it.

The pixels are those that the data pipeline makes of the original (see netspec.data.decode): upright, RGB or grey, the
short side resized with antialiased bilinear interpolation, the central square. A plain JPEG goes without Pillow through
libjpeg-turbo and the compiled resizing of netspec.prepare.resample. One that has the wanted size stays as it is.
"""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netspec.data import jpeg
from netspec.data.decode import crop_image, drafted, exif_turn, source_box
from netspec.data.frames import still
from netspec.data.geometry import Geometry, centre
from netspec.data.index.filenames import FORMATS, suffix_of
from netspec.data.source import BrokenImage, Split
from netspec.errors import NetspecError
from netspec.machine.limits import cause, is_limit
from netspec.prepare.bare_jpeg import bare_jpeg
from netspec.prepare.resample import resized

BROKEN = "broken"
GREY = "greyscale"
_GREYS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_SUFFIXES = {
    "JPEG": (b".jpg", b".jpeg", b".jpe", b".jfif"),
    "MPO": (b".jpg", b".jpeg", b".mpo"),
    "PNG": (b".png", b".apng"),
    "TIFF": (b".tif", b".tiff"),
    "PPM": (b".ppm", b".pgm", b".pbm", b".pnm", b".pfm"),
}


class Recipe(NamedTuple):
    """Side of the square in pixels, and the JPEG quality from 1 to 100; 0: PNG, which loses nothing."""

    size: int
    quality: int

    @property
    def suffix(self) -> str:
        """The suffix of the files."""
        return ".jpg" if self.quality else ".png"


class Encoded(NamedTuple):
    """An image's new file, None where it is broken, and remarks on it: (kind, detail)."""

    content: bytes | None
    remarks: list[tuple[str, str]]


def encode_all(images: Split, recipe: Recipe) -> list[Encoded]:
    """The images of a split, in order. Raises NetspecError where the machine, and not an image, is at fault."""
    return [_encoded(images, i, recipe) for i in range(len(images))]


def _encoded(images: Split, i: int, recipe: Recipe) -> Encoded:
    try:
        image = images.read(i)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _encode(still(image), images.name(i), recipe)
    except BrokenImage as error:
        return Encoded(None, [(BROKEN, str(error))])
    except MemoryError as error:
        raise NetspecError(f"{images.name(i)}: {cause(error)}") from error
    except OSError as error:
        if is_limit(error):
            raise NetspecError(f"{images.name(i)}: {cause(error)}") from error
        return Encoded(None, [(BROKEN, error.strerror or str(error))])


def _encode(image: bytes | Image.Image, name: str, recipe: Recipe) -> Encoded:
    geometry = Geometry(recipe.size, recipe.size, 3, recipe.size)
    plain, frame = _plain_jpeg(image)
    if plain is image and frame is not None and recipe.quality and _as_wanted(plain, frame, recipe.size):
        return Encoded(plain, [*([(GREY, "")] if frame.components == 1 else []), *_suffix_remarks("JPEG", name)])
    pixels = _resized(plain, frame, geometry) if frame is not None else None
    if pixels is not None and frame is not None:
        remarks, size = [(GREY, "")] if frame.components == 1 else [], (frame.width, frame.height)
        remarks += _suffix_remarks("JPEG", name)
    else:
        pixels = np.empty((recipe.size, recipe.size, 3), np.uint8)
        crop_image(image, geometry, centre, False, pixels)
        remarks, size = _odd(image, name)
    if min(size) < recipe.size:
        remarks.append(("enlarged", f"{size[0]} x {size[1]}"))
    return Encoded(_file(pixels, any(kind == GREY for kind, _ in remarks), recipe.quality), remarks)


def _plain_jpeg(image: bytes | Image.Image) -> tuple[bytes, jpeg.Frame | None]:
    """A JPEG for libjpeg-turbo, without metadata if need be, and what its header says; None where Pillow is to read."""
    if not isinstance(image, bytes):
        return b"", None
    frame = jpeg.plain_frame(image)
    bare = bare_jpeg(image) if frame is None else None
    return (image, frame) if bare is None else (bare, jpeg.plain_frame(bare))


def _as_wanted(encoded: bytes, frame: jpeg.Frame, size: int) -> bool:
    """Whether it is a sound JPEG of the wanted size already, which another encoding would only make worse."""
    return frame.height == frame.width == size and jpeg.decode(encoded, frame, "RGB") is not None


def _resized(encoded: bytes, header: jpeg.Frame, geometry: Geometry) -> NDArray[np.uint8] | None:
    """The pixels of a plain JPEG, uint8 (size, size, 4); None where Pillow is to decode it."""
    frame = geometry.frame(header.height, header.width)
    size, scaled = (header.height, header.width), (frame.height, frame.width)
    if size == scaled or drafted(size, scaled):
        return None
    whole = jpeg.decode(encoded, header, "RGBX")
    if whole is None:
        return None
    box = source_box(size[::-1], frame.at(*centre(*frame.spare)), frame)
    return resized(whole, box, geometry.height, geometry.width)


def _odd(image: bytes | Image.Image, name: str) -> tuple[list[tuple[str, str]], tuple[int, int]]:
    """What is to be said of an image that Pillow has read, and its width and height."""
    if not isinstance(image, bytes):
        return [], image.size
    with Image.open(io.BytesIO(image), formats=FORMATS) as header:
        remarks = _suffix_remarks(header.format or "", name)
        if header.mode in _GREYS:
            remarks.append((GREY, "" if header.mode == "L" else header.mode))
        elif header.mode not in ("RGB", "P"):
            remarks.append((header.mode, ""))
        if turn := exif_turn(header):
            remarks.append(("turned", f"EXIF orientation {turn}"))
        if header.has_transparency_data:
            remarks.append(("transparent", "laid over white"))
        return remarks, header.size


def _suffix_remarks(format: str, name: str) -> list[tuple[str, str]]:
    """A remark where the suffix names another format than the content's."""
    suffix = suffix_of(name.encode("utf-8", "replace"))
    right = _SUFFIXES.get(format, (f".{format.lower()}".encode(),))
    return [] if suffix in right else [("named as another format", f"{format} named {suffix.decode()}")]


def _file(pixels: NDArray[np.uint8], grey: bool, quality: int) -> bytes:
    if grey:
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    elif pixels.shape[2] == 4:
        picture = Image.frombuffer("RGBX", pixels.shape[1::-1], pixels, "raw", "RGBX", 0, 1)
    else:
        picture = Image.fromarray(pixels)
    file = io.BytesIO()
    if quality:
        picture.save(file, "JPEG", quality=quality)
    else:
        (picture if picture.mode in ("L", "RGB") else picture.convert("RGB")).save(file, "PNG")
    return file.getvalue()
