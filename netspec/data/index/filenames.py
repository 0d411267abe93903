"""Which files are images, and which entries of a folder no person put there: by name alone."""

from __future__ import annotations

import os

_BY_FORMAT = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "GIF": ".gif",
    "BMP": ".bmp",
    "PPM": ".ppm .pgm .pbm .pnm .pfm",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
}
"""The suffixes that Pillow registers for the formats that are decoded."""

FORMATS = tuple(_BY_FORMAT)
"""The formats that are decoded, as Pillow calls them; the content decides which one, not the suffix."""

SUFFIXES = frozenset(suffix.encode() for suffixes in _BY_FORMAT.values() for suffix in suffixes.split())
"""A file is taken for an image by its suffix, in upper or lower case."""

_SYSTEM = frozenset(
    b"@eadir @tmp @recycle @recently-snapshot #recycle #snapshot lost+found __macosx $recycle.bin "
    b"thumbs.db ehthumbs.db desktop.ini".split()
) | {b"system volume information"}
"""What file servers, macOS and Windows put beside people's files, in lower case."""

_LONGEST_SUFFIX = 12

VALIDATION_NAMES = ("val", "validation", "valid", "test")
"""Names under which a validation split is looked for, in this order."""

SPLIT_NAMES = frozenset({"train", "training", "testing", *VALIDATION_NAMES})
"""What people call splits, in lower case."""

LAYOUTS = (
    "DIR/CLASS/*.jpg, DIR/train/CLASS/*.jpg with DIR/val/ or DIR/test/, or DIR/train.tar with val.tar or test.tar"
)
"""The layouts that ``--data DIR`` understands, for messages."""


def suffix_of(name: bytes) -> bytes:
    """The suffix in lower case with its dot; empty where there is none."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if len(suffix) <= _LONGEST_SUFFIX else b""


def is_image_name(name: bytes) -> bool:
    """Whether a file of that name is taken for an image."""
    return suffix_of(name) in SUFFIXES


def is_hidden(name: bytes) -> bool:
    """Whether the name begins with a dot: ``.DS_Store``, ``.git``, and macOS's ``._x.jpg`` (AppleDouble)."""
    return name.startswith(b".")


def is_system(name: bytes) -> bool:
    """Whether a file server or an operating system put it there: ``@eaDir``, ``__MACOSX``, ``Thumbs.db``."""
    return name.lower() in _SYSTEM
