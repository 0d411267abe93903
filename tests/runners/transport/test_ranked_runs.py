"""Runs whose devices lie in several processes: the bits of one, whoever reads, and one message when one fails."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from several_processes import (
    TINY,
    alone,
    ended,
    folder_of,
    losses,
    needs_mpi,
    newest,
    ranks_of,
    run,
    run_here,
    same_run,
    same_tensors,
    spec,
    started,
)

__all__ = ["alone", "spec"]
pytestmark = [needs_mpi, pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")]
LONG = ("--epochs", 2000)
NET = TINY.replace("replicas: 4\n", "")
"""Two towers, both of which read images; the left one reads the labels."""
HELPED = """
netspec: 1
name: helped
devices: [first, helper]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, device: first, inputs: image, filters: 8, size: 3, pad: 1, init: {type: he}}
  - {name: fc1, type: dense, device: helper, units: 6, inputs: {from: conv1, connect: all}, init: {type: xavier}}
  - {name: fc2, type: dense, device: first, units: 3, inputs: {from: fc1, connect: all}, init: {type: xavier}}
  - {name: loss, type: softmax_loss, inputs: [fc2, label]}
train: {batch: 8, epochs: 2, seed: 5, sgd: {learning_rate: 0.05}}
data: {source: {type: generated, classes: 3, images: 44, val_images: 13}, scale: 0.01, workers: 0}
"""
"""The helper reads nothing."""
APART = "0/cpu:0,1/cpu:0"


def learns_alike(text, processes, devices, tmp_path, *words):
    """One process and several write the same checkpoint and metrics; gives what the several said."""
    file = tmp_path / "net.yaml"
    file.write_text(text)
    run_here(file, *words, "--out", tmp_path / "alone")
    done = run(processes, file, *words, "--devices", devices, "--out", tmp_path / "several")
    assert done.returncode == 0, done.stderr
    same_run(tmp_path / "several", tmp_path / "alone")
    return done


def test_two_processes_change_no_bit(spec, alone, tmp_path):
    done = run(2, spec, "--devices", APART, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    same_run(tmp_path, alone)
    assert "left is 0/cpu:0, right is 1/cpu:0: 2 processes work each replica" in done.stdout
    assert f"--processes 2 --devices {APART}" in done.stdout and "--devices cpu:0,cpu:0" in done.stdout
    assert {path.name for path in folder_of(tmp_path).glob("log*")} == {"log.txt", "log.rank1.txt"}
    assert "13 images, centre crop" in (folder_of(tmp_path) / "log.rank1.txt").read_text()


def test_a_rank_may_read_nothing(tmp_path):
    """Rank 0 even: images and labels are read by the other one, where the loss is too."""
    learns_alike(HELPED, 2, "1/cpu:0,0/cpu:0", tmp_path)


@pytest.mark.slow
def test_groups_of_processes_share_replicas(tmp_path):
    learns_alike(TINY, 4, APART, tmp_path)


@pytest.mark.slow
def test_quickstart_learns_alike(tmp_path):
    folder = str(tmp_path)
    for processes, devices in ((1, "cpu:0,cpu:1"), (2, APART)):
        done = run(processes, "quickstart", "--iterations", 30, "--devices", devices, "--out", f"{folder}/{processes}")
        assert done.returncode == 0, done.stderr
    same_run(tmp_path / "2", tmp_path / "1")


@pytest.mark.parametrize("order", [(2, 1), (1, 2)])
def test_stopped_on_some_and_gone_on_with_on_others(spec, alone, tmp_path, order):
    """In the middle of an epoch."""
    bound = {1: ("--devices", "cpu:0,cpu:1"), 2: ("--devices", APART)}
    done = run(order[0], spec, "--iterations", 7, *bound[order[0]], "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(order[1], "--resume", folder_of(tmp_path), "--iterations", 15, *bound[order[1]])
    assert done.returncode == 0, done.stderr
    same_tensors(tmp_path, alone)
    assert losses(tmp_path).items() >= losses(alone).items()


def test_a_new_run_starts_from_another(spec, alone, tmp_path):
    """Rank 0 alone reads the checkpoint."""
    words = (spec, "--init-from", alone, "--iterations", 3)
    run_here(*words, "--out", tmp_path / "alone")
    done = run(2, *words, "--devices", APART, "--out", tmp_path / "several")
    assert done.returncode == 0, done.stderr
    same_run(tmp_path / "several", tmp_path / "alone")


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(spec, alone, tmp_path, rank):
    with started(2, tmp_path, spec, *LONG, "--devices", APART) as process:
        os.kill(ranks_of(process.pid)[rank], signal.SIGKILL)
        _, err = ended(process)
    assert process.returncode == 1 and err.count("error:") == 1
    assert "was killed by SIGKILL, and so the others were ended" in err
    assert f"netspec run --resume {folder_of(tmp_path)} --processes 2 --devices {APART}" in err
    reached = max(iteration for _, iteration in losses(tmp_path))
    done = run(1, "--resume", folder_of(tmp_path), "--iterations", reached + 5)
    assert done.returncode == 0, done.stderr
    again, wanted = losses(tmp_path), losses(alone)
    assert all(again[key] == wanted[key] for key in again.keys() & wanted.keys())


def test_a_signal_to_one_rank_ends_all_with_a_checkpoint(spec, tmp_path):
    with started(2, tmp_path, spec, *LONG, "--devices", APART) as process:
        os.kill(ranks_of(process.pid)[1], signal.SIGTERM)
        _, err = ended(process)
    assert (process.returncode, err) == (143, "")
    last = max(iteration for kind, iteration in losses(tmp_path) if kind == "iteration")
    assert newest(tmp_path).name == f"iteration-{last:08d}.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_rank_that_is_stopped_is_named(tmp_path, rank):
    """Three of them, which wait for one another."""
    spec = tmp_path / "net.yaml"
    towers = NET.replace("[left, right]", "[left, middle, right]").replace("filters: 8", "filters: 9")
    spec.write_text(towers)
    devices = ("--devices", "0/cpu:0,1/cpu:0,2/cpu:0")
    with started(3, tmp_path / "out", spec, *LONG, *devices, NETSPEC_PATIENCE="3") as process:
        os.kill(ranks_of(process.pid)[rank], signal.SIGSTOP)
        _, err = ended(process)
    assert process.returncode == 1 and err.count("error:") == 1
    assert f"no answer for 3 s from rank {rank} on " in err and "--processes 3" in err
    assert all(f"rank {other} on" not in err.split("no answer")[1] for other in {0, 1, 2} - {rank})


def test_numbers_that_are_not_finite_end_all_with_one_message(spec, tmp_path):
    done = run(2, spec, "--lr", "3e38", "--devices", APART, "--out", tmp_path)
    assert done.returncode == 1 and done.stderr.count("error:") == 1
    assert "the step changed nothing" in done.stderr or "infinite or NaN" in done.stderr


@pytest.mark.parametrize(("processes", "devices", "told"), [
    (1, APART, "the devices lie in 2 processes, and this is one process"),
    (3, APART, "the devices lie in 2 processes, and there are 3 processes"),
    (4, APART, "2 groups of 2 processes for one replica: each works at least one"),
    (2, "0/cpu:0,2/cpu:0", "ranks count from 0"),
    (2, "0/cpu:0,1/cpu", "unknown device 'cpu'"),
])  # fmt: skip
def test_what_cannot_be_shared_out_is_refused(spec, tmp_path, processes, devices, told):
    done = run(processes, spec, "--devices", devices, "--out", tmp_path)
    assert done.returncode == 1 and done.stderr.count(told) == 1, done.stderr
    assert not folder_of(tmp_path)
