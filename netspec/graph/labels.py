"""Shapes and attributes as a picture shows them, and how wide they come out."""

from __future__ import annotations

from math import fsum  # rounds alike in every Python: sum does so from 3.12 on only
from typing import Any

from netspec.contract.tensor import Shape

_NARROW = frozenset("fijlrt.,:;'|!()[] ·-")
_WIDE = frozenset("mwMW@%")
_LONGEST = 24


def shape_text(shape: Shape) -> str:
    """A shape without the batch axis: three lengths with the sign for times between, nothing for one number."""
    return " \N{MULTIPLICATION SIGN} ".join(str(length) for length in shape[1:])


def attribute_text(name: str, value: Any) -> str:
    """An attribute: ``size 11`` for [11, 11], ``pad 0/1``, and a word alone, such as ``max``; cut where it is long."""
    if isinstance(value, list | tuple):
        told = f"{name} {value[0] if len(set(value)) == 1 else '/'.join(map(str, value))}"
    else:
        told = value if isinstance(value, str) else f"{name} {value}"
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def width(text: str, size: float) -> float:
    """About how many pixels a text of that font size takes, on the generous side."""
    return size * fsum(0.36 if c in _NARROW else 0.92 if c in _WIDE else 0.68 if c.isupper() else 0.61 for c in text)
