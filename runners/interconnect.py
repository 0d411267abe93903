"""What processes of several machines are connected by: networks that have a name, and those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

from netspec.contract.attrs import Attr, integer, number
from netspec.errors import Mark, NetspecError
from netspec.spec import files
from netspec.spec.fields import Fields
from netspec.spec.nodes import Map
from netspec.spec.problems import Report
from netspec.spec.reader import parse


class Link(NamedTuple):
    """Seconds that a message takes besides its bytes; bytes a second."""

    latency: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Interconnect:
    """Nodes of so many ``processes`` each, alike.

    ``within`` is how two processes of a node are connected, its bandwidth that of what one of them sends. ``between``
    is how nodes are, its bandwidth that of what a node sends, all of its processes together.
    """

    name: str
    processes: int
    within: Link
    between: Link

    def nodes(self, processes: int) -> int:
        """How many nodes have so many processes."""
        return ceil(processes / self.processes)

    def here(self, processes: int) -> int:
        """How many of them a node has."""
        return min(processes, self.processes)

    def between_two(self, one: int, other: int, processes: int) -> Link:
        """What connects two of so many processes, by their numbers, when all of a node's send at once."""
        if one // self.processes == other // self.processes:
            return self.within
        return self.between._replace(bandwidth=self.between.bandwidth / self.here(processes))

    def every(self, stride: int) -> Interconnect:
        """The same as processes ``stride`` numbers apart have it, when all of a node's exchange at once."""
        own = Link(self.between.latency, self.between.bandwidth / min(stride, self.processes))
        return Interconnect(self.name, max(1, self.processes // stride), self.within, own)


_NVLINK = Link(6e-6, 350e9)
_ROCE, _TEN = Link(15e-6, 11e9), Link(40e-6, 1.1e9)
NETWORKS: Mapping[str, Interconnect] = {
    one.name: one
    for one in (
        Interconnect("nvlink+400g", 8, _NVLINK, Link(8e-6, 8 * 45e9)),
        Interconnect("nvlink+100g", 8, _NVLINK, _ROCE),
        Interconnect("400g", 1, Link(8e-6, 45e9), Link(8e-6, 45e9)),
        Interconnect("100g", 1, _ROCE, _ROCE),
        Interconnect("10g", 1, _TEN, _TEN),
    )
}
"""By name: eight processes a node on NVLink 4, with 400 Gbit/s InfiniBand for each or 100 Gbit/s Ethernet for all; or
one process a node. Rates are what collectives reach of the nominal ones, about nine tenths; latencies are usual."""

_LINK: Mapping[str, Attr] = {
    "latency": number("Seconds that a message takes besides its bytes.", minimum=0),
    "bandwidth": number("Bytes a second: of a process within a node, of a node between nodes.", above=0),
}
_NODE: Mapping[str, Attr] = {"processes": integer("Processes of a node.", minimum=1)}


def interconnect(name: str) -> Interconnect:
    """The network of a name, or of a YAML file. Raises NetspecError, and SpecError with all that is wrong in a file."""
    if name in NETWORKS:
        return NETWORKS[name]
    if not Path(name).is_file():
        raise NetspecError(f"there is no network and no file '{name}': networks are {', '.join(NETWORKS)}")
    return read(Path(name))


def read(path: Path) -> Interconnect:
    """The network that a file describes. Raises NetspecError, and SpecError with all that is wrong in it."""
    report = Report()
    root = parse(files.read(path), str(path), report.problems)
    fields = Fields(report)
    if root is None or (body := fields.as_map(root, "network")) is None:
        if not report.problems:
            report.note(Mark(str(path), 1, 1), "nothing is written here", "give 'processes', 'within' and 'between'")
        report.finish()
        raise AssertionError("a file that is no map has problems")
    fields.refuse_unknown(body, (*_NODE, "within", "between"))
    processes = fields.read(body.without("within", "between"), _NODE)
    links = [_link(body, name, fields) for name in ("within", "between")]
    report.finish()
    return Interconnect(path.name, processes["processes"], *(Link(**link) for link in links))


def _link(body: Map, name: str, fields: Fields) -> dict[str, float]:
    written = body.get(name)
    if written is None:
        fields.note(body.mark, f"'{name}' is missing", "as in {latency: 2.0e-6, bandwidth: 5.0e+9}")
        return {}
    found = fields.as_map(written, name)
    if found is None:
        return {}
    fields.refuse_unknown(found, _LINK, name)
    return fields.read(found, _LINK, name)
