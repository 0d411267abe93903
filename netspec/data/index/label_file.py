"""The classes of images that lie in no class folder: ``val_annotations.txt``, as Tiny ImageNet has it."""

from __future__ import annotations

from netspec.errors import NetspecError

LABELS = b"val_annotations.txt"
"""A line an image: file name, class, and whatever else, with tabs or spaces between."""

REMEDY = f"put them in class folders, or name the class of each in {LABELS.decode()} there (lines of FILE CLASS)"


def read_labels(content: bytes, where: str) -> dict[bytes, bytes]:
    """Class by file name, or by path below the split; raises NetspecError for a line that names no class."""
    found: dict[bytes, bytes] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        fields = line.split(b"\t") if b"\t" in line else line.split()
        if len(fields) > 1 and fields[0] and fields[1].strip():
            found[fields[0]] = fields[1].strip()
        elif line.strip():
            raise NetspecError(f"{where}/{LABELS.decode()}:{number}: expected a file's name and its class")
    return found

