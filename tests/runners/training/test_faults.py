"""What goes wrong in a run ends in one message, a whole checkpoint and no process left."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_tools import started
from training_runs import final, same, spec, told, train

from netspec.device.base import Call
from netspec.device.cpu.device import CpuDevice
from netspec.errors import NetspecError
from netspec.events import CheckpointWritten, IterationDone, RunFinished
from netspec.machine import atomic_files
from netspec.rundir.directory import runs
from netspec.runners.execution.session import Session
from netspec.runners.training import checkpoint, opening
from netspec.runners.training.saver import listed
from netspec.store import Store

__all__ = ["spec"]


def _process(code: str, *args: str) -> contextlib.AbstractContextManager[subprocess.Popen]:
    """Python with that code."""
    return started("-c", code, *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _start(spec: Path, **options) -> contextlib.AbstractContextManager[subprocess.Popen]:
    """A run in a process of its own; it ends with the result's exit code."""
    code = "import sys; from netspec.api import run; sys.exit(run(sys.argv[1], **eval(sys.argv[2])).exit_code)"
    given = {"out": str(spec.parent / "runs"), "devices": "cpu:0,cpu:1", **options}
    return _process(code, str(spec), repr(given))


def _wait_for_training(spec: Path, process: subprocess.Popen) -> Path:
    """The run directory, as soon as there is an iteration in its metrics."""
    for _ in range(2400):
        for path in spec.parent.glob("runs/tiny/*/metrics.jsonl"):
            if '"iteration", ' in path.read_text():
                return path.parent
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no iteration in two minutes")


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_layer(spec):
    events: list = []
    with pytest.raises(NetspecError) as caught:
        train(spec, overrides=["train.solver.learning_rate=1.0e+30"], listener=events.append)
    said = r"iteration 2 \(epoch 1\): the loss is nan; the first numbers that are not finite come from "
    assert re.match(said + r"the forward pass of '(conv1|fc)' on (left|right); the step changed", str(caught.value))
    finished = told(events, RunFinished)[0]
    assert (finished.status, finished.message) == ("failed", str(caught.value))
    result, _ = train(spec, resume="latest", overrides=["train.solver.learning_rate=0.01"])
    assert result.status == "finished"


def test_a_full_disk_is_one_message_and_leaves_the_last_checkpoint_whole(spec, monkeypatch):
    events: list = []
    real = os.write

    def listen(event):
        events.append(event)
        if isinstance(event, CheckpointWritten):
            monkeypatch.setattr(atomic_files.os, "write", full)

    def full(handle, data):
        raise OSError(28, "No space left on device")

    with pytest.raises(NetspecError, match="the disk is full; free some space"):
        train(spec, listener=listen)
    monkeypatch.setattr(atomic_files.os, "write", real)
    assert told(events, RunFinished)[-1].status == "failed"
    result, _ = train(spec, resume="latest")
    assert same(final(result), final(train(spec, out=spec.parent / "others")[0]))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_process_with_a_checkpoint(spec, number, code, usual_interrupt):
    with _start(spec, epochs=100_000, workers=1) as process:
        folder = _wait_for_training(spec, process)
        with pytest.raises(NetspecError, match=f"process {process.pid} is training here"):
            train(None, resume=str(folder), out=spec.parent)
        process.send_signal(number)
        assert process.wait(30) == code
    summary = runs(spec.parent / "runs")[0]
    assert summary.status == "interrupted"
    assert checkpoint.read(listed(folder / "checkpoints")[0]).record.iteration == summary.iteration


_SLOW_TO_SAVE = """
import os, sys, time
from netspec.api import run
from netspec.runners.training import run as training
from netspec.runners.training.saver import checkpoint
from netspec.runners.training.signals import Interrupts

class Telling(Interrupts):
    def _note(self, number, frame):
        os.write(1, b"noted\\n")
        super()._note(number, frame)

training.Interrupts = Telling
checkpoint.write = lambda *_: time.sleep(60)
run(sys.argv[1], out=sys.argv[2], devices="cpu", epochs=99999)
"""


