"""What more processes would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import boolean, choice, integer, number, text, texts
from netspec.errors import NetspecError, printable
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import spec_at
from netspec.machine.names import nearer
from netspec.report.run_labels import Tell
from netspec.units import count, many, milliseconds, percent, rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from netspec.runners.process_forecast import Forecast, Share

_TICKS = 8
"""At most so many counts of processes are written at the axis."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A network of layers on a network of machines: what 1, 2, 4 ... processes take, each with the same share."""

    label: str
    network: str
    share: Share
    points: tuple[Forecast, ...]


class Scaling(Kind):
    """What more processes would bring: efficiency, or images a second, from 1 to thousands, on several networks.

    Each process works as many images of a batch as the spec's batch has (weak scaling), or with --apart each group of
    processes, one for each of the spec's devices. What it takes for them is measured here for some seconds, as by
    'netspec estimate', or comes from the model of a GPU (--device); what the processes exchange is modelled, as by
    'netspec info --processes'.
    """

    attrs: ClassVar = {
        "device": text("A GPU that need not be here, such as h100; without it this machine is measured.", default=""),
        "network": texts("What connects the processes, as for netspec info; each once more.", default=[]),
        "show": choice("efficiency", "rate", description="Efficiency or images a second.", default="efficiency"),
        "most": integer("The largest number of processes.", default=4096, minimum=2, maximum=1 << 20),
        "apart": boolean("Each of a spec's devices in a process of its own, as 0/cpu:0,1/cpu:0 says.", default=False),
        "seconds": number("How long to measure.", default=10.0, above=0),
    }
    takes: ClassVar[str] = "SPEC|RUN"
    of_folder: ClassVar = "newest"
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure scaling alexnet --device h100 -o scaling.svg",
        "netspec figure scaling alexnet --network 10g --show rate -o rates.png",
        "netspec figure scaling alexnet-weird-trick --apart --show rate -o trick.svg",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> list[Curve]:
        """See Kind."""
        from netspec.runners.interconnect import NETWORKS, interconnect
        from netspec.runners.process_forecast import forecast

        networks = [interconnect(name) for name in self.settings["network"] or NETWORKS]
        shares = [self._share(path, tell) for path in paths]
        names = [share.name for share in shares]
        usual = names if len(set(names)) == len(names) else [printable(nearer(path)) for path in paths]
        return [
            Curve(label, one.name, share, tuple(forecast(share, each, one) for each in self._counts(share)))
            for share, label in zip(shares, labels or usual, strict=True)
            for one in networks
        ]

    def _counts(self, share: Share) -> list[int]:
        """Numbers of processes: whole groups, as many as a power of two."""
        return [share.each << power for power in range((self.settings["most"] // share.each).bit_length())]

    def _share(self, path: Path, tell: Tell) -> Share:
        from netspec._types import Binding
        from netspec.program.gpu_model import GPUS
        from netspec.runners.process_forecast import each_works_all, share_of
        from netspec.runners.training.request import Request

        gpu = self.settings["device"].lower()
        if gpu and gpu not in GPUS:
            raise NetspecError(f"there is no model of '{gpu}': known are {', '.join(GPUS)}")
        spec = spec_at(path, tell)
        count = len(spec.devices) if self.settings["apart"] else 1
        if count > self.settings["most"]:
            raise NetspecError(f"{printable(path)} has {count} devices: --most {count} processes, or more")
        devices = ",".join(f"{rank}/cpu:0" for rank in range(count)) if count > 1 else None
        request = each_works_all(Request(spec, None, (), Binding(devices)))
        return share_of(request, 2 * count, gpu or None, self.settings["seconds"])

    def numbers(self, data: list[Curve]) -> Any:
        """See Kind; without the programs of ranks."""
        from netspec.planning import to_plain

        return to_plain(data)

    def lines(self, data: list[Curve]) -> list[str]:
        """See Kind."""
        shares = {curve.label: curve.share for curve in data}
        found = [
            f"{label}: {many(one.images, 'image')} a {_by(one)}, {milliseconds(1e3 * one.seconds)} on {one.where}"
            for label, one in shares.items()
        ]
        for curve in data:
            last = curve.points[-1]
            told = f"{percent(last.efficiency)}, {rate(last.rate)} img/s; {last.binds} binds"
            found.append(f"{curve.label}, {curve.network}: {many(last.processes, 'process')} at {told}")
        return found

    def draw(self, data: list[Curve]) -> Figure:
        """See Kind."""
        labels = list(dict.fromkeys(curve.label for curve in data))
        networks = list(dict.fromkeys(curve.network for curve in data))
        figure = _style.new_figure(_style.SINGLE, 2.6)
        axes, is_rate = figure.subplots(), self.settings["show"] == "rate"
        for place, curve in enumerate(data):
            colour, dash = networks.index(curve.network), labels.index(curve.label) if len(labels) > 1 else place
            axes.plot(
                [each.processes for each in curve.points],
                [each.rate if is_rate else each.efficiency for each in curve.points],
                color=_style.COLOURS[colour % len(_style.COLOURS)],
                linestyle=_style.DASHES[dash % len(_style.DASHES)],
                label=curve.network if len(labels) == 1 else f"{curve.label}, {curve.network}",
                gid=f"curve.{place}",
            )
        axes.set_xscale("log", base=2)
        counts = sorted({each.processes for curve in data for each in curve.points}, reverse=True)
        axes.set_xticks(counts[:: -(-len(counts) // _TICKS)])  # Matplotlib's choice differs between its versions
        axes.xaxis.set_major_formatter(lambda value, place: count(round(value)))
        axes.set_xlabel("processes")
        axes.grid(axis="y")
        if is_rate:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, place: f"{value:,.10g}")
            axes.set_ylabel("images a second")
        else:
            axes.set_ylim(0, 1.02)
            _style.percent_axis(axes.yaxis)
            axes.set_ylabel("efficiency")
        handles, words = axes.get_legend_handles_labels()
        _style.legend_below(figure, handles, words, _style.SINGLE)
        return figure


def _by(share: Share) -> str:
    """Who works the images."""
    return "process" if share.each == 1 else f"group of {share.each} processes"
