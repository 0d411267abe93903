"""Figure 2 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import choice, integer
from netspec.figures._base import Kind
from netspec.figures._sources import spec_at
from netspec.report.run_labels import Tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from netspec.planning import Plan


class Architecture(Kind):
    """The network, a lane a device, with what crosses between them: figure 2 of the paper.

    The picture of netspec graph, in PNG and PDF too; its SVG is the same file.
    """

    attrs: ClassVar = {
        "phase": choice("train", "eval", "predict", description="What the network is used for.", default="train"),
        "batch": integer("Images a batch; 0: as the spec says.", default=0, minimum=0),
    }
    takes = "SPEC|RUN"
    most = 1
    of_folder = "newest"
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure architecture alexnet -o figure2.pdf",
        "netspec figure architecture runs/quickstart/2026-01-31_12-00-00 -o net.png",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Plan:
        """See Kind."""
        from netspec.planning import build

        return build(spec_at(paths[0], tell), self.settings["phase"], self.settings["batch"] or None)

    def numbers(self, data: Plan) -> Any:
        """As netspec graph --json."""
        from netspec.planning import to_plain

        return to_plain({"name": data.name, "devices": data.devices, "layers": data.shards, "edges": data.edges})

    def render(self, data: Plan, format: str) -> bytes:
        """See Kind; the SVG is that of netspec graph."""
        from netspec.graph import draw

        return draw(data, "svg").encode() if format == "svg" else super().render(data, format)

    def draw(self, data: Plan) -> Figure:
        """The SVG's picture, drawn by matplotlib."""
        from netspec.figures._svg_page import figure_of
        from netspec.graph import draw

        return figure_of(draw(data, "svg"))
