"""A worker process of the pool: fetches images into shared memory until its parent closes the pipe or dies.

Its argument is the parent's process id; five file descriptors come through the socket that is its stdin: stderr, setup,
ring, tasks, results. It imports numpy and PIL only, and the plugins that hold more than layers.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

from netspec.data.source import Split
from netspec.data.workers.fetch import Fetcher, Result, Task, Transform
from netspec.data.workers.shared_ring import Field, Ring
from netspec.errors import NetspecError

TASK = struct.Struct(f"={len(Task._fields)}q")
"""A task as one record; a pipe hands out whole records, since all reads and writes are of this size."""

_ALIVE_CHECK_MS = 1000


class Setup(NamedTuple):
    """What every worker of a pipeline is given."""

    split: Split
    transform: Transform
    slots: int
    fields: dict[str, Field]


def packed(setup: Setup) -> bytes:
    """The setup for another process, with the plugins that it may need."""
    from netspec.registry.plugin_code import portable

    return pickle.dumps((portable(True), pickle.dumps(setup, pickle.HIGHEST_PROTOCOL)), pickle.HIGHEST_PROTOCOL)


def unpacked(content: bytes) -> Setup:
    """What ``packed`` gave the bytes for."""
    plugins, setup = pickle.loads(content)
    for each in plugins:
        from netspec.registry.plugin_code import adopt  # takes time that few workers need to spend

        adopt(each)
    found: Setup = pickle.loads(setup)
    return found


def main() -> None:
    """Run the worker, as the module's text has it; it ends where the parent has no use for it."""
    import netspec.data.frames  # noqa: F401  # while the parent has nothing to decode yet

    parent = int(sys.argv[1])
    with socket.socket(fileno=0) as handed:
        _, handles, _, _ = socket.recv_fds(handed, 1, 5)
    if not handles:
        return
    errors, setup_file, ring_file, tasks, results = handles
    os.open(os.devnull, os.O_RDONLY)  # stdin, which has just been closed
    os.dup2(errors, 2)
    setup = unpacked(os.pread(setup_file, os.fstat(setup_file).st_size, 0))
    ring = Ring(setup.slots, setup.fields, ring_file)
    fetcher = Fetcher(setup.split, setup.transform)
    answers = Connection(results, readable=False)
    try:
        for task in _tasks(tasks, parent):
            answers.send(perform(fetcher, ring, task))
    except BrokenPipeError:
        return  # the parent is gone


def perform(fetcher: Fetcher, ring: Ring, task: Task) -> Result:
    """Do the task, but no longer than until it is cancelled."""
    batch = ring.batches[task.slot]
    rows = {name: array[task.row : task.row + task.rows] for name, array in batch.items()}
    try:
        return fetcher.fetch(task, rows, lambda: bool(task.ticket < ring.cancelled[0]))
    except NetspecError as error:
        return Result(task.ticket, task.row, failure=str(error))
    except Exception as error:  # told by the parent, in one line
        return Result(task.ticket, task.row, failure=f"{type(error).__name__}: {error}")


def _tasks(pipe: int, parent: int) -> Iterator[Task]:
    """Tasks from the pipe that all workers share, until it ends or the parent is another process."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while os.getppid() == parent:
        if not poll.poll(_ALIVE_CHECK_MS):
            continue
        try:
            record = os.read(pipe, TASK.size)
        except BlockingIOError:  # another worker was faster
            continue
        if not record:
            return
        yield Task(*TASK.unpack(record))
