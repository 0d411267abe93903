"""Runs of several processes: started by mpiexec, watched, and disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_tools import netspec

from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    not MPIEXEC or find_spec("mpi4py") is None, reason="several processes need mpi4py and mpiexec: netspec[mpi]"
)
LONGEST_S = 200.0

TINY = """
netspec: 1
name: tiny
devices: [left, right]
replicas: 4
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 8, size: 3, pad: 1, init: {type: he}}
  - {name: bn1, type: batch_norm}
  - {name: relu1, type: relu}
  - {name: pool1, type: pool, mode: max, size: 2, stride: 2}
  - {name: drop1, type: dropout, keep: 0.8}
  - {name: fc, type: dense, device: left, units: 3, inputs: {from: drop1, connect: all}, init: {type: xavier}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 8, epochs: 3, seed: 5, sgd: {learning_rate: 0.05}, ema: {decay: 0.9}, clip_norm: 2.0}
data:
  source: {type: generated, classes: 3, images: 44, val_images: 13}
  augment: {mixup: {alpha: 0.4}}
  scale: 0.01
  mirror: true
  workers: 0
"""


def command(processes, *words):
    """The words of a run in so many processes; one is started by itself."""
    several = ["--processes", processes] if processes > 1 else []
    return [sys.executable, "-m", "netspec", "run", *map(str, ["--devices", "cpu", *words, *several])]


def run(processes, *words, **variables):
    """Run to the end."""
    environment = {**os.environ, **variables}
    return subprocess.run(
        command(processes, *words), capture_output=True, text=True, timeout=LONGEST_S, env=environment, check=False
    )


def run_here(*words):
    """Run to the end in this process, by itself."""
    said = netspec("run", "--devices", "cpu", *words)
    assert said.code == 0, said


@contextlib.contextmanager
def started(processes, out, *words, until=lambda process, out: len(losses(out)) >= 3, **variables):
    """A run under way: its first iterations are done, unless ``until`` says what else to wait for."""
    environment = {**os.environ, **variables}
    words = command(processes, *words, "--out", out)
    with subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=environment) as process:
        try:
            wait_for(lambda: until(process, out), process)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for(what, process):
    """Until it holds; not when the process has ended."""
    until = time.monotonic() + LONGEST_S
    while not what():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)


def folder_of(out):
    return next(iter(sorted(Path(out).glob("*/*"))), None)


@pytest.fixture(scope="module")
def spec(tmp_path_factory, request):
    """A file of the module's NET."""
    file = tmp_path_factory.mktemp("spec") / "tiny.yaml"
    file.write_text(request.module.NET)
    return file


@pytest.fixture(scope="module")
def alone(spec):
    """What one process learns."""
    run_here(spec, "--out", spec.parent / "alone")
    return spec.parent / "alone"


def losses(out):
    """The loss of each iteration and of each evaluation, as metrics.jsonl has them, the last time for each."""
    folder = folder_of(out)
    if folder is None or not (folder / "metrics.jsonl").exists():
        return {}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {(one["event"], one["iteration"]): (one["loss"], one["errors"]) for one in lines if "loss" in one}


def newest(out):
    return listed(folder_of(out) / "checkpoints")[0]


def same_run(out, other):
    """Parameters, solver state, running statistics, averages, the record, and each loss."""
    assert newest(out).read_bytes() == newest(other).read_bytes()
    assert losses(out) == losses(other)


def same_tensors(out, other):
    found, wanted = (checkpoint.read(newest(one)).tensors for one in (out, other))
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)


def ended(process):
    """What it said; no process of it is left."""
    children = descendants(process.pid)
    found = process.communicate(timeout=LONGEST_S)
    gone(children)
    return found


def gone(processes):
    """Until they are; a zombie is."""
    until = time.monotonic() + LONGEST_S
    while any(is_running(pid) for pid in processes):
        assert time.monotonic() < until


def ranks_of(pid):
    """The processes of a run by rank, from the process that started them."""
    found = {}
    for child in descendants(pid):
        variables = _read(child, "environ")
        rank = next((v for v in variables if v.startswith("PMI_RANK=")), None)
        if rank is not None and "netspec" in " ".join(_read(child, "cmdline")):
            found.setdefault(int(rank.partition("=")[2]), child)
    return found


def shared_files(pid):
    """What a process maps of this machine's shared memory, and has a name yet."""
    lines = Path("/proc", str(pid), "maps").read_text().splitlines()
    return [name for name in {line.split()[-1] for line in lines} if name.startswith("/dev/shm/")]


def descendants(pid):
    """All processes below one, the nearest first."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if entry.name.isdecimal():
                text = (entry / "stat").read_text()
                parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += sorted(level)
    return found


def is_running(pid):
    """Whether there is such a process, which has not ended."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _read(pid, what):
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), what).read_bytes().decode(errors="replace").split("\0")
    return []
