"""Gradients that all processes of a machine see: the bits of one process, and a bad number found by one stops all."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
from nets import same_bits
from random_nets import SIDE, write
from rank_threads import in_threads

from netspec.contract.naming import Argument
from netspec.planning.rates import Rates
from netspec.runners.execution.session import Session
from netspec.solvers import make_solver
from netspec.spec import loads

COUNT = int(os.environ.get("NETSPEC_NETS", "12")) // 2
BATCH, CPUS, MEMORY = 8, ("cpu:0", "cpu:1"), 1 << 24
FLAG = Argument("flag")


def random_net(seed, *sets):
    return loads(write(seed)[0], "random.yaml", [f"train.batch={BATCH}", "replicas=4", *sets])


def drawn(number, transport=None):
    """A batch, or a process's rows of it."""
    random = np.random.default_rng(number)
    image = random.integers(0, 256, (BATCH, SIDE, SIDE, 3)).astype(np.uint8)
    arrays = {"image": image, "label": random.integers(0, 5, BATCH).astype(np.int32)}
    size = BATCH // (transport.size if transport else 1)
    start = transport.rank * size if transport else 0
    return {name: array[start : start + size] for name, array in arrays.items()}


def learned(spec, transport=None, is_shared=True, **options):
    """All tensors after three iterations, and the transport's calls."""
    rates = Rates(0.05, make_solver(spec.train.solver).numbers)
    more = {"transport": transport} if transport else {}
    with Session(spec, CPUS, phases=("train", "eval"), **more, **options) as session:
        assert bool(session.shared) == (transport is not None and is_shared)
        for number in range(3):
            arrays = drawn(number, transport)
            assert session.train(arrays, number, len(arrays["label"]), rates).finite
        return session.store.tensors(), transport.calls if transport else []


@pytest.mark.parametrize("runner", ["local", "serial"])
@pytest.mark.parametrize("seed", range(COUNT))
def test_they_change_no_bit(seed, runner):
    """Of random networks with dropout, shared parameters and state; each of 4 processes works one replica, of 2 two."""
    spec = random_net(seed)
    wanted, _ = learned(spec, runner="serial")
    for processes in (2, 4):
        found = in_threads(processes, partial(learned, spec, runner=runner), seed, MEMORY)
        assert all(calls == found[0][1] for _, calls in found)
        for tensors, _ in found:
            same_bits(tensors, wanted)


@pytest.mark.parametrize(("sets", "memory"), [
    (["train.clip_norm=1"], MEMORY), (["train.solver=lars"], MEMORY), ([], 4096), ([], None),
])  # fmt: skip
def test_norms_are_of_whole_gradients_and_memory_may_be_short(sets, memory):
    spec = random_net(0, *sets)
    wanted, _ = learned(spec)
    for tensors, _ in in_threads(2, partial(learned, spec, is_shared=False), 0, memory):
        same_bits(tensors, wanted)


@pytest.mark.parametrize("processes", [2, 4])
def test_a_bad_number_in_one_process_changes_nothing_in_any(processes):
    spec = random_net(1)
    rates = Rates(0.05, make_solver(spec.train.solver).numbers)

    def work(transport):
        with Session(spec, CPUS, phases=("train",), transport=transport) as session:
            size = BATCH // processes
            session.train(drawn(0, transport), 0, size, rates)
            before, bad = session.store.tensors(), drawn(1, transport)
            if transport.rank == 1:
                bad["label"][-1] = 77
            assert not session.train(bad, 1, size, rates).finite
            same_bits(session.store.tensors(), before)
            assert session.train(drawn(2, transport), 2, size, rates).finite
            return session.store.tensors()

    for tensors in (found := in_threads(processes, work, 0, MEMORY)):
        same_bits(tensors, found[0])


@pytest.mark.parametrize("place", [0, -1])
def test_all_are_told_what_one_finds_in_its_part(place):
    """An infinity of rank 1 alone, in the part of the first rank or of the last."""

    def work(transport):
        with Session(random_net(0), CPUS, phases=("train",), transport=transport) as session:
            bound = session.bound("train")
            bad = max(session.shared.arrays, key=lambda key: session.shared.arrays[key].size)
            for array in session.shared.arrays.values():
                array[...] = 1
            if transport.rank == 1:
                session.shared.arrays[bad].reshape(-1)[place] = np.inf
            for one in bound.steps:
                if one.step.op in ("all_reduce", "finite"):
                    one.call()
            flags = {one.step.key.target: one.step for one in bound.steps if one.step.op == "finite"}
            return bad, {key: int(bound._array(step, FLAG)[0]) for key, step in flags.items()}

    for bad, flags in in_threads(2, work, 0, MEMORY):
        assert [key for key in flags if not flags[key] and key.role == "parameter gradient"] == [bad]
