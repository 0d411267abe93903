"""MPI: mpi4py on whatever MPI it finds, a wheel's or the cluster's own.

A rank that waits asks now and then instead of spinning, so that it takes no core from one that works, and knows when
to give up. Whoever has failed ends all by MPI_Abort as the process ends, since the others would wait for ever.
"""

from __future__ import annotations

import pickle
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from netspec.errors import NetspecError
from netspec.machine.ranks import end_all
from netspec.runners.transport.base import AT_ONCE, Array, Counts, Value

_SPIN_S, _NAP_S = 0.001, 0.0002
_SPIN_IDLE_S = 0.0001
"""How long a rank that has nothing to move looks without a nap: the core may be wanted by its own passes."""
_ROLL_CALL_S = 1.5
_TAG = 7


class Mpi:
    """See Transport; the ranks of MPI_COMM_WORLD, or some of them, in a communicator of our own."""

    def __init__(self, patience: float, world: Mpi | None = None, number: int = 0) -> None:
        """``patience``: seconds that any rank waits; with a ``world``, those of its ranks that give the same number."""
        self.patience = patience
        self._comm: MPI.Comm = world._comm.Split(number) if world else MPI.COMM_WORLD.Dup()
        self._roll: RollCall = world._roll if world else RollCall()
        self.rank, self.size = self._comm.rank, self._comm.size
        self.hosts: Sequence[str] = [""] * self.size
        self.hosts = self.gather(MPI.Get_processor_name())
        self.ranks: Sequence[int] = self.gather(MPI.COMM_WORLD.rank)
        self._roll.hosts = self._roll.hosts or self.hosts
        self._seen: list[SeenByAll] = []
        self._shared: list[Sequence[Array] | None] = []
        self._split_off: list[Mpi] = []
        self._ending = False

    def alltoall(self, send: Array, counts: Counts, receive: Array) -> None:
        """See Transport."""
        given, taken = _cut(send, counts), _cut(receive, [counts[self.rank]] * self.size)
        for counted in (given, taken):
            counted[1][self.rank] = 0  # its own part is where it is wanted
        self._meet()
        self._await(self._comm.Ialltoallv(given, taken), 0.0)

    def allgather(self, values: Array, counts: Counts) -> None:
        """See Transport."""
        self._await(self._comm.Iallgatherv(MPI.IN_PLACE, _cut(values, counts)), 0.0)

    def greatest(self, values: Sequence[int]) -> list[int]:
        """See Transport."""
        found = np.array(values, np.int64)
        self._meet()
        self._await(self._comm.Iallreduce(MPI.IN_PLACE, found, MPI.MAX), 0.0)
        return [int(value) for value in found]

    def gather(self, value: Value) -> list[Value]:
        """See Transport."""
        own = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = np.empty(self.size, np.int64)
        self._meet()
        self._await(self._comm.Iallgather(np.array([own.size], np.int64), sizes), 0.0)
        found = np.empty(int(sizes.sum()), np.uint8)
        self._await(self._comm.Iallgatherv([own, MPI.BYTE], _cut(found, sizes.tolist())), 0.0)
        return [pickle.loads(part.data) for part in np.split(found, sizes.cumsum()[:-1])]

    def broadcast(self, value: Value) -> Value:
        """See Transport."""
        own = np.frombuffer(pickle.dumps(value) if self.rank == 0 else b"", np.uint8)
        size = np.array([own.size], np.int64)
        self._meet()
        self._await(self._comm.Ibcast(size, 0), 0.0)
        found = own.copy() if self.rank == 0 else np.empty(int(size[0]), np.uint8)
        self._await(self._comm.Ibcast([found, MPI.BYTE], 0), 0.0)
        return value if self.rank == 0 else pickle.loads(found.data)

    def shared(self, nbytes: int) -> Sequence[Array] | None:
        """See Transport: where all ranks are on one machine, and its shared memory has room."""
        if not self._shared:
            self._shared.append(self.allocate(nbytes))
        return self._shared[0]

    def allocate(self, nbytes: int) -> Sequence[Array] | None:
        """See Transport."""
        if not self._is_on_one_machine(nbytes):
            return None
        self._seen.append(SeenByAll(self._comm, nbytes))
        return self._seen[-1].parts

    def _is_on_one_machine(self, nbytes: int) -> bool:
        here = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        together = here.size == self.size and 2 * room() > 3 * MPI.COMM_WORLD.size * nbytes
        here.Free()
        return self.greatest([not together]) == [0]

    def meet(self) -> None:
        """See Transport."""
        for one in self._seen:
            one.window.Sync()
        self._meet()
        for one in self._seen:
            one.window.Sync()

    def send(self, values: Array, to: int) -> None:
        """See Transport."""
        nap = self._meet_one(values, to)
        self._await(self._comm.Isend(_bytes(values), to), nap)

    def receive(self, values: Array, source: int) -> None:
        """See Transport."""
        nap = self._meet_one(values, source)
        self._await(self._comm.Irecv(_bytes(values), source), nap)

    def overdue(self, waited: float) -> str | None:
        """See Transport."""
        if waited > self.patience or self._roll.is_called():
            return self._roll.missing(self.patience, min(_ROLL_CALL_S, self.patience))
        return None

    def split(self, number: int) -> Mpi:
        """See Transport."""
        self._split_off.append(Mpi(self.patience, self, number))
        return self._split_off[-1]

    def end_all(self, code: int) -> None:
        """See Transport."""
        if not self._ending:
            self._ending = True
            end_all(code)

    def close(self) -> None:
        """See Transport; memory that others see is of no more use."""
        self._meet()
        for seen in [seen for one in (self, *self._split_off) for seen in one._seen]:
            seen.close()

    # Waiting --------------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Wait until all ranks are here: what follows then only moves data."""
        self._await(self._comm.Ibarrier(), _NAP_S)

    def _meet_one(self, values: Array, other: int) -> float:
        """Wait until another rank is here too, before many bytes move; how long to nap while they do."""
        if values.nbytes <= AT_ONCE:
            return _NAP_S
        sent = self._comm.Isend(bytearray(1), other, _TAG)
        self._await(self._comm.Irecv(bytearray(1), other, _TAG), _NAP_S)
        self._await(sent, 0.0)
        return 0.0

    def _await(self, request: Any, nap: float) -> None:
        """Wait for a request, with a ``nap`` between two looks after a while."""
        began = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - began
            if waited > min(_SPIN_S, self.patience) and (told := self.overdue(waited)) is not None:
                raise NetspecError(told)
            if waited > (_SPIN_IDLE_S if nap else _SPIN_S):
                time.sleep(nap)


