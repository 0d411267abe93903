"""Devices that enqueue, as GPUs do, in several processes: the bits of one process, in any order that events allow."""

from __future__ import annotations

import importlib
import os
import random
import sys
import threading
from functools import partial

import numpy as np
import pytest
from lazy import LazyDevice, World, lazy
from nccl_stand_in import Library
from nets import same_bits
from random_nets import SIDE, write
from rank_threads import in_threads
from towers import FOUR_DEVICES, bindings

from netspec.device import binding
from netspec.device.gpus import Gpu
from netspec.errors import NetspecError
from netspec.planning import replica_tree
from netspec.planning.rates import Rates
from netspec.runners.execution import engines
from netspec.runners.execution import session as session_module
from netspec.runners.execution.gathering import gathered
from netspec.runners.execution.session import Session
from netspec.runners.execution.streams import StreamRunner
from netspec.runners.execution.trace import Trace
from netspec.solvers import make_solver
from netspec.spec import loads

COUNT = int(os.environ.get("NETSPEC_NETS", "12")) // 3
MORE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(COUNT, 4 * COUNT)]
BATCH, ITERATIONS = 8, 4
SETS = (f"train.batch={BATCH}", "train.clip_norm=1")


@pytest.fixture(autouse=True)
def streams(monkeypatch):
    """Buckets so small that there are several, and that some hold parts of several arrays."""
    monkeypatch.setitem(session_module.RUNNERS, "streams", StreamRunner)
    for name, nbytes in {"SMALLEST_BUCKET": 1 << 10, "MESSAGE": 1 << 9, "LARGEST_BUCKET": 1 << 12}.items():
        monkeypatch.setattr(replica_tree, name, nbytes)


@pytest.fixture
def library(monkeypatch):
    """NCCL by the stand-in."""
    made = Library()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("transport.nccl", "execution.card_calls"):  # which import it
        monkeypatch.delitem(sys.modules, f"netspec.runners.{name}", raising=False)
    yield made
    for name in ("transport.nccl", "execution.card_calls"):
        sys.modules.pop(f"netspec.runners.{name}", None)


@pytest.fixture(params=["mpi", "nccl"])
def engine(request):
    """Each of the engines; what NCCL was asked for is looked at in the end."""
    if request.param == "mpi":
        yield request.param
        return
    library = request.getfixturevalue("library")
    yield request.param
    for meeting in library.meetings.values():
        check_calls(meeting)
    assert sum(line.startswith("destroyed") for line in library.ended) == len(library.ended) / 2 > 0


def check_calls(meeting):
    """One order of collectives on all ranks; each message has its other half, with as many bytes, in one order."""
    collectives = [[one for one in calls if len(one) == 3] for calls in meeting.calls.values()]
    assert all(one == collectives[0] for one in collectives)
    sent = {(r, one[3]): [] for r, calls in meeting.calls.items() for one in calls if one[0] == "send"}
    received = {(one[3], r): [] for r, calls in meeting.calls.items() for one in calls if one[0] == "recv"}
    for rank, calls in meeting.calls.items():
        for kind, size, dtype, *peer in calls:
            assert dtype == "uint8"
            if kind == "send":
                sent[rank, peer[0]].append(size)
            elif kind == "recv":
                received[peer[0], rank].append(size)
    assert sent == received and any(meeting.calls.values())


def drawn(number, side=SIDE):
    chance = np.random.default_rng(number)
    image = chance.integers(0, 256, (BATCH, side, side, 3)).astype(np.uint8)
    return {"image": image, "label": chance.integers(0, 5, BATCH).astype(np.int32)}


def named(ranks, engine="mpi"):
    """Names of devices in these ranks; with NCCL those of a rank lie on one card."""
    places = [ranks[:place].count(rank) if engine == "mpi" else 0 for place, rank in enumerate(ranks)]
    return [f"{rank}/cpu:{place}" for rank, place in zip(ranks, places, strict=True)]


