"""Memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import choice, integer, text
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import spec_at
from netspec.report.run_labels import Tell
from netspec.units import many, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netspec.program import Program

_MIB = 2.0**20
_ROLES = {"activation": 0, "saved": 5, "gradient": 1, "parameter gradient": 4, "next state": 2, "workspace": 3}
"""What shares memory, with the number of its colour."""
_MOST_TICKS = 60
_NAME_HEIGHT, _NAME_WIDTH = 0.075, 0.043
"""Inches of a name in a buffer: its height, and the width of a character."""


@dataclass(frozen=True, slots=True)
class Held:
    """A buffer in the shared memory of a device: where, and the first and the last of its steps that touch it."""

    name: str
    layer: str
    role: str
    first: int
    last: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """A device's shared memory over its steps, and in bytes by role what has memory of its own all the time.

    ``steps`` has each one's operation and layer ("": of none).
    """

    device: str
    arena: int
    held: tuple[Held, ...]
    own: Mapping[str, int]
    steps: tuple[tuple[str, str], ...]

    @property
    def needed(self) -> int:
        """Bytes of the buffers if none shared memory."""
        return sum(one.nbytes for one in self.held)

    @property
    def at_once(self) -> int:
        """Bytes of the shared memory that hold data at the fullest step."""
        alive = ([one for one in self.held if one.first <= step <= one.last] for step in range(len(self.steps)))
        return max(map(_covered, alive), default=0)


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of an iteration."""

    name: str
    devices: tuple[DeviceMemory, ...]


class MemoryMap(Kind):
    """The buffers of each device over the steps of an iteration, and how they share memory.

    A rectangle is a buffer: from the first to the last step that touches it, at its place in the memory that buffers
    share. What lies above each other in time at one place uses it in turn. Parameters, momentum and inputs have memory
    of their own; the title has their sum. Nothing is allocated to find out.
    """

    attrs: ClassVar = {
        "phase": choice("train", "eval", "predict", description="What the network is used for.", default="train"),
        "devices": text("Kinds of device, as in cpu or cuda:0,cuda:1; none need be there.", default="cpu"),
        "batch": integer("Images a batch; 0: as the spec says.", default=0, minimum=0),
    }
    takes = "SPEC|RUN"
    most = 1
    of_folder = "newest"
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure memory alexnet -o memory.pdf",
        "netspec figure memory alexnet --phase predict -o predict.svg",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Memory:
        """See Kind."""
        from netspec.planning import build
        from netspec.report.lowered import lowered, storage_at

        spec = spec_at(paths[0], tell)
        storage = storage_at(spec, self.settings["devices"])
        plan = build(spec, self.settings["phase"], self.settings["batch"] or None, storage=storage)
        program = lowered(plan, spec, self.settings["devices"])
        title = labels[0] if labels else f"{spec.name}, {plan.phase}, {plan.images}"
        return Memory(title, tuple(_of_device(program, device) for device in plan.devices))

    def lines(self, data: Memory) -> list[str]:
        """A line a device."""
        return ["; ".join(_told(one)) for one in data.devices]

    def draw(self, data: Memory) -> Figure:
        """A panel a device, on one scale of memory."""
        figure = _style.new_figure(_style.DOUBLE, 0.35 + 2.5 * len(data.devices))
        panels = figure.subplots(len(data.devices), 1, squeeze=False)[:, 0]
        top = max(one.arena for one in data.devices) / _MIB
        for axes, one in zip(panels, data.devices, strict=True):
            axes.set_xlim(-0.5, max(len(one.steps), 1) - 0.5)
            axes.set_ylim(0, 1.08 * top or 1)
            _draw_device(axes, one, top)
        figure.suptitle(_style.shortened(data.name, 90), fontsize=7, x=0.01, ha="left", weight="bold")
        _legend(figure, {held.role for one in data.devices for held in one.held})
        return figure


