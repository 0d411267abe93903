"""Whether a network fits: what its Programs take, beside what the machine has, before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netspec.contract.kernel import Backend
from netspec.device.binding import parsed
from netspec.device.gpus import gpus
from netspec.errors import NetspecError
from netspec.machine.environment import host_memory
from netspec.program import Program, memory
from netspec.units import size


class NoRoomError(NetspecError):
    """A network that does not fit."""


Memory = tuple[Backend, int]
"""What devices share: the host's memory, or that of a card."""


def check_memory(
    programs: Iterable[Program], binding: Mapping[str, str], beside: Mapping[Memory, int] = {}
) -> None:
    """Raise NoRoomError where the devices bound to one memory need more than it has.

    ``binding`` gives the real device of each of the spec's. CPUs share the host's memory; a system that grants more
    than there is would kill the process at the first touch, long after the allocation. ``beside``: bytes that the
    run's other processes on this host take.
    """
    programs = tuple(programs)
    needs = _needs(programs)
    for shared, devices in _by_memory(binding).items():
        others = beside.get(shared, 0)
        need, have = sum(needs[device] for device in devices) + others, _capacity(*shared)
        if have is not None and need > have:
            parts = ", ".join(f"{size(needs[device])} for '{device}'" for device in devices)
            parts += f", {size(others)} for other processes" if others else ""
            where = "this machine" if shared == _HOST else binding[devices[0]]
            raise NoRoomError(
                f"the plan takes {size(need)} of memory on {where} ({parts}), which has {size(have)}; "
                f"{_remedy(programs)}, or bind to other devices"
            )


def taken(programs: Iterable[Program], binding: Mapping[str, str]) -> dict[Memory, int]:
    """Bytes that a process takes of the host's memory, or of each card's."""
    needs = _needs(programs)
    return {shared: sum(needs[device] for device in devices) for shared, devices in _by_memory(binding).items()}


def _needs(programs: Iterable[Program]) -> dict[str, int]:
    return {device: row["total"] for device, row in memory(programs).items()}


def _remedy(programs: Iterable[Program]) -> str:
    plan = next((program.plan for program in programs if program.plan.phase == "train"), None)
    if plan is None or plan.batch % 2:
        return "lower train.batch (--batch)"
    return f"lower train.batch (--batch), cut it into more replicas (--set replicas={2 * plan.replicas})"


_HOST: Memory = ("cpu", 0)


def _by_memory(binding: Mapping[str, str]) -> dict[Memory, list[str]]:
    """Spec devices by what they share: the host's memory, or a card."""
    shared: dict[Memory, list[str]] = {}
    for device, real in binding.items():
        kind, index = parsed(real)
        shared.setdefault(_HOST if kind == "cpu" else (kind, index), []).append(device)
    return shared


def _capacity(kind: Backend, index: int) -> int | None:
    if kind == "cpu":
        return host_memory()
    return gpus()[index].memory if index < len(gpus()) else None
