"""Binding of a spec's devices to real ones, by name or round-robin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from netspec.contract.kernel import Backend
from netspec.contract.variant import Capability
from netspec.device.base import Device
from netspec.device.gpus import fault, gpus, obstacle
from netspec.errors import NetspecError
from netspec.machine.cleanup import on_error
from netspec.machine.environment import cores, processor, refuse_uncompiled
from netspec.machine.ranks import launched, local_number
from netspec.machine.topology import Cores, cores_by_node, deal
from netspec.planning.storage import bf16_on
from netspec.spec.types import Precision

_RANKED = re.compile(r"([0-9]{1,5})/(.*)")
_NAME = re.compile(r"(cpu|cuda):([0-9]{1,3})")
_FORMS = "write cpu, cuda, or a name for each device: cpu:0,cpu:1 or cuda:0,cuda:1 or cuda:0,cuda:0"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A real device: its name, what it is, and its bytes of memory where it has its own.

    ``bf16`` is what ``train.precision: bf16`` comes to there.
    """

    name: str
    kind: Backend
    description: str
    memory: int | None = None
    bf16: str = ""


def available() -> list[DeviceInfo]:
    """GPUs that can be used, then the CPU."""
    found = [
        DeviceInfo(
            f"cuda:{index}",
            "cuda",
            f"{card.name}, compute capability {card.capability[0]}.{card.capability[1]}",
            card.memory,
            bf16_on(card.capability),
        )
        for index, card in enumerate(gpus())
        if obstacle() is None
    ]
    return [*found, *_cpus()]


def _cpus() -> list[DeviceInfo]:
    """``cpu:0``; where cores lie on several NUMA nodes, a device for each."""
    nodes, bf16 = cores_by_node(), bf16_on(_capability("cpu", 0))
    if len(nodes) == 1:
        return [DeviceInfo("cpu:0", "cpu", _count(cores(), "core"), bf16=bf16)]
    told = [f"{_count(len(node), 'core')}, NUMA node {at + 1} of {len(nodes)}" for at, node in enumerate(nodes)]
    return [DeviceInfo(f"cpu:{index}", "cpu", line, bf16=bf16) for index, line in enumerate(told)]


