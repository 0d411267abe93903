"""The Program: lowered steps and where each buffer lies; plain data, made without opening a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netspec.contract.kernel import Backend
from netspec.planning.plan import STORED, Buffer, Plan, Step

OWN_MEMORY = (*STORED, "derived", "input", "scalar", "flag", "report")
"""Kinds that are never laid over others: stored ones, what is made of them, and the small or host-facing ones."""

ALIGNMENT = 256


@dataclass(frozen=True, slots=True)
class Program:
    """A Plan whose steps have passes and whose buffers have places.

    ``offsets`` gives the byte offset in the device's arena of each buffer that lies there; all others have memory of
    their own. ``inplace`` maps a buffer to the one in whose memory it is written.
    """

    plan: Plan
    kinds: Mapping[str, Backend]
    team_sizes: Mapping[str, int]
    buffers: Mapping[str, Buffer]
    steps: tuple[Step, ...]
    offsets: Mapping[str, int]
    arenas: Mapping[str, int]
    inplace: Mapping[str, str]

    def memory(self) -> dict[str, dict[str, int]]:
        """Bytes by device and kind before reuse, with ``arena`` (what shared memory takes) and ``total`` beside.

        On GPUs inputs count twice: a batch comes up while the one before it is worked on.
        """
        table: dict[str, dict[str, int]] = {device: {} for device in self.plan.devices}
        own = dict.fromkeys(self.plan.devices, 0)
        for buffer in self.buffers.values():
            row = table[buffer.device]
            copies = 2 if buffer.kind == "input" and self.kinds[buffer.device] == "cuda" else 1
            row[buffer.kind] = row.get(buffer.kind, 0) + copies * buffer.nbytes
            own[buffer.device] += 0 if buffer.name in self.offsets else copies * aligned(buffer.nbytes)
        for device, row in table.items():
            row["arena"] = self.arenas.get(device, 0)
            row["total"] = own[device] + row["arena"]
        return table


def aligned(nbytes: int) -> int:
    """Bytes rounded up to the alignment of buffers."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
