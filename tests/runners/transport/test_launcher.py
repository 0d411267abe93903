"""Starting processes: what is refused before anything starts, and what is told of how they ended."""

from __future__ import annotations

import os

import pytest
from cli_tools import netspec, python

from netspec.errors import NetspecError
from netspec.machine import ranks
from netspec.runners.transport import launcher, opened
from netspec.runners.transport.alone import ALONE

BANNER = """
===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 4711 RUNNING AT node7
=   EXIT CODE: {code}
=   CLEANING UP REMAINING PROCESSES
=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES
===================================================================================
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A launcher that says a text on stdout and ends with a code."""

    def make(text, code):
        monkeypatch.setattr(launcher, "refuse", lambda *processes: None)
        file = tmp_path / "mpiexec"
        (tmp_path / "text").write_text(text)
        said = f"echo of the run; echo; echo and more\necho in short >&2\ncat {tmp_path}/text"
        file.write_text(f"#!/bin/sh\n{said}\nexit {code}\n")
        file.chmod(0o755)
        monkeypatch.setattr(launcher, "mpiexec", lambda: str(file))

    return make


def test_the_launcher_s_own_words_are_kept_back(fake, capfd):
    fake(BANNER.format(code=9), 9)
    with pytest.raises(NetspecError, match=r"^one of the processes was killed by SIGKILL, .*; no run had begun$"):
        launcher.run_processes(2, ["quickstart"])
    said = capfd.readouterr()
    assert said.out == "of the run\n\nand more\n" and said.err == "in short\n"


def test_an_end_that_nobody_explains_shows_what_the_launcher_said(fake):
    fake(BANNER.format(code=77), 77)
    with pytest.raises(NetspecError, match="one of the processes ended with exit code 77") as caught:
        launcher.run_processes(2, ["quickstart"])
    assert "BAD TERMINATION" in str(caught.value)


@pytest.mark.parametrize("code", [0, 143])
def test_codes_that_a_run_ends_with_are_handed_on(fake, code):
    fake("", code)
    assert launcher.run_processes(2, ["quickstart"]) == code


@pytest.mark.parametrize("option", [["--processes", "2"], ["--processes=2"]])
def test_processes_get_the_same_words_but_for_their_number(option, monkeypatch):
    given = []
    monkeypatch.setattr(launcher, "run_processes", lambda count, words, *_: given.append((count, words)) or 0)
    assert netspec("run", "--epochs", "2", *option, "quickstart").code == 0
    assert given == [(2, ["--epochs", "2", "quickstart"])]


def test_what_cannot_be_started_is_refused(monkeypatch):
    with pytest.raises(NetspecError, match=r"6 processes: it must be a power of two \(4\)"):
        launcher.refuse(6)
    with pytest.raises(NetspecError, match="the devices lie in 2 processes, and there are 3 processes"):
        launcher.refuse(3, "0/cpu:0,1/cpu:0")
    with pytest.raises(NetspecError, match=r"3 groups of 2 processes: it must be a power of two \(4\)"):
        launcher.refuse(6, "0/cpu:0,1/cpu:0")
    launcher.refuse(4, "0/cpu:0, 1/cpu:0")
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(NetspecError, match="this is one of several already"):
        launcher.refuse(2)
    monkeypatch.delenv("PMI_SIZE")
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    with pytest.raises(NetspecError, match=r"pip install 'netspec\[mpi\]'"):
        launcher.refuse(2)


@pytest.mark.parametrize("command", ["estimate", "lr-find", "sweep"])
def test_what_is_for_one_process_refuses_several(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    said = netspec(command, "quickstart")
    assert said.code == 1 and "is for one process, and this is one of 2: start it without mpiexec or srun" in said.err
    assert not any(tmp_path.iterdir())


def test_without_a_launcher_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(launcher.shutil, "which", lambda name, path=None: None)
    with pytest.raises(NetspecError, match=r"there is no mpiexec beside .*pip install 'netspec\[mpi\]'"):
        launcher.mpiexec()


@pytest.mark.parametrize(("variables", "found"), [
    ({}, (0, 1)),
    ({"PMI_RANK": "3", "PMI_SIZE": "4"}, (3, 4)),
    ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
    ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "8"}, (1, 8)),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),
])  # fmt: skip
def test_who_was_started_together_is_told_by_the_environment(monkeypatch, variables, found):
    for name in [name for pair in ranks._VARIABLES for name in pair]:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.launched() == found


def test_alone_nothing_of_mpi_is_imported():
    code = (
        "import sys; from netspec.api import run; from netspec.runners.transport.opened import transport_of\n"
        "with transport_of() as transport: assert transport.size == 1\n"
        "assert 'mpi4py' not in sys.modules"
    )
    assert python("-c", code).code == 0
    with opened.transport_of() as transport:
        assert transport is ALONE


def test_without_mpi4py_a_process_of_several_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(opened, "find_spec", lambda name: None)
    told = r"one of 2 processes .* pip install 'netspec\[mpi\]'"
    with pytest.raises(NetspecError, match=told), opened.transport_of():
        raise AssertionError


@pytest.mark.parametrize("text", ["soon", "-1", "0", "inf", "nan"])
def test_patience_is_a_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv(opened.PATIENCE, text)
    with pytest.raises(NetspecError, match=f"NETSPEC_PATIENCE must be a number of seconds above 0, got '{text}'"):
        opened._patience()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
@pytest.mark.parametrize(("cores", "shares"), [(8, (4, 4)), (8, (2, 2, 2, 2)), (3, (1, 2)), (2, (1, 1, 1, 1))])
def test_processes_of_a_machine_share_its_cores(monkeypatch, cores, shares):
    given = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, found: given.append(list(found)))
    for place in range(len(shares)):
        ranks.share_cores(place, len(shares))
    assert tuple(map(len, given)) == shares
    assert sorted(core for each in given for core in each)[:: max(1, len(shares) // cores)] == list(range(cores))
