"""Comparing arrays, with messages that name the tensor, the element, what was expected and what came."""

from __future__ import annotations

from typing import Any

import numpy as np

from netspec.errors import NetspecError

Array = np.ndarray[Any, Any]
BOUND = 1e-5
"""Largest error of one kernel in plain float32, see ``error``."""


class Failed(NetspecError):
    """A check found the contract broken."""


class Skipped(NetspecError):
    """A check does not apply, or cannot run here."""


def element(name: str, array: Array, place: tuple[int, ...]) -> str:
    """``y[1, 0] is 2.5``"""
    return f"{name}[{', '.join(map(str, place))}] is {array[place]:.9g}"


def same_bits(name: str, got: Array, wanted: Array, rule: str) -> None:
    """Raise Failed unless both have the same values, NaN included; ``rule`` says what is broken then."""
    same = (got == wanted) | ((got != got) & (wanted != wanted))
    if not same.all():
        place = _first(~same)
        raise Failed(f"{element(name, got, place)}, expected {wanted[place]:.9g} ({_count(~same)}): {rule}")


def error(got: Array, wanted: Array, terms: Array | None = None) -> float:
    """max abs(got - wanted) over max(max abs(wanted), max abs(terms)).

    ``terms`` is the same tensor computed from absolute values, so that sums that cancel are measured by their terms.
    """
    if not wanted.size:
        return 0.0
    scales = [np.abs(wanted).max(), *([] if terms is None else [np.nan_to_num(np.abs(terms), posinf=0).max()])]
    return float(np.abs(got.astype(np.float64) - wanted).max() / max(*scales, 1e-30)) if len(scales) else 0.0


def agree(name: str, got: Array, wanted: Array, rule: str, bound: float = BOUND, terms: Array | None = None) -> None:
    """Raise Failed unless the error is within the bound; whole numbers must be equal."""
    if got.dtype.kind != "f":
        return same_bits(name, got, wanted, rule)
    finite(name, got, rule)
    size = error(got, wanted, terms)
    if size > bound:
        place = np.unravel_index(np.abs(got.astype(np.float64) - wanted).argmax(), got.shape)
        where = tuple(int(i) for i in place)
        raise Failed(
            f"{element(name, got, where)}, expected {wanted[where]:.9g}: {rule}; "
            f"the error relative to the tensor is {size:.1e}, allowed {bound:.0e}"
        )
    return None


def finite(name: str, array: Array, rule: str) -> None:
    """Raise Failed where an element is NaN or infinite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        raise Failed(f"{element(name, array, _first(bad))}, expected a finite number ({_count(bad)}): {rule}")


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _count(mask: Array) -> str:
    return f"{int(mask.sum())} of {mask.size} elements"
