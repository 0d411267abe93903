"""Canvases for charts: SVG as text, PNG by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from netspec.machine.names import ESCAPED
from netspec.report.chart import Anchor, draw, size
from netspec.report.curves import Panel, Point

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

_FAINT = 0.45
_SCALE = 2


def write_chart(panels: Sequence[Panel], path: Path) -> None:
    """Write a chart as ``.svg`` or ``.png``, by the name's ending."""
    if path.suffix.lower() == ".svg":
        path.write_text(as_svg(panels), "utf-8", ESCAPED)
    else:
        _write_png(panels, path)


def as_svg(panels: Sequence[Panel]) -> str:
    """The chart as SVG text."""
    width, height = size(panels)
    canvas = _Svg()
    draw(panels, canvas)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'{head} font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n{canvas.body}</svg>\n'


class _Svg:
    """Collects SVG elements."""

    def __init__(self) -> None:
        self.body = ""

    def line(self, points: Sequence[Point], colour: str, width: float, faint: bool = False) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shape = f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"'
        if len(points) == 1:
            (x, y), radius = points[0], 1.5 * width
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"'
        self.body += f'{shape} stroke-linejoin="round" opacity="{_FAINT if faint else 1}"/>\n'

    def text(self, x: float, y: float, text: str, colour: str, size: int, anchor: Anchor) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
        self.body += f"<text {place}>{escape(text)}</text>\n"


def _write_png(panels: Sequence[Panel], path: Path) -> None:
    from PIL import Image

    width, height = size(panels)
    image = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
    draw(panels, _Png(image))
    image.save(path)


class _Png:
    """Draws on an image at twice the size."""

    def __init__(self, image: object) -> None:
        from PIL import Image, ImageDraw

        assert isinstance(image, Image.Image)
        self._draw = ImageDraw.Draw(image)

    def line(self, points: Sequence[Point], colour: str, width: float, faint: bool = False) -> None:
        shade = _mixed(colour) if faint else colour
        places = [(x * _SCALE, y * _SCALE) for x, y in points]
        if len(places) == 1:
            self._draw.circle(places[0], 1.5 * width * _SCALE, fill=shade)
        else:
            self._draw.line(places, fill=shade, width=round(width * _SCALE), joint="curve")

    def text(self, x: float, y: float, text: str, colour: str, size: int, anchor: Anchor) -> None:
        letter = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        self._draw.text((x * _SCALE, y * _SCALE), text, fill=colour, font=_font(size * _SCALE), anchor=letter)


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _mixed(colour: str) -> str:
    """The colour on white, as faint as in SVG."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(_FAINT * part + (1 - _FAINT) * 255):02x}" for part in parts)
