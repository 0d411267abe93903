"""Engines: by what processes exchange what lies on their devices. ``netspec run --engine`` takes one by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Protocol

from netspec.device.base import Array, Call, Device
from netspec.device.binding import parsed
from netspec.errors import NetspecError
from netspec.planning.plan import Step
from netspec.runners.execution.net_calls import HostEngine, NetCall
from netspec.runners.transport.crew import Crew


class Engine(Protocol):
    """Makes the calls of the steps of the queue ``net``, which all ranks make in the plan's order."""

    def net_call(
        self,
        step: Step,
        arrays: Sequence[Array],
        devices: Sequence[Device],
        shares: Mapping[Device, Array],
        behind: Callable[[Call], Call],
    ) -> NetCall:
        """The call of a step on these arrays, each on its own device.

        ``shares`` has for each device by what share of the batch its values count in a sum, if they do not count as
        they are; ``behind`` holds back what is written.
        """

    def check(self, waited: float) -> None:
        """Raise NetspecError where devices, for which one has ``waited`` so many seconds, wait for what never comes.

        It also answers other ranks that ask who is still there.
        """

    def fail(self) -> None:
        """The run has failed: ``close`` waits for no other rank."""

    def close(self) -> None:
        """Give back what it holds."""


def _by_cards(crew: Crew, devices: Sequence[Device]) -> Engine:
    from netspec.runners.execution.card_calls import CardEngine

    return CardEngine(crew, devices)


ENGINES: Mapping[str, Callable[[Crew, Sequence[Device]], Engine]] = {"mpi": HostEngine, "nccl": _by_cards}


def check_engine(engine: str, bound: Sequence[str]) -> None:
    """Raise NetspecError for an engine that cannot be had, or not with devices bound to these names; opens nothing."""
    if engine not in ENGINES:
        raise NetspecError(f"unknown engine '{engine}': {' or '.join(ENGINES)}")
    if engine != "nccl":
        return
    on_host = next((name for name in bound if parsed(name)[0] == "cpu"), None)
    if on_host is not None:
        raise NetspecError(f"NCCL moves data between GPUs, and {on_host} was bound: leave out --engine nccl")
    if find_spec("nccl") is None:
        raise NetspecError("--engine nccl needs nccl4py and NCCL: pip install 'netspec[nccl13]'")
