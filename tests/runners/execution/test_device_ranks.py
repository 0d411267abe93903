"""Devices of one replica in several processes: the bits of one process, on random nets and bindings."""

from __future__ import annotations

import os
import random
from functools import partial

import numpy as np
import pytest
from nets import same_bits
from random_nets import SIDE, write
from rank_threads import in_threads
from towers import FOUR_DEVICES, bindings

from netspec.errors import NetspecError
from netspec.planning.rates import Rates
from netspec.runners.execution.gathering import gathered
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.solvers import make_solver
from netspec.spec import loads

COUNT = int(os.environ.get("NETSPEC_NETS", "12")) // 2
MORE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(COUNT, 4 * COUNT)]
BATCH = 8


def drawn(number):
    chance = np.random.default_rng(number)
    image = chance.integers(0, 256, (BATCH, SIDE, SIDE, 3)).astype(np.uint8)
    return {"image": image, "label": chance.integers(0, 5, BATCH).astype(np.int32)}


def ranked(ranks):
    return [f"{rank}/cpu:{ranks[:place].count(rank)}" for place, rank in enumerate(ranks)]


def worked(spec, devices, runner, transport=None):
    """What two iterations and an evaluation report, tensors or their parts, the whole ones, and messages."""
    rates, reports = Rates(0.05, make_solver(spec.train.solver).numbers), []
    more = {"transport": transport} if transport else {}
    with Session(spec, devices, runner=runner, **more) as session:
        crew, size = session.crew, BATCH // session.crew.groups
        rows = slice(crew.group * size, (crew.group + 1) * size)
        for number in range(2):
            outcome = session.train({name: array[rows] for name, array in drawn(number).items()}, number, size, rates)
            assert outcome.finite and not outcome.overflowed
            reports.append(outcome.reports)
        whole = BATCH // spec.replicas
        arrays = {name: array[:whole] for name, array in drawn(9).items()}
        reports.append(session.evaluate(arrays, whole - 1).reports)
        parts = session.store.parts()
        tensors = session.store.tensors(gathered(session))
        return reports, parts, tensors, crew.within.calls if transport else []


def check(spec, ranks, groups=1, runner="local", seed=0):
    """The same in one process and in several, and whole tensors on the first rank of each group."""
    wanted = worked(spec, [f"cpu:{place}" for place in range(len(ranks))], "serial")
    each = max(ranks) + 1
    found = in_threads(groups * each, partial(worked, spec, ranked(ranks), runner), seed)
    for reports, parts, _, _ in found:
        assert reports == wanted[0]
        same_bits(parts, {key: wanted[1][key] for key in parts})
    assert {key for one in found for key in one[1]} == wanted[1].keys()
    for group in range(groups):
        same_bits(found[group * each][2], wanted[2])
    messages = [(kind, rank, other, size) for rank in range(each) for kind, other, size in found[rank][3]]
    sent = sorted((rank, other, size) for kind, rank, other, size in messages if kind == "send")
    assert sent == sorted((other, rank, size) for kind, rank, other, size in messages if kind == "receive") and sent


def random_net(seed, *sets):
    return loads(write(seed)[0], "random.yaml", [f"train.batch={BATCH}", "train.clip_norm=1", *sets])


@pytest.mark.parametrize("seed", [*range(COUNT), *MORE])
def test_two_ranks_change_no_bit(seed):
    """Dropout, shared parameters, state, clipping."""
    ranks, runner = random.Random(seed).choice([(0, 1), (1, 0)]), ("local", "serial")[seed % 2]
    check(random_net(seed), ranks, runner=runner, seed=seed)


@pytest.mark.parametrize("seed", [*range(COUNT // 3), *MORE[: COUNT // 2]])
def test_rows_of_a_batch_in_two_ranks(seed):
    """Layers with split: batch, whose parameters one rank updates for both; averages."""
    text = write(seed, rows=("left", "right"))[0]
    sets = [f"train.batch={BATCH}", "train.clip_norm=1", "train.ema={decay: 0.9}"]
    check(loads(text, "rows.yaml", sets), (0, 1), seed=seed)


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("seed", [*range(COUNT // 3), *MORE[: COUNT // 2]])
def test_groups_of_ranks_share_replicas(seed, replicas):
    check(random_net(seed, f"replicas={replicas}"), (0, 1), groups=2, seed=seed)


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, *MORE[:COUNT]])
def test_four_devices_in_some_ranks(seed, ranks):
    check(loads(FOUR_DEVICES, "four.yaml"), bindings(random.Random(seed), 4, ranks), seed=seed)


def test_the_rank_of_the_first_bad_number_is_named():
    """Whichever rank meets it later; what is replayed changes nothing."""

    def work(transport):
        with Session(loads(FOUR_DEVICES, "four.yaml"), ranked((1, 0, 1, 0)), transport=transport) as session:
            before = session.store.parts()
            name = "side.weight"
            if session.ranks["c"] == session.crew.place:
                weight = session.store.tensor(name)
                weight[0, 0, 0, 0] = 3e38
                session.store.load({name: weight}, strict=False)
                before = session.store.parts()
            outcome = session.train(drawn(0), 0, BATCH, Rates(0.05, (0.9, 0.001)))
            told = explain(session, drawn(0), 0, BATCH, Rates(0.05, (0.9, 0.001)))
            same_bits(session.store.parts(), before)
            return outcome.finite, told

    found = in_threads(2, work, seed=0)
    assert [finite for finite, _ in found] == [False, False]
    first = "on rank 1 on here the first numbers that are not finite come from the forward pass of 'side' on c"
    assert [told for _, told in found] == [first] * 2


@pytest.mark.parametrize(("names", "told"), [
    ("0/cpu:0,cpu:1", "names a rank in '0/cpu:0' and none in 'cpu:1'"),
    ("0/cpu:0,2/cpu:0", "ranks count from 0, and no device lies in rank 1"),
    ("0/cuda:0,1/cpu:0", "a network runs on CPUs or on GPUs, not on both at once"),
    ("0/gpu:0,1/cpu:0", "unknown device 'gpu:0'"),
    ("0/cpu:0,1/cpu:0", "the devices lie in 2 processes, and this is one process"),
])  # fmt: skip
def test_names_that_cannot_be_bound_are_refused(names, told):
    with pytest.raises(NetspecError, match=told):
        Session(random_net(0), [names])