def test_a_second_interrupt_stops_at_once(spec, usual_interrupt):
    with _process(_SLOW_TO_SAVE, str(spec), str(spec.parent / "runs")) as process:
        _wait_for_training(spec, process)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "noted\n"  # two signals that wait to be handled are one
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert "KeyboardInterrupt" in process.stderr.read()


def test_what_does_not_fit_is_told_before_it_is_allocated(spec, monkeypatch):
    monkeypatch.setattr("netspec.runners.execution.memory_check.host_memory", lambda: 100_000)
    message = r"the plan takes .* KiB of memory on this machine \(.* for 'left', .* for 'right'\), which has 97.7 KiB; "
    with pytest.raises(NetspecError, match=message + "lower train.batch"):
        train(spec)
    assert not (spec.parent / "runs").exists()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_killed_run_leaves_no_process(spec):
    with _start(spec, epochs=100_000, workers=2) as process:
        _wait_for_training(spec, process)
        workers = _children(process.pid)
        assert len(workers) == 4  # two for each of training and validation images
        process.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_a_killed_worker_is_one_message_and_a_checkpoint(spec):
    with _start(spec, epochs=100_000, workers=1) as process:
        folder = _wait_for_training(spec, process)
        for pid in _children(process.pid):
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert "died, killed by SIGKILL" in errors.splitlines()[-1]
    summary = runs(spec.parent / "runs")[0]
    assert summary.status == "failed"
    assert checkpoint.read(listed(folder / "checkpoints")[0]).record.iteration == summary.iteration


class GoneError(Exception):
    """What numba.cuda raises, by its look."""


class Dying(CpuDevice):
    """A stand-in for a GPU that disappears: from some call on it answers nothing but an error, whatever it is asked."""

    read_beside = False
    alive = True

    def bind(self, passes: Sequence[Any], arrays: Mapping[str, Any], queue: Any = "compute") -> Call:
        call = super().bind(passes, arrays, queue)

        def on_the_card() -> None:
            self.ask()
            call()

        return on_the_card

    def download(self, array: Any, into: Any = None) -> Any:
        self.ask()
        return super().download(array, into)

    def synchronise(self) -> None:
        self.ask()

    def ask(self) -> None:
        if not self.alive:
            raise GoneError("[700] CUDA_ERROR_LAUNCH_FAILED")


@pytest.mark.parametrize("when", ["an iteration", "an evaluation", "a checkpoint"])
def test_a_device_that_disappears_is_one_message_and_the_last_checkpoint_is_named(spec, monkeypatch, when):
    devices = [Dying(0), Dying(1)]
    events: list = []
    saves = 0

    def opened(*args, **options):
        return Session(*args, **options, opener=lambda names: devices)

    def die() -> None:
        devices[1].alive = False

    def listen(event):
        events.append(event)
        if when == "an iteration" and isinstance(event, IterationDone) and event.iteration == 7:
            die()
        if when == "an evaluation" and isinstance(event, IterationDone) and event.iteration == 10:
            die()

    def begin_copy(store):
        nonlocal saves
        saves += 1
        if when == "a checkpoint" and saves == 2:
            die()
        return real(store)

    real = Store.begin_copy
    monkeypatch.setattr(Store, "begin_copy", begin_copy)
    monkeypatch.setattr(opening, "Session", opened)
    with pytest.raises(NetspecError) as caught:
        train(spec, listener=listen)
    monkeypatch.undo()
    said = str(caught.value)
    folder = runs(spec.parent / "runs")[0].folder
    assert "CUDA_ERROR_LAUNCH_FAILED" in said and "'right'" in said and "\n" not in said
    assert said.endswith(
        "the last whole checkpoint is iteration-00000005.safetensors: go on from it with netspec run "
        f"--resume {folder} --devices cpu:0,cpu:1"
    )
    assert told(events, RunFinished)[-1].message == said
    assert not list(folder.rglob("*.unfinished"))
    result, _ = train(None, resume=str(folder), out=spec.parent / "runs")
    assert same(final(result), final(train(spec, out=spec.parent / "others")[0]))
