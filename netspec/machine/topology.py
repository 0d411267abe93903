"""Which cores lie beside which memory (NUMA nodes), as Linux tells it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

_NODES = Path("/sys/devices/system/node")
Cores = tuple[int, ...]


def cores_by_node(folder: Path | None = None) -> list[Cores]:
    """The cores that this process may use, by the NUMA node to which they belong; nodes without any are left out.

    ``folder`` stands for /sys/devices/system/node. One group of all cores where the system tells no nodes.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [tuple(range(os.cpu_count() or 1))]
    usable = os.sched_getaffinity(0)
    found = [tuple(sorted(usable & set(listed))) for listed in _listed(_NODES if folder is None else folder)]
    groups = [cores for cores in found if cores]
    return groups if usable == {core for cores in groups for core in cores} else [tuple(sorted(usable))]


def deal(count: int, nodes: list[Cores]) -> list[Cores]:
    """The cores of each of ``count`` devices, none of which lies on a part of one node and a part of another.

    Empty tuples, for threads that the system may move, where there is one device or one node, or it does not come out.
    """
    if count > 1 and len(nodes) > 1 and len(nodes) % count == 0:
        each = len(nodes) // count
        return [tuple(core for node in nodes[i * each : (i + 1) * each] for core in node) for i in range(count)]
    if len(nodes) > 1 and count % len(nodes) == 0:
        each = count // len(nodes)
        parts = [node[len(node) * i // each : len(node) * (i + 1) // each] for node in nodes for i in range(each)]
        if all(parts):
            return parts
    return [()] * count


def stay(cores: Iterable[int]) -> None:
    """Keep the calling thread, and what it starts, to these cores; all are as good to it where there are none."""
    if wanted := set(cores):
        with contextlib.suppress(OSError):  # a container that took cores away meanwhile
            os.sched_setaffinity(0, wanted)


def _listed(folder: Path) -> list[list[int]]:
    """Cores by node: ``0-3,8-11`` in the file ``cpulist`` of each."""
    try:
        nodes = sorted((int(one.name[4:]), one) for one in folder.iterdir() if re.fullmatch(r"node\d+", one.name))
        return [_numbers((node / "cpulist").read_text().strip()) for _, node in nodes]
    except (OSError, ValueError):
        return []


def _numbers(listed: str) -> list[int]:
    ends = [part.split("-") for part in listed.split(",") if part]
    return [core for each in ends for core in range(int(each[0]), int(each[-1]) + 1)]
