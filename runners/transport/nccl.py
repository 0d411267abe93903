"""NCCL, by nccl4py: moves bytes between the cards of processes, as work of a stream. The one file that imports nccl.

Nothing is summed by it: NCCL promises no order of additions. A communicator never blocks the host (``blocking=0``), so
that whoever waits for others can say for whom; what is not done at once is asked for, and an error that came meanwhile
is told as soon as somebody asks (NCCL's documentation: "Fault Tolerance").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nccl import core
from nccl.bindings.nccl import NCCLError

from netspec.errors import NetspecError
from netspec.runners.transport.base import Transport

Bytes = Any
"""A contiguous array of bytes on the card."""
Stream = Any
"""The handle of a stream of the card, which is the current one."""
_SUCCESS, _IN_PROGRESS = 0, 7
_NAP_S = 0.0002


class Nccl:
    """The ranks of a transport, each with a card. All make the same calls in one order, which only enqueue work.

    Raises NetspecError where NCCL does, and where other ranks keep it waiting for longer than the transport's patience.
    """

    def __init__(self, transport: Transport) -> None:
        """The communicator of the card that is the current one; the transport takes its identity to all ranks."""
        self._transport = transport
        with _told():
            identity = transport.broadcast(bytes(core.get_unique_id()) if transport.rank == 0 else b"")
            config = core.NCCLConfig(blocking=False)
            place = (transport.size, transport.rank, core.UniqueId.from_bytes(identity))
            self._comm: core.Communicator | None = core.Communicator.init(*place, config)
        self._settle()

    def alltoall(self, send: Bytes, receive: Bytes, stream: Stream) -> None:
        """Hand each rank its part of ``send``, all of one size; ``receive`` gets each one's for this one in order."""
        self._enqueue(lambda comm: comm.alltoall(send, receive, stream=stream))

    def allgather(self, own: Bytes, whole: Bytes, stream: Stream) -> None:
        """Hand ``own`` to all; ``whole`` gets what each has, in the order of ranks."""
        self._enqueue(lambda comm: comm.allgather(own, whole, stream=stream))

    def send(self, values: Bytes, to: int, stream: Stream) -> None:
        """Hand values to a rank, which receives them."""
        self._enqueue(lambda comm: comm.send(values, to, stream=stream))

    def receive(self, values: Bytes, source: int, stream: Stream) -> None:
        """Fill an array with what a rank sends."""
        self._enqueue(lambda comm: comm.recv(values, source, stream=stream))

    def check(self) -> None:
        """Raise NetspecError where something that was enqueued has failed."""
        if self._comm is not None:
            self._state(self._comm)

    def abort(self) -> None:
        """End what is under way, whose results are then of no worth; nothing can be moved any more."""
        comm, self._comm = self._comm, None
        if comm is not None:
            comm.abort()

    def close(self) -> None:
        """Give back what NCCL holds, when all is done; all ranks call this."""
        if self._comm is None:
            return
        with _told():
            self._comm.finalize()
        self._settle()
        comm, self._comm = self._comm, None
        comm.destroy()

    def _enqueue(self, call: Callable[[Any], None]) -> None:
        if self._comm is None:
            raise NetspecError("NCCL: the communicator has been aborted")
        with _told():
            call(self._comm)
        self._settle()

    def _settle(self) -> None:
        """Until the call before is enqueued: the first between two ranks connects them."""
        assert self._comm is not None
        began = time.monotonic()
        while self._state(self._comm) == _IN_PROGRESS:
            told = self._transport.overdue(time.monotonic() - began)
            if told is not None:
                raise NetspecError(told)
            time.sleep(_NAP_S)

    def _state(self, comm: Any) -> int:
        with _told():
            state = int(comm.get_async_error())
            if state not in (_SUCCESS, _IN_PROGRESS):
                more = comm.get_last_error()
                raise NetspecError(f"NCCL: {core.get_error_string(state)}{f': {more}' if more else ''}")
        return state


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (NCCLError, core.NcclInvalid) as error:
        raise NetspecError(f"NCCL: {error} (NCCL_DEBUG=WARN says more)") from error
