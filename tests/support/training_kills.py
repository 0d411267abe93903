"""Trains a spec while killing the process that trains it, until a number of kills is done; prints what came of it.

    python training_kills.py OUT KILLS SEED SPEC [KEY=VALUE ...] [--plugin FILE]

One process has trained once, with all threads ended, before it forks a child for each attempt: so an attempt takes
little more than the training.
A child resumes the newest run, or starts one. After each kill the next child starts; a run that finishes is
compared, tensor by tensor, with one that was never killed. Two kills in five wait, after a random while, for an
evaluation or for a checkpoint half written, which would else be met too seldom. What the child was about when it was
killed is told from memory that both processes share and from the files it left.
"""

import argparse
import faulthandler
import mmap
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from netspec import events
from netspec.api import run
from netspec.rundir.directory import RunDirectory, run_folders
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed, newest_whole

_HANGS_S = 200
"""A child that takes longer shows where it hangs, and fails."""
PHASES = ("starting", "training", "evaluating", "ending")
_NEXT = {
    events.RunStarted: 1,
    events.IterationDone: 1,
    events.EvaluationProgress: 2,
    events.EvaluationDone: 1,
    events.RunFinished: 3,
}


class Attempts:
    """Children that train on, each in turn, writing a checkpoint after every iteration that they can."""

    def __init__(self, spec: str, options: dict) -> None:
        self.spec, self.options = spec, options
        self._phase = mmap.mmap(-1, 1)
        self.seen: Counter[str] = Counter()

    def run(self, out: Path, **more):
        """Train in this process."""
        return run(self.spec, out=out, devices="cpu:0,cpu:1", listener=self._note, **self.options, **more)

    def child(self, out: Path) -> int:
        """Start a process that trains on."""
        self._phase[0] = 0
        pid = os.fork()
        if pid == 0:
            faulthandler.dump_traceback_later(_HANGS_S, exit=True)
            try:
                started = any((folder / "start.json").is_file() for folder in run_folders(out))
                self.run(out, resume="latest" if started else None, checkpoint_every=0.0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", flush=True)
                os._exit(1)
            os._exit(0)
        return pid

    def kill(self, pid: int, out: Path) -> None:
        """Kill it, and note what it was about."""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.seen[PHASES[self._phase[0]]] += 1
        self.seen["writing a checkpoint"] += any(out.rglob("*.safetensors.unfinished"))

    def aim(self, what: str, out: Path) -> None:
        """Wait for the child to be about something that is soon over, though not for long."""
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and not self._at(what, out):
            time.sleep(0.0005)

    def _at(self, what: str, out: Path) -> bool:
        if what == "evaluating":
            return PHASES[self._phase[0]] == what
        return any(out.rglob("*.safetensors.unfinished"))

    def _note(self, event: events.Event) -> None:
        if type(event) in _NEXT:
            self._phase[0] = _NEXT[type(event)]


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


def main(attempts: Attempts, out: Path, kills: int, seed: int) -> None:
    """Kill and compare."""
    attempts.run(out / "warm", iterations=1)
    assert threading.active_count() == 1
    began = time.monotonic()
    _, status = os.waitpid(attempts.child(out / "whole"), 0)
    assert status == 0
    length, expected = time.monotonic() - began, final(out / "whole")
    rng, done, finished = random.Random(seed), 0, 0
    reached: set[int] = set()
    while done < kills:
        finished += 1
        folder = out / f"killed{finished}"
        while True:
            pid = attempts.child(folder)
            if done < kills:
                time.sleep(rng.uniform(0, length))
                if rng.random() < 0.4:
                    attempts.aim(rng.choice(["evaluating", "writing a checkpoint"]), folder)
            ended, status = os.waitpid(pid, os.WNOHANG if done < kills else 0)
            if ended:
                assert status == 0, f"after {done} kills"
                break
            attempts.kill(pid, folder)
            done += 1
            reached.add(_reached(folder))
        compare(final(folder), expected)
    where = ", ".join(f"{count} {what}" for what, count in sorted(attempts.seen.items()))
    print(f"{done} kills at {len(reached)} places ({where}), {finished} runs")
    print(f"{len(expected.tensors)} tensors the same in each: {', '.join(sorted(expected.tensors))}")


def compare(found: checkpoint.Checkpoint, expected: checkpoint.Checkpoint) -> None:
    """Every bit of every parameter, momentum and state, and where the run stands."""
    assert found.record == expected.record
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(found.tensors[name].tobytes() == expected.tensors[name].tobytes() for name in expected.tensors)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("kills", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("spec")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--plugin", action="append", default=[])
    given = parser.parse_args()
    options = {"overrides": given.overrides, "plugins": given.plugin}
    main(Attempts(given.spec, options), given.out, given.kills, given.seed)