def bind(devices: Sequence[str], request: Sequence[str] | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The real device of each of a spec's devices, and lines for people: what was bound and why.

    ``request`` is a name a device, or one kind (``cpu``, ``cuda``), each entry possibly several names with commas
    between; None: GPUs where there are any, else CPUs. Of processes that were started together each has a GPU to
    itself, unless they are named. Raises NetspecError for what cannot be bound.
    """
    wanted = _listed(request)
    notes: list[str] = []
    if wanted and wanted not in (["cpu"], ["cuda"]):
        names = _named(devices, wanted)
    else:
        names, notes = _dealt(devices, wanted[0] if wanted else None)
    return names, (*notes, _told(devices, names))


class Placed(NamedTuple):
    """The real devices of a spec's, the rank in which each lies, and lines for people: see ``bind``."""

    names: tuple[str, ...]
    ranks: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def processes(self) -> int:
        """How many processes work the devices together."""
        return max(self.ranks) + 1

    def of(self, rank: int) -> tuple[str, ...]:
        """The real devices in a rank."""
        return tuple(name for name, other in zip(self.names, self.ranks, strict=True) if other == rank)


def place(devices: Sequence[str], request: Sequence[str] | None = None) -> Placed:
    """As ``bind``, where names may begin with a rank, the number of a process: ``0/cpu:0``, ``1/cpu:0``.

    Raises NetspecError for what cannot be bound, and for ranks of which some are left out.
    """
    plain, ranks = ranked(_listed(request))
    names, notes = bind(devices, plain)
    if not ranks or max(ranks) == 0:
        return Placed(names, (0,) * len(names), notes)
    told = ", ".join(f"{one} is {rank}/{name}" for one, name, rank in zip(devices, names, ranks, strict=True))
    return Placed(names, ranks, (*notes[:-1], f"{told}: {max(ranks) + 1} processes work each replica"))


def ranked(names: Sequence[str]) -> tuple[list[str], tuple[int, ...]]:
    """Names without ranks, and the ranks; none where the names have none. Raises NetspecError where ranks are amiss."""
    found = [_RANKED.fullmatch(name) for name in names]
    if not any(found):
        return list(names), ()
    told = f"--devices {','.join(names)}"
    plain, ranks = [match[2] for match in found if match], [int(match[1]) for match in found if match]
    without = next((name for name, match in zip(names, found, strict=True) if not match), None)
    if without is not None:
        one = next(match[0] for match in found if match)
        raise NetspecError(f"{told} names a rank in '{one}' and none in '{without}': write 0/cpu:0,1/cpu:0")
    absent = next(rank for rank in range(len(ranks) + 1) if rank not in ranks)
    if absent < max(ranks):
        raise NetspecError(f"{told}: ranks count from 0, and no device lies in rank {absent}")
    return plain, tuple(ranks)


def _listed(request: Sequence[str] | None) -> list[str]:
    return [name.strip() for entry in request or () for name in entry.split(",")]


def open_device(name: str, team_size: int = 1, cores: Cores = ()) -> Device:
    """A new device of that name; ``team_size`` counts the threads of a CPU's team, which keep to ``cores``."""
    kind, index = parsed(name)
    refuse_uncompiled()
    if kind == "cpu":
        from netspec.device.cpu.device import CpuDevice

        return CpuDevice(index, team_size, cores)
    from netspec.device.cuda.device import CudaDevice

    return CudaDevice(index)


def open_devices(names: Sequence[str]) -> list[Device]:
    """A device of its own for each name: two of one name have a queue and a team each and share what it stands for."""
    opened: list[Device] = []
    with ExitStack() as so_far:
        for name in names:
            opened.append(device := open_device(name, team_size(name, names), cores_of(name, names)))
            so_far.enter_context(on_error(device.close))
    return opened


def team_size(name: str, names: Sequence[str]) -> int:
    """Threads of the team of a device bound to ``name``: the cores, shared out over the CPU devices; 1 on GPUs."""
    cpus = _cpus_of(names)
    return (len(cores_of(name, names)) or max(1, cores() // len(cpus))) if name in cpus else 1


def cores_of(name: str, names: Sequence[str]) -> Cores:
    """The cores to which that CPU's team keeps: whole NUMA nodes or a share of one; none where it is no matter."""
    cpus = _cpus_of(names)
    return deal(len(cpus), cores_by_node())[cpus.index(name)] if name in cpus else ()


def _cpus_of(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if parsed(name)[0] == "cpu"}, key=lambda name: parsed(name)[1])


def models(names: Mapping[str, str]) -> dict[str, str]:
    """The model of each device of a spec: timings hold for all devices of one model."""
    return {device: _model(name, list(names.values())) for device, name in names.items()}


def capabilities(names: Mapping[str, str], precision: Precision) -> dict[str, Capability | None]:
    """Capabilities, by the real names of a spec's devices; None for GPUs that are not there, and for CPUs but for bf16.

    Raises NetspecError as netspec.device.cpu.bfloat16_unit does.
    """
    found = {device: parsed(name) for device, name in names.items()}
    return {
        device: _capability(kind, index) if kind == "cuda" or precision == "bf16" else None
        for device, (kind, index) in found.items()
    }


def _capability(kind: Backend, index: int) -> Capability | None:
    if kind == "cpu":
        from netspec.device.cpu.bfloat16_unit import cpu_bfloat16

        return cpu_bfloat16()
    return gpus()[index].capability if index < len(gpus()) else None


def _model(name: str, names: Sequence[str]) -> str:
    kind, index = parsed(name)
    if kind == "cpu":
        return f"{processor()}, {_count(team_size(name, names), 'thread')}"
    return gpus()[index].name if index < len(gpus()) else "GPU"


def parsed(name: str) -> tuple[Backend, int]:
    """The kind of a real device and its number. Raises NetspecError for what is no device's name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise NetspecError(f"unknown device '{name}': {_FORMS}")
    return ("cpu" if match[1] == "cpu" else "cuda"), int(match[2])


def _named(devices: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    kinds = {parsed(name)[0] for name in wanted}
    if len(wanted) != len(devices):
        raise NetspecError(
            f"{_count(len(wanted), 'name')} ({', '.join(wanted)}) for {_count(len(devices), 'device')} "
            f"({', '.join(devices)}): {_FORMS}"
        )
    if len(kinds) > 1:
        raise NetspecError(f"{', '.join(wanted)}: a network runs on CPUs or on GPUs, not on both at once")
    if kinds == {"cuda"}:
        _check_cards([parsed(name)[1] for name in wanted])
    return tuple(f"{kind}:{index}" for kind, index in map(parsed, wanted))


def _check_cards(indices: Sequence[int]) -> None:
    count = len(gpus())
    if not count:
        why = fault() or "the NVIDIA driver is not there or shows no card"
        raise NetspecError(f"no GPU found: {why}; use --devices cpu")
    if (line := obstacle()) is not None:
        raise NetspecError(line)
    for index in indices:
        if index >= count:
            known = ", ".join(f"cuda:{i} ({card.name})" for i, card in enumerate(gpus()))
            raise NetspecError(f"there is no cuda:{index}; found: {known}")


def _dealt(devices: Sequence[str], kind: str | None) -> tuple[tuple[str, ...], list[str]]:
    if kind == "cuda":
        _check_cards([0])
    cards = len(gpus()) if obstacle() is None else 0
    if kind == "cpu" or not cards:
        line = obstacle() if kind is None else None
        return tuple(f"cpu:{index}" for index in range(len(devices))), [f"{line}; CPUs are used"] if line else []
    if launched().of > 1:
        return (f"cuda:{local_number() % cards}",) * len(devices), []
    notes = []
    if cards < len(devices):
        notes = [f"{_count(cards, 'GPU')} for {_count(len(devices), 'device')}: they are dealt out in turn"]
    return tuple(f"cuda:{index % cards}" for index in range(len(devices))), notes


def _told(devices: Sequence[str], names: Sequence[str]) -> str:
    pairs = ", ".join(f"{device} is {name}" for device, name in zip(devices, names, strict=True))
    if parsed(names[0])[0] == "cpu":
        threads = _count(team_size(names[0], names), "thread") + (" each" if len(names) > 1 else "")
        where = ", on NUMA nodes of their own" if cores_of(names[0], names) else ""
        return f"{pairs}; {threads} on {_count(cores(), 'core')}{where}"
    cards = gpus()
    used = sorted({parsed(name)[1] for name in names})
    models = "; ".join(f"cuda:{index} {cards[index].name}" for index in used)
    return f"{pairs} ({models})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
