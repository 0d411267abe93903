"""An iteration cut where processes meet: what devices do by themselves, and in between what is exchanged.

A step of the queue ``net`` begins as soon as what it sends has been made, and ends when the first step that needs it is
due: until then devices go on. Between two such moments lies a segment, which devices can replay as a graph; an exchange
is part of none.

All ranks exchange in the plan's order, and no rank waits for another but where an exchange ends. So the proof of
netspec.planning.rank_cut holds here too: to end late is to end before anything that waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from netspec.device.base import Call, Device, Event
from netspec.planning.identities import BufferKey
from netspec.runners.execution.bound import BoundStep
from netspec.runners.execution.net_calls import NetCall


class Item(NamedTuple):
    """A step, its device, the events it waits for, and the one that stands for its end, where others wait for that."""

    one: BoundStep
    device: Device
    awaited: list[Event]
    ended: Event | None


@dataclass(eq=False)
class Segment:
    """Steps that devices do by themselves.

    ``items`` are these steps with their events, ``results`` bring what the iteration hands to the host there, in the
    last segment, and ``replays`` are graphs of all that, by replica.
    """

    steps: list[BoundStep]
    is_last: bool = False
    items: list[Item] = field(default_factory=list)
    results: list[Call] = field(default_factory=list)
    replays: dict[int, Call] = field(default_factory=dict)


class Begin(NamedTuple):
    """What a step hands to other processes begins to leave devices."""

    one: BoundStep
    net: NetCall


class End(NamedTuple):
    """Processes have exchanged it when this is over, and what came is on its way to devices."""

    one: BoundStep
    net: NetCall


Part = Segment | Begin | End


class NetEvents:
    """Events of a step of the queue ``net``: what of each piece has left, and that what came has arrived."""

    def __init__(self, net: NetCall) -> None:
        self.left = [[(device, device.event()) for device in piece.devices] for piece in net.pieces]
        self.arrived = [(device, device.event()) for device in net.devices]


def _written(one: BoundStep) -> set[BufferKey]:
    return {one.step.args[argument].buffer for argument in one.step.writes}


def cut(steps: Iterable[BoundStep]) -> list[Part]:
    """The parts of an iteration, the last of which is a segment, maybe an empty one."""
    parts: list[Part] = []
    own: list[BoundStep] = []
    begun: list[Begin] = []

    def end(until: int) -> None:
        """The first exchanges that have begun end, so many of them."""
        close()
        parts.extend(End(*one) for one in begun[:until])
        del begun[:until]

    def close() -> None:
        if own:
            parts.append(Segment([*own]))
            own.clear()

    for one in steps:
        if isinstance(one.call, NetCall):
            touched = {region.buffer for region in one.step.args.values()}
            needed = [place for place, other in enumerate(begun) if touched & _written(other.one)]
            if needed:  # within the queue nothing else says so
                end(needed[-1] + 1)
            close()
            begun.append(Begin(one, one.call))
            parts.append(begun[-1])
        else:
            needed = [place for place, other in enumerate(begun) if other.one.step.key in one.step.after]
            if needed:
                end(needed[-1] + 1)
            own.append(one)
    if begun:
        end(len(begun))
    return [*parts, Segment(own, is_last=True)]
