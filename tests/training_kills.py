"""Trains a spec while killing the process that trains it, until a number of kills is done; prints what came of it.

    python training_kills.py SPEC OUT KILLS SEED

One process has trained once, with all threads ended, before it forks a child for each attempt: so an attempt takes
little more than the training.
A child goes on with the newest run, or starts one. After each kill the next child starts; a run that finishes is
compared, tensor by tensor, with one that was never killed.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from netspec.api import run
from netspec.rundir import RunDirectory, run_folders
from netspec.runners import checkpoint
from netspec.runners.saving import listed, newest_whole


def child(spec: str, out: Path) -> int:
    """Start a process that trains on, writing a checkpoint after every iteration that it can."""
    pid = os.fork()
    if pid == 0:
        try:
            started = any((folder / "start.json").is_file() for folder in run_folders(out))
            run(spec, out=out, devices="cpu:0,cpu:1", resume="latest" if started else None, checkpoint_every=0.0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def final(out: Path) -> checkpoint.Checkpoint:
    """The last checkpoint of the newest run; nothing may be damaged, locked or left lying."""
    folder = run_folders(out)[0]
    found, damaged = newest_whole(folder / "checkpoints")
    assert found is not None
    assert not damaged
    RunDirectory(folder).close()
    assert not list(folder.rglob("*.unfinished"))
    assert len(listed(folder / "checkpoints")) <= 4
    return found


def _reached(out: Path) -> int:
    """The iteration of the newest checkpoint; -1 before the first."""
    found = [path for folder in run_folders(out) for path in listed(folder / "checkpoints")]
    return max((int(path.stem.split("-")[1]) for path in found), default=-1)


def main(spec: str, out: Path, kills: int, seed: int) -> None:
    """Kill and compare."""
    run(spec, out=out / "warm", devices="cpu:0,cpu:1", iterations=1)
    assert threading.active_count() == 1
    began = time.monotonic()
    _, status = os.waitpid(child(spec, out / "whole"), 0)
    assert status == 0
    length, expected = time.monotonic() - began, final(out / "whole")
    rng, done, finished = random.Random(seed), 0, 0
    reached: set[int] = set()
    while done < kills:
        finished += 1
        while True:
            pid = child(spec, out / f"killed{finished}")
            if done < kills:
                time.sleep(rng.uniform(0, length))
            ended, status = os.waitpid(pid, os.WNOHANG if done < kills else 0)
            if ended:
                assert status == 0, f"after {done} kills"
                break
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            done += 1
            reached.add(_reached(out / f"killed{finished}"))
        found = final(out / f"killed{finished}")
        assert found.record == expected.record
        assert found.tensors.keys() == expected.tensors.keys()
        assert all(found.tensors[name].tobytes() == expected.tensors[name].tobytes() for name in expected.tensors)
    print(f"{done} kills at {len(reached)} places, {finished} runs, {len(expected.tensors)} tensors the same in each")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
