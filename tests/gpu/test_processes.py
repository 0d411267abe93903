"""Runs of two processes on one card: the bits of one process, over MPI and over NCCL.

The first thing to do on a machine with cards: ``pytest -m gpu -k processes``.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from several_processes import folder_of, losses, needs_mpi, run, same_run

from netspec.device.gpus import gpus, obstacle

pytestmark = [
    needs_mpi,
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU is found"),
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]
needs_nccl = pytest.mark.skipif(find_spec("nccl") is None, reason="NCCL is not installed: netspec[nccl13]")
BOTH = ["mpi", pytest.param("nccl", marks=needs_nccl)]
NET = """
netspec: 1
name: mini
devices: [left, right]
replicas: 2
inputs:
  image: {shape: [4, 4, 3]}
  label: {dtype: int32}
layers:
  - {name: fc1, type: dense, device: [left, right], inputs: image, units: 8, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: drop1, type: dropout, keep: 0.8}
  - {name: fc2, type: dense, device: left, units: 3, inputs: {from: drop1, connect: all}, init: {type: xavier}}
  - {name: loss, type: softmax_loss, inputs: [fc2, label]}
train: {batch: 8, epochs: 1, seed: 5, sgd: {learning_rate: 0.05}, clip_norm: 2.0, cuda: {precision: float32}}
data: {source: {type: generated, classes: 3, images: 32, val_images: 5}, scale: 0.01, mirror: true, workers: 0}
"""
ONE_CARD = "cuda:0,cuda:0"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    file = tmp_path_factory.mktemp("spec") / "mini.yaml"
    file.write_text(NET)
    return file


@pytest.fixture(scope="module")
def alone(spec):
    """What one process learns on one card."""
    done = run(1, spec, "--devices", ONE_CARD, "--out", spec.parent / "alone")
    assert done.returncode == 0, done.stderr
    return spec.parent / "alone"


@pytest.mark.parametrize("devices", [ONE_CARD, "0/cuda:0,1/cuda:0"])
@pytest.mark.parametrize("engine", BOTH)
def test_two_processes_on_one_card_change_no_bit(spec, alone, tmp_path, engine, devices):
    """They share the replicas, or the devices of one. NCCL has two ranks on one card only where it is told to."""
    words = ("--devices", devices, "--engine", engine, "--out", tmp_path)
    done = run(2, spec, *words, NCCL_MULTI_RANK_GPU_ENABLE="1")
    assert done.returncode == 0, done.stderr
    same_run(tmp_path, alone)


def test_each_of_the_processes_of_a_machine_takes_a_card(spec, alone, tmp_path):
    """By their numbers, in turn where there are fewer cards."""
    done = run(2, spec, "--devices", "cuda", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == losses(alone)
    logs = [(folder_of(tmp_path) / name).read_text() for name in ("log.txt", "log.rank1.txt")]
    cards = [f"cuda:{rank % len(gpus())}" for rank in range(2)]
    assert all(f"left is {card}, right is {card}" in log for card, log in zip(cards, logs, strict=True))
