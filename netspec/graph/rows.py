"""Which row and which place in its lane each node takes: the ordering half of the layout."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum  # rounds alike in every Python: sum does so from 3.12 on only

from netspec.graph.view import Node, NodeKey, View


@dataclass(frozen=True, slots=True)
class Rows:
    """``row`` of every node; ``cells`` holds the nodes of a row and lane from left to right.

    ``joined`` rows are drawn as one with those above: each of their boxes reads the one above it and nothing else.
    """

    row: Mapping[NodeKey, int]
    cells: Mapping[tuple[int, str], tuple[Node, ...]]
    count: int
    joined: frozenset[int]


def arrange(shown: View) -> Rows:
    """Rows by the longest way from the start; an input stands just above its first reader on its device."""
    row = _depths(shown)
    cells: dict[tuple[int, str], list[Node]] = defaultdict(list)
    for node in sorted(shown.nodes, key=lambda node: node.kind == "input"):
        cells[row[node.key], node.device].append(node)
    count = max(row.values(), default=-1) + 1
    _untangle(shown, cells, count)
    return Rows(row, {key: tuple(nodes) for key, nodes in cells.items()}, count, _joined(shown, row, cells, count))


def _depths(shown: View) -> dict[NodeKey, int]:
    sources: dict[str, set[str]] = defaultdict(set)
    for link in shown.links:
        sources[link.target.name].add(link.source.name)
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
    above: dict[NodeKey, list[NodeKey]] = defaultdict(list)
    below: dict[NodeKey, list[NodeKey]] = defaultdict(list)
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
    return fsum(places) / len(places) if places else default


def _joined(
    shown: View, row: Mapping[NodeKey, int], cells: Mapping[tuple[int, str], list[Node]], count: int
) -> frozenset[int]:
    passed = {at for link in shown.links for at in range(row[link.source] + 1, row[link.target])}
    follows = _followers(shown)
    rows: dict[int, list[bool]] = defaultdict(list)
    for (at, lane), nodes in cells.items():
        above = cells.get((at - 1, lane), [])
        alone = len(nodes) == len(above) == 1 and nodes[0].kind == "layer" and not nodes[0].parameters
        alone = alone and above[0].kind == "layer" and above[0].within == nodes[0].within
        rows[at].append(alone and (above[0].key, nodes[0].key) in follows)
    return frozenset(at for at in range(count) if at not in passed and all(rows[at]))


def _followers(shown: View) -> set[tuple[NodeKey, NodeKey]]:
    """Pairs of which the second reads nothing but the first, which nothing else reads."""
    leaving = Counter(link.source for link in shown.links)
    arriving = Counter(link.target for link in shown.links)
    pairs = [(link.source, link.target) for link in shown.links]
    return {(a, b) for a, b in pairs if leaving[a] == arriving[b] == 1}
