"""Timeline."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from netspec.contract.attrs import integer, text
from netspec.errors import NetspecError
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import spec_at
from netspec.machine.names import nearer
from netspec.planning.identities import Op
from netspec.report.run_labels import Tell
from netspec.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netspec.spec.types import Spec

Lane = tuple[str, str]
"""A device and one of its queues."""

_KINDS = {"forward": 0, "backward": 1, "update": 2, "transfer": 3, "accumulate": 4, "other": 5}
"""What bars are told apart by, with the number of their colour; other steps than these are ``other``."""
_WARM, _WARM_SECONDS = 2, 1.0
_MEASURED, _SECONDS = 7, 2.0
"""Iterations that warm up and that are measured, at most, and after how many seconds it is enough: of one at least."""
_CHARACTER = 0.047
"""Inches of a character in a bar."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A step: what it does, whose work it is, when it began, in milliseconds, how long it took; operations.

    ``bound`` are the milliseconds that it takes at least by the roofline model, 0 where that is not known.
    """

    lane: Lane
    kind: str
    name: str
    layer: str
    start: float
    length: float
    flops: int
    bound: float = 0.0


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration: how long it took, in milliseconds; shares of that time that lanes worked.

    ``hidden`` is the share of the time of transfers during which the device that they bring data to computed; None
    where nothing is transferred. ``roof`` says for people what the steps' bounds are made of.
    """

    title: str
    milliseconds: float
    bars: tuple[Bar, ...]
    busy: Mapping[str, float]
    hidden: float | None
    roof: str = ""


class Timeline(Kind):
    """What the queues of all devices do in one training iteration, and which transfers are hidden.

    Of a trace (netspec run --trace) the training iteration of median length is shown, or the one asked for; of a spec
    or a run a few iterations on random data are measured now, on this machine. On GPUs a trace has what the host
    enqueues, not what the card does.
    """

    attrs: ClassVar = {
        "iteration": integer("Which training iteration, from 1; 0: that of median length.", default=0, minimum=0),
        "devices": text("Real devices to measure on, such as cpu:0,cpu:1; by default as netspec run.", default=""),
        "batch": integer("Images a batch to measure with; 0: as the spec says.", default=0, minimum=0),
    }
    takes = "SPEC|RUN|TRACE"
    most = 1
    of_folder = "newest"
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure timeline quickstart -o timeline.svg",
        "netspec figure timeline trace.json --iteration 5 -o timeline.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Iteration:
        """See Kind."""
        path, number = paths[0], self.settings["iteration"]
        if path.suffix == ".json" and not path.is_dir():
            title = labels[0] if labels else nearer(path)
            return chosen(_bars_in(path), title, number, str(path))
        spec = spec_at(path, tell)
        bars, bound, roof = _measured(spec, self.settings["devices"], self.settings["batch"], tell)
        return replace(chosen(bars, labels[0] if labels else f"{spec.name}, {bound}", number, spec.name), roof=roof)

    def lines(self, data: Iteration) -> list[str]:
        """Length, work of lanes, transfers."""
        busy = ", ".join(f"{lane} {percent(share)}" for lane, share in data.busy.items())
        hidden = [] if data.hidden is None else [f"{percent(data.hidden, 0)} of the time of transfers is hidden"]
        return [f"{data.milliseconds:.1f} ms; at work: {busy}", *hidden]

    @staticmethod
    def by_layer(data: Iteration) -> list[tuple[str, ...]]:
        """Rows of layer, device, milliseconds forward and backward, GFLOP/s, and the share of the roofline.

        Fused layers are in those they run in.
        """
        places = dict.fromkeys((bar.layer, bar.lane[0]) for bar in data.bars if bar.kind in ("forward", "backward"))
        return [_row(layer, device, data.bars) for layer, device in sorted(places, key=lambda place: place[1])]

    def draw(self, data: Iteration) -> Figure:
        """A lane a queue, time to the right."""
        lanes = list(dict.fromkeys(bar.lane for bar in data.bars))
        lanes.sort(key=lambda lane: (_devices(data).index(lane[0]), lane[1] != "compute"))
        figure = _style.new_figure(_style.DOUBLE, 0.95 + 0.3 * len(lanes))
        axes = figure.subplots()
        room = (_style.DOUBLE - 1.6) / data.milliseconds
        for bar in data.bars:
            _draw_bar(axes, bar, len(lanes) - 1 - lanes.index(bar.lane), room)
        axes.set_yticks(range(len(lanes)), [f"{device} {queue}" for device, queue in reversed(lanes)])
        axes.tick_params(axis="y", length=0)
        for row, lane in enumerate(reversed(lanes)):
            share = data.busy[" ".join(lane)]
            told = percent(share, 0 if share > 0.095 else 1)
            axes.text(1.01, row, told, transform=axes.get_yaxis_transform(), va="center")
        axes.set_xlim(0, data.milliseconds)
        axes.set_ylim(-0.6, len(lanes) - 0.4)
        axes.spines.left.set_visible(False)
        axes.set_xlabel("ms; at the right: share of the time at work")
        hidden = "" if data.hidden is None else f"; {percent(data.hidden, 0)} of the time of transfers hidden"
        axes.set_title(f"{_style.shortened(data.title, 60)}: {data.milliseconds:.1f} ms{hidden}", fontweight="normal")
        _legend(figure, {bar.kind for bar in data.bars})
        return figure


