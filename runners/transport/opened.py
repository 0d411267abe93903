"""The transport of this process, and how a run of several processes ends when one of them fails."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from netspec.errors import NetspecError
from netspec.exit_codes import INTERNAL, INTERRUPTED, WRONG
from netspec.machine.ranks import LAUNCH, Rank, end_all, end_with_launcher, launched, share_cores
from netspec.runners.transport.alone import ALONE
from netspec.runners.transport.base import Transport, named

PATIENCE = "NETSPEC_PATIENCE"
_PATIENCE_S = 300.0
_FIRST_WORD_S = 0.5
"""How long rank 1 keeps its message back, and twice that those after it: what is wrong on several ranks is told by the
first of them, be it that rank 0 is what is wrong."""


@contextlib.contextmanager
def transport_of() -> Iterator[Transport]:
    """The transport to the processes that were started with this one; none may end alone where the block fails.

    Raises NetspecError where MPI is not there or knows of other processes, and whatever the block raises, with the
    rank and the host.
    """
    rank = launched()
    if rank.of == 1:
        yield ALONE
        return
    with _told(transport := _opened(rank)):
        _share_cores(transport)
        yield transport
        transport.close()


def _opened(rank: Rank) -> Transport:
    if find_spec("mpi4py") is None:
        raise NetspecError(
            f"this is one of {rank.of} processes that were started together, and mpi4py, by which they would speak, is "
            "not installed: pip install 'netspec[mpi]', or 'netspec[mpi-site]' for the MPI of a cluster"
        )
    before = _shared_files()
    try:
        from netspec.runners.transport.mpi import Mpi
    except (ImportError, RuntimeError) as error:
        more = "pip install 'netspec[mpi]', or load the cluster's MPI"
        raise NetspecError(f"MPI cannot be loaded: {error}: {more}") from error
    end_with_launcher()
    try:
        return _met(Mpi(_patience()), rank, before)
    except BaseException as error:
        end_all(_code(error))
        raise


def _met(made: Transport, rank: Rank, before: set[str]) -> Transport:
    """The others met; the launcher is told which files MPI shares memory by, and no others that are mapped."""
    _note("rank", made.rank, pid=os.getpid(), parent=os.getppid(), files=sorted(_shared_files() - before))
    if made.size != rank.of:
        raise NetspecError(
            f"{rank.of} processes were started, but MPI knows of {made.size}: the launcher is of another MPI than "
            "mpi4py's (with srun, try --mpi=pmi2 or --mpi=pmix)"
        )
    return made


def _shared_files() -> set[str]:
    """Files of shared memory that are mapped (Linux); MPI removes its own as it ends, unless it is killed."""
    with contextlib.suppress(OSError):
        found = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
        return {path for path in found if path.startswith("/dev/shm/") and os.path.exists(path)}
    return set()


def _patience() -> float:
    text = os.environ.get(PATIENCE) or str(_PATIENCE_S)
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise NetspecError(f"{PATIENCE} must be a number of seconds above 0, got '{text}'")
    return found


def _share_cores(transport: Transport) -> None:
    """Where the launcher has not given each process cores of its own, those of a machine share its cores evenly."""
    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
    found = transport.gather((transport.hosts[transport.rank], cores))
    alike = [rank for rank, each in enumerate(found) if each == found[transport.rank]]
    if len(alike) > 1:
        share_cores(alike.index(transport.rank), len(alike))


@contextlib.contextmanager
def _told(transport: Transport) -> Iterator[None]:
    """What fails here ends all processes, as soon as its message has been shown."""
    try:
        yield
    except BaseException as error:
        code = _code(error)
        transport.end_all(code)
        where = named(transport, transport.rank)
        _note("fault", transport.rank, code=code)
        time.sleep(_FIRST_WORD_S * min(transport.rank, 2))
        if type(error) is NetspecError:
            raise NetspecError(f"{where}: {error}") from error
        if transport.rank or not isinstance(error, NetspecError):  # a spec that is wrong is so on all of them
            error.add_note(where)
        raise


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return WRONG if isinstance(error, NetspecError | OSError | MemoryError) else INTERNAL


def tell_folder(folder: Path) -> None:
    """Let whoever started this process know where the run lies."""
    _note("run", 0, folder=str(folder.absolute()))


def _note(what: str, rank: int, **details: object) -> None:
    folder = os.environ.get(LAUNCH)
    if folder:
        with contextlib.suppress(OSError):
            text = json.dumps({"rank": rank, "host": platform.node(), "time": time.time(), **details})
            Path(folder, f"{what}-{rank}.json").write_text(text)
