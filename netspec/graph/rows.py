"""Which row and which place in its lane each node takes: the ordering half of the layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from netspec.graph.view import Node, View


@dataclass(frozen=True, slots=True)
class Rows:
    """``row`` of every node; ``cells`` holds the nodes of a row and lane from left to right."""

    row: Mapping[str, int]
    cells: Mapping[tuple[int, str], tuple[Node, ...]]
    count: int


def arrange(shown: View) -> Rows:
    """Rows by the longest way from the start; an input stands just above its first reader on its device."""
    row = _depths(shown)
    cells: dict[tuple[int, str], list[Node]] = defaultdict(list)
    for node in sorted(shown.nodes, key=lambda node: node.kind == "input"):
        cells[row[node.key], node.device].append(node)
    count = max(row.values(), default=-1) + 1
    _untangle(shown, cells, count)
    return Rows(row, {key: tuple(nodes) for key, nodes in cells.items()}, count)


def _depths(shown: View) -> dict[str, int]:
    sources: dict[str, set[str]] = defaultdict(set)
    names = {node.key: node.name for node in shown.nodes}
    for link in shown.links:
        sources[names[link.target]].add(names[link.source])
    depth = {node.name: 0 for node in shown.nodes if node.kind == "input"}
    for node in shown.nodes:  # in the order of the spec: sources come before their readers
        if node.kind != "input":
            depth[node.name] = 1 + max((depth[name] for name in sources[node.name]), default=-1)
    row = {node.key: depth[node.name] for node in shown.nodes}
    for node in shown.nodes:
        if node.kind == "input":
            row[node.key] = min(row[link.target] for link in shown.links if link.source == node.key) - 1
    return row


def _untangle(shown: View, cells: dict[tuple[int, str], list[Node]], count: int) -> None:
    """Order the nodes of each cell by the mean place of what they read, then of what reads them, a few times."""
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for link in shown.links:
        above[link.target].append(link.source)
        below[link.source].append(link.target)
    for sweep in range(6):
        place = {n.key: (i + 0.5) / len(nodes) for nodes in cells.values() for i, n in enumerate(nodes)}
        neighbours = below if sweep % 2 else above
        for row in range(count) if sweep % 2 == 0 else reversed(range(count)):
            for (at, _), nodes in cells.items():
                if at == row and len(nodes) > 1:
                    nodes.sort(key=lambda node: _mean([place[key] for key in neighbours[node.key]], place[node.key]))
                    place |= {node.key: (i + 0.5) / len(nodes) for i, node in enumerate(nodes)}


def _mean(places: list[float], default: float) -> float:
    return sum(places) / len(places) if places else default
