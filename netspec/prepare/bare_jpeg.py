"""JPEGs without their metadata: what a camera or an editor has written beside the pixels keeps them off the fast path.

netspec.data.jpeg takes files that have a JFIF header and no other application's segments. EXIF, colour profiles and
the like change no pixel that libjpeg gives, so they can be left out; only EXIF's orientation is to be looked at first.
"""

from __future__ import annotations

import struct

from PIL import Image

_SEGMENT = struct.Struct(">HH")
_START, _SCAN, _EXIF, _ADOBE = b"\xff\xd8", 0xFFDA, 0xFFE1, 0xFFEE
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_APPLICATIONS, _SEGMENTS = range(0xFFE0, 0xFFF0), range(0xFFC0, 0xFFFF)
_FRAMES = (0xFFC0, 0xFFC1, 0xFFC2)
_IDS = (b"\x01", b"\x01\x02\x03")
"""Of the components of grey and of YCbCr, where no JFIF header says so."""
_ORIENTATION = 0x0112


def bare_jpeg(encoded: bytes) -> bytes | None:
    """The same JPEG with a JFIF header and no other metadata.

    None where that might give other pixels: Adobe's marker, which may say that colours are RGB, an orientation that
    is not upright, components of other names; and for what is no sound JPEG.
    """
    kept: list[bytes] = []
    at, jfif = 2, False
    try:
        while encoded.startswith(_START):
            marker, length = _SEGMENT.unpack_from(encoded, at)
            segment = encoded[at : at + 2 + length]
            if marker == _SCAN:
                return b"".join((_START, _JFIF, *kept, encoded[at:]))
            jfif = jfif or segment.startswith(_JFIF[:9])
            if marker not in _SEGMENTS or marker == _ADOBE or not (_upright(marker, segment) and _named(segment, jfif)):
                return None
            kept += [] if marker in _APPLICATIONS else [segment]
            at += len(segment)
    except struct.error:  # the file ends here
        pass
    return None


def _upright(marker: int, segment: bytes) -> bool:
    if marker != _EXIF or not segment.startswith(b"Exif\0\0", 4):
        return True
    exif = Image.Exif()
    try:
        exif.load(segment[4:])
        return bool(exif.get(_ORIENTATION, 1) == 1)
    except Exception:  # Pillow raises nearly anything for damaged ones
        return False


def _named(segment: bytes, jfif: bool) -> bool:
    """Whether the components are grey or YCbCr for certain, where this segment is the frame's header."""
    is_frame = segment[:2] in [marker.to_bytes(2, "big") for marker in _FRAMES]
    return not is_frame or jfif or segment[10::3] in _IDS
