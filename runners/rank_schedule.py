"""How long an iteration takes whose devices lie in several processes: the steps of all of them on clocks.

Each queue of a device works its steps one after the other, each as soon as those have ended that it waits for, as
runners do. A message takes the queues ``net`` of both its ranks, from when both have come to it until it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from netspec.planning.identities import StepKey
from netspec.planning.plan import Step
from netspec.planning.replica_tree import turn_of
from netspec.program.gpu_model import Gpu, step_seconds
from netspec.program.program import Program

Seconds = Mapping[StepKey, float]
Sums = tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]]
"""Ranks and elements of the arrays that they sum with other groups, in order: gradients and states, then reports."""


class Traffic(NamedTuple):
    """Bytes that leave and reach a rank in an iteration, and the messages in which they leave."""

    sent: int
    received: int
    messages: int


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks of a group: they work its ``replicas`` one after the other, each its own devices' part.

    ``seconds`` are those of each rank's steps, by their keys; a step that has none takes no time. ``memory`` has the
    bytes of each of the spec's devices. ``host`` seconds come to each replica besides.
    """

    programs: tuple[Program, ...]
    seconds: tuple[Seconds, ...]
    memory: Mapping[str, int]
    replicas: int
    sums: Sums = ((), ())
    host: float = 0.0

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return len(self.programs)

    def traffic(self, rank: int) -> Traffic:
        """What a rank exchanges with the others of its group."""
        due = [step for turn in self.turns() for step in steps_of(self.programs[rank], turn)]
        sent, received = ([step.bytes for step in due if step.op == op] for op in ("send", "receive"))
        return Traffic(sum(sent), sum(received), len(sent))

    def held(self) -> int:
        """The bytes of the rank that holds most."""
        return max(sum(self.memory[device] for device in one.plan.devices) for one in self.programs)

    def turns(self) -> list[int]:
        """The turns of its replicas, one after the other."""
        return [turn_of(replica) for replica in range(self.replicas)]


def steps_of(program: Program, turn: int) -> Iterator[Step]:
    """The steps that run in a turn."""
    return (step for step in program.steps if not step.turns or turn in step.turns)


def by_operations(programs: Sequence[Program], replicas: int, seconds: float) -> tuple[Seconds, ...]:
    """What the steps of several ranks take if all together took ``seconds`` on a machine that each now has for itself:
    shares of it by their operations."""
    turns = [turn_of(replica) for replica in range(replicas)]
    total = sum(step.flops for one in programs for turn in turns for step in steps_of(one, turn))
    return tuple({step.key: seconds * step.flops / total for step in one.steps} for one in programs)


def modelled_steps(programs: Sequence[Program], gpu: Gpu) -> tuple[Seconds, ...]:
    """What the steps of several ranks take by the model of a GPU, of which each device is one."""
    return tuple(step_seconds(one, gpu) for one in programs)


class Cost(NamedTuple):
    """Seconds of an exchange: whatever its size, and by its bytes."""

    latency: float
    wire: float


class Played(NamedTuple):
    """Seconds of an iteration, and of the rank that has most of each: compute, exchange, and of that latency."""

    iteration: float
    compute: float
    exchange: float
    latency: float


Message = Callable[[int, int, int], Cost]
"""What a message takes: the rank that sends, the one that receives, and the bytes."""


def play(ranks: Ranks, message: Message, summing: Sequence[Cost], slower: float = 1.0) -> Played:
    """An iteration of the ranks; ``summing`` says what it takes each to sum with other groups, all of its steps
    together; ``slower`` is a factor of all that they compute."""
    each = zip(ranks.programs, ranks.seconds, summing, strict=True)
    clocks = [_Clock(program, seconds, slower, cost) for program, seconds, cost in each]
    host = slower * ranks.host
    for turn in ranks.turns():
        queues = [list(steps_of(program, turn))[::-1] for program in ranks.programs]
        while any(queues):
            _advance(queues, clocks, message)
        for clock in clocks:
            clock.finish(host)
    found = [Played(one.now, one.computed, one.exchanged, one.latency) for one in clocks]
    return Played(*map(max, zip(*found, strict=True)))


def _advance(queues: list[list[Step]], clocks: Sequence[_Clock], message: Message) -> None:
    """Bring each rank to its next message, then those that have come to one together past it.

    What crosses between ranks has one order, so that the first message that is left is next on both of its ranks.
    """
    for steps, clock in zip(queues, clocks, strict=True):
        while steps and steps[-1].op not in ("send", "receive"):
            clock.work(steps.pop())
    for rank, steps in enumerate(queues):
        if not steps or steps[-1].op != "send":
            continue
        sent, other = steps[-1], steps[-1].attrs["to"]
        theirs = queues[other][-1] if queues[other] else None
        if theirs is not None and theirs.op == "receive" and theirs.attrs["from"] == rank:
            began = max(clocks[rank].ready(sent), clocks[other].ready(theirs))
            taken = message(rank, other, sent.bytes)
            for clock, step in ((clocks[rank], sent), (clocks[other], theirs)):
                clock.exchange(step, began, taken)
            steps.pop()
            queues[other].pop()


class _Clock:
    """A rank's time: when its queues are free, and when the steps of the present turn have ended."""

    def __init__(self, program: Program, seconds: Seconds, slower: float, summing: Cost) -> None:
        self._seconds, self._slower, self._summing = seconds, slower, summing
        self._summed = sum(step.bytes for step in program.steps if step.op == "all_reduce")
        self._free: dict[tuple[str, str], float] = {}
        self._ended: dict[StepKey, float] = {}
        self.now = self.computed = self.exchanged = self.latency = 0.0

    def ready(self, step: Step) -> float:
        """When it can begin."""
        waits = (self._ended.get(key, self.now) for key in step.after)
        return max(self._free.get((step.device, step.queue), self.now), *waits, self.now)

    def work(self, step: Step) -> None:
        """Run a step that waits for no other rank of the group."""
        if step.op == "all_reduce":
            share = step.bytes / self._summed
            self.exchange(step, self.ready(step), Cost(*(share * seconds for seconds in self._summing)))
            return
        taken = self._slower * self._seconds.get(step.key, 0.0)
        self.computed += taken if step.queue == "compute" else 0.0
        self.end(step, self.ready(step) + taken)

    def exchange(self, step: Step, began: float, cost: Cost) -> None:
        """Run a step that other processes have a part in."""
        self.exchanged += sum(cost)
        self.latency += cost.latency
        self.end(step, began + sum(cost))

    def end(self, step: Step, at: float) -> None:
        """Note when a step has ended."""
        self._free[step.device, step.queue] = self._ended[step.key] = at

    def finish(self, host: float) -> None:
        """A replica has ended when all of its steps have, and what the host does; the next one begins then."""
        self.now = max(self._free.values(), default=self.now) + host
        self.computed += host
        self._free.clear()
        self._ended.clear()
