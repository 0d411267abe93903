"""Who does what in a run of several processes: groups of them share the replicas, the ranks of a group the devices."""

from __future__ import annotations

from dataclasses import dataclass

from netspec.errors import NetspecError
from netspec.runners.transport.alone import ALONE
from netspec.runners.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Crew:
    """This process among those of a run.

    ``within`` leads to the ranks of its group, which work the devices of the same replicas, ``across`` to those that
    work the same devices of other replicas.
    """

    world: Transport
    within: Transport = ALONE
    across: Transport = ALONE

    @property
    def group(self) -> int:
        """The number of its group, of ``groups``."""
        return self.across.rank

    @property
    def groups(self) -> int:
        """How many groups share the replicas."""
        return self.across.size

    @property
    def place(self) -> int:
        """Which of the group's ranks it is."""
        return self.within.rank


LONE = Crew(ALONE)
"""A process that works everything by itself."""


def crew_of(world: Transport, each: int) -> Crew:
    """The crew of a run whose groups have so many ranks ``each``: those that follow each other are a group.

    Raises NetspecError where the processes make no whole groups.
    """
    check_groups(world.size, each)
    if each == 1:
        return Crew(world, across=world)
    group, place = divmod(world.rank, each)
    return Crew(world, world.split(group), world.split(place))


def check_groups(processes: int, each: int) -> None:
    """Raise NetspecError where so many processes make no whole groups of as many ranks as the devices' names have."""
    if processes % each == 0:
        return
    several = "this is one process" if processes == 1 else f"there are {processes:,} processes"
    raise NetspecError(
        f"the devices lie in {each} processes, and {several}: start as many, or a multiple, by netspec run --processes "
        f"{each}; other commands work in one"
    )
