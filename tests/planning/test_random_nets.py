"""Random small networks of every layer: serial, overlapped, any team, two devices or one, all learn the same.

NETSPEC_NETS sets how many are tried (12 by default).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from chaos import chaos, teams
from nets import BATCH, RATES, batch, same_bits
from random_nets import SHARING, SIDE, write

from netspec.registry import layer_types
from netspec.runners.execution.session import Session
from netspec.spec import loads

COUNT = int(os.environ.get("NETSPEC_NETS", "12"))


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_random_network_learns_the_same_however_it_is_run(seed: int) -> None:
    two, one = (loads(text, "random.yaml") for text in write(seed))
    oracle = learned(two, runner="serial")
    same_bits(learned(two), oracle)
    same_bits(learned(two, opener=chaos(seed, 0.001)), oracle)
    same_bits(learned(two, opener=teams(2, 3)), oracle)
    alone = learned(one, devices=["cpu:0"])
    for name, value in oracle.items():
        np.testing.assert_allclose(alone[name], value, rtol=0, atol=5e-6, err_msg=name)


@pytest.mark.parametrize("devices", [("left", "right"), ("right", "left", "more", "most")])
@pytest.mark.parametrize("seed", range(COUNT // 2))
def test_layers_split_by_rows_learn_the_same(seed: int, devices: tuple[str, ...]) -> None:
    several, one = (loads(text, "random.yaml") for text in write(seed + 1000, rows=devices))
    assert any(layer.split == "batch" for layer in several.layers)
    bound = [f"cpu:{number}" for number in range(len(devices))]
    oracle = learned(several, bound, 12, runner="serial")
    same_bits(learned(several, bound, 12), oracle)
    same_bits(learned(several, bound, 12, opener=chaos(seed, 0.001)), oracle)
    alone = learned(one, ["cpu:0"], 12)
    assert alone.keys() == oracle.keys()
    for name, value in oracle.items():
        np.testing.assert_allclose(alone[name], value, rtol=0, atol=5e-6, err_msg=name)


def learned(spec, devices=("cpu:0", "cpu:1"), count=BATCH, **options):  # type: ignore[no-untyped-def]
    """All tensors after two iterations."""
    with Session(spec, devices, phases=("train",), batch=count, **options) as session:
        for iteration in range(2):
            data = batch(iteration, (SIDE, SIDE, 3), count)
            assert session.train(data, iteration, count, RATES).finite
        return session.store.tensors()


def test_the_networks_are_various() -> None:
    text = "".join(write(seed)[0] for seed in range(300))
    built_in = [name for name, cls in layer_types().items() if cls.__module__.startswith("netspec.layers")]
    # the other ways to end a network, as these have labels, and windows over volumes, as these have images
    for other in ("mse", "l1", "huber", "hinge", "sigmoid_loss", "conv3d", "pool3d"):
        built_in.remove(other)
    for kind in (*built_in, "centred"):
        assert f"type: {kind}," in text, kind
    for what in ("connect: all", "mode: average", *(f"share: {kind}" for kind in SHARING)):
        assert what in text, what

