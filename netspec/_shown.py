"""How results show themselves in a notebook.

What draws them lies above what they are: netspec.notebook, which is imported when a notebook asks.
"""

from __future__ import annotations

import importlib

_DRAWN_BY = "netspec.notebook"


def html_of(thing: object) -> str | None:
    """What a notebook shows of it; None for what has no more than its repr."""
    html: str | None = importlib.import_module(_DRAWN_BY).html(thing)
    return html


def svg_of(thing: object) -> str | None:
    """Its picture; None where there is none."""
    svg: str | None = importlib.import_module(_DRAWN_BY).svg(thing)
    return svg


class Shown:
    """Has the method by which Jupyter and its kin ask for HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return html_of(self)


class Pictured(Shown):
    """Has the one by which they ask for a picture, too."""

    __slots__ = ()

    def _repr_svg_(self) -> str | None:
        return svg_of(self)
