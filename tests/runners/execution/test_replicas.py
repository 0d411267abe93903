"""A batch in replicas: what one replica learns, to rounding; the same bits however it is run; one update."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
from chaos import chaos, teams
from compiled import cards, needs_compiler
from nets import ONE_DEVICE, TWO_TOWERS, network, same_bits, shortened
from random_nets import SIDE, write
from rank_threads import in_threads

from netspec.planning.rates import Rates
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.solvers import make_solver
from netspec.spec import loads, resolved

COUNT = int(os.environ.get("NETSPEC_NETS", "12")) // 2
BATCH, CPUS = 8, ("cpu:0", "cpu:1")


def drawn(seed, shape=(9, 9, 3), size=BATCH, classes=5):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (size, *shape)).astype(np.uint8)
    return {"image": image, "label": random.integers(0, classes, size).astype(np.int32)}


def cut(text, replicas, *sets):
    whole = network(text, **{"train: {batch: 6": f"replicas: {replicas}\ntrain: {{batch: {BATCH}"})
    return loads(resolved(whole), "net.yaml", sets) if sets else whole


def learned(spec, devices=CPUS, iterations=3, valid=BATCH, shape=(9, 9, 3), reports=None, **options):
    """All tensors after some iterations."""
    rates = Rates(0.05, make_solver(spec.train.solver).numbers)
    with Session(spec, devices, phases=("train",), **options) as session:
        for number in range(iterations):
            outcome = session.train(drawn(number, shape), number, valid, rates)
            assert outcome.finite and not outcome.overflowed
            if reports is not None:
                reports.append(outcome.reports)
        return session.store.tensors()


def near(found, wanted, bound=2e-6):
    for name, value in wanted.items():
        scale = max(np.abs(value).max(), 1e-3)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound * scale, err_msg=name)


@pytest.mark.parametrize("valid", [BATCH, 7, 3])
@pytest.mark.parametrize("replicas", [2, 4, 8])
def test_replicas_learn_what_one_does(replicas, valid):
    """With dropout, whose masks are those of the batch's elements; rows that do not count may be a replica's all."""
    whole, parts = [], []
    wanted = learned(cut(TWO_TOWERS, 1), valid=valid, reports=whole)
    found = learned(cut(TWO_TOWERS, replicas), valid=valid, reports=parts)
    near(found, wanted)
    for one, other in zip(whole, parts, strict=True):
        assert other["loss"]["count"] == one["loss"]["count"] == valid
        assert other["loss"]["top1"] == one["loss"]["top1"]
        assert other["loss"]["loss"] == pytest.approx(one["loss"]["loss"], rel=1e-5)


def test_the_gradient_is_the_tree_over_the_replicas_own():
    """((g0 + g1) + (g2 + g3)) of four batches of their own, to the bit."""
    plain = ("train.solver={momentum: 0, weight_decay: 0, learning_rate: 1}",)
    rates, arrays = Rates(1.0, (0.0, 0.0)), drawn(0)
    text = TWO_TOWERS.replace("keep: 0.5", "keep: 1.0")
    parts = []
    for replica in range(4):
        spec = loads(resolved(cut(text, 1, *plain)), "net.yaml", ["train.batch=2"])
        with Session(spec, CPUS, phases=("train",)) as session:
            rows = {name: array[2 * replica : 2 * replica + 2] for name, array in arrays.items()}
            session.train(rows, 0, 2, rates)
            found = session.store.tensors()
        parts.append({name: -value for name, value in found.items() if name.endswith(".momentum")})
    with Session(cut(text, 4, *plain), CPUS, phases=("train",)) as session:
        session.train(arrays, 0, BATCH, rates)
        found = session.store.tensors()
    assert len(parts[0]) == 10
    for name in parts[0]:
        a, b, c, d = (part[name] * np.float32(0.25) for part in parts)
        np.testing.assert_array_equal(-found[name], (a + b) + (c + d), err_msg=name)


SETTINGS = ("train.clip_norm=0.5", "train.ema={decay: 0.9}", "train.solver=adamw")


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_comes_after_sees_the_whole_batch_once(setting):
    near(learned(cut(TWO_TOWERS, 4, setting)), learned(cut(TWO_TOWERS, 1, setting)), 2e-5)


def test_running_statistics_are_the_mean_over_replicas():
    text = TWO_TOWERS.replace("  - {name: relu1,", "  - {name: bn1, type: batch_norm}\n      - {name: relu1,")
    arrays, means = drawn(0), []
    with Session(cut(text, 4), CPUS, phases=("train",)) as session:
        session.train(arrays, 0, BATCH, Rates(0.0, (0.9, 0.0)))
        found = session.store.tensors()
    for replica in range(4):
        spec = loads(resolved(cut(text, 1)), "net.yaml", ["train.batch=2"])
        with Session(spec, CPUS, phases=("train",)) as session:
            rows = {name: array[2 * replica : 2 * replica + 2] for name, array in arrays.items()}
            session.train(rows, 0, 2, Rates(0.0, (0.9, 0.0)))
            means.append(session.store.tensors())
    for name in ("bn1.mean", "bn1.variance"):
        a, b, c, d = (one[name] * np.float32(0.25) for one in means)
        np.testing.assert_array_equal(found[name], (a + b) + (c + d), err_msg=name)


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_random_network_in_replicas_learns_the_same_however_it_is_run(seed):
    text = write(seed)[0]
    spec = loads(text, "random.yaml", [f"train.batch={BATCH}", "replicas=4"])
    options = {"shape": (SIDE, SIDE, 3), "iterations": 2}
    oracle = learned(spec, runner="serial", **options)
    same_bits(learned(spec, **options), oracle)
    same_bits(learned(spec, opener=chaos(seed, 0.001), **options), oracle)
    same_bits(learned(spec, opener=teams(2, 3), **options), oracle)
    same_bits(learned(spec, ["cpu:0", "cpu:0"], **options), oracle)


@pytest.mark.parametrize("runner", ["local", "serial"])
@pytest.mark.parametrize("replica", [0, 2, 3])
def test_one_bad_replica_and_the_whole_step_changes_nothing(replica, runner):
    """A label that is none in one replica's rows; the layer that gave the first bad number is found."""
    with Session(cut(TWO_TOWERS, 4), CPUS, phases=("train",), runner=runner) as session:
        session.train(drawn(0), 0, BATCH, Rates(0.05, (0.9, 0.001)))
        before, bad = session.store.tensors(), drawn(1)
        bad["label"][2 * replica] = 77
        outcome = session.train(bad, 1, BATCH, Rates(0.05, (0.9, 0.001)))
        assert not outcome.finite and not np.isfinite(outcome.reports["loss"]["loss"])
        same_bits(session.store.tensors(), before)
        assert "forward pass of 'loss' on left" in explain(session, bad, 1, BATCH)
        assert session.train(drawn(2), 2, BATCH, Rates(0.05, (0.9, 0.001))).finite
        assert any(not np.array_equal(one, before[name]) for name, one in session.store.tensors().items())


