"""A transport between threads, each of which stands for a process."""

from __future__ import annotations

import threading
import time


class Meeting:
    """What the threads that stand for ranks share."""

    def __init__(self, size):
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=30)


class InThreads:
    """A transport between threads, which keeps a record of the calls."""

    def __init__(self, meeting, rank, chance=None):
        self.meeting, self.rank, self.size, self.chance = meeting, rank, meeting.size, chance
        self.hosts = ["here"] * meeting.size
        self.calls = []

    def _swap(self, value):
        if self.chance:
            time.sleep(self.chance.random() / 500)
        self.meeting.slots[self.rank] = value
        self.meeting.barrier.wait()
        found = list(self.meeting.slots)
        self.meeting.barrier.wait()
        return found

    def alltoall(self, send, counts, receive):
        self.calls.append(("alltoall", tuple(counts)))
        start = sum(counts[: self.rank])
        for rank, theirs in enumerate(self._swap(send.copy())):
            receive[rank] = theirs[start : start + counts[self.rank]]

    def allgather(self, values, counts):
        self.calls.append(("allgather", tuple(counts)))
        for rank, theirs in enumerate(self._swap(values.copy())):
            start = sum(counts[:rank])
            values[start : start + counts[rank]] = theirs[start : start + counts[rank]]

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