def _of_device(program: Program, device: str) -> DeviceMemory:
    from netspec.program import memory

    touching: dict[Any, list[int]] = defaultdict(list)
    for position, step in enumerate(program.steps):
        for region in step.args.values():
            touching[region.buffer].append(position)
    places = [position for position, step in enumerate(program.steps) if step.device == device]
    steps = [program.steps[position] for position in places]
    held = []
    for key, offset in program.offsets.items():
        if key.device == device:
            first = min(bisect_left(places, touching[key][0]), len(places) - 1)
            last = bisect_right(places, touching[key][-1]) - 1  # another device may be the last that reads it
            place = first, max(first, last), offset
            held.append(Held(str(key), key.of.owner or "", key.role, *place, program.buffers[key].nbytes))
    own = {role: count for role, count in memory([program])[device].items() if role not in (*_ROLES, "arena", "total")}
    told = tuple((step.op, step.layer or "") for step in steps)
    return DeviceMemory(device, program.arenas.get(device, 0), tuple(held), own, told)


def _covered(held: Sequence[Held]) -> int:
    """Bytes that some buffer lies on; one that is written in place lies where the one that it is made of does."""
    total = end = 0
    for one in sorted(held, key=lambda one: one.offset):
        total += max(0, one.offset + one.nbytes - max(end, one.offset))
        end = max(end, one.offset + one.nbytes)
    return total


def _told(one: DeviceMemory) -> list[str]:
    own = ", ".join(f"{role} {size(nbytes)}" for role, nbytes in one.own.items() if nbytes >= _MIB)
    shared = f"{many(len(one.held), 'buffer')} of {size(one.needed)} in {size(one.arena)}"
    first = f"{one.device}: {shared} (most in use at once: {size(one.at_once)})"
    return [first, f"memory of their own: {own}"] if own else [first]


# Drawing ------------------------------------------------------------------------------------------------------------


def _draw_device(axes: Axes, one: DeviceMemory, top: float) -> None:
    for held in sorted(one.held, key=lambda held: -held.nbytes):
        _draw_buffer(axes, held, (_style.DOUBLE - 0.6) / max(len(one.steps), 1), 1.6 / max(top, 1e-9))
    backward = next((number for number, (op, _) in enumerate(one.steps) if op == "backward"), None)
    if backward is not None:
        look: Any = {"fontsize": _style.SMALL}
        axes.axvline(backward - 0.5, color=_style.INK, linewidth=0.6, linestyle=(0, (2, 2)))
        axes.text(backward - 0.9, top * 1.075, "forward", ha="right", va="top", **look)
        axes.text(backward - 0.1, top * 1.075, "backward", ha="left", va="top", **look)
    ticks = _ticks(one.steps)
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks], rotation=90, fontsize=5.5)
    axes.set_ylabel("MiB")
    axes.set_title("\n".join(_told(one)), fontweight="normal", fontsize=6.5)


def _draw_buffer(axes: Axes, held: Held, across: float, up: float) -> None:
    """``across`` and ``up`` are inches of a step and of a MiB."""
    from matplotlib.patches import Rectangle

    wide, high = held.last - held.first + 1, held.nbytes / _MIB
    look: dict[str, Any] = {"facecolor": _style.COLOURS[_ROLES[held.role]], "edgecolor": "white", "linewidth": 0.3}
    axes.add_patch(Rectangle((held.first - 0.5, held.offset / _MIB), wide, high, gid=f"buffer.{held.name}", **look))
    if _NAME_HEIGHT < high * up and _NAME_WIDTH * (len(held.layer) + 1) < (wide - 1) * across:
        middle = held.first - 0.5 + wide / 2, held.offset / _MIB + high / 2
        ink = _style.ink_on(_style.COLOURS[_ROLES[held.role]])
        axes.text(*middle, held.layer, ha="center", va="center", color=ink, fontsize=5, clip_on=True)


def _ticks(steps: Sequence[tuple[str, str]]) -> list[tuple[float, str]]:
    """Layers at their steps, and in the middle of a row of other steps what they do; some where there is no room."""
    found: list[tuple[float, str]] = []
    for op, row in groupby(enumerate(steps), key=lambda numbered: numbered[1][0]):
        numbered = list(row)
        if op in ("forward", "backward"):
            found += [(float(number), layer) for number, (_, layer) in numbered]
        elif len(numbered) > 2:
            found.append(((numbered[0][0] + numbered[-1][0]) / 2, op))
    return found[:: -(-len(found) // _MOST_TICKS) or 1]


def _legend(figure: Figure, roles: set[str]) -> None:
    from matplotlib.patches import Patch

    shown = [role for role in _ROLES if role in roles]
    handles = [Patch(facecolor=_style.COLOURS[_ROLES[role]]) for role in shown]
    _style.legend_below(figure, handles, shown, _style.DOUBLE)
