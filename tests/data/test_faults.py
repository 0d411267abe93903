"""What happens when something breaks: images, workers, the parent."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_tools import started
from data_samples import files, folder_source, jpeg, write_folder

from netspec.data.mean import image_constants
from netspec.data.pipeline import Pipeline
from netspec.data.shuffle import permutation
from netspec.data.source import BrokenImage, Split
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec

SHAPE = (24, 24, 3)
DATA = DataSpec(resize=32)
BAD = {"a/01.jpg": b"", "a/02.jpg": jpeg(2)[:700], "b/00.jpg": b"GIF89a no more"}


@pytest.fixture
def broken(tmp_path):
    """Two classes of ten images, three of them broken: numbers 1, 2 and 10."""
    good = {f"{c}/{i:02}.jpg": jpeg(i + 100 * (c == "b")) for c in "ab" for i in range(10)}
    content = good | BAD
    both = {f"{split}/{k}": v for split in ("train", "val") for k, v in content.items()}
    return folder_source(write_folder(tmp_path, both))


@pytest.mark.parametrize("workers", [0, 2])
def test_training_shows_the_next_readable_image(broken, workers):
    order = permutation(20, 0, 0).tolist()
    following = order + order
    expected = [next(image for image in following[place:] if image not in (1, 2, 10)) for place in range(20)]
    with Pipeline(broken.train, DATA, "train", 4, SHAPE, 0, workers) as pipeline:
        shown = []
        for batch in pipeline.epoch(0):
            assert batch.valid == 4
            assert np.array_equal(batch.label, broken.train.labels[batch.indices])
            shown += batch.indices.tolist()
            batch.release()
        assert shown == expected
        assert [name for name, _ in pipeline.broken] == ["a/01.jpg", "a/02.jpg", "b/00.jpg"]
        assert pipeline.broken[0] == ("a/01.jpg", "an empty file")


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_leaves_broken_images_out(broken, workers):
    shown, valid = [], []
    with Pipeline(broken.val, DATA, "val", 8, SHAPE, 0, workers) as pipeline:
        good = Pipeline(broken.val, DATA, "val", 1, SHAPE, 0, 0)
        for batch in pipeline.epoch(0):
            shown += batch.indices[: batch.valid].tolist()
            valid.append(batch.valid)
            assert not batch.image[batch.valid :].any()
            assert (batch.indices[batch.valid :] == -1).all()
            for row in range(batch.valid):
                with_one = next(good.epoch(0, int(batch.indices[row])))
                assert np.array_equal(batch.image[row], with_one.image[0])
                with_one.release()
            batch.release()
        good.close()
        assert len(pipeline.broken) == 3
    assert valid == [6, 7, 4]
    assert shown == [image for image in range(20) if image not in (1, 2, 10)]


def test_the_mean_image_leaves_broken_images_out(broken):
    with Pipeline(broken.train, DATA, "val", 20, SHAPE, 0, 0) as pipeline:
        batch = next(pipeline.epoch(0))
        expected = batch.image[: batch.valid].mean(axis=0, dtype=np.float64)
    assert np.allclose(image_constants(broken.train, DATA, SHAPE, 0, 0)["mean"], expected, rtol=1e-6)


def test_a_process_that_reads_half_of_the_images_takes_half_as_many_broken_ones(tmp_path):
    content = {f"{part}/a/{i:02}.jpg": jpeg(i) if i % 2 else b"" for part in ("train", "val") for i in range(40)}
    source = folder_source(write_folder(tmp_path, content))
    with Pipeline(source.val, DATA, "val", 2, SHAPE, 0, 0, None, (1, 2)) as pipeline:
        with pytest.raises(NetspecError, match=r"6 of 40 images in .*, as far as one of 2 processes has seen"):
            for batch in pipeline.epoch(0):
                batch.release()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_too_many_broken_images_are_an_error(tmp_path, workers, split):
    content = {f"{part}/a/{i:02}.jpg": jpeg(i) if i % 2 else b"" for part in ("train", "val") for i in range(40)}
    source = folder_source(write_folder(tmp_path, content))
    with Pipeline(getattr(source, split), DATA, split, 4, SHAPE, 0, workers) as pipeline:
        with pytest.raises(NetspecError) as error:
            for _ in range(3):
                for batch in pipeline.epoch(0):
                    batch.release()
    said = str(error.value).replace("12 of", "11 of")
    assert f"11 of 40 images in {tmp_path}/{split} are broken, more than 5 %\n  a/" in said
    assert str(error.value).count("an empty file") == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_images_is_an_error_and_not_a_hang(tmp_path, workers):
    source = folder_source(write_folder(tmp_path, {f"train/a/{i}.jpg": b"" for i in range(8)}))
    with Pipeline(source.train, DATA, "train", 4, SHAPE, 0, workers) as pipeline:
        with pytest.raises(NetspecError, match=r"none of the 8 images in .*/train can be read\n  a/0.jpg: an empty"):
            next(pipeline.epoch(0))
    with pytest.raises(NetspecError, match="none of the 8 images"):
        image_constants(source.train, DATA, SHAPE, 0, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_validation_split_with_no_readable_image_is_an_error(tmp_path, workers):
    bad = {f"val/class{c}/{i}.jpg": b"<html>429 Too Many Requests</html>" for c in range(2) for i in range(4)}
    source = folder_source(write_folder(tmp_path, files(2, 4, "train/") | bad))
    with Pipeline(source.val, DATA, "val", 2, SHAPE, 0, workers) as pipeline:
        with pytest.raises(NetspecError, match=r"none of the 8 images in .*/val can be read\n  class0/0.jpg: not an"):
            for batch in pipeline.epoch(0):
                batch.release()


def test_64_broken_images_in_a_row_are_an_error():
    class Spoilt(Slow):
        def read(self, i: int) -> bytes:
            if i in bad:
                raise BrokenImage("spoilt")
            return jpeg(0)

    bad = set(permutation(5000, 0, 0)[2:66].tolist())
    with Pipeline(Spoilt(5000), DATA, "train", 4, SHAPE, 0, 0) as pipeline:
        with pytest.raises(NetspecError, match="images cannot be read: 64 images in a row cannot be read"):
            next(pipeline.epoch(0))


def test_images_deleted_during_the_run_are_broken_images(tmp_path):
    source = folder_source(write_folder(tmp_path, files(1, 9, "train/")))
    (tmp_path / "train/class0/004.jpg").unlink()
    with Pipeline(source.train, DATA, "train", 9, SHAPE, 0, 1) as pipeline:
        assert next(pipeline.epoch(0)).valid == 9
        assert pipeline.broken == [("class0/004.jpg", "No such file or directory")]


def workers_of(parent: int) -> list[int]:
    """The data workers of a process, also of one that has ended; their first argument names it."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if any(b"netspec.data.workers.process" in word for word in words) and str(parent).encode() in words:
                found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


