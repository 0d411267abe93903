"""Runs of several processes: the bits of one, whatever their number; and one message when one of them fails."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest
from several_processes import (
    LONGEST_S,
    MPIEXEC,
    TINY,
    alone,
    command,
    descendants,
    ended,
    folder_of,
    gone,
    losses,
    needs_mpi,
    newest,
    ranks_of,
    run,
    same_run,
    same_tensors,
    shared_files,
    spec,
    started,
)

__all__ = ["alone", "spec"]
pytestmark = [needs_mpi, pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")]
FOUR = pytest.param(4, marks=pytest.mark.slow)
LONG = ("--epochs", 2000)
NET = TINY
FAILS = """
import os
from netspec.plugin import Elementwise, register

@register("faulty")
class Faulty(Elementwise):
    attrs = {}
    def outputs(self, x):
        if os.environ.get("PMI_RANK") == "1":
            raise RuntimeError("no such luck")
        return super().outputs(x)
    def forward(x): return x
    def backward(dy): return dy
"""


@pytest.mark.parametrize("processes", [2, FOUR])
def test_the_number_of_processes_changes_no_bit(spec, alone, tmp_path, processes):
    done = run(processes, spec, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    same_run(tmp_path, alone)
    names = {path.name for path in folder_of(tmp_path).glob("log*")}
    assert names == {"log.txt", *(f"log.rank{rank}.txt" for rank in range(1, processes))}
    assert done.stdout.count("finished after 15 iterations") == 1 and f"{processes} processes on " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(4, 2, 1), (1, 4, 2)])
def test_stopped_on_some_and_gone_on_with_on_others(spec, alone, tmp_path, numbers):
    first, second, third = numbers
    assert run(first, spec, "--iterations", 4, "--out", tmp_path).returncode == 0
    for processes, iterations in ((second, 11), (third, 15)):
        done = run(processes, "--resume", folder_of(tmp_path), "--iterations", iterations)
        assert done.returncode == 0, done.stderr
    same_tensors(tmp_path, alone)


def test_started_by_mpiexec_itself(spec, tmp_path):
    words = [MPIEXEC, "-n", "2", sys.executable, "-m", "netspec", "run", spec, "--devices", "cpu", "--out", tmp_path]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished after 15 iterations") == 1 and not done.stderr
    assert len(losses(tmp_path)) == 18


def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(spec, alone, tmp_path):
    with started(2, tmp_path, spec, *LONG) as process:
        files = shared_files(ranks_of(process.pid)[0])
        os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
        _, err = ended(process)
    assert files and not [file for file in files if os.path.exists(file)]
    assert process.returncode == 1 and err.count("error:") == 1
    assert "(process " in err and "was killed by SIGKILL, and so the others were ended" in err
    assert f"netspec run --resume {folder_of(tmp_path)} --processes 2" in err
    found, wanted = losses(tmp_path), losses(alone)
    assert len(found.keys() & wanted.keys()) >= 3
    assert all(found[key] == wanted[key] for key in found.keys() & wanted.keys())
    reached = max(iteration for _, iteration in found)
    done = run(1, "--resume", folder_of(tmp_path), "--iterations", reached + 5)
    assert done.returncode == 0, done.stderr
    again = losses(tmp_path)
    assert all(again[key] == value for key, value in found.items())  # those after the last checkpoint once more


BY_SIGINT = pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), BY_SIGINT])
def test_a_signal_to_the_launcher_ends_all_in_one_iteration(spec, tmp_path, number, code):
    with started(2, tmp_path, spec, *LONG) as process:
        process.send_signal(number)
        out, err = ended(process)
    assert (process.returncode, err) == (code, "")
    last = max(iteration for kind, iteration in losses(tmp_path) if kind == "iteration")
    assert newest(tmp_path).name == f"iteration-{last:08d}.safetensors"
    assert f"interrupted at iteration {last:,}" in (folder_of(tmp_path) / "log.rank1.txt").read_text()
    assert "--processes 2" in out


def test_a_signal_before_the_run_has_begun_is_no_fault_of_a_rank(spec, tmp_path):
    with started(2, tmp_path, spec, *LONG, until=lambda process, _: len(ranks_of(process.pid)) == 2) as process:
        process.send_signal(signal.SIGTERM)
        _, err = ended(process)
    assert (process.returncode, err) == (143, "") and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_signal_to_one_rank_ends_all_with_a_checkpoint(spec, tmp_path):
    with started(4, tmp_path, spec, *LONG) as process:
        os.kill(ranks_of(process.pid)[2], signal.SIGTERM)
        _, err = ended(process)
    assert (process.returncode, err) == (143, "") and newest(tmp_path)


@pytest.mark.slow
def test_a_rank_that_is_stopped_is_named(spec, tmp_path):
    with started(4, tmp_path, spec, *LONG, NETSPEC_PATIENCE="3") as process:
        os.kill(ranks_of(process.pid)[2], signal.SIGSTOP)
        _, err = ended(process)
    assert process.returncode == 1 and err.count("error:") == 1
    assert "no answer for 3 s from rank 2 on " in err and "--processes 4" in err


TOLD = {"mpiexec": "mpiexec was killed by SIGKILL", "helper": "mpiexec's helper on ", "netspec": ""}


@pytest.mark.slow
@pytest.mark.parametrize("who", TOLD)
def test_a_launcher_that_is_killed_leaves_no_process(spec, tmp_path, who):
    with started(4, tmp_path, spec, *LONG) as process:
        children = descendants(process.pid)
        os.kill({"netspec": process.pid, "mpiexec": children[0], "helper": children[1]}[who], signal.SIGKILL)
        gone(children)
        _, err = process.communicate(timeout=LONGEST_S)
    assert err.count("error:") == bool(TOLD[who]) and TOLD[who] in err
    assert who != "helper" or "go on from it with netspec run --resume" in err  # saved, as by a signal


def test_a_rank_that_fails_alone_is_named(spec, tmp_path):
    plugin = tmp_path / "faulty.py"
    plugin.write_text(FAILS)
    net = tmp_path / "net.yaml"
    net.write_text(TINY.replace("type: relu}", "type: faulty}"))
    done = run(2, net, "--plugin", plugin, "--out", tmp_path / "out")
    assert done.returncode in (1, 70)
    assert "rank 1 on " in done.stderr
    assert done.stderr.count("no such luck") == 1 and "Abort" not in done.stdout + done.stderr


@pytest.mark.parametrize(("fault", "code"), [
    ("sys.modules['netspec.runners.training.launch'] = None", 70),
    ("os.environ['NETSPEC_PATIENCE'] = 'none'", 1),
])  # fmt: skip
def test_a_rank_that_fails_before_it_meets_the_others_ends_them(spec, tmp_path, fault, code):
    """Before it has loaded MPI, in whose start they would wait for ever; and after."""
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\nif os.environ.get('PMI_RANK') == '1':\n    {fault}\n")
    done = run(2, spec, "--out", tmp_path / "out", PYTHONPATH=str(tmp_path))
    assert done.returncode == code and done.stderr.count("\n") == 1, done.stderr
    assert "Abort" not in done.stdout + done.stderr


def test_numbers_that_are_not_finite_end_all_with_one_message(spec, tmp_path):
    done = run(2, spec, "--lr", "3e38", "--out", tmp_path)
    assert done.returncode == 1 and done.stderr.count("error:") == 1
    assert "the step changed nothing" in done.stderr
    assert "on rank " in done.stderr and "the first numbers that are not finite come from" in done.stderr


@pytest.mark.slow
def test_a_full_disk_ends_all_with_one_message(spec, tmp_path):
    """Rank 0's: a limit on the size of files stands for the disk."""
    words = command(2, spec, "--out", tmp_path)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))  # noqa: E731
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, preexec_fn=limit)
    assert done.returncode == 1 and done.stderr.count("error:") == 1


@pytest.mark.parametrize(("processes", "words", "told"), [
    (3, (), "3 processes: it must be a power of two (2)"),
    (8, (), "8 processes for 4 replicas: each works at least one"),
])  # fmt: skip
def test_numbers_that_cannot_share_the_replicas_are_refused(spec, tmp_path, processes, words, told):
    done = run(processes, spec, *words, "--out", tmp_path)
    assert done.returncode == 1 and done.stderr.count(told) == 1
    assert not folder_of(tmp_path)
