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


def check_memory(programs: Iterable[Program], binding: Mapping[str, str], beside: int = 0) -> None:
    """Raise NoRoomError where the devices bound to one memory need more than it has.

    ``binding`` gives the real device of each of the spec's. CPUs share the host's memory; a system that grants more
    than there is would kill the process at the first touch, long after the allocation. ``beside``: bytes that the
    run's other processes on this host take of it.
    """
    programs = tuple(programs)
    needs = {device: row["total"] for device, row in memory(programs).items()}
    for shared, devices in _by_memory(binding).items():
        others = beside if shared == _HOST else 0
        need, have = sum(needs[device] for device in devices) + others, _capacity(*shared)
        if have is not None and need > have:
            parts = ", ".join(f"{size(needs[device])} for '{device}'" for device in devices)
            parts += f", {size(others)} for other processes" if others else ""
            where = "this machine" if shared == _HOST else binding[devices[0]]
            raise NoRoomError(
                f"the plan takes {size(need)} of memory on {where} ({parts}), which has {size(have)}; "
                f"{_remedy(programs)}, or bind to other devices"
            )


def _remedy(programs: Iterable[Program]) -> str:
    plan = next((program.plan for program in programs if program.plan.phase == "train"), None)
    if plan is None or plan.batch % 2:
        return "lower train.batch (--batch)"
    return f"lower train.batch (--batch), cut it into more replicas (--set replicas={2 * plan.replicas})"


_HOST: tuple[Backend, int] = ("cpu", 0)


def _by_memory(binding: Mapping[str, str]) -> dict[tuple[Backend, int], list[str]]:
    """Spec devices by what they share: the host's memory, or a card."""
    shared: dict[tuple[Backend, int], list[str]] = {}
    for device, real in binding.items():
        kind, index = parsed(real)
        shared.setdefault(_HOST if kind == "cpu" else (kind, index), []).append(device)
    return shared


def _capacity(kind: Backend, index: int) -> int | None:
    if kind == "cpu":
        return host_memory()
    return gpus()[index].memory if index < len(gpus()) else None
