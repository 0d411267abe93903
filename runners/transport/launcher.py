"""``netspec run --processes``: starts mpiexec with the same command, and tells how its processes ended.

The launcher's own words are kept back: what ends a run is told once, by the rank that failed, or here of one that was
killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from netspec._types import Binding
from netspec.device.binding import ranked
from netspec.errors import NetspecError
from netspec.exit_codes import KINDS
from netspec.machine.cleanup import on_exit
from netspec.machine.names import argument
from netspec.machine.ranks import LAUNCH, end_with_parent, launched
from netspec.planning.replica_tree import uneven_processes
from netspec.rundir.directory import CHECKPOINTS
from netspec.runners.training.saver import listed
from netspec.runners.transport.crew import check_groups
from netspec.runners.transport.first_death import FirstDeath, Note

_MOST = 1 << 20
_NOISE = re.compile(
    r"=+$|=   |BAD TERMINATION|YOUR APPLICATION TERMINATED|This typically refers|Please see the FAQ|Abort\(\d+\) on "
    r"node|application called MPI_Abort|\[(proxy|mpiexec)[@:]"
)
_SIGNAL = re.compile(r"EXIT CODE: (\d+)")


def refuse(processes: int, devices: str | None = None) -> None:
    """Raise NetspecError where so many processes cannot be started to work these devices."""
    each = max(ranked(Binding(devices).names or ())[1], default=0) + 1
    check_groups(processes, each)
    problem = uneven_processes(processes // each, processes, each)
    if problem is not None:
        raise NetspecError(f"{problem[0]} ({problem[1]})")
    if launched().of > 1:
        raise NetspecError("--processes starts processes, and this is one of several already: leave it out")
    if find_spec("mpi4py") is None:
        raise NetspecError("several processes speak by MPI: pip install 'netspec[mpi]'")


def mpiexec() -> str:
    """The launcher beside the Python that runs, else on the PATH. Raises NetspecError where there is none."""
    beside = Path(sys.executable).parent
    for folder in (str(beside), None):
        found = shutil.which("mpiexec", path=folder)
        if found:
            return found
    raise NetspecError(f"there is no mpiexec beside {sys.executable} or on the PATH: pip install 'netspec[mpi]'")


def run_processes(count: int, words: Sequence[str], devices: str | None = None, engine: str = "mpi") -> int:
    """Run ``netspec run`` with these words in so many processes; the exit code.

    SIGINT, SIGTERM and SIGHUP are handed on to the launcher, and so to all. Raises NetspecError, which names the rank,
    its host and what to type, where one of them was killed or the launcher failed.
    """
    refuse(count, devices)
    with tempfile.TemporaryDirectory(prefix="netspec-") as folder:
        command = [mpiexec(), "-n", str(count), sys.executable, "-m", "netspec", "run", *words]
        watch = FirstDeath(partial(_notes, Path(folder), "rank"), count)
        with _started(command, folder) as started, _handing_on(started) as handed, on_exit(watch.close):
            kept = _said((started.stdout, sys.stdout), (started.stderr, sys.stderr))
            code = started.wait()
        _remove_shared_files(_notes(Path(folder), "rank"))
        if handed and not any(_notes(Path(folder), what) for what in ("run", "fault")):  # no rank could heed it yet
            return 128 + handed[0]
        return _verdict(code, Path(folder), kept, watch.found, _options(devices, engine))


def _started(command: Sequence[str], folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, LAUNCH: folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches it once, from here
        preexec_fn=end_with_parent,
    )


@contextlib.contextmanager
def _handing_on(started: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Within it, signals that would end this process go to the launcher; they are listed."""
    handed: list[int] = []

    def hand_on(number: int, _: object) -> None:
        handed.append(number)
        started.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield handed
        return
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, hand_on) for number in heeded}
    try:
        yield handed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _said(*streams: tuple[IO[bytes] | None, IO[str]]) -> str:
    """Hand on what the processes say; what the launcher says of their end, on whichever stream, is returned."""
    kept: list[str] = []
    readers = [threading.Thread(target=_hand_on, args=(*each, kept), daemon=True) for each in streams]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return "".join(kept)[-_MOST:]


def _hand_on(stream: IO[bytes], to: IO[str], kept: list[str]) -> None:
    blank = ""  # lines, which may be the launcher's
    for line in stream:
        text = blank + line.decode("utf-8", "replace")
        blank = "" if text.strip() else text
        if _NOISE.match(text.lstrip()):
            kept.append(text)
        elif not blank:
            with contextlib.suppress(OSError, ValueError):  # whoever reads has gone; the run goes on
                to.write(text)
                to.flush()


def _remove_shared_files(ranks: Sequence[Note]) -> None:
    """What MPI has left of this machine's shared memory, whose processes have ended."""
    for file in {file for rank in ranks if rank["host"] == platform.node() for file in rank["files"]}:
        with contextlib.suppress(OSError):
            os.unlink(file)


def _verdict(code: int, folder: Path, kept: str, first: Sequence[Note], options: str) -> int:
    """The exit code; an end that no rank could tell of is raised."""
    faults = _notes(folder, "fault")
    if faults:
        return int(min(faults, key=lambda one: one["time"])["code"])
    if code in KINDS:
        return code
    raise NetspecError(f"{_cause(code, first, kept)}; {_go_on(folder, options)}")


def _cause(code: int, first: Sequence[Note], kept: str) -> str:
    if code < 0:
        return f"mpiexec was killed by {_signal(-code)}, and its processes were ended"
    if first and not any("rank" in each for each in first):
        where = f"{first[0]['host']} (process {first[0]['pid']})"
        return f"mpiexec's helper on {where} was killed, and so its processes ended"
    one = [f"rank {each['rank']} on {each['host']} (process {each['pid']})" for each in first if "rank" in each]
    where, number = " or ".join(one) or "one of the processes", _SIGNAL.search(kept)
    if number and int(number[1]) in set(signal.Signals):
        return f"{where} was killed by {_signal(int(number[1]))}, and so the others were ended"
    told = f"{where} ended with exit code {code}, and so the others were ended"
    return told if one or not kept else f"{told}:\n{kept}"


def _signal(number: int) -> str:
    return signal.Signals(number).name


def _options(devices: str | None, engine: str) -> str:
    """What the command that goes on says of devices and engine."""
    bound = f" --devices {','.join(Binding(devices).names or ())}" if devices else ""
    return bound + (f" --engine {engine}" if engine != "mpi" else "")


def _go_on(folder: Path, options: str) -> str:
    runs = _notes(folder, "run")
    if not runs:
        return "no run had begun"
    where = Path(runs[0]["folder"])
    resume = f"netspec run --resume {argument(where)} --processes {len(_notes(folder, 'rank'))}{options}"
    newest = next(iter(listed(where / CHECKPOINTS)), None)
    if newest is None:
        return f"there is no checkpoint yet: {resume} starts again"
    return f"the last checkpoint is {newest.name}: go on from it with {resume}"


def _notes(folder: Path, what: str) -> list[Note]:
    """What the ranks have told in the folder."""
    found = []
    for path in sorted(folder.glob(f"{what}-*.json")):
        with contextlib.suppress(ValueError, OSError):
            found.append(json.loads(path.read_text()))
    return found


