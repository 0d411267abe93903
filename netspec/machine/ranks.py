"""Whether this process is one of several that mpiexec or srun started; read from the environment, without MPI."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from netspec.errors import NetspecError
from netspec.machine.topology import cores_by_node

_VARIABLES: Sequence[tuple[str, str]] = (
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun, whatever the MPI; not set in a batch script itself
)
_LOCAL = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")
"""The number among the processes of one machine: MPICH and Intel MPI, Open MPI, srun."""
_LAST_WORDS_S = 0.15
"""How long a message is given to go through the launcher, which forgets what is on its way when all are ended."""
LAUNCH = "NETSPEC_LAUNCH"
"""The variable with the folder in which ranks tell the netspec that started them what happened."""


class Rank(NamedTuple):
    """A process's number, counted from 0, and how many there are."""

    number: int
    of: int


def launched() -> Rank:
    """This process among those that were started together; rank 0 of 1 where it was started by itself."""
    for number, count in _VARIABLES:
        values = os.environ.get(number, ""), os.environ.get(count, "")
        if all(value.isdecimal() for value in values):
            return Rank(*map(int, values))
    return Rank(0, 1)


def local_number() -> int:
    """This process's number among those of its machine that were started together; 0 where it was started by itself.

    Where the launcher does not say it, the number among all.
    """
    rank = launched()
    values = (os.environ.get(name, "") for name in _LOCAL if rank.of > 1)
    return next((int(value) for value in values if value.isdecimal()), rank.number)


def end_with_parent() -> None:
    """Linux sends this process SIGTERM, with which a run is saved, when the thread that started it has ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def end_with_launcher() -> None:
    """The same where it is MPICH's helper on this machine: without it nothing ends a rank, or hears it."""
    if os.environ.get(LAUNCH) and "PMI_RANK" in os.environ:  # others may start ranks from a thread that ends
        end_with_parent()


def end_all(code: int) -> None:
    """End all processes that were started together with this one, as soon as this one ends, with an exit code."""
    atexit.register(_abort, code)


def end_all_before_start(code: int) -> None:
    """The same where ``netspec run --processes`` has started this one, which fails before it has loaded MPI.

    The others would wait for it in MPI's start for ever.
    """
    if os.environ.get(LAUNCH) and "mpi4py.MPI" not in sys.modules:
        end_all(code)


def _abort(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(ImportError, RuntimeError):  # without MPI
        from mpi4py import MPI

        time.sleep(_LAST_WORDS_S)
        MPI.COMM_WORLD.Abort(code)


def refuse_several(what: str) -> None:
    """Raise NetspecError where this process is one of several: each would do the same."""
    if (count := launched().of) > 1:
        raise NetspecError(f"{what} is for one process, and this is one of {count}: start it without mpiexec or srun")


def share_cores(place: int, count: int) -> None:
    """Keep this process, and its threads to come, to its share of the cores that ``count`` of this machine share.

    A share lies on as few NUMA nodes as can be.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = [core for node in cores_by_node() for core in node]
    first, stop = place * len(cores) // count, (place + 1) * len(cores) // count
    os.sched_setaffinity(0, cores[first:stop] or [cores[first]])
