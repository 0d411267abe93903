"""Networks whose devices lie in several ranks: one over four devices with all kinds of crossings, and random ones."""

from __future__ import annotations

import random

from random_nets import write

from netspec.spec import loads

FOUR_DEVICES = """
netspec: 1
name: four
devices: [a, b, c, d]
inputs:
  image: {shape: [5, 5, 3]}
  label: {dtype: int32}
defaults:
  conv: {init: {type: gaussian, std: 0.2}, bias_init: 0.1}
  dense: {init: {type: gaussian, std: 0.1}}
layers:
  - {name: conv1, type: conv, device: [a, b, c, d], inputs: image, filters: 8, size: 3, pad: 1}
  - {name: norm1, type: batch_norm, momentum: 0.4}
  - {name: drop1, type: dropout, keep: 0.7}
  - {name: conv2, type: conv, filters: 8, size: 3, pad: 1, inputs: {from: drop1, connect: all}}
  - {name: relu2, type: relu}
  - {name: conv3, type: conv, filters: 8, size: 3, pad: 1, inputs: {from: relu2, connect: all}, share: conv2}
  - {name: sum3, type: sum, inputs: [relu2, conv3]}
  - {name: fc4, type: dense, device: [d, b], units: 6, inputs: {from: sum3, connect: all}}
  - {name: relu4, type: relu}
  - {name: side, type: dense, device: c, units: 5, inputs: {from: conv1, connect: all}}
  - {name: fc5, type: dense, device: a, units: 5, inputs: {from: relu4, connect: all}}
  - {name: both, type: sum, device: a, inputs: [{from: side, connect: all}, fc5]}
  - {name: loss, type: softmax_loss, inputs: [both, label]}
train: {batch: 8, seed: 5, clip_norm: 1}
data: {mean: none, scale: 0.01}
"""


def bindings(chance, devices, ranks):
    """A rank for each of so many devices, all of which are used."""
    while True:
        found = [chance.randrange(ranks) for _ in range(devices)]
        if set(found) == set(range(ranks)):
            return tuple(found)


def drawn(seed, *sets):
    """A random network, and the ranks of its devices."""
    chance = random.Random(f"ranks {seed}")
    if seed % 3 == 1:
        text = write(seed, rows=("left", "right"))[0]
        return loads(text, "rows.yaml", ["train.clip_norm=1", "train.batch=8", *sets]), bindings(chance, 2, 2)
    if seed % 3 == 2:
        ranks = chance.choice([2, 3, 4])
        return loads(FOUR_DEVICES, "four.yaml", sets), bindings(chance, 4, ranks)
    return loads(write(seed)[0], "random.yaml", ["train.clip_norm=1", "train.batch=8", *sets]), bindings(chance, 2, 2)
