"""Small networks that several tests use, and how to run them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from netspec.runners.execution.session import Outcome, Rates, Session
from netspec.spec import loads
from netspec.spec.types import Spec

BATCH = 6
RATES = Rates(0.05, (0.9, 0.001))

TWO_TOWERS = """
    netspec: 1
    name: towers
    devices: [left, right]
    inputs:
      image: {shape: [9, 9, 3]}
      label: {dtype: int32}
    defaults:
      conv: {init: {type: gaussian, std: 0.1}, bias_init: 0.1}
      dense: {init: {type: gaussian, std: 0.1}}
    layers:
      - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 8, size: 3, stride: 2, rounding: ceil}
      - {name: relu1, type: relu}
      - {name: norm1, type: lrn, size: 3, alpha: 0.5, beta: 0.75, k: 2.0}
      - {name: pool1, type: pool, mode: max, size: 3, stride: 1}
      - {name: conv2, type: conv, filters: 8, size: 3, pad: 1}
      - {name: relu2, type: relu}
      - {name: conv3, type: conv, filters: 12, size: 3, pad: 1, inputs: {from: relu2, connect: all}}
      - {name: relu3, type: relu}
      - {name: fc4, type: dense, units: 16, inputs: {from: relu3, connect: all}}
      - {name: relu4, type: relu}
      - {name: drop4, type: dropout, keep: 0.5}
      - {name: fc5, type: dense, device: left, units: 5, inputs: {from: drop4, connect: all}}
      - {name: loss, type: softmax_loss, inputs: [fc5, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""

ONE_DEVICE = """
    netspec: 1
    name: one
    devices: [main]
    inputs:
      image: {shape: [9, 9, 3]}
      label: {dtype: int32}
    defaults:
      conv: {init: {type: gaussian, std: 0.1}, bias_init: 0.1}
      dense: {init: {type: gaussian, std: 0.1}}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 8, size: 3, stride: 2, rounding: ceil}
      - {name: relu1, type: relu}
      - {name: norm1, type: lrn, size: 3, alpha: 0.5, beta: 0.75, k: 2.0, groups: 2}
      - {name: pool1, type: pool, mode: max, size: 3, stride: 1}
      - {name: conv2, type: conv, filters: 8, size: 3, pad: 1, groups: 2}
      - {name: relu2, type: relu}
      - {name: conv3, type: conv, filters: 12, size: 3, pad: 1}
      - {name: relu3, type: relu}
      - {name: fc4, type: dense, units: 16}
      - {name: relu4, type: relu}
      - {name: drop4, type: dropout, keep: 0.5}
      - {name: fc5, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [fc5, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""

SHARD_BY_SHARD = """
    netspec: 1
    name: shards
    devices: [left, right]
    inputs:
      image: {shape: [9, 9, 3]}
      label: {dtype: int32}
    defaults:
      conv: {init: {type: gaussian, std: 0.1}, bias_init: 0.1}
      dense: {init: {type: gaussian, std: 0.1}}
    layers:
      - {name: conv1a, type: conv, device: left, inputs: image, filters: 4, size: 3, stride: 2, rounding: ceil}
      - {name: conv1b, type: conv, device: right, inputs: image, filters: 4, size: 3, stride: 2, rounding: ceil}
      - {name: relu1a, type: relu, inputs: conv1a}
      - {name: relu1b, type: relu, inputs: conv1b}
      - {name: norm1a, type: lrn, size: 3, alpha: 0.5, beta: 0.75, k: 2.0, inputs: relu1a}
      - {name: norm1b, type: lrn, size: 3, alpha: 0.5, beta: 0.75, k: 2.0, inputs: relu1b}
      - {name: pool1a, type: pool, mode: max, size: 3, stride: 1, inputs: norm1a}
      - {name: pool1b, type: pool, mode: max, size: 3, stride: 1, inputs: norm1b}
      - {name: conv2a, type: conv, filters: 4, size: 3, pad: 1, inputs: pool1a}
      - {name: conv2b, type: conv, filters: 4, size: 3, pad: 1, inputs: pool1b}
      - {name: relu2a, type: relu, inputs: conv2a}
      - {name: relu2b, type: relu, inputs: conv2b}
      - {name: conv3a, type: conv, device: left, filters: 6, size: 3, pad: 1,
         inputs: [{from: relu2a, connect: all}, {from: relu2b, connect: all}]}
      - {name: conv3b, type: conv, device: right, filters: 6, size: 3, pad: 1,
         inputs: [{from: relu2a, connect: all}, {from: relu2b, connect: all}]}
      - {name: relu3a, type: relu, inputs: conv3a}
      - {name: relu3b, type: relu, inputs: conv3b}
      - {name: fc4a, type: dense, device: left, units: 8,
         inputs: [{from: relu3a, connect: all}, {from: relu3b, connect: all}]}
      - {name: fc4b, type: dense, device: right, units: 8,
         inputs: [{from: relu3a, connect: all}, {from: relu3b, connect: all}]}
      - {name: relu4a, type: relu, inputs: fc4a}
      - {name: relu4b, type: relu, inputs: fc4b}
      - {name: drop4a, type: dropout, keep: 0.5, inputs: relu4a}
      - {name: drop4b, type: dropout, keep: 0.5, inputs: relu4b}
      - {name: fc5, type: dense, device: left, units: 5,
         inputs: [{from: drop4a, connect: all}, {from: drop4b, connect: all}]}
      - {name: loss, type: softmax_loss, inputs: [fc5, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""

CHANNELS = {"conv1": 8, "relu1": 8, "norm1": 8, "pool1": 8, "conv2": 8, "relu2": 8, "conv3": 12, "relu3": 12,
            "fc4": 16, "relu4": 16, "drop4": 16}  # fmt: skip
NAMES = {
    f"{name}{half}": (name, index * count // 2, count)
    for name, count in CHANNELS.items()
    for index, half in enumerate("ab")
}
"""The name map from SHARD_BY_SHARD to TWO_TOWERS."""


def shortened(text: str) -> str:
    """ONE_DEVICE or TWO_TOWERS from conv1 straight to fc4, with all that crosses there: an emulator takes its time."""
    middle = ("norm1", "pool1", "conv2", "relu2", "conv3", "relu3")
    kept = [line for line in text.splitlines() if not any(f"name: {name}," in line for name in middle)]
    return "\n".join(kept).replace("from: relu3", "from: relu1")


def network(text: str, **changes: str) -> Spec:
    """The spec of an indented text, with words replaced."""
    text = textwrap.dedent(text)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return loads(text, "net.yaml")


def trick(devices: str = "w0 w1", batch: int = 12, **changes: str) -> Spec:
    """ONE_DEVICE with rows of the batch on each device as far as relu3, and units of fc4 (Krizhevsky 2014)."""
    names = devices.split()
    listed, first = f"[{', '.join(names)}]", "name: conv1, type: conv,"
    read = "inputs: {from: drop4, connect: all}"
    placed = {
        "devices: [main]": f"devices: {listed}",
        first: f"{first} device: {listed}, split: batch,",
        "name: fc4, type: dense,": "name: fc4, type: dense, inputs: {from: relu3, connect: all},",
        "name: fc5, type: dense,": f"name: fc5, type: dense, device: {names[0]}, {read},",
        "batch: 6": f"batch: {batch}",
    }
    return network(ONE_DEVICE, **{**placed, **changes})


def named(keys: Iterable[Any], name: str) -> Any:
    """The buffer or the step of that text."""
    return next(key for key in keys if str(key) == name)


def batch(seed: int = 0, shape: Sequence[int] = (9, 9, 3), count: int = BATCH, classes: int = 5) -> dict[str, Any]:
    """Random images and labels."""
    random = np.random.default_rng(seed)
    return {
        "image": random.integers(0, 256, (count, *shape), dtype=np.uint8),
        "label": random.integers(0, classes, count).astype(np.int32),
    }


def train(session: Session, iterations: int = 3, **options: Any) -> list[Outcome]:
    """A few iterations, each on a batch of its own."""
    return [session.train(batch(i, **options), i, BATCH, RATES) for i in range(iterations)]


def trained(spec: Spec, devices: Sequence[str] = ("cpu:0", "cpu:1"), iterations: int = 3, **options: Any) -> Mapping:
    """All logical tensors after a few iterations."""
    with Session(spec, devices, phases=("train",), **options) as session:
        train(session, iterations)
        return session.store.tensors()


def same_bits(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Assert that two sets of tensors agree to the last bit."""
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    assert not different
