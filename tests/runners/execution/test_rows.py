"""Layers split by rows of the batch: what one device learns, to rounding, and the same bits however they are run."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from chaos import chaos, teams
from compiled import cards, needs_compiler
from nets import ONE_DEVICE, batch, network, same_bits, trick
from random_nets import SIDE, write
from rank_threads import InThreads, in_threads

from netspec.planning.rates import Rates
from netspec.runners.execution.session import Session
from netspec.solvers import make_solver
from netspec.spec import loads, resolved
from netspec.spec.types import Spec

ROWS = 12
DEVICES = ("w0 w1", "w0 w1 w2 w3")


def one(*sets: str) -> Spec:
    return _set(network(ONE_DEVICE, **{"batch: 6": f"batch: {ROWS}"}), sets)


def several(devices: str, *sets: str) -> Spec:
    return _set(trick(devices, ROWS), sets)


def _set(spec: Spec, sets: tuple[str, ...]) -> Spec:
    return loads(resolved(spec), "net.yaml", sets) if sets else spec


def session(spec: Spec, *phases: str, **options) -> Session:  # type: ignore[no-untyped-def]
    devices = [f"cpu:{number}" for number in range(len(spec.devices))]
    return Session(spec, devices, phases=phases or ("train",), **options)


def learned(spec: Spec, iterations: int = 2, rates: Rates | None = None, **options):  # type: ignore[no-untyped-def]
    """All tensors after some iterations; each device then has the same of what several hold."""
    rates = rates or Rates(0.05, make_solver(spec.train.solver).numbers, average=0.1)
    with session(spec, **options) as made:
        for number in range(iterations):
            outcome = made.train(batch(number, count=ROWS), number, ROWS, rates)
            assert outcome.finite and not outcome.overflowed
        for parts in made.store._parts.values():
            held = [made.bound("train").download(key) for key in parts if made.store.buffers[key].logical.axis is None]
            for other in held[1:]:
                np.testing.assert_array_equal(held[0], other)
        return made.store.tensors()


def near(found, wanted, bound):  # type: ignore[no-untyped-def]
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        within = bound * max(np.abs(value).max(), 1e-3)
        rows = slice(len(value) if name.endswith("scales") else None)  # which have one for each part of a layer
        np.testing.assert_allclose(found[name][rows], value, rtol=0, atol=within, err_msg=name)


@pytest.mark.parametrize("devices", DEVICES)
def test_gradients_are_those_of_one_device(devices: str) -> None:
    """Within 1e-5 of the greatest; at rate 1 momentum is the gradient."""
    alone = learned(one(), 1, Rates(1.0, (0.0, 0.0)))
    near(learned(several(devices), 1, Rates(1.0, (0.0, 0.0))), alone, 1e-5)


@pytest.mark.parametrize("devices", DEVICES)
def test_the_same_bits_however_it_is_run(devices: str) -> None:
    oracle = learned(several(devices), runner="serial")
    same_bits(learned(several(devices)), oracle)
    same_bits(learned(several(devices), opener=chaos(1, 0.001)), oracle)
    if devices == DEVICES[0]:
        same_bits(learned(several(devices), opener=teams(2, 3)), oracle)


SETTINGS = {
    "replicas": ("replicas=2",),
    "averages": ("train.ema={decay: 0.9}",),
    "clipping": ("train.clip_norm=0.5",),
    "adamw": ("train.solver={type: adamw, learning_rate: 0.01, epsilon: 0.01}",),
    "freezing": ("train.freeze=[conv1, conv2.bias]",),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_training_can_do_is_the_same_as_on_one_device(name: str) -> None:
    sets = SETTINGS[name]
    found, wanted = learned(several(DEVICES[0], *sets)), learned(one(*sets))
    near(found, wanted, 5e-6)


def test_lars_scales_what_rows_share_by_its_whole_norm() -> None:
    """Of a layer that is cut along channels each part has a scale of its own, so later iterations differ."""
    sets = ("train.solver={type: lars, learning_rate: 0.1}",)
    found, wanted = learned(several(DEVICES[0], *sets), 1), learned(one(*sets), 1)
    near(*({name: value for name, value in all.items() if "conv" in name} for all in (found, wanted)), 5e-6)


def test_a_step_that_is_not_finite_changes_nothing_on_any_device() -> None:
    with session(several(DEVICES[0])) as made:
        before = made.store.tensors()
        poisoned = {**before, "conv2.bias": np.full_like(before["conv2.bias"], np.inf)}
        made.store.load(poisoned)
        assert not made.train(batch(count=ROWS), 0, ROWS, Rates(0.1, (0.9, 0.0))).finite
        same_bits(made.store.tensors(), poisoned)


@pytest.mark.parametrize("size", [1, 3, 7, 12])
@pytest.mark.parametrize("devices", DEVICES)
def test_any_batch_is_evaluated_and_predicted(devices: str, size: int) -> None:
    """Also one that the devices do not divide, of which the last row does not count."""
    data, valid = batch(9, count=size), max(size - 1, 1)
    phases, found = ("eval", "predict"), []
    for spec in (one(), several(devices)):
        with session(spec, *phases, eval_batch=size) as made:
            done = made.evaluate(data, valid).reports["loss"]
            found.append((done, made.predict({"image": data["image"]}, valid)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=0, atol=1e-6)


def test_averages_are_evaluated_on_every_device() -> None:
    spec = several(DEVICES[0], "train.ema={decay: 0.5}")
    with session(spec, "train", "eval") as made:
        for number in range(2):
            made.train(batch(number, count=ROWS), number, ROWS, Rates(0.05, (0.9, 0.0), average=0.5))
        tensors, wanted = made.store.tensors(), made.evaluate(batch(5, count=ROWS), ROWS).reports
    with session(one("train.ema={decay: 0.5}"), "train", "eval") as alone:
        alone.store.load(tensors)
        assert alone.evaluate(batch(5, count=ROWS), ROWS).reports["loss"] == pytest.approx(wanted["loss"], rel=1e-6)


@needs_compiler
def test_the_same_steps_run_on_gpus() -> None:
    spec = several(DEVICES[0], "train.precision=float32")
    wanted = learned(spec, 1, runner="serial")
    near(learned(spec, 1, runner="serial", opener=cards), wanted, 2e-5)


@pytest.mark.parametrize("seed", range(2))
def test_processes_that_share_replicas_cut_each_over_their_devices(seed: int) -> None:
    """The same bits with one process, two and four, of random networks some of whose layers are split by rows."""
    text = write(seed, rows=("right", "left"))[0].replace("train: {batch: 6", "replicas: 4\ntrain: {batch: 8")
    spec = loads(text, "random.yaml")
    (alone,) = in_threads(1, partial(_in_process, spec))
    for processes in (2, 4):
        for tensors in in_threads(processes, partial(_in_process, spec), seed):
            same_bits(tensors, alone)


def _in_process(spec: Spec, transport: InThreads):  # type: ignore[no-untyped-def]
    size = 8 // transport.size
    rows = slice(transport.rank * size, (transport.rank + 1) * size)
    arrays = {name: array[rows] for name, array in batch(3, (SIDE, SIDE, 3), 8).items()}
    with session(spec, transport=transport) as made:
        assert made.train(arrays, 0, size, Rates(0.05, (0.9, 0.001))).finite
        return made.store.tensors()
