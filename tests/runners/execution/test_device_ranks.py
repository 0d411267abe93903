"""Devices of one replica in several processes: the bits of one process, and one order of messages, on random nets."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from nets import same_bits
from random_nets import SIDE, write
from rank_threads import InThreads, Meeting

from netspec.planning.rates import Rates
from netspec.runners.execution.session import Session
from netspec.solvers import make_solver
from netspec.spec import loads

COUNT = int(os.environ.get("NETSPEC_NETS", "12")) // 2
BATCH = 8
IN_ONE, APART = ("cpu:0", "cpu:1"), ("0/cpu:0", "1/cpu:0")


def drawn(number):
    chance = np.random.default_rng(number)
    image = chance.integers(0, 256, (BATCH, SIDE, SIDE, 3)).astype(np.uint8)
    return {"image": image, "label": chance.integers(0, 5, BATCH).astype(np.int32)}


def together(spec, devices, processes, seed=0, **options):
    """What each of so many processes found; threads stand for them, each of which is late at times."""
    meeting, chance = Meeting(processes), random.Random(seed)
    transports = [InThreads(meeting, rank, chance) for rank in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(partial(worked, spec, devices, options), transports))


def worked(spec, devices, options, transport=None):
    """Losses, parts of tensors and messages of two iterations and an evaluation."""
    rates, found = Rates(0.05, make_solver(spec.train.solver).numbers), []
    more = {"transport": transport} if transport else {}
    with Session(spec, devices, **more, **options) as session:
        size = BATCH // session.crew.groups
        rows = slice(session.crew.group * size, (session.crew.group + 1) * size)
        for number in range(2):
            arrays = {name: array[rows] for name, array in drawn(number).items()}
            outcome = session.train(arrays, number, size, rates)
            assert outcome.finite and not outcome.overflowed
            found.append(outcome.reports)
        whole = BATCH // spec.replicas
        found.append(session.evaluate({name: array[:whole] for name, array in drawn(9).items()}, whole - 1).reports)
        calls = session.crew.within.calls if transport else []
        return found, session.store.parts(), calls, session.store.tensors(session.store.parts())


def same(found, wanted, parts=None):
    """Reports, and the whole tensors that the ranks' parts make."""
    reports, _, _, tensors = wanted
    for own, _, _, _ in found:
        assert own == reports
    for _, held, _, _ in found:
        for key, values in held.items():
            np.testing.assert_array_equal(values, _part(tensors, key, values), err_msg=str(key))


def spec_of(seed, *sets):
    return loads(write(seed)[0], "random.yaml", [f"train.batch={BATCH}", "train.clip_norm=1", *sets])


@pytest.mark.parametrize("seed", range(COUNT))
def test_it(seed):
    spec = spec_of(seed)
    wanted = worked(spec, IN_ONE, {"runner": "serial"})
    for runner in ("local", "serial"):
        found = together(spec, APART, 2, seed, runner=runner)
        assert [one[0] for one in found] == [wanted[0]] * 2
        parts = {str(key): values for one in found for key, values in one[1].items()}
        same_bits(parts, {str(key): values for key, values in wanted[1].items()})
        sent = [(kind, size) for kind, _, size in found[0][2]]
        turned = {"send": "receive", "receive": "send"}
        assert [(turned[kind], size) for kind, _, size in found[1][2]] == sent and sent
