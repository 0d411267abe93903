"""Where everything of a View stands, in pixels: lanes side by side, rows from top to bottom, links between them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from netspec.graph.columns import Frame, frames_of, least, shared
from netspec.graph.labels import width
from netspec.graph.rows import Rows, arrange
from netspec.graph.view import Link, Node, NodeKey, View

MARGIN = 28
HEAD = 92
LANE_HEAD = 58
LANE_GAP = 26
PAD = 20
FOOT = 18
SLIM, TALL = 28, 48
BOX, RAIL = 306, 20
JOINED, NEAR, WIDE, CROSS = 2, 22, 36, 76
"""Heights between rows: joined boxes, an arrow, arrows that bend, and arrows that change lanes."""
CLEAR = 8
"""What a link leaves free on both sides where it passes boxes and frames."""
TITLE, SILL = 20, 9
"""What a frame has above the boxes in it, and below."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node's rectangle."""

    node: Node
    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Lane:
    """A device's column."""

    device: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Outline:
    """A frame's rectangle."""

    name: str
    device: str
    x: float
    y: float
    width: float
    height: float


Point = tuple[float, float]
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Wire:
    """A link as points: from the first to the last, bending where there are more than two."""

    link: Link
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture with places."""

    width: float
    height: float
    lanes: tuple[Lane, ...]
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    outlines: tuple[Outline, ...]


def lay_out(shown: View) -> Layout:
    """Give every lane, box and wire its place."""
    return _Layout(shown, arrange(shown)).make()


@dataclass(slots=True)
class _Layout:
    shown: View
    rows: Rows
    drawn: list[Link] = field(default_factory=list)
    """Links that need a line: those to joined boxes have none."""
    inner: float = 0.0
    tops: list[float] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    frames: dict[str, Frame] = field(default_factory=dict)
    outlines: list[Outline] = field(default_factory=list)
    boxes: dict[NodeKey, Box] = field(default_factory=dict)
    rails: dict[Link, tuple[Side, int]] = field(default_factory=dict)
    clear: dict[NodeKey, Link] = field(default_factory=dict)
    """Links that pass rows below their source's middle, where nothing stands."""
    ends: dict[tuple[Link, str], Point] = field(default_factory=dict)

    def make(self) -> Layout:
        self.drawn = [link for link in self.shown.links if self.span(link)[1] not in self.rows.joined]
        self.assign_rails()
        for device in self.shown.headings:
            self.frames[device] = frames_of({row: cell for (row, at), cell in self.rows.cells.items() if at == device})
        self.place_rows()
        self.inner = self.inner_width()
        self.place_lanes()
        for lane in self.lanes:
            self.fill(lane)
        self.clear_rails()
        self.assign_ends()
        wires = tuple(Wire(link, self.points(link)) for link in self.drawn)
        last = self.lanes[-1]
        size = last.x + last.width + MARGIN, last.y + last.height
        return Layout(*size, tuple(self.lanes), tuple(self.boxes.values()), wires, tuple(self.outlines))

    # Rows -----------------------------------------------------------------------------------------------------------

    def span(self, link: Link) -> tuple[int, int]:
        return self.rows.row[link.source], self.rows.row[link.target]

    def place_rows(self) -> None:
        """The top and the height of every row."""
        self.heights = [float(SLIM)] * self.rows.count
        for (row, _), cell in self.rows.cells.items():
            if any(node.parameters for node in cell):
                self.heights[row] = float(TALL)
        bottom = float(MARGIN + HEAD + LANE_HEAD)
        for row, height in enumerate(self.heights):
            self.tops.append(bottom + (self.gap(row) if row else 0) + self.edges(row))
            bottom = self.tops[-1] + height

    def edges(self, row: int) -> int:
        """The height that frames take above a row: the upper edges of those that begin, the lower of those before."""
        frames = self.frames.values()
        begin, end = max(one.beginning_at(row) for one in frames), max(one.ending_at(row - 1) for one in frames)
        return TITLE * begin + SILL * end

    def gap(self, row: int) -> int:
        """The height between a row and the one above."""
        arriving = [link for link in self.shown.links if self.span(link)[1] == row]
        if any(link.crossing for link in arriving):
            return CROSS
        if row in self.rows.joined:
            return JOINED
        bends = len({link.target for link in arriving}) < len(arriving) or any(
            row - 1 in (self.span(link)[0], self.span(link)[1] - 1) for link in self.rails
        )
        crowded = any(len(cell) > 1 for (at, _), cell in self.rows.cells.items() if at in (row, row - 1))
        return WIDE if bends or crowded else NEAR

    # Columns --------------------------------------------------------------------------------------------------------

    def assign_rails(self) -> None:
        """Links that pass rows run beside the boxes of their source's lane, each on a rail of its own."""
        taken: dict[tuple[str, Side, int], list[tuple[int, int]]] = defaultdict(list)
        straight = self.clear.values()
        passing = [one for one in self.shown.links if one not in straight and self.span(one)[1] - self.span(one)[0] > 1]
        for link in sorted(passing, key=lambda link: self.span(link)[1] - self.span(link)[0]):
            start, stop = self.span(link)
            device, side, rail = link.source.device, self.side(link), 0
            while any(low < stop and start < high for low, high in taken[device, side, rail]):
                rail += 1
            taken[device, side, rail].append((start, stop))
            self.rails[link] = (side, rail)

    def side(self, link: Link) -> Side:
        """The side on which the source stands among its neighbours; the outer one where it stands alone."""
        cell = self.rows.cells[self.rows.row[link.source], link.source.device]
        place = [node.key for node in cell].index(link.source) - (len(cell) - 1) / 2
        if place:
            return "left" if place < 0 else "right"
        return "right" if link.source.device == list(self.shown.headings)[-1] else "left"

    def room(self, device: str, side: Side) -> float:
        """The width that a lane's rails take on one side."""
        rails = [rail for link, (at, rail) in self.rails.items() if at == side and link.source.device == device]
        return RAIL * (max(rails) + 1) if rails else 0.0

    def inner_width(self) -> float:
        """The width that boxes share: the widest row decides."""
        widest = max(least(frame) for frame in self.frames.values())
        headings = [width(text, 11.5) for text in self.shown.headings.values()]
        return max(float(BOX), widest, *headings)

    def place_lanes(self) -> None:
        x, top = float(MARGIN), float(MARGIN + HEAD)
        bottom = self.tops[-1] + self.heights[-1] + FOOT + self.edges(self.rows.count)
        for device in self.shown.headings:
            wide = self.inner + 2 * PAD + self.room(device, "left") + self.room(device, "right")
            self.lanes.append(Lane(device, x, top, wide, bottom - top))
            x += wide + LANE_GAP

    def fill(self, lane: Lane) -> None:
        """Place a lane's boxes, then the frames round them."""
        left = lane.x + PAD + self.room(lane.device, "left")
        places = {node.key: (i + 0.5) / len(cell) for cell in self.rows.cells.values() for i, node in enumerate(cell)}
        framed: list[tuple[Frame, float, float]] = []
        for part, x, wide in shared(self.frames[lane.device], left, self.inner, places):
            if isinstance(part, Frame):
                framed.append((part, x, wide))
            else:
                row = self.rows.row[part.key]
                self.boxes[part.key] = Box(part, x, self.tops[row], wide, self.heights[row])
        for frame, x, wide in framed:
            top = self.tops[frame.first] - TITLE * (1 + frame.beginning_at(frame.first))
            bottom = self.tops[frame.last] + self.heights[frame.last] + SILL * (1 + frame.ending_at(frame.last))
            self.outlines.append(Outline(frame.path[-1], lane.device, x, top, wide, bottom - top))

    def clear_rails(self) -> None:
        """Take links off their rails that can run straight down, and place the lanes again without these rails."""
        for link in self.rails:
            if link.source not in self.clear and self.is_clear(link):
                self.clear[link.source] = link
        if self.clear:
            self.rails.clear()
            self.lanes.clear()
            self.outlines.clear()
            self.assign_rails()
            self.place_lanes()
            for lane in self.lanes:
                self.fill(lane)

    def is_clear(self, link: Link) -> bool:
        """Whether nothing stands below the source in the rows that a link passes, but for frames that it leaves."""
        (first, last), x, device = self.span(link), self.centre(link.source), link.source.device
        top, bottom = self.boxes[link.source].bottom, self.tops[last]
        boxes = [box for box in self.boxes.values() if first < self.rows.row[box.node.key] < last]
        begun = [one for one in self.outlines if top < one.y < bottom and one.y + one.height < bottom]
        passed = [box for box in boxes if box.node.device == device] + [one for one in begun if one.device == device]
        return not any(one.x - CLEAR < x < one.x + one.width + CLEAR for one in passed)

    # Links ----------------------------------------------------------------------------------------------------------

    def centre(self, key: NodeKey) -> float:
        box = self.boxes[key]
        return box.x + box.width / 2

    def rail_x(self, link: Link) -> float | None:
        """Where the link passes rows; None where it passes none."""
        if self.clear.get(link.source) == link:
            return self.centre(link.source)
        if link not in self.rails:
            return None
        side, rail = self.rails[link]
        lane = next(lane for lane in self.lanes if lane.device == link.source.device)
        offset = PAD * 0.6 + RAIL * rail
        return lane.x + offset if side == "left" else lane.x + lane.width - offset

    def assign_ends(self) -> None:
        """Spread the links of a box along its edge, in the order of where they come from or go to."""
        leaving: dict[NodeKey, list[Link]] = defaultdict(list)
        arriving: dict[NodeKey, list[Link]] = defaultdict(list)
        for link in self.drawn:
            leaving[link.source].append(link)
            arriving[link.target].append(link)
        for key, links in leaving.items():
            links.sort(key=lambda link: self.passes(link, link.target))
            self.spread(links, self.boxes[key], self.boxes[key].bottom, "source")
        for key, links in arriving.items():
            links.sort(key=lambda link: self.passes(link, link.source))
            self.spread(links, self.boxes[key], self.boxes[key].y, "target")

    def spread(self, links: list[Link], box: Box, y: float, end: str) -> None:
        step = min(90.0, box.width * 0.7 / len(links))
        for number, link in enumerate(links):
            self.ends[link, end] = (self.centre(box.node.key) + step * (number - (len(links) - 1) / 2), y)

    def passes(self, link: Link, end: NodeKey) -> float:
        """Where the link is on its way to or from one of its ends."""
        return self.rail_x(link) or self.centre(end)

    def points(self, link: Link) -> tuple[Point, ...]:
        start, stop = self.ends[link, "source"], self.ends[link, "target"]
        x = self.rail_x(link)
        if x is None:
            return start, stop
        first, last = self.span(link)
        return start, (x, self.tops[first + 1]), (x, self.tops[last - 1] + self.heights[last - 1]), stop
