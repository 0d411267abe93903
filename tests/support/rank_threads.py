"""A transport between threads, each of which stands for a process."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import numpy as np

LONGEST_S = 120.0


def in_threads(size, work, seed=None, memory=None):
    """What ``work`` gives for the transport of each of so many ranks; with a seed each is late at times.

    With ``memory`` each has so many bytes, at most, that all of them see.
    """
    meeting, chance = Meeting(size, memory), None if seed is None else random.Random(seed)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, [InThreads(meeting, rank, chance) for rank in range(size)]))


class Meeting:
    """What the threads that stand for ranks share."""

    def __init__(self, size, memory=None):
        self.memory = memory
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=LONGEST_S)
        self.messages = defaultdict(Queue)


class InThreads:
    """A transport between threads, which keeps a record of the calls."""

    def __init__(self, meeting, rank, chance=None, ranks=None):
        self.meeting, self.rank, self.size, self.chance = meeting, rank, meeting.size, chance
        self.hosts, self.ranks, self.patience = ["here"] * meeting.size, ranks or range(meeting.size), 30.0
        self.calls, self.seen = [], None

    def _dawdle(self):
        if self.chance:
            time.sleep(self.chance.random() / 500)

    def _swap(self, value):
        self._dawdle()
        self.meeting.slots[self.rank] = value
        self.meeting.barrier.wait()
        found = list(self.meeting.slots)
        self.meeting.barrier.wait()
        return found

    def alltoall(self, send, counts, receive):
        self.calls.append(("alltoall", tuple(counts)))
        start = sum(counts[: self.rank])
        for rank, theirs in enumerate(self._swap(send.copy())):
            if rank != self.rank:
                receive[rank] = theirs[start : start + counts[self.rank]]

    def allgather(self, values, counts):
        self.calls.append(("allgather", tuple(counts)))
        for rank, theirs in enumerate(self._swap(values.copy())):
            start = sum(counts[:rank])
            values[start : start + counts[rank]] = theirs[start : start + counts[rank]]

    def shared(self, nbytes):
        """Threads see each other's memory, where the test wants that."""
        if self.meeting.memory is not None and self.seen is None:
            self.seen = self._swap(np.empty(min(nbytes, self.meeting.memory), np.uint8))
        return self.seen

    def allocate(self, nbytes):
        if self.meeting.memory is None or nbytes > self.meeting.memory:
            return None
        return self._swap(np.zeros(nbytes, np.uint8))

    def meet(self):
        self.calls.append(("meet", ()))
        self._swap(None)

    def send(self, values, to):
        """Ends when it has been received: nothing is kept on the way."""
        self.calls.append(("send", to, values.nbytes))
        assert values.flags.c_contiguous
        self._dawdle()
        received = threading.Event()
        self.meeting.messages[self.rank, to].put((values, received))
        assert received.wait(LONGEST_S), f"rank {to} never received from rank {self.rank}"

    def receive(self, values, source):
        self.calls.append(("receive", source, values.nbytes))
        assert values.flags.c_contiguous
        self._dawdle()
        found, received = self.meeting.messages[source, self.rank].get(timeout=LONGEST_S)
        assert (found.shape, found.dtype) == (values.shape, values.dtype)
        values[...] = found
        received.set()

    def split(self, number):
        alike = [rank for rank, other in enumerate(self._swap(number)) if other == number]
        meeting = self._swap(Meeting(len(alike)))[alike[0]]
        return InThreads(meeting, alike.index(self.rank), self.chance, [self.ranks[rank] for rank in alike])

    def overdue(self, waited):
        """A barrier that is broken tells."""
        return "a rank has ended" if self.meeting.barrier.broken else None

    def greatest(self, values):
        return [max(each) for each in zip(*self._swap(list(values)), strict=True)]

    def gather(self, value):
        return self._swap(value)

    def broadcast(self, value):
        return self._swap(value)[0]

    def end_all(self, code):
        """A thread that fails breaks the barrier."""
        self.meeting.barrier.abort()

    def close(self):
        """Threads end by themselves."""
