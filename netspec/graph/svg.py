"""A View as a picture: self-contained SVG, for light and dark screens."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from math import fsum  # rounds alike in every Python: sum does so from 3.12 on only

from netspec.graph.labels import width
from netspec.graph.placement import MARGIN, Box, Lane, Layout, Outline, Point, Wire, lay_out
from netspec.graph.view import View, title
from netspec.units import many, size

_ACCENTS = (("#2f6fde", "#6ea0ff"), ("#12946f", "#3ecf9f"), ("#8a4fd3", "#b98cf5"), ("#b7791f", "#e0ac55"))
_TINTS = (("#edf3fe", "#172136"), ("#e8f6f1", "#13271f"), ("#f4eefc", "#241a33"), ("#fcf4e6", "#2b2213"))
_COLOURS = {
    ".paper": ("fill", "#ffffff", "#0e1218"),
    ".ink": ("fill", "#1a2130", "#eef2f8"),
    ".soft": ("fill", "#5d687b", "#9aa7ba"),
    ".box": ("fill", "#ffffff", "#1d2431"),
    ".box, .input": ("stroke", "#c9d1de", "#3a4557"),
    ".input": ("fill", "none", "none"),
    ".cost": ("fill", "#1a2130", "#eef2f8"),
    ".on-cost": ("fill", "#ffffff", "#0e1218"),
    ".wire": ("stroke", "#8792a5", "#75829a"),
    ".tip": ("fill", "#8792a5", "#75829a"),
    ".cross": ("stroke", "#dd5a1c", "#ff8a4c"),
    ".cross-tip, .bytes": ("fill", "#c24a12", "#ff9a63"),
    ".pill": ("fill", "#fff3ec", "#33201a"),
    ".pill, .pill-edge": ("stroke", "#f0b493", "#7a4326"),
}
_FRAME = {".frame": ("stroke", "#a9b4c6", "#53617a")}
_FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_TIP = 6.0
_LEGEND = 46


def write(shown: View) -> str:
    """The SVG text of a picture."""
    layout = lay_out(shown)
    wide, high = layout.width, layout.height + _LEGEND + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" '
        f'height="{high:.0f}" role="img" font-family="{_FONT}">',
        f"<title>{escape(title(shown))}</title>",
        f"<style>{_style(layout)}</style>",
        f'<rect class="paper" width="{wide:.0f}" height="{high:.0f}" rx="14"/>',
        _text(MARGIN, MARGIN + 24, shown.name, 24, "ink", weight=700),
        *_totals(shown, wide - 2 * MARGIN),
    ]
    for number, lane in enumerate(layout.lanes):
        lines += _lane(lane, number, shown.headings[lane.device])
    for outline in layout.outlines:
        lines += _frame(outline)
    lines += [_wire(wire) for wire in sorted(layout.wires, key=lambda wire: wire.link.crossing)]
    accents = {lane.device: number % len(_ACCENTS) for number, lane in enumerate(layout.lanes)}
    for box in layout.boxes:
        lines += _box(box, accents[box.node.device])
    lines += [_label(wire) for wire in layout.wires if wire.link.bytes]
    lines += _legend(shown, layout)
    return "\n".join([*filter(None, lines), "</svg>"]) + "\n"


def _totals(shown: View, room: float) -> Iterator[str]:
    """The totals in one line, or one below the other where the picture is narrow."""
    totals = " · ".join(shown.totals)
    lines = [(totals, "soft num")] if width(totals, 13) <= room else [(words, "soft num") for words in shown.totals]
    lines.append((shown.traffic, "bytes num"))
    for number, (text, names) in enumerate(lines):
        yield _text(MARGIN, MARGIN + 47 + 18 * number, text, 13, names)


def _style(layout: Layout) -> str:
    """Colours for light screens, then for dark ones; presentation attributes stay for readers without CSS."""
    rules = _COLOURS | (_FRAME if layout.outlines else {})
    for number in range(min(len(layout.lanes), len(_ACCENTS))):
        rules[f".accent{number}"] = ("fill", *_ACCENTS[number])
        rules[f".lane{number}"] = ("fill", *_TINTS[number])
    light = "".join(f"{names}{{{what}:{colour}}}" for names, (what, colour, _) in rules.items())
    dark = "".join(f"{names}{{{what}:{colour}}}" for names, (what, _, colour) in rules.items())
    frames = ",.frame" if layout.outlines else ""
    fixed = f".wire,.cross{frames}{{fill:none}}.num{{font-variant-numeric:tabular-nums}}"
    return f"{fixed}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _text(x: float, y: float, text: str, size: float, names: str, *, weight: int = 400, anchor: str = "start") -> str:
    if not text:
        return ""
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    end = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" class="{names}"{bold}{end}>{escape(text)}</text>'


def _lane(lane: Lane, number: int, heading: str) -> Iterator[str]:
    colour = number % len(_ACCENTS)
    place = f'x="{lane.x:.1f}" y="{lane.y:.1f}" width="{lane.width:.1f}"'
    yield f'<rect {place} height="{lane.height:.1f}" rx="12" class="lane{colour}"/>'
    yield f'<circle cx="{lane.x + 25:.1f}" cy="{lane.y + 22:.1f}" r="5" class="accent{colour}"/>'
    yield _text(lane.x + 38, lane.y + 27, lane.device, 15, "ink", weight=700)
    yield _text(lane.x + 20, lane.y + 46, heading, 11.5, "soft num")


def _frame(outline: Outline) -> Iterator[str]:
    place = f'x="{outline.x:.1f}" y="{outline.y:.1f}" width="{outline.width:.1f}" height="{outline.height:.1f}"'
    yield f'<rect {place} rx="10" class="frame" stroke-width="1.2"/>'
    yield _text(outline.x + 10, outline.y + 14, outline.name, 11, "soft", weight=600)


# Boxes --------------------------------------------------------------------------------------------------------------


def _box(box: Box, accent: int) -> Iterator[str]:
    node = box.node
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    names = {"input": "input", "cost": "cost", "layer": "box"}[node.kind]
    dashes = ' stroke-dasharray="4 3"' if node.kind == "input" else ""
    yield f'<rect {place} rx="{box.height / 2 if node.kind == "cost" else 8:g}" class="{names}"{dashes}/>'
    if node.parameters:
        bar = f'x="{box.x:.1f}" y="{box.y + 8:.1f}" width="4" height="{box.height - 16:.1f}"'
        yield f'<rect {bar} rx="2" class="accent{accent}"/>'
    yield from _words(box)


def _words(box: Box) -> Iterator[str]:
    node, tall = box.node, box.node.parameters > 0
    left, right = box.x + 14, box.x + box.width - 12
    base = box.y + (20 if tall else box.height / 2 + 4.5)
    if node.kind != "layer":
        second = node.shape if node.kind == "input" else node.type
        ink = "ink" if node.kind == "input" else "on-cost"
        yield _pair(box.x + box.width / 2, base, node.name, second, ink, ink if node.kind == "cost" else "soft")
        return
    count = many(node.parameters, "parameter") if tall else ""
    details = ", ".join(node.details)
    yield _pair(left, base, node.name, node.type, "ink", "soft", details="" if tall else details)
    yield _text(right, base, node.shape, 12, "ink num", anchor="end")
    if tall:
        yield _text(left, base + 17, details, 11, "soft num")
        yield _text(right, base + 17, count, 11, "soft num", anchor="end")


def _pair(x: float, y: float, first: str, second: str, ink: str, soft: str, details: str | None = None) -> str:
    """A name and what it is in one line, centred where there are no details to follow."""
    anchor = ' text-anchor="middle"' if details is None else ""
    spans = [
        f'<tspan class="{ink}" font-size="13" font-weight="650">{escape(first)}</tspan>',
        f'<tspan class="{soft}" font-size="12" dx="6">{escape(second)}</tspan>' if second else "",
        f'<tspan class="{soft} num" font-size="11" dx="9">{escape(details)}</tspan>' if details else "",
    ]
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchor}>{"".join(spans)}</text>'


# Wires --------------------------------------------------------------------------------------------------------------


def _bend(a: Point, b: Point) -> tuple[Point, Point]:
    """Control points that leave and arrive upright."""
    reach = (b[1] - a[1]) * 0.55
    return (a[0], a[1] + reach), (b[0], b[1] - reach)


def _wire(wire: Wire) -> str:
    crossing = wire.link.crossing
    *points, (x, y) = wire.points
    points.append((x, y - _TIP))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for a, b in pairwise(points):
        if abs(a[0] - b[0]) < 0.5:
            path += f"L{b[0]:.1f} {b[1]:.1f}"
        else:
            (p, q), (r, s) = _bend(a, b)
            path += f"C{p:.1f} {q:.1f} {r:.1f} {s:.1f} {b[0]:.1f} {b[1]:.1f}"
    name, tip, thick = ("cross", "cross-tip", 2.2) if crossing else ("wire", "tip", 1.5)
    head = f"M{x - 4:.1f} {y - _TIP - 1:.1f}L{x + 4:.1f} {y - _TIP - 1:.1f}L{x:.1f} {y:.1f}Z"
    return f'<path d="{path}" class="{name}" stroke-width="{thick}"/><path d="{head}" class="{tip}"/>'


def _label(wire: Wire) -> str:
    """The bytes of a crossing, near where it leaves."""
    a, b = wire.points[-2:]
    p, q = _bend(a, b)
    t = 0.2
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    x, y = (fsum(w * point[axis] for w, point in zip(weights, (a, p, q, b), strict=True)) for axis in (0, 1))
    return _pill(x, y, size(wire.link.bytes or 0))


def _pill(x: float, y: float, text: str) -> str:
    wide = width(text, 11) + 14
    place = f'x="{x - wide / 2:.1f}" y="{y - 9:.1f}" width="{wide:.1f}" height="18"'
    words = _text(x, y + 4, text, 11, "bytes num", weight=600, anchor="middle")
    return f'<rect {place} rx="9" class="pill"/>{words}'


# Legend -------------------------------------------------------------------------------------------------------------


def _legend(shown: View, layout: Layout) -> Iterator[str]:
    y, x = layout.height + 30.0, float(MARGIN)
    both = ", and as many for its gradient coming back" if shown.backward else ""
    whole = "" if any(node.kind == "input" and node.rows for node in shown.nodes) else ", whole"
    entries = [("input", f"network input{whole} on each device that reads it"), ("box", "layer with parameters")]
    if layout.outlines:
        entries.append(("frame", "frame round layers that belong together"))
    if any(wire.link.crossing for wire in layout.wires):
        entries.append(("cross", f"crosses devices: bytes for a batch of {shown.batch}{both}"))
    for name, text in entries:
        if x > MARGIN and x + 34 + width(text, 11.5) > layout.width:
            x, y = float(MARGIN), y + 20
        yield _sample(name, x, y)
        yield _text(x + 32, y + 4, text, 11.5, "soft")
        x += 32 + width(text, 11.5) + 22


def _sample(name: str, x: float, y: float) -> str:
    if name == "cross":
        line = f'<path d="M{x:.1f} {y:.1f}H{x + 17:.1f}" class="cross" stroke-width="2.2"/>'
        return f'{line}<path d="M{x + 16:.1f} {y - 4:.1f}v8l7 -4Z" class="cross-tip"/>'
    dashes = ' stroke-dasharray="4 3"' if name == "input" else ""
    bar = f'<rect x="{x:.1f}" y="{y - 4:.1f}" width="4" height="8" rx="2" class="accent0"/>' if name == "box" else ""
    return f'<rect x="{x:.1f}" y="{y - 7:.1f}" width="24" height="14" rx="4" class="{name}"{dashes}/>{bar}'