def shared_out(spec, processes, seed, **options):
    """What each of so many processes holds in the end."""
    found, calls = zip(*in_threads(processes, partial(_in_process, spec, options), seed), strict=True)
    assert all(each == calls[0] for each in calls) and calls[0]
    return found


def _in_process(spec, options, transport):
    rates = Rates(0.05, make_solver(spec.train.solver).numbers)
    with Session(spec, CPUS, phases=("train",), transport=transport, **options) as session:
        for number in range(2):
            size = BATCH // transport.size
            rows = slice(transport.rank * size, (transport.rank + 1) * size)
            arrays = {name: array[rows] for name, array in drawn(number, (SIDE, SIDE, 3)).items()}
            assert session.train(arrays, number, size, rates).finite
        return session.store.tensors(), transport.calls


@pytest.mark.parametrize("runner", ["local", "serial"])
@pytest.mark.parametrize("seed", range(COUNT))
def test_processes_that_share_the_replicas_change_no_bit(seed, runner):
    """On random networks: dropout, shared parameters, state."""
    spec = loads(write(seed)[0], "random.yaml", [f"train.batch={BATCH}", "replicas=4", "train.clip_norm=1"])
    oracle = learned(spec, runner="serial", shape=(SIDE, SIDE, 3), iterations=2)
    for processes in (2, 4):
        for found in shared_out(spec, processes, seed, runner=runner):
            same_bits(found, oracle)


@needs_compiler
def test_an_emulated_card_does_what_cpus_do():
    spec = cut(shortened(ONE_DEVICE).replace("[9, 9, 3]", "[6, 6, 3]"), 4, "train.cuda.precision=float32")
    options = {"devices": ["cpu:0"], "iterations": 2, "shape": (6, 6, 3), "runner": "serial"}
    wanted = learned(spec, **options)
    near(learned(spec, opener=cards, **options), wanted, 2e-5)
