"""Limits of the process and of the machine: each is named, and none is taken for a fault of an image."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from data_samples import files, folder_source, write_folder

from netspec.data.pipeline import Pipeline
from netspec.data.source import Split
from netspec.data.workers.shared_ring import Field, Ring
from netspec.errors import NetspecError
from netspec.machine.limits import cause
from netspec.spec.types import DataSpec

SHAPE = (24, 24, 3)


@pytest.mark.parametrize("side", [2**20, 2**31, 2**62])
def test_a_batch_beyond_the_machine_s_memory_is_refused_before_any_of_it_is_taken(side: int) -> None:
    with pytest.raises(NetspecError, match="no shared memory for the batches"):
        Ring(4, {"image": Field((4, side, side, 3), "float32")})


@pytest.fixture
def train(tmp_path) -> Split:
    return folder_source(write_folder(tmp_path, files(1, 8, "train/"))).train


def said(train: Split, workers: int) -> str:
    """What is said where the first batch cannot be had."""
    with pytest.raises(NetspecError) as error:
        with Pipeline(train, DataSpec(), "train", 4, SHAPE, 0, workers) as pipeline:
            next(pipeline.epoch(0)).release()
    return str(error.value)


def refusing(number: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(("number", "named"), [(errno.EAGAIN, "ulimit -u"), (errno.ENOMEM, "ulimit -v")])
def test_processes_that_cannot_be_started(train, monkeypatch, number, named):
    handles = os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []
    monkeypatch.setattr(subprocess, "Popen", refusing(number))
    message = said(train, 2)
    assert message.startswith("no data worker can be started: ")
    assert named in message
    assert message.endswith("--set data.workers=0 needs none")
    if handles:
        assert len(os.listdir("/proc/self/fd")) == len(handles)


def test_a_thread_that_cannot_be_started(train, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    message = said(train, 0)
    assert "no data worker can be started: no more processes or threads may be started" in message
    assert "workers=0" not in message


@pytest.mark.parametrize(
    ("number", "named"),
    [(errno.ENOSPC, "no space is left; a smaller"), (errno.EFBIG, "ulimit -f"), (errno.ENOMEM, "ulimit -v")],
)
def test_memory_of_the_batches_that_cannot_be_had(train, monkeypatch, number, named):
    monkeypatch.setattr(os, "posix_fallocate", refusing(number))
    message = said(train, 0)
    assert message.startswith("no shared memory for the batches (")
    assert named in message


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "x"), OSError(errno.ENFILE, "x"), MemoryError()])
def test_what_is_no_fault_of_an_image_ends_the_run(train, monkeypatch, error):
    def read(self: Split, i: int) -> bytes:
        raise error

    monkeypatch.setattr(type(train), "read", read)
    message = said(train, 0)
    assert message.startswith("images cannot be read: class0/")
    assert cause(error) in message


def test_an_error_of_the_storage_is_a_broken_image(train, monkeypatch):
    read = type(train).read

    def flaky(self: Split, i: int) -> bytes:
        if i == 3:
            raise OSError(errno.EIO, "Input/output error")
        return read(self, i)

    monkeypatch.setattr(type(train), "read", flaky)
    with Pipeline(train, DataSpec(), "val", 4, SHAPE, 0, 0) as pipeline:
        for batch in pipeline.epoch(0):
            batch.release()
        assert pipeline.broken == [("class0/003.jpg", "Input/output error")]


LIMITED = """
import os, resource, sys
from netspec.data.dataset import open_dataset
from netspec.data.pipeline import Pipeline
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec
train = open_dataset(DataSpec({"type": "folder", "path": sys.argv[1]}), 0).train
limit, value, workers = getattr(resource, sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if limit == resource.RLIMIT_NOFILE:
    value += len(os.listdir("/proc/self/fd"))
if limit == resource.RLIMIT_AS:
    value += int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
if limit == resource.RLIMIT_NPROC and os.geteuid() == 0:
    os.setuid(65534)  # the limit is not for root
resource.setrlimit(limit, (value, value))
try:
    with Pipeline(train, DataSpec(), "train", 4, (24, 24, 3), 0, workers) as pipeline:
        next(pipeline.epoch(0)).release()
    print("no limit was reached")
except NetspecError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
@pytest.mark.parametrize(
    ("limit", "value", "workers", "named"),
    [
        ("RLIMIT_NOFILE", -1, 0, "ulimit -n"),
        *(("RLIMIT_NOFILE", more, 2, "ulimit -n") for more in range(7)),
        *(("RLIMIT_NPROC", 1, workers, "ulimit -u") for workers in (0, 2)),
        ("RLIMIT_FSIZE", 4096, 0, "ulimit -f"),
        ("RLIMIT_AS", 0, 0, "ulimit -v"),
        ("RLIMIT_AS", 0, 1, "ulimit -v"),
    ],
)
def test_real_limits_are_named(tmp_path, limit, value, workers, named):
    write_folder(tmp_path, files(1, 4, "train/"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LIMITED, str(tmp_path), limit, str(value), str(workers)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert named in done.stdout, (done.stdout, done.stderr)
    assert done.stderr == ""
