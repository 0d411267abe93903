"""Run directories: names, the lock, files that survive a kill, the list of runs."""

import errno
import json
import subprocess
import sys
from datetime import datetime
from unittest.mock import ANY

import pytest

from netspec.errors import NetspecError
from netspec.events import CheckpointWritten, EvaluationDone, IterationDone, Note, RunFinished, RunStarted
from netspec.machine import atomic_files as storage
from netspec.rundir import lock
from netspec.rundir.directory import RunDirectory, read_history, run_folders, runs
from netspec.rundir.lock import is_locked
from netspec.rundir.metrics import FILE, Metrics, as_line, read_metrics
from netspec.runners.training.journal import Journal

NOW = datetime(2026, 1, 31, 12, 0, 5)
STARTED = RunStarted("net", "f", 3, 5, 15, 0, 4)


def iteration(number: int, loss: float = 1.5) -> IterationDone:
    return IterationDone(1 + (number - 1) // 5, number, loss, {"top1": 0.5}, 0.01, 100.0, 0.1, 0.04)


def test_two_runs_in_one_second_have_directories_of_their_own(tmp_path):
    first, second = RunDirectory.create(tmp_path, "net", NOW), RunDirectory.create(tmp_path, "net", NOW)
    with first, second:
        assert first.path == tmp_path / "net" / "2026-01-31_12-00-05"
        assert second.path == tmp_path / "net" / "2026-01-31_12-00-05_2"
        assert first.checkpoints.is_dir()


def test_a_directory_is_held_by_one_run_only(tmp_path):
    with RunDirectory.create(tmp_path, "net", NOW) as held:
        assert is_locked(held.path)
        with pytest.raises(NetspecError, match=r"process \d+ is training here"):
            RunDirectory(held.path)
        code = (
            "import sys; from pathlib import Path; from netspec.rundir.directory import *; "
            "from netspec.rundir.lock import *\n"
            "path = Path(sys.argv[1])\n"
            "try: RunDirectory(path)\nexcept Exception as error: print(is_locked(path), error)"
        )
        done = subprocess.run([sys.executable, "-c", code, held.path], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"True {held.path}: process ")
        assert is_locked(held.path)
    assert not is_locked(held.path)
    RunDirectory(held.path).close()


def test_asking_takes_no_lock(tmp_path, monkeypatch):
    """A run that starts while ``netspec runs`` looks must not be refused, even where the folder cannot be written."""
    with RunDirectory.create(tmp_path, "net", NOW) as folder:
        pass
    (folder.path / "lock").chmod(0o444)

    def refuse(*args):
        raise AssertionError("the lock was taken")

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "lockf", refuse)
        assert not is_locked(folder.path)
        (folder.path / "lock").unlink()
        assert not is_locked(folder.path)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def none(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", none)
    with pytest.raises(NetspecError, match=r"cannot write .*lock: No locks available"):
        RunDirectory.create(tmp_path, "net", NOW)


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    with RunDirectory.create(tmp_path, "net", NOW) as folder:
        (folder.checkpoints / "x.safetensors.unfinished").write_text("half")
        (folder.path / "log.txt").write_text("whole line\nhalf a li")
    with RunDirectory(folder.path) as again:
        again.log("two\nlines")
        assert list(folder.checkpoints.iterdir()) == []
        lines = (folder.path / "log.txt").read_text().splitlines()
        assert lines[0] == "whole line"
        assert [line[21:] for line in lines[1:]] == ["two", "lines"]


def test_events_become_lines(tmp_path):
    heard = []
    journal = Journal(heard.append)
    journal.note("before there was a folder")
    journal.note(None)
    with RunDirectory.create(tmp_path, "net", NOW) as folder:
        journal.keep_in(folder)
        for event in (STARTED, iteration(1, float("nan")), EvaluationDone(1, 5, "val", 1.0, {"top1": 0.5}, 10, 0.1)):
            journal(event)
        journal(CheckpointWritten("a/b", 5, 1000, 0.3, True))
        journal(RunFinished("finished", "f", 15, 3, 1.0))
        journal.close()
        lines = [json.loads(line) for line in (folder.path / FILE).read_text().splitlines()]
        names = ["note", "start", "iteration", "evaluation", "checkpoint", "finish"]
        assert [line["event"] for line in lines] == names
        assert lines[2]["loss"] is None
        assert lines[3]["errors"] == {"top1": 0.5}
        assert len(heard) == 6
        log = (folder.path / "log.txt").read_text()
        assert "checkpoint b: 1000 B, training stood still for 0.3 s, the best so far" in log


def test_every_event_with_a_line_is_documented():
    import netspec.rundir.metrics

    for event in (STARTED, iteration(1), Note("x"), RunFinished("failed", "f", 1, 1, 1.0)):
        line = json.loads(as_line(event))
        rows = [row for row in netspec.rundir.metrics.__doc__.splitlines() if row.startswith(f"| {line['event']} ")]
        assert all(key in " ".join(rows) for key in line if key not in ("event", "time"))


def test_lines_that_a_resumption_made_void_are_left_out(tmp_path):
    events = [STARTED, *map(iteration, range(1, 8)), RunStarted("net", "f", 3, 5, 15, 5, 4), *map(iteration, (6, 7, 8))]
    text = "".join(as_line(event) + "\n" for event in events)
    (tmp_path / FILE).write_text(text + '{"event": "iter')
    assert list(read_metrics(tmp_path).iterations.iteration) == list(range(1, 9))
    assert read_metrics(tmp_path / "none") == Metrics(iterations=ANY)


def test_the_list_of_runs(tmp_path):
    for name, now, events in [
        ("net", NOW, [STARTED, iteration(1)]),
        ("other", NOW.replace(minute=1), [STARTED, iteration(1), RunFinished("finished", "f", 15, 3, 1.0)]),
    ]:
        with RunDirectory.create(tmp_path, name, now) as folder:
            folder.write_specs("given", "resolved")
            folder.record("start", command=["x"])
            journal = Journal(None)
            journal.keep_in(folder)
            for event in events:
                journal(event)
            journal.close()
            assert runs(tmp_path)[0].status == "running"
    newest, oldest = runs(tmp_path)
    assert (newest.name, newest.status, newest.iteration, newest.epoch) == ("other", "finished", 15, 3)
    assert (oldest.name, oldest.status, oldest.iteration, oldest.total_iterations) == ("net", "killed", 1, 15)
    assert newest.nbytes > 100
    assert [entry["what"] for entry in read_history(newest.folder)] == ["start"]
    assert run_folders(tmp_path, "net") == [oldest.folder]
    assert runs(tmp_path / "none") == []


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    with RunDirectory.create(tmp_path, "net", NOW) as folder:
        journal = Journal(None)
        journal.keep_in(folder)

        def full(handle, data):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(storage.os, "write", full)
            with pytest.raises(NetspecError, match=r"metrics.jsonl: the disk is full"):
                journal(STARTED)
            journal.last_words(RunFinished("failed", "f", 1, 1, 1.0))
            for write in (lambda: folder.log("x"), lambda: folder.record("x"), lambda: folder.write_classes(["x"])):
                with pytest.raises(NetspecError, match="the disk is full"):
                    write()
        journal.close()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NetspecError, match=r"cannot write .*: Not a directory"):
        RunDirectory.create(tmp_path / "file", "net")
