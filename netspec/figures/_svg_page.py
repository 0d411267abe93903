"""Draws by matplotlib what ``netspec.graph`` writes as SVG, so that the picture of a network is one in every format.

Of SVG it knows what that writer uses: rect, circle, path (M L H V C Z), text with tspans, and a style sheet of classes
of which the rules for light screens count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

from netspec.figures import _style

_HIGHEST = 9.0
"""Inches: the text block of a page."""
_RULE = re.compile(r"([.\w\s,-]+)\{([\w-]+):([^}]+)\}")
_TOKEN = re.compile(r"[A-Za-z]|-?[\d.]+")
_POINTS = {"M": 1, "L": 1, "C": 3}
Look = dict[str, str]


def figure_of(svg: str) -> Figure:
    """The picture as a page that is as wide as its columns of text, or as high as a page allows."""
    root = ElementTree.fromstring(svg)
    wide, high = (float(length) for length in root.attrib["viewBox"].split()[2:])
    scale = min((_style.DOUBLE if wide > 500 else _style.SINGLE) / wide, _HIGHEST / high)
    figure = _style.new_figure(wide * scale, high * scale)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))
    axes.set_axis_off()
    _Page(axes, _rules(root), scale * 72).draw(root)
    return figure


def _rules(root: ElementTree.Element) -> Mapping[str, Look]:
    """Properties by class, for light screens."""
    sheet = next((element.text or "" for element in root if element.tag.endswith("style")), "").partition("@media")[0]
    found: dict[str, Look] = {}
    for names, what, value in _RULE.findall(sheet):
        for name in names.split(","):
            found.setdefault(name.strip().removeprefix("."), {})[what] = value
    return found


class _Page:
    """Draws elements in their order; ``points`` of type there are to a pixel."""

    def __init__(self, axes: Axes, rules: Mapping[str, Look], points: float) -> None:
        self.axes, self.rules, self.points = axes, rules, points

    def draw(self, root: ElementTree.Element) -> None:
        """Every element that shows."""
        drawers = {"rect": self._rect, "circle": self._circle, "path": self._path, "text": self._text}
        for order, element in enumerate(root):
            if drawer := drawers.get(element.tag.rpartition("}")[2]):
                drawer(element, order)

    def _look(self, element: ElementTree.Element) -> Look:
        look: Look = {}
        for name in element.get("class", "").split():
            look |= self.rules.get(name, {})
        return look

    def _shape(self, patch: Any, element: ElementTree.Element, order: int) -> None:
        look = self._look(element)
        dashes = tuple(float(length) * self.points for length in element.get("stroke-dasharray", "").split())
        patch.set(
            facecolor=look.get("fill", "none" if "stroke" in look else "black"),
            edgecolor=look.get("stroke", "none"),
            linewidth=float(element.get("stroke-width", 1)) * self.points,
            linestyle=(0, dashes) if dashes else "-",
            zorder=order,
        )
        self.axes.add_patch(patch)

    def _rect(self, element: ElementTree.Element, order: int) -> None:
        from matplotlib.patches import FancyBboxPatch

        place = [float(element.get(name, 0)) for name in ("x", "y", "width", "height")]
        style = f"round,pad=0,rounding_size={element.get('rx', 0)}"
        self._shape(FancyBboxPatch((place[0], place[1]), place[2], place[3], style), element, order)

    def _circle(self, element: ElementTree.Element, order: int) -> None:
        from matplotlib.patches import Circle

        centre = float(element.attrib["cx"]), float(element.attrib["cy"])
        self._shape(Circle(centre, float(element.attrib["r"])), element, order)

    def _path(self, element: ElementTree.Element, order: int) -> None:
        from matplotlib.patches import PathPatch

        self._shape(PathPatch(_path_of(element.attrib["d"])), element, order)

    def _text(self, element: ElementTree.Element, order: int) -> None:
        """One line, of spans with looks of their own or of one."""
        spans = list(element) or [element]
        widths = [self._width(span) + float(span.get("dx", 0)) for span in spans]
        whole, anchor = sum(widths), element.get("text-anchor", "start")
        x = float(element.attrib["x"]) - {"start": 0.0, "middle": whole / 2, "end": whole}[anchor]
        for span, wide in zip(spans, widths, strict=True):
            left = x + float(span.get("dx", 0))
            look: dict[str, Any] = {"color": self._look(span).get("fill", "black"), "zorder": order}
            self.axes.text(left, float(element.attrib["y"]), span.text or "", **self._font(span), **look)
            x += wide

    def _font(self, span: ElementTree.Element) -> dict[str, Any]:
        weight = "bold" if int(span.get("font-weight", 400)) >= 600 else "normal"
        return {"fontsize": float(span.attrib["font-size"]) * self.points, "fontweight": weight}

    def _width(self, span: ElementTree.Element) -> float:
        """Pixels that a span takes."""
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import text_to_path

        font = self._font(span)
        properties = FontProperties(size=font["fontsize"], weight=font["fontweight"])
        return float(text_to_path.get_text_width_height_descent(span.text or "", properties, False)[0]) / self.points


def _path_of(text: str) -> Path:
    from matplotlib.path import Path

    codes = {"M": Path.MOVETO, "L": Path.LINETO, "H": Path.LINETO, "V": Path.LINETO, "C": Path.CURVE4}
    points: list[tuple[float, float]] = []
    kinds: list[int] = []
    for command, numbers in _commands(text):
        upper, (x, y) = command.upper(), points[-1] if points else (0.0, 0.0)
        shift = (x, y) if command.islower() else (0.0, 0.0)
        if upper == "Z":
            added, kind = [(x, y)], Path.CLOSEPOLY
        elif upper in "HV":
            place = numbers[0] + shift["HV".index(upper)]
            added, kind = [(place, y) if upper == "H" else (x, place)], Path.LINETO
        else:
            pairs = zip(numbers[::2], numbers[1::2], strict=True)
            added, kind = [(a + shift[0], b + shift[1]) for a, b in pairs], codes[upper]
        points += added
        kinds += [int(kind)] * len(added)
    return Path(points, kinds)


def _commands(text: str) -> Iterator[tuple[str, list[float]]]:
    tokens = _TOKEN.findall(text)
    starts = [number for number, token in enumerate(tokens) if token.isalpha()]
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        yield tokens[start], [float(token) for token in tokens[start + 1 : stop]]