def learned(spec, names, transport=None, seed=None, side=SIDE, **options):
    """Reports, whole tensors and parts after some iterations, each staged while the one before it runs."""
    if transport:
        options |= {"transport": transport}
    if seed is not None:
        world = World(seed + (transport.rank if transport else 0))
        options |= {"opener": lazy(world), "runner": "streams"}
    rates, reports = Rates(0.05, make_solver(spec.train.solver).numbers), []
    with Session(spec, names, **options) as session:
        crew, size = session.crew, BATCH // session.crew.groups
        rows = slice(crew.group * size, (crew.group + 1) * size)
        batches = [{name: array[rows] for name, array in drawn(n, side).items()} for n in range(ITERATIONS)]
        session.stage(batches[0])
        for number in range(ITERATIONS):
            session.start(number, size, rates)
            if number + 1 < ITERATIONS and spec.replicas == 1:
                session.stage(batches[number + 1])
            outcome = session.finish()
            assert outcome.finite and session.depth() == 1
            if number + 1 < ITERATIONS and spec.replicas > 1:
                session.stage(batches[number + 1])
            reports.append(outcome.reports)
        whole = BATCH // spec.replicas
        reports.append(session.evaluate({name: array[:whole] for name, array in drawn(9, side).items()}, whole).reports)
        if seed is not None:
            assert session.captured() == ("trace" not in options) and not session.news()
            used = [stream for stream in world.queues if stream[1] == "net"]
            assert options.get("engine") != "nccl" or len(used) == 1, f"queues net at work: {used}"
        return reports, session.store.tensors(gathered(session)), session.store.parts()


def oracle(spec, devices, side=SIDE):
    return learned(spec, [f"cpu:{place}" for place in range(devices)], runner="serial", side=side)


def check(spec, ranks, groups, seed, engine="mpi", side=SIDE):
    """The same in one process and in several, whole tensors on the first rank of each group."""
    reports, tensors, parts = oracle(spec, len(ranks), side)
    each = max(ranks) + 1
    names = [name if each > 1 else name.partition("/")[2] for name in named(ranks, engine)]
    found = in_threads(groups * each, partial(_work, spec, names, seed, engine, side), seed)
    for rank, (told, whole, own) in enumerate(found):
        assert told == reports
        same_bits(own, {key: parts[key] for key in own})
        if rank % each == 0:
            same_bits(whole, tensors)


def _work(spec, names, seed, engine, side, transport):
    return learned(spec, names, transport, seed, side, engine=engine)


def _ending_all(spec, names, seed, engine, side, transport):
    """So that nobody waits for a rank that has failed."""
    try:
        return learned(spec, names, transport, seed, side, engine=engine)
    except BaseException:
        transport.end_all(1)
        raise


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("seed", [*range(COUNT), *MORE])
def test_processes_that_share_replicas(engine, seed, processes):
    """Dropout, shared parameters, state, clipping; one replica a process, or two."""
    check(loads(write(seed)[0], "random.yaml", [*SETS, "replicas=4"]), (0, 0), processes, seed, engine)


@pytest.mark.parametrize("seed", [*range(COUNT), *MORE])
def test_devices_in_two_ranks(engine, seed):
    text = write(seed, rows=("left", "right") if seed % 2 else None)[0]
    check(loads(text, "random.yaml", SETS), random.Random(seed).choice([(0, 1), (1, 0)]), 1, seed, engine)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("seed", [0, *MORE])
def test_four_devices_in_groups_of_ranks_that_share_replicas(engine, seed, ranks):
    """Two communicators a rank."""
    spec = loads(FOUR_DEVICES, "four.yaml", ["replicas=2"])
    check(spec, bindings(random.Random(seed), 4, ranks), 2, seed, engine, side=5)


def test_a_trace_shows_what_is_exchanged():
    """Of one rank, without graphs."""
    trace, spec = Trace(), loads(write(0)[0], "random.yaml", SETS)
    wanted = oracle(spec, 2)[0]

    def work(transport):
        more = {"trace": trace} if transport.rank == 0 else {}
        return learned(spec, named((0, 1)), transport, 0, **more)[0]

    assert in_threads(2, work) == [wanted] * 2
    ops = {event["name"].rpartition(".")[2].rstrip("0123456789") for event in trace.events() if event["ph"] == "X"}
    assert {"send", "receive"} <= ops


@pytest.mark.parametrize("engine", ["mpi", "nccl"])
@pytest.mark.parametrize("lane", ["net", "compute"])
def test_a_wait_that_is_missing_shows(monkeypatch, library, engine, lane):
    """What the others rest on: values that leave too early, or are read before they have come, give other bits."""
    real = LazyDevice.wait
    skipped = lambda self, event, queue: None if queue == lane else real(self, event, queue)  # noqa: E731
    monkeypatch.setattr(LazyDevice, "wait", skipped)
    monkeypatch.setattr(LazyDevice, "capture", lambda self, call: call)
    monkeypatch.setattr(sys.modules[__name__], "_work", _ending_all)
    with pytest.raises((AssertionError, NetspecError, threading.BrokenBarrierError)):
        for seed in range(4):
            check(loads(write(seed)[0], "random.yaml", [*SETS, "replicas=2"]), (0, 0), 2, seed, engine)


