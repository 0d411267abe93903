"""Line information (PTX ISA 11.5.1, ``.loc`` and ``.file``): from lines of PTX to lines of the source.

A module that was compiled with line information is another text than the one that runs, and now and then another order
of arithmetic; loads, stores, barriers and collective instructions are the same ones in the same order. By them the
places of the one are found in the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

_LOC = re.compile(r"\s*\.loc\s+(\d+)\s+(\d+)\s+(\d+)(?:.*\binlined_at\s+(\d+)\s+(\d+)\s+(\d+))?")
_FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', re.MULTILINE)
_MARKER = re.compile(
    r"[\s{]*(?:[\w$]+:\s*)?(?:@!?%\w+\s+)?((?:(?:ld|st)\.(?!param)|bar|atom|red|shfl|vote|match|elect|cp\.|mbarrier|"
    r"mma|wgmma|setmaxnreg|[ls][dt]matrix|div|rem|fence)\S*)"
)
"""Instructions at which a kernel can be stopped."""


class SourceLine(NamedTuple):
    """A line of a source file."""

    file: str
    line: int


Position = tuple[int, int, int]
"""File number, line, column, as ``.loc`` has them."""
Frames = tuple[SourceLine, ...]
"""Where an instruction comes from: its line, then that of each call that was inlined, outwards."""


def source_lines(text: str, with_lines: str) -> Mapping[int, Frames]:
    """Sources of the instructions of ``text``, by line of PTX, from the same module with line information.

    Instructions that compute and move between registers are left out, and what the other text does not have.
    """
    own = list(_markers(text))
    others = list(located(with_lines, _MARKER))
    match = SequenceMatcher(None, [name for _, name in own], [name for name, _ in others], autojunk=False)
    found = {}
    for first, second, count in match.get_matching_blocks():
        for step in range(count):
            frames = others[second + step][1]
            if frames:
                found[own[first + step][0]] = frames
    return found


def _markers(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.partition("//")[0].split(";"):  # inline PTX may have several on a line
            if marker := _MARKER.match(part):
                yield number, marker[1]


def located(text: str, wanted: re.Pattern[str]) -> Iterator[tuple[str, Frames]]:
    """The instructions of a text with line information that match, by their names, and their sources."""
    files = {int(number): name for number, name in _FILE.findall(text)}
    calls: dict[Position, Position | None] = {}
    here: Position | None = None
    for line in text.splitlines():
        if loc := _LOC.match(line):
            numbers = [int(part) for part in loc.groups() if part is not None]
            position = (numbers[0], numbers[1], numbers[2])
            if position[1]:  # line 0: code of no line, which the one before stands for
                here = position
                calls[here] = (numbers[3], numbers[4], numbers[5]) if len(numbers) > 3 else None
            continue
        for part in line.partition("//")[0].split(";"):
            if marker := wanted.match(part):
                yield marker[1], tuple(_frames(here, calls, files))


def _frames(here: Position | None, calls: Mapping[Position, Position | None], files: Mapping[int, str]) -> Frames:
    frames: list[SourceLine] = []
    while here is not None and len(frames) <= len(calls):
        frames.append(SourceLine(files.get(here[0], ""), here[1]))
        here = calls.get(here)
    return tuple(frames)