linux = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes in /proc")


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_is_one_clear_error(tmp_path, number):
    source = folder_source(write_folder(tmp_path, files(2, 20, "train/")))
    with Pipeline(source.train, DATA, "train", 2, SHAPE, 0, 2) as pipeline:
        batches = pipeline.epoch(0)
        next(batches).release()
        victim = workers_of(os.getpid())[1]
        os.kill(victim, number)
        with pytest.raises(NetspecError) as error:
            for batch in batches:
                batch.release()
            for batch in pipeline.epoch(1):
                batch.release()
    expected = rf"data worker [12] of 2 (process {victim}) died, killed by {number.name}"
    assert expected.replace("[12]", "1") in str(error.value).replace("worker 2", "worker 1")
    assert workers_of(os.getpid()) == []


def test_a_worker_that_cannot_start_says_why(tmp_path, monkeypatch):
    source = folder_source(write_folder(tmp_path, files(1, 4, "train/")))
    monkeypatch.setattr("netspec.data.workers.start._START", "raise ImportError('no such thing')")
    with Pipeline(source.train, DATA, "train", 2, SHAPE, 0, 1) as pipeline:
        with pytest.raises(NetspecError, match=r"worker 1 of 1 .* exit status 1: ImportError: no such thing"):
            next(pipeline.epoch(0))


