"""Workers that are started ahead of what they are to read: a pool takes them, or they end."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from netspec.data.dataset import open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.data.workers import start


@pytest.fixture(autouse=True)
def none_left():
    yield
    start.dismiss()


def read():
    """Numbers of the processes that read an epoch of drawn pictures, and the pictures."""
    data = DataSpec({"type": "generated", "classes": 3, "images": 12, "val_images": 0, "size": 8})
    pipeline = Pipeline(open_dataset(data, 1).train, data, "val", 6, (8, 8, 3), 1, 1)
    images = []
    for batch in pipeline.epoch(0):
        images.append(batch.image.copy())
        batch.release()
    processes = {worker.pid for worker in pipeline._workers._workers.values()}
    pipeline.close()
    return processes, np.concatenate(images)


def ahead():
    return [one.process for one in start._ahead]


def test_a_pool_takes_one_and_reads_the_same():
    _, expected = read()
    start.start_ahead(2)
    first, second = ahead()
    processes, images = read()
    assert processes == {first.pid} and ahead() == [second]
    assert (images == expected).all()
    assert read()[0] == {second.pid} and not ahead()


def test_what_no_pool_takes_is_ended():
    start.start_ahead(2)
    first, second = ahead()
    start.dismiss()
    assert first.returncode == second.returncode == -signal.SIGKILL and not ahead()


def test_one_of_another_environment_and_one_that_died_are_not_taken(monkeypatch):
    start.start_ahead(2)
    dead, other = ahead()
    dead.kill()
    dead.wait()
    monkeypatch.setenv("OTHER", "another")
    processes, _ = read()
    assert not processes & {dead.pid, other.pid} and other.returncode is not None and not ahead()


def test_one_whose_parent_is_killed_ends():
    script = """
import os, signal
from netspec.data.workers import start
start.start_ahead(1)
print(start._ahead[0].process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout)
    until = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_more_processes_is_no_fault_ahead(monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(11, os.strerror(11))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    start.start_ahead(2)
    assert not ahead()


def test_starting_ahead_imports_little():
    script = "import sys, netspec.data.workers.start; print({'numpy', 'PIL', 'multiprocessing'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"