def _row(layer: str, device: str, bars: Sequence[Bar]) -> tuple[str, ...]:
    own = [bar for bar in bars if (bar.layer, bar.lane[0]) == (layer, device)]
    spent = {kind: sum(bar.length for bar in own if bar.kind == kind) for kind in ("forward", "backward")}
    flops, whole = sum(bar.flops for bar in own), sum(spent.values())
    rate = f"{flops / whole / 1e6:.1f}" if flops and whole else ""
    bound = sum(bar.bound for bar in own)
    share = percent(bound / whole, 0) if bound and whole else ""
    return layer, device, *(f"{time:.2f}" if time else "" for time in spent.values()), rate, share


def _devices(data: Iteration) -> list[str]:
    return sorted({bar.lane[0] for bar in data.bars})


def _draw_bar(axes: Axes, bar: Bar, row: int, room: float) -> None:
    colour = _style.COLOURS[_KINDS[bar.kind]]
    edge = "white" if bar.length * room > 0.02 else colour  # a thin one is still seen
    look: dict[str, Any] = {"color": colour, "edgecolor": edge, "linewidth": 0.3}
    axes.barh(row, bar.length, 0.72, bar.start, **look, gid=f"bar.{bar.name}")
    if bar.layer and _CHARACTER * (len(bar.layer) + 0.5) < bar.length * room:
        place: dict[str, Any] = {"ha": "center", "va": "center", "clip_on": True}
        ink = _style.ink_on(colour)
        axes.text(bar.start + bar.length / 2, row, bar.layer, color=ink, fontsize=5.5, **place)


def _legend(figure: Figure, kinds: set[str]) -> None:
    from matplotlib.patches import Patch

    shown = [kind for kind in _KINDS if kind in kinds]
    _style.legend_below(figure, [Patch(color=_style.COLOURS[_KINDS[kind]]) for kind in shown], shown, _style.DOUBLE)


# From a trace -------------------------------------------------------------------------------------------------------


