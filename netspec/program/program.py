"""The Program: lowered steps and where each buffer lies; plain data, made without opening a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from netspec.contract.kernel import Backend
from netspec.planning.identities import STORED, BufferKey, Role
from netspec.planning.plan import Buffer, Plan, Step

OWN_MEMORY: tuple[Role, ...] = (
    *STORED, "derived", "shadow", "input", "scalar", "flag", "verdict", "overflow", "report", "subtree",
)  # fmt: skip
"""Roles of buffers that share no memory: stored ones, what is made of them, and the small or host-facing ones."""

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
    buffers: Mapping[BufferKey, Buffer]
    steps: tuple[Step, ...]
    offsets: Mapping[BufferKey, int]
    arenas: Mapping[str, int]
    inplace: Mapping[BufferKey, BufferKey]

    def arrays(self) -> Iterator[tuple[Buffer, int]]:
        """What a Session allocates for it, each buffer with how many arrays stand for it; stored ones all count."""
        stored = {key: buffer for key, buffer in self.plan.buffers.items() if key.role in STORED}
        for buffer in {**self.buffers, **stored}.values():
            twice = buffer.role == "input" and self.kinds[buffer.device] == "cuda"
            yield buffer, 2 if twice else 1


def memory(programs: Iterable[Program]) -> dict[str, dict[str, int]]:
    """What a Session of these programs allocates, in bytes by device: a row by role before reuse, ``arena``, ``total``.

    What is stored is shared by all programs, and so are the arenas, as no two of them run at the same time; all else is
    each program's own. On GPUs inputs count twice: a batch comes up while the one before it is worked on.
    """
    table: dict[str, Counter[str]] = {}
    stored: set[BufferKey] = set()
    for program in programs:
        for device in program.plan.devices:
            row = table.setdefault(device, Counter(arena=0, own=0))
            row["arena"] = max(row["arena"], program.arenas.get(device, 0))
        for buffer, count in program.arrays():
            if buffer.key not in stored:
                row = table[buffer.device]
                row[buffer.role] += count * buffer.nbytes
                row["own"] += 0 if buffer.key in program.offsets else count * aligned(buffer.nbytes)
            if buffer.role in STORED:
                stored.add(buffer.key)
    return {device: _totalled(row) for device, row in table.items()}


def _totalled(row: Counter[str]) -> dict[str, int]:
    own, arena = row.pop("own"), row.pop("arena")
    return {**row, "arena": arena, "total": own + arena}


def aligned(nbytes: int) -> int:
    """Bytes rounded up to the alignment of buffers."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