PARENT = """
import sys, threading, time
from netspec.data.pipeline import Pipeline
from netspec.data.dataset import open_dataset
from netspec.spec.types import DataSpec
source = open_dataset(DataSpec({"type": "folder", "path": sys.argv[1]}), 0)
pipeline = Pipeline(source.train, DataSpec(), "train", 2, (24, 24, 3), 0, 2)
batches = pipeline.epoch(0)
print(next(batches).valid, flush=True)
if sys.argv[2] == "exit":
    sys.exit()
time.sleep(60)
"""


@linux
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT", "exit"])
def test_nothing_is_left_when_the_parent_ends(tmp_path, how, usual_interrupt):
    write_folder(tmp_path, files(2, 20, "train/"))
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with started("-c", PARENT, tmp_path, how, **streams) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"2\n"
        if how != "exit":
            assert len(workers_of(parent.pid)) == 2
            parent.send_signal(getattr(signal, how))
        parent.wait(20)
    assert eventually(lambda: workers_of(parent.pid) == [])
    if Path("/dev/shm").is_dir():
        assert not {name for name in set(os.listdir("/dev/shm")) - before if "netspec" in name}


@linux
def test_closing_leaves_no_process_file_or_thread(tmp_path):
    source = folder_source(write_folder(tmp_path, files(2, 20, "train/")))
    gc.collect()
    threads, handles = threading.active_count(), os.listdir("/proc/self/fd")
    for workers in (0, 2):
        with Pipeline(source.train, DATA, "train", 2, SHAPE, 0, workers) as pipeline:
            next(pipeline.epoch(0)).release()
        assert workers_of(os.getpid()) == []
        assert threading.active_count() == threads
        assert len(os.listdir("/proc/self/fd")) <= len(handles)


class Slow(Split):
    """Images that take their time, like large ones or those of a distant disk."""

    def __init__(self, images: int) -> None:
        self.labels = np.zeros(images, np.int32)
        self.read_so_far = 0

    def name(self, i: int) -> str:
        return str(i)

    def read(self, i: int) -> bytes:
        time.sleep(0.02)
        self.read_so_far += 1
        return jpeg(0)


def test_closing_does_not_wait_for_the_images_that_are_due():
    split = Slow(400)
    with Pipeline(split, DATA, "train", 100, SHAPE, 0, 0) as pipeline:
        batches = pipeline.epoch(0)
        assert eventually(lambda: split.read_so_far > 0)
        began = time.monotonic()
    assert time.monotonic() - began < 4  # 400 images were due, which take eight seconds
    assert split.read_so_far < 100
    del batches


def test_an_epoch_begun_anew_drops_what_is_being_read():
    split = Slow(400)
    with Pipeline(split, DATA, "train", 4, SHAPE, 0, 0) as pipeline:
        pipeline.epoch(0)
        assert eventually(lambda: split.read_so_far > 0)
        next(pipeline.epoch(1)).release()
        assert split.read_so_far < 4 + 4 * 4  # of the first epoch next to nothing, of the second what is read ahead


SMALL = """
import sys
import numpy as np
from netspec.data.pipeline import Pipeline
from netspec.data.dataset import open_dataset
from netspec.spec.types import DataSpec
source = open_dataset(DataSpec({"type": "folder", "path": sys.argv[1]}), 0)
with Pipeline(source.train, DataSpec(), "train", 16, (224, 224, 3), 0, 2) as pipeline:
    for batch in pipeline.epoch(0):
        print(batch.image[:, ::16].any(axis=(1, 2, 3)).all())
        batch.release()
"""


@linux
def test_a_small_dev_shm_is_no_matter(tmp_path):
    """The ring of 9.6 MB where /dev/shm holds one; Docker gives 64 MB by default."""
    write_folder(tmp_path, files(2, 16, "train/"))
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a /dev/shm of its own")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*mount, sys.executable, "-c", SMALL, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


@linux
def test_a_pipeline_that_is_forgotten_cleans_up(tmp_path):
    source = folder_source(write_folder(tmp_path, files(2, 20, "train/")))
    pipeline = Pipeline(source.train, DATA, "train", 2, SHAPE, 0, 1)
    batch = next(pipeline.epoch(0))
    assert len(workers_of(os.getpid())) == 1
    del pipeline, batch
    assert eventually(lambda: workers_of(os.getpid()) == [])
