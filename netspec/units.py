"""Numbers as people read them: the one place where a number becomes text for people.

Bytes have binary prefixes (KiB, MiB, GiB); rates of bytes and operations have decimal ones, as makers of hardware state
them (GB/s, GFLOP/s). Three digits are shown. Exact numbers are in JSON and CSV, and in messages on damaged files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from netspec.measures import NONE, SHARE, Measures, measure_of

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def many(number: int, noun: str) -> str:
    """``1 image``, ``1,200 images``, ``2 classes``: a number with its noun."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """``images``, ``classes``, ``queries``, ``epochs``"""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) and noun != "epoch" else "s")


def count(value: int) -> str:
    """``60,965,224``; nothing for 0."""
    return f"{value:,}" if value else ""


def scaled(value: float, unit: str = "") -> str:
    """``1.43 G``, or ``1.43 GFLOP`` with a unit: three digits and a decimal prefix; nothing for 0."""
    if not value:
        return ""
    for scale, prefix in _SCALES:
        if abs(value) >= 0.9995 * scale:
            return f"{_three(value / scale)} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def throughput(bytes_per_second: float) -> str:
    """``45.7 GB/s``"""
    return scaled(bytes_per_second, "B/s") or "0 B/s"


def size(nbytes: int) -> str:
    """``232 MiB``: bytes with a binary prefix; nothing for 0."""
    for scale, prefix in _BYTES:
        if nbytes >= 0.9995 * scale:
            return f"{_three(nbytes / scale)} {prefix}"
    return f"{nbytes} B" if nbytes else ""


def _three(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def rate(value: float) -> str:
    """``1,280`` or ``12.8``: three digits where there are no more."""
    return f"{value:,.0f}" if value >= 99.95 else _three(value)


def duration(seconds: float) -> str:
    """``8.3 s``, ``4 min 05 s``, ``2 h 07 min``, ``5 d 03 h``: the two units that matter."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for high, low, names in ((86400, 3600, "d h"), (3600, 60, "h min"), (60, 1, "min s")):
        if whole >= high:
            first, second = names.split()
            return f"{whole // high} {first} {whole % high // low:02d} {second}"
    return f"{whole} s"


def milliseconds(value: float) -> str:
    """``1,050 ms``, ``0.0312 ms``: three digits, however large or small."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:,.{max(digits, 0)}f} ms"


def significant(value: float, digits: int = 4) -> str:
    """``2.303``, ``0.0125``: so many digits, as losses (4) and learning rates (3) are shown."""
    return f"{value:.{digits}g}"


def percent(share: float, digits: int = 1) -> str:
    """``96.2 %``"""
    return f"{100 * share:.{digits}f} %"


def views(number: int) -> str:
    """``centre crop`` for 1 view, ``10 views``."""
    return "centre crop" if number == 1 else many(number, "view")


def error_name(name: str, declared: Measures = NONE) -> str:
    """``top-1`` for top1, as a column of errors is headed; ``declared`` says what is measured, here and below."""
    return measure_of(name, declared).short


def is_share(name: str, declared: Measures = NONE) -> bool:
    """Whether a number of that name is a share of images, shown in percent."""
    return measure_of(name, declared).unit == SHARE


def error_title(name: str, declared: Measures = NONE) -> str:
    """``top-1 error`` for top1, ``rmse`` for rmse."""
    return measure_of(name, declared).title


def error_value(name: str, value: float, digits: int = 1, declared: Measures = NONE) -> str:
    """``37.5 %``, or ``0.0683``, with its unit, of what is no share."""
    unit = measure_of(name, declared).unit
    return percent(value, digits) if unit == SHARE else f"{value:.3g} {unit}".rstrip()


def errors(values: Mapping[str, float], declared: Measures = NONE) -> str:
    """``top-1 error 37.5 %, top-5 error 17.0 %``"""
    told = ((error_title(name, declared), error_value(name, one, declared=declared)) for name, one in values.items())
    return ", ".join(f"{title} {value}" for title, value in told)


def shape(sizes: tuple[int, ...]) -> str:
    """``55 x 55 x 48``"""
    return " x ".join(str(n) for n in sizes)
