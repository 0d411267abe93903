"""A tiny network on two devices, and what tests of whole runs do with it."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from netspec.api import run
from netspec.events import IterationDone
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed

SPEC = """
netspec: 1
name: tiny
devices: [left, right]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 8, size: 3, pad: 1, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: pool1, type: pool, mode: max, size: 2, stride: 2}
  - {name: drop1, type: dropout, keep: 0.8}
  - {name: fc, type: dense, device: left, units: 3, inputs: {from: drop1, connect: all}, init: {type: xavier}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 8, epochs: 3, seed: 5, sgd: {learning_rate: 0.05}}
data: {source: {type: generated, classes: 3, images: 44, val_images: 13}, scale: 0.01, mirror: true, workers: 0}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(SPEC)
    return file


def train(spec: Path | None, **options):
    """The result and the events of a run beside the spec."""
    events: list = []
    out = options.pop("out", spec.parent / "runs" if spec else "absent")
    options.setdefault("devices", "cpu:0,cpu:1")
    return run(spec, out=out, listener=options.pop("listener", events.append), **options), events


def final(result) -> dict[str, np.ndarray]:
    return checkpoint.read(result.checkpoint or listed(result.folder / "checkpoints")[0]).tensors


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def told(events, kind):
    return [event for event in events if isinstance(event, kind)]


def stopping_after(iteration: int):
    """A listener that sends this process SIGTERM once the iteration is done."""

    def listen(event):
        if isinstance(event, IterationDone) and event.iteration == iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    return listen


_trained: list = []


@pytest.fixture
def whole(spec, tmp_path_factory):
    """A run beside the spec: a copy of the one that this process has trained."""
    if not _trained:
        file = tmp_path_factory.mktemp("whole") / spec.name
        file.write_text(SPEC)
        _trained.append(train(file)[0])
    (run,) = _trained
    folder = spec.parent / run.folder.relative_to(run.folder.parents[2])
    shutil.copytree(run.folder, folder)
    return replace(run, folder=folder, checkpoint=folder / "checkpoints" / run.checkpoint.name)
