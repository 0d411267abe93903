"""A disk that fills up: at any write of a run, and a real one; a folder that cannot be written.

Each ends in one message, with whole files, and the run goes on to the same bits when there is room again.
NETSPEC_WRITES=1 tries every write; by default each seventh.
"""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from training_runs import SPEC, final, same, train

from netspec.errors import NetspecError
from netspec.events import IterationDone
from netspec.machine import atomic_files
from netspec.rundir.directory import run_folders, runs
from netspec.runners.training.saver import newest_whole

EVERY = int(os.environ.get("NETSPEC_WRITES", "7"))


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """The tiny network on a folder of pictures of which one is broken, so that runs have a list of such."""
    for split, count in (("train", 8), ("val", 2)):
        for number, name in enumerate(("red", "green", "blue")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                colour = tuple(200 - 5 * i if channel == number else 7 * i for channel in range(3))
                Image.new("RGB", (8, 8), colour).save(folder / f"{i}.png")
    (tmp_path / "data" / "train" / "red" / "0.png").write_bytes(b"")
    text, _, _ = SPEC.partition("data:")
    file = tmp_path / "tiny.yaml"
    source = f"{{type: folder, path: {tmp_path / 'data'}}}"
    file.write_text(text.replace("epochs: 3", "epochs: 2") + f"data: {{source: {source}, scale: 0.01, workers: 0}}\n")
    return file


class Disk:
    """Counts writes; from number ``full`` on none is taken, and of that one only half."""

    def __init__(self, full: int | None = None) -> None:
        self.full, self.count, self.real = full, 0, os.write

    def write(self, handle: int, data: bytes) -> int:
        """As os.write."""
        self.count += 1
        if self.full is None or self.count < self.full:
            return self.real(handle, data)
        if self.count == self.full and len(data) > 1:
            return self.real(handle, data[: len(data) // 2])
        raise OSError(28, "No space left on device")


def test_a_disk_full_at_any_write_is_one_message_and_loses_nothing(spec, monkeypatch):
    disk = Disk()
    with monkeypatch.context() as patch:
        patch.setattr(atomic_files.os, "write", disk.write)
        expected = final(train(spec, out=spec.parent / "whole")[0])
    assert (run_folders(spec.parent / "whole")[0] / "broken-images.txt").is_file()
    assert disk.count > 50
    for number in range(1, disk.count + 1, EVERY):
        out = spec.parent / f"full{number}"
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files.os, "write", Disk(number).write)
            with pytest.raises(NetspecError, match=r"cannot write .*: the disk is full; free some space") as caught:
                train(spec, out=out)
        assert "\n" not in str(caught.value)
        same_after_all(spec, out, expected)


def same_after_all(spec: Path, out: Path, expected: dict) -> None:
    """Nothing half-written lies about, and the run goes on, or starts where it had not begun, to the same bits."""
    assert not list(out.rglob("*.unfinished"))
    begun = [folder for folder in run_folders(out) if (folder / "start.json").is_file()]
    for folder in begun:
        assert not newest_whole(folder / "checkpoints")[1]
    assert same(final(train(spec, out=out, resume="latest" if begun else None)[0]), expected)
    assert runs(out)[0].status == "finished"


@contextlib.contextmanager
def mounted(folder: Path, options: str):
    """A small file system in memory; skips where one may not be mounted."""
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if done.returncode:
        pytest.skip(f"may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("pages", [4, 7, 10, 12, 14])
def test_a_disk_of_a_few_pages(spec, pages):
    """Of 4 KiB each: the run does not begin, ends at a checkpoint, or in its metrics."""
    expected, small = final(train(spec, out=spec.parent / "whole")[0]), spec.parent / "small"
    with mounted(small, f"size={4 * pages}k"):
        with pytest.raises(NetspecError, match="the disk is full"):
            train(spec, out=small / "runs")
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        same_after_all(spec, small / "runs", expected)


def test_a_file_system_that_is_read_only(spec):
    with mounted(spec.parent / "fixed", "ro"):
        said = r"cannot write .*fixed/runs/tiny: the file system is read-only; choose another folder with --out"
        with pytest.raises(NetspecError, match=said):
            train(spec, out=spec.parent / "fixed" / "runs")


@pytest.mark.parametrize("what", ["a file", "a link to nowhere", "nothing"])
def test_a_checkpoint_folder_that_is_none_any_more(spec, what):
    """The message is of the write that failed, not of the clean-up after it, which fails too."""

    def listen(event):
        if isinstance(event, IterationDone) and event.iteration == 5:
            folder = run_folders(spec.parent / "runs")[0] / "checkpoints"
            folder.rename(folder.with_name("aside"))
            if what == "a file":
                folder.write_text("")
            elif what == "a link to nowhere":
                folder.symlink_to("nowhere")

    why = "Not a directory" if what == "a file" else "No such file or directory"
    with pytest.raises(NetspecError, match=rf"cannot write .*checkpoints/iteration-\d+\.safetensors: {why}; [^\n]*$"):
        train(spec, listener=listen)
    (folder,) = run_folders(spec.parent / "runs")
    if what != "nothing":
        (folder / "checkpoints").unlink()
    (folder / "aside").rename(folder / "checkpoints")
    expected = final(train(spec, out=spec.parent / "whole")[0])
    assert same(final(train(spec, resume="latest")[0]), expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(spec):
    (spec.parent / "closed").mkdir(mode=0o500)
    with pytest.raises(NetspecError, match=r"cannot write .*: permission denied; choose another folder with --out"):
        train(spec, out=spec.parent / "closed" / "runs")