class SeenByAll:
    """Memory of each rank of one machine that all of them see."""

    def __init__(self, comm: Any, nbytes: int) -> None:
        self.window = MPI.Win.Allocate_shared(nbytes, 1, comm=comm)
        self.window.Lock_all(MPI.MODE_NOCHECK)
        memories: list[Any] = [self.window.Shared_query(rank)[0] for rank in range(comm.size)]
        self.parts = [np.frombuffer(memory, np.uint8) for memory in memories]

    def close(self) -> None:
        """Give it back, on all ranks at once."""
        self.window.Unlock_all()
        self.window.Free()


def room() -> int:
    """Bytes of shared memory that are free here."""
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return sys.maxsize  # a system that keeps it elsewhere


class RollCall:
    """Finds out who is silent, when a rank has waited for too long: all who wait for another one answer."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()
        self.hosts: Sequence[str] = ()

    def is_called(self) -> bool:
        """Whether another rank has begun to call the roll."""
        return bool(self._comm.Iprobe(tag=_TAG))

    def missing(self, waited: float, seconds: float) -> str:
        """Call the roll for so many ``seconds``; a message that names those who do not answer."""
        silent = self._silent(seconds)
        if not silent:
            return f"all ranks answer, but have not come to one point within {waited:.0f} s: this is a fault of netspec"
        told = ", ".join(f"rank {rank} on {self.hosts[rank]}" for rank in silent)
        return f"no answer for {waited:.0f} s from {told}, which may be stopped, or its machine gone"

    def _silent(self, seconds: float) -> list[int]:
        others = [rank for rank in range(self._comm.size) if rank != self._comm.rank]
        token, buffers = bytearray(1), {rank: bytearray(1) for rank in others}
        calls = {rank: self._comm.Irecv(buffers[rank], rank, _TAG) for rank in others}
        sent = [self._comm.Isend(token, rank, _TAG) for rank in others]
        until = time.monotonic() + seconds
        while time.monotonic() < until and not all([each.Test() for each in (*sent, *calls.values())]):
            time.sleep(0.01)
        return [rank for rank in others if not calls[rank].Test()]


def _cut(values: Array, counts: Iterable[int]) -> list[Any]:
    counts = list(counts)
    starts = [sum(counts[:rank]) for rank in range(len(counts))]
    return [values, counts, starts, MPI._typedict[values.dtype.char]]


def _bytes(values: Array) -> list[Any]:
    """Contiguous values of any dtype, bfloat16 too, which MPI does not know."""
    return [values.reshape(-1).view(np.uint8), MPI.BYTE]
