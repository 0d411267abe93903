"""A stand-in for nccl4py between threads, each of which stands for a rank with a card (``lazy``).

It moves data when the stream's turn comes, not when it is called, keeps a record of each rank's calls, and holds to
NCCL's rules (NCCL documentation: "Group Calls", "CUDA Stream Semantics", "Using NCCL with CUDA Graphs"): one order of
collectives on all ranks of a communicator, counts and dtypes that match, one stream of a card at a time. A send ends no
sooner than it is received. Calls of a communicator that never blocks are in progress for a while.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections import defaultdict
from types import ModuleType
from typing import Any

import numpy as np

LONGEST_S = 300.0


class NCCLError(Exception):
    """What the library answers."""


class NcclInvalid(Exception):
    """What the binding finds before that."""


class UniqueId:
    """The bytes by which ranks find each other."""

    def __init__(self, given: bytes) -> None:
        self._given = given

    def __bytes__(self) -> bytes:
        return self._given

    from_bytes = classmethod(lambda cls, given: cls(bytes(given)))


class NCCLConfig:
    """Settings of a communicator."""

    def __init__(self, *, blocking: bool = True) -> None:
        self.blocking = blocking


class Meeting:
    """The ranks of a communicator: who has come, which operations each has enqueued, and what lies on the way."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrived = threading.Barrier(size, timeout=LONGEST_S)
        self.lock = threading.Condition()
        self.given: dict[tuple[int, int], dict[int, Any]] = defaultdict(dict)
        """What each rank has brought to the collective, or message, of that number."""
        self.calls: dict[int, list[tuple[Any, ...]]] = {rank: [] for rank in range(size)}
        self.aborted = False


class Library:
    """What all ranks of a test share; ``fails`` makes a rank's communicators tell an error from some call on."""

    def __init__(self, seed: int = 0) -> None:
        self.chance, self.numbers = random.Random(seed), itertools.count(1)
        self.meetings: dict[bytes, Meeting] = {}
        self.lock = threading.Lock()
        self.fails: dict[int, int] = {}
        self.ended: list[str] = []

    def meeting(self, identity: bytes, size: int) -> Meeting:
        with self.lock:
            return self.meetings.setdefault(identity, Meeting(size))

    def modules(self) -> dict[str, ModuleType]:
        """The modules that netspec imports, by their names."""
        library, core = self, ModuleType("nccl.core")
        bindings = ModuleType("nccl.bindings.nccl")

        class Communicator(_Communicator):
            of = library

        core.Communicator, core.NCCLConfig, core.UniqueId = Communicator, NCCLConfig, UniqueId  # type: ignore[attr-defined]
        core.NcclInvalid = NcclInvalid  # type: ignore[attr-defined]
        core.get_unique_id = lambda: UniqueId(b"%0128d" % next(library.numbers))  # type: ignore[attr-defined]
        core.get_error_string = lambda state: f"error {state}"  # type: ignore[attr-defined]
        bindings.NCCLError = NCCLError  # type: ignore[attr-defined]
        package = ModuleType("nccl")
        package.core = core  # type: ignore[attr-defined]
        found = {"nccl": package, "nccl.core": core, "nccl.bindings": ModuleType("nccl.bindings")}
        return {**found, "nccl.bindings.nccl": bindings}


class _Communicator:
    of: Library

    @classmethod
    def init(cls, nranks: int, rank: int, unique_id: UniqueId, config: NCCLConfig | None = None) -> _Communicator:
        assert config is not None and not config.blocking and isinstance(unique_id, UniqueId)
        made = cls()
        made.rank, made.size = rank, nranks
        made.meeting = cls.of.meeting(bytes(unique_id), nranks)
        made.meeting.arrived.wait()
        made.busy, made.number, made.streams = 2, 0, set()
        made.sent: dict[tuple[int, int], int] = defaultdict(int)
        return made

    def get_async_error(self) -> int:
        if self.of.fails.get(self.rank, sys.maxsize) <= len(self.meeting.calls[self.rank]):
            return 6
        self.busy = max(self.busy - 1, 0)
        return 7 if self.busy else 0

    def get_last_error(self) -> str:
        return "a cable was pulled"

    def alltoall(self, send: Any, receive: Any, *, stream: Any) -> None:
        assert send.nbytes == receive.nbytes and send.nbytes % self.size == 0

        def move(found: dict[int, Any]) -> None:
            each = send.size // self.size
            for rank in range(self.size):
                receive[rank * each : (rank + 1) * each] = found[rank][self.rank * each : (self.rank + 1) * each]

        self._collective(("alltoall", send.size, str(send.dtype)), send, move, stream)

    def allgather(self, own: Any, whole: Any, *, stream: Any) -> None:
        assert whole.size == own.size * self.size and whole.dtype == own.dtype

        def move(found: dict[int, Any]) -> None:
            whole[...] = np.concatenate([found[rank] for rank in range(self.size)])

        self._collective(("allgather", own.size, str(own.dtype)), own, move, stream)

    def send(self, values: Any, peer: int, *, stream: Any) -> None:
        self._message(("send", values.size, str(values.dtype), peer), (self.rank, peer), values, stream, given=True)

    def recv(self, values: Any, peer: int, *, stream: Any) -> None:
        self._message(("recv", values.size, str(values.dtype), peer), (peer, self.rank), values, stream, given=False)

    def _collective(self, what: tuple[Any, ...], send: Any, move: Any, stream: Any) -> None:
        self._enter(what, stream)
        place = (-1, self.number)
        self.number += 1

        def run() -> None:
            with self.meeting.lock:
                self.meeting.given[place][self.rank] = (what, send.copy())
                self.meeting.lock.notify_all()
                self._await(lambda: len(self.meeting.given[place]) == self.size)
                found = self.meeting.given[place]
            assert {kind for kind, _ in found.values()} == {what}, found
            move({rank: values for rank, (_, values) in found.items()})

        stream[0].world.enqueue(stream, run)

    def _message(
        self, what: tuple[Any, ...], way: tuple[int, int], values: Any, stream: Any, given: bool
    ) -> None:
        self._enter(what, stream)
        place = (way[0] * self.size + way[1], self.sent[way])
        self.sent[way] += 1

        def run() -> None:
            with self.meeting.lock:
                here = self.meeting.given[place]
                here[given] = values.copy() if given else values.size
                self.meeting.lock.notify_all()
                self._await(lambda: len(here) == 2)
            assert here[False] == here[True].size
            if not given:
                values[...] = here[True]

        stream[0].world.enqueue(stream, run)

    def _enter(self, what: tuple[Any, ...], stream: Any) -> None:
        assert not self.busy, "a call before the one before it was done"
        assert stream[1] == "net" and not (stream[0].world.capture and stream in stream[0].world.capture.tips)
        self.streams.add(stream)
        assert len(self.streams) == 1
        self.meeting.calls[self.rank].append(what)
        self.busy = self.of.chance.randrange(3)

    def _await(self, done: Any) -> None:
        if not self.meeting.lock.wait_for(lambda: done() or self.meeting.aborted, LONGEST_S):
            raise AssertionError("a deadlock")

    def finalize(self) -> None:
        self.busy = 1
        self.of.ended.append(f"finalized {self.rank}")

    def destroy(self) -> None:
        self.of.ended.append(f"destroyed {self.rank}")

    def abort(self) -> None:
        with self.meeting.lock:
            self.meeting.aborted = True
            self.meeting.lock.notify_all()
        self.of.ended.append(f"aborted {self.rank}")