def _bars_in(path: Path) -> list[Bar]:
    try:
        return bars_of(json.loads(path.read_bytes())["traceEvents"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NetspecError(f"{path}: not a trace as netspec run --trace writes it") from error


def bars_of(events: Iterable[Mapping[str, Any]]) -> list[Bar]:
    """The steps of devices in a trace's events, in the order in which they began."""
    devices: dict[int, str] = {}
    queues: dict[int, str] = {}
    bars = []
    for event in events:
        if event.get("ph") == "M":
            names = devices if event["name"] == "process_name" else queues
            names[event["pid" if names is devices else "tid"]] = event["args"]["name"]
        elif event.get("cat") in (*_KINDS, *get_args(Op)):
            kind = event["cat"] if event["cat"] in _KINDS else "other"
            lane = devices[event["pid"]], queues[event["tid"]]
            layer = event["args"].get("layer") or ""
            times = event["ts"] / 1e3, event["dur"] / 1e3
            bars.append(Bar(lane, kind, event["name"], layer, *times, event["args"].get("flops", 0)))
    return sorted(bars, key=lambda bar: bar.start)


def chosen(bars: Sequence[Bar], title: str, number: int, where: str) -> Iteration:
    """One training iteration out of all. Raises NetspecError where there is no such one."""
    found = _training(bars)
    if not found or number > len(found):
        wanted = f"no training iteration {number}" if number else "no training iteration"
        raise NetspecError(f"{where}: {wanted} in the trace; it has {len(found)}")
    usual = median_low(map(_length, found))
    some = found[number - 1] if number else next(one for one in found if _length(one) == usual)
    start, length = some[0].start, _length(some)
    moved = tuple(replace(bar, start=bar.start - start) for bar in some)
    lanes = sorted({bar.lane for bar in moved})
    busy = {" ".join(lane): sum(bar.length for bar in moved if bar.lane == lane) / length for lane in lanes}
    return Iteration(title, length, moved, busy, _hidden(moved))


def _training(bars: Sequence[Bar]) -> list[list[Bar]]:
    """The bars of each iteration that updates parameters, with those of the replicas before the one that ends in it."""
    found: list[list[Bar]] = []
    before: list[Bar] = []
    for one in _passes(bars):
        kinds = {bar.kind for bar in one}
        if "update" in kinds:
            found.append([*before, *one])
        before = [*before, *one] if "accumulate" in kinds and "update" not in kinds else []
    return found


def _passes(bars: Sequence[Bar]) -> list[list[Bar]]:
    """The bars of each pass through the network: a new one begins with the first step that comes again."""
    found: list[list[Bar]] = []
    seen: set[str] = set()
    for bar in bars:
        if not found or bar.name in seen:
            found.append([])
            seen = set()
        found[-1].append(bar)
        seen.add(bar.name)
    return found


def _length(bars: Sequence[Bar]) -> float:
    return max(bar.start + bar.length for bar in bars) - bars[0].start


def _hidden(bars: Sequence[Bar]) -> float | None:
    """The share of the transfers' time in which the same device's compute queue was at work."""
    moved = hidden = 0.0
    for bar in (bar for bar in bars if bar.kind == "transfer"):
        beside = (other for other in bars if other.lane == (bar.lane[0], "compute"))
        moved += bar.length
        hidden += sum(
            max(0.0, min(bar.start + bar.length, other.start + other.length) - max(bar.start, other.start))
            for other in beside
        )
    return hidden / moved if moved else None


# Measured now -------------------------------------------------------------------------------------------------------


def _measured(spec: Spec, devices: str, batch: int, tell: Tell) -> tuple[list[Bar], str, str]:
    """The steps of a few iterations on random data, after those that warm up; which devices worked; their roofline."""
    from netspec.figures._roofline import step_bounds
    from netspec.runners.execution.session import NO_RATES, Session
    from netspec.runners.execution.trace import Trace

    trace = Trace()
    with Session(spec, [devices] if devices else None, batch=batch or None, phases=("train",), trace=trace) as session:
        for line in session.notes:
            tell(line)
        arrays = _random_batch(session.bound("train").inputs, spec.replicas)
        run = partial(session.train, arrays, 0, session.batch, NO_RATES)
        _repeat(run, _WARM, _WARM_SECONDS)
        warm = trace.now() / 1e3
        _repeat(run, _MEASURED, _SECONDS)
        bound = ", ".join(f"{name} {device.name}" for name, device in session.devices.items())
        least, roof = step_bounds(session)
    bars = [bar for bar in bars_of(trace.events()) if bar.start >= warm]
    bars = [replace(bar, bound=1e3 * least.get(bar.name, 0.0)) for bar in bars]
    return bars, f"batch {session.batch}, {bound}", roof


def _repeat(run: Callable[[], object], most: int, enough: float) -> None:
    began = time.perf_counter()
    for _ in range(most):
        run()
        if time.perf_counter() - began > enough:
            return


def _random_batch(inputs: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """What data would hand over, for so many replicas with such arrays: random pixels; all else 0."""
    import numpy as np

    random = np.random.default_rng(0)
    highest = {name: 256 if slot.dtype == np.uint8 else 1 for name, slot in inputs.items()}
    shapes = {name: (replicas * slot.shape[0], *slot.shape[1:]) for name, slot in inputs.items()}
    return {name: random.integers(0, highest[name], shapes[name]).astype(slot.dtype) for name, slot in inputs.items()}