def test_work_of_a_sum_in_another_queue_shows(monkeypatch, library):
    """Devices that share a card have a queue ``net`` each, and NCCL's is that of one of them."""
    cards = importlib.import_module("netspec.runners.execution.card_calls")
    real = cards.scaled
    monkeypatch.setattr(cards, "scaled", lambda arrays, devices, shares, worker: real(arrays, devices, shares))
    with pytest.raises(AssertionError, match="queues net"):
        check(loads(write(0)[0], "random.yaml", [*SETS, "replicas=2"]), (0, 0), 2, 0, "nccl")


def test_a_rank_whose_device_fails_ends_all():
    """In the middle of an iteration: whoever waits for it is told, and none hangs."""
    spec, failed = loads(write(1)[0], "random.yaml", [*SETS, "replicas=2"]), "cuda:0: work on the card failed"
    rates = Rates(0.05, make_solver(spec.train.solver).numbers)

    def fail(event):
        raise NetspecError(failed)

    def work(transport):
        options = {"phases": ("train",), "transport": transport, "runner": "streams", "opener": lazy(World(0))}
        with Session(spec, ["cpu:0", "cpu:1"], **options) as session:
            rows = slice(4 * transport.rank, 4 * transport.rank + 4)
            for number in range(2):
                session.train({name: array[rows] for name, array in drawn(number).items()}, number, 4, rates)
            for device in session.devices.values() if transport.rank == 1 else ():
                device.reached = fail
            try:
                session.train({name: array[rows] for name, array in drawn(2).items()}, 2, 4, rates)
            except (NetspecError, threading.BrokenBarrierError) as error:
                transport.end_all(1)
                return error
        raise AssertionError("it went on")

    first, second = in_threads(2, work)
    assert isinstance(first, NetspecError) and "BrokenBarrierError" in str(first) and failed in str(second)


def test_an_error_that_nccl_tells_later_ends_the_run_and_nothing_is_read_any_more(library):
    """What was to be added is of no worth, and so is the update behind it: no checkpoint may be made of it."""
    spec = loads(write(1)[0], "random.yaml", [*SETS, "replicas=2"])
    rates = Rates(0.05, make_solver(spec.train.solver).numbers)

    def work(transport):
        world = World(0)
        options = {"phases": ("train",), "transport": transport, "runner": "streams", "opener": lazy(world)}
        with pytest.raises(NetspecError, match="NCCL: error 6: a cable was pulled") as caught:
            with Session(spec, ["cpu:0", "cpu:0"], engine="nccl", **options) as session:
                rows = slice(4 * transport.rank, 4 * transport.rank + 4)
                arrays = {name: array[rows] for name, array in drawn(0).items()}
                session.train(arrays, 0, 4, rates)
                library.fails[transport.rank] = 0
                world.stuck = True
                session.train(arrays, 1, 4, rates)
        return str(caught.value)

    assert len(in_threads(2, work)) == 2
    assert sorted(library.ended) == ["aborted 0", "aborted 1"]


def test_devices_that_nccl_cannot_serve_are_refused(library):
    spec = loads(write(1)[0], "random.yaml", SETS)
    options = {"phases": ("train",), "engine": "nccl"}
    with pytest.raises(NetspecError, match="NCCL moves data between GPUs, and cpu:0, cpu:1 was bound"):
        Session(spec, ["cpu:0,cpu:1"], **options)
    with pytest.raises(NetspecError, match="with NCCL each process has one card, and cpu:0, cpu:1 were bound"):
        Session(spec, ["cpu:0,cpu:1"], opener=lazy(World(0)), **options)


@pytest.mark.parametrize(("engine", "names", "told"), [
    ("gone", ["cpu"], "unknown engine 'gone': mpi or nccl"),
    ("nccl", ["cpu"], "NCCL moves data between GPUs, and cpu:0 was bound: leave out --engine nccl"),
    ("nccl", ["cuda"], r"--engine nccl needs nccl4py and NCCL: pip install 'netspec\[nccl13\]'"),
])  # fmt: skip
def test_an_engine_that_cannot_be_had_is_one_message(monkeypatch, engine, names, told):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.setattr(binding, "gpus", lambda: (Gpu("a card", 80 << 30, (9, 0)),))
    monkeypatch.setattr(binding, "obstacle", lambda: None)
    with pytest.raises(NetspecError, match=told):
        session_module.check_binding(loads(write(1)[0], "random.yaml"), names, "local", engine)
