"""Overlap on devices that enqueue: the same bits in any order that events allow, captured once, no wait for ever."""

from __future__ import annotations

import gc
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import training_runs as runs
from lazy import LazyDevice, World, lazy
from nets import BATCH, ONE_DEVICE, RATES, TWO_TOWERS, batch, network, same_bits, train, trained

from netspec.errors import NetspecError
from netspec.events import IterationDone, RunFinished
from netspec.rundir.directory import runs as list_runs
from netspec.runners.execution import local
from netspec.runners.execution import session as session_module
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.runners.execution.streams import StreamRunner
from netspec.runners.execution.trace import Trace
from netspec.runners.training import opening
from netspec.store import Store

ITERATIONS = 5
spec, whole = runs.spec, runs.whole  # fixtures


@pytest.fixture(scope="module")
def oracle():
    return trained(network(TWO_TOWERS), runner="serial", iterations=ITERATIONS)


@pytest.fixture(autouse=True)
def streams(monkeypatch):
    monkeypatch.setitem(session_module.RUNNERS, "streams", StreamRunner)


def opened(world, phases=("train",), text=TWO_TOWERS, **options):
    net = network(text)
    names = [f"cpu:{index}" for index, _ in enumerate(net.devices)]
    return Session(net, names, runner="streams", phases=phases, opener=lazy(world), **options)


@pytest.mark.parametrize("seed", range(6))
def test_the_same_bits_from_a_graph_in_any_order(oracle, seed):
    world = World(seed)
    with opened(world) as session:
        outcomes = train(session, ITERATIONS)
        assert world.launches == ITERATIONS - 1 and session.captured()
        assert not session.news() and all(outcome.finite for outcome in outcomes)
        same_bits(session.store.tensors(), oracle)


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_comes_up_while_the_one_before_it_is_worked_on(oracle, seed):
    world = World(seed)
    with opened(world) as session:
        session.stage(batch(0))
        for iteration in range(ITERATIONS):
            session.start(iteration, BATCH, RATES)
            following = batch(iteration + 1)
            session.stage(following)
            for array in following.values():  # it has been taken: nobody reads it any more
                array[:] = 1
            assert session.finish().finite
        same_bits(session.store.tensors(), oracle)


@pytest.mark.parametrize("seed", range(6))
def test_the_next_iteration_is_enqueued_before_the_host_has_seen_the_end_of_this_one(oracle, seed):
    with opened(World(seed)) as session:
        outcomes = train(session, 3)
        assert session.depth() == 2
        for iteration in range(3, ITERATIONS):
            session.stage(batch(iteration))
            session.start(iteration, BATCH, RATES)
        with pytest.raises(RuntimeError, match="both sets of buffers"):
            session.stage(batch(ITERATIONS))
        outcomes += [session.finish() for _ in range(3, ITERATIONS)]
        same_bits(session.store.tensors(), oracle)
    with opened(World(seed)) as session:
        assert [one.reports for one in outcomes] == [one.reports for one in train(session, ITERATIONS)]


@pytest.mark.parametrize("seed", range(3))
def test_what_was_enqueued_behind_an_iteration_that_is_not_finite_changes_nothing(seed):
    white, black = ({**batch(0), "image": np.full_like(batch(0)["image"], level)} for level in (255, 0))
    with opened(World(seed)) as session:
        train(session, 3)
        huge = {**session.store.tensors()}
        huge = {name: np.full_like(value, 3e38) if name == "conv1.weight" else value for name, value in huge.items()}
        session.store.load(huge)
        for iteration, arrays in enumerate((white, black), 3):
            session.stage(arrays)
            session.start(iteration, BATCH, RATES)
        assert not session.finish().finite
        same_bits(session.store.tensors(), huge)
        assert session.train(black, 4, BATCH, RATES).finite
        assert any((value != huge[name]).any() for name, value in session.store.tensors().items())


def test_a_batch_that_was_staged_and_not_used_is_replaced(oracle):
    with opened(World(7)) as session:
        for iteration in range(ITERATIONS):
            session.stage(batch(50 + iteration))
            session.train(batch(iteration), iteration, BATCH, RATES)
            session.stage(batch(80 + iteration))
        same_bits(session.store.tensors(), oracle)


def test_results_are_read_without_asking_a_device():
    world = World(3)
    with opened(world) as session, Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as plain:
        world.hosts.clear()
        got, expected = train(session, 3), train(plain, 3)
        assert [one.reports for one in got] == [one.reports for one in expected]
        assert not world.hosts
        assert all(one.seconds > 0 for one in got)


def test_other_phases_too():
    phases = ("train", "eval", "predict")
    with opened(World(2), phases) as session, Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=phases) as plain:
        for number in range(3):
            train(session, 1)
            train(plain, 1)
            labelled, image = batch(number), {"image": batch(number)["image"]}
            assert session.evaluate(labelled, 4).reports == plain.evaluate(labelled, 4).reports
            np.testing.assert_array_equal(session.predict(image, 5), plain.predict(image, 5))
        assert all(session.captured(phase) for phase in phases)


def test_one_device_is_captured_too():
    with opened(World(1), text=ONE_DEVICE) as session:
        train(session, ITERATIONS)
        same_bits(session.store.tensors(), trained(network(ONE_DEVICE), ["cpu:0"], ITERATIONS, runner="serial"))
        assert session.captured()


def test_a_device_that_cannot_capture_says_so_once_and_goes_on(oracle, monkeypatch):
    world = World(4)

    def refuse(device, call):
        world.begin((device, "compute"))
        call()
        world.end((device, "compute"))
        raise NetspecError("the CUDA driver answers CUDA_ERROR_NOT_SUPPORTED")

    monkeypatch.setattr(LazyDevice, "capture", refuse)
    with opened(world) as session:
        train(session, ITERATIONS)
        (line,) = session.news()
        assert "cannot be captured as a graph, its steps are enqueued instead: the CUDA driver answers" in line
        assert not session.captured() and not session.news() and world.launches == 0
        same_bits(session.store.tensors(), oracle)


def test_a_trace_shows_the_enqueueing_and_nothing_is_captured(oracle):
    trace, world = Trace(), World(5)
    with opened(world, trace=trace) as session:
        train(session, ITERATIONS)
        steps = {step.name for step in session.programs["train"].steps}
        assert {event["name"] for event in trace.events() if event["ph"] == "X"} == steps and world.launches == 0
        same_bits(session.store.tensors(), oracle)


@pytest.mark.parametrize("iterations", [0, 2])
def test_the_watchdog_names_what_has_not_ended(iterations):
    world = World(6)
    with opened(world, watchdog=2.0) as session:
        train(session, iterations)
        world.stuck = True
        said = "replayed as a graph" if iterations else "no step is known to have ended, '.*' on device '.*' has not"
        with pytest.raises(NetspecError, match=rf"iteration {iterations + 1} has not ended after 2 s .*: .*|{said}"):
            session.train(batch(), iterations, BATCH, RATES)
        world.stuck = False


def test_the_watchdogs_patience_reaches_the_runner_of_cards(monkeypatch):
    made = {}
    monkeypatch.setattr(local, "StreamRunner", lambda bound, trace, watchdog: made.update(watchdog=watchdog))
    local.local_runner(SimpleNamespace(devices={"a": SimpleNamespace(kind="cuda")}), None, 7.0)
    assert made == {"watchdog": 7.0}


def test_a_device_that_fails_is_one_error_that_names_it(monkeypatch):
    with opened(World(0)) as session:
        train(session, 2)
        message = "cuda:0: work on the card failed: the CUDA driver answers CUDA_ERROR_ILLEGAL_ADDRESS"

        def failed(device, event):
            raise NetspecError(message)

        monkeypatch.setattr(LazyDevice, "reached", failed)
        with pytest.raises(NetspecError, match=message):
            train(session, 1)


def test_what_a_driver_raises_is_one_error(monkeypatch):
    with opened(World(0)) as session:
        train(session, 2)
        monkeypatch.setattr(World, "launch", lambda *_: 1 / 0)
        with pytest.raises(NetspecError, match="cpu:0, cpu:1: an iteration cannot be started: ZeroDivisionError"):
            train(session, 1)


def test_memory_goes_with_the_session():
    """Not when some cycle is collected: a second network may need it on the card before that."""
    gc.collect()
    gc.disable()
    try:
        session = opened(World(0))
        with session:
            train(session, 3)
            kept = weakref.ref(session.bound("train")), weakref.ref(session.store)
        del session
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


def test_captures_are_held_to_the_rules():
    """The stand-in itself: what CUDA forbids is an error in it."""
    world = World(0)
    one, other = lazy(world)(["cpu:0", "cpu:1"])
    before, fork, joined = one.event(), one.event(), one.event()
    one.record(before, "compute")

    def forked():
        one.record(fork, "compute")
        other.wait(fork, "compute")
        world.enqueue((other, "compute"), lambda: None)

    for call, message in (
        (forked, "UNJOINED"),
        (lambda: one.wait(before, "compute"), "ISOLATION"),
        (one.synchronise, "UNSUPPORTED"),
    ):
        with pytest.raises(NetspecError, match=message):
            one.capture(call)

    def joining():
        forked()
        other.record(joined, "compute")
        one.wait(joined, "compute")

    one.capture(joining)
    with pytest.raises(NetspecError, match="CAPTURED_EVENT"):
        one.reached(joined)
    one.close()
    other.close()


@pytest.fixture
def on_streams(monkeypatch):
    """Whole runs take place on devices that enqueue."""

    def install(seed):
        monkeypatch.setitem(session_module.RUNNERS, "local", StreamRunner)
        monkeypatch.setitem(Session.__init__.__kwdefaults__, "opener", lazy(World(seed)))

    return install


def test_a_whole_run_is_the_same(spec, tmp_path, whole, on_streams):
    on_streams(1)
    result, events = runs.train(spec, out=tmp_path / "streams")
    assert result.status == "finished" and runs.same(runs.final(result), runs.final(whole))
    assert [event.iteration for event in runs.told(events, IterationDone)] == list(range(1, result.iteration + 1))


@pytest.mark.parametrize("iteration", [1, 4, 5, 9])
def test_a_run_that_is_stopped_goes_on_to_the_same(spec, tmp_path, whole, on_streams, iteration):
    """The iteration under way when the signal comes is finished; the batch taken ahead is taken again."""
    on_streams(iteration)
    options = {"out": tmp_path / "streams", "listener": runs.stopping_after(iteration)}
    stopped, _ = runs.train(spec, **options)
    assert stopped.status == "interrupted" and stopped.iteration in (iteration, iteration + 1)
    resumed, _ = runs.train(None, resume=stopped.folder, out=tmp_path / "streams")
    assert resumed.status == "finished" and runs.same(runs.final(resumed), runs.final(whole))


class Dying(LazyDevice):
    """A card that from some moment on answers nothing but an error, or hangs: then nothing enqueued is done."""

    answer = ""

    def ask(self):
        if self.answer:
            raise NetspecError(f"cuda:0: {self.answer}")

    def record(self, event, queue):
        self.ask()
        super().record(event, queue)

    def wait(self, event, queue):
        self.ask()
        super().wait(event, queue)

    def reached(self, event):
        self.ask()
        return super().reached(event)

    def synchronise(self):
        self.ask()
        super().synchronise()

    def abandon(self):
        self.answer = "work on the card has not ended, so that nothing can be had from it"


@pytest.mark.parametrize(
    ("when", "how"),
    [("an iteration", "gone"), ("an evaluation", "gone"), ("a checkpoint", "gone"), ("an iteration", "hangs")],
)
def test_a_card_that_disappears_is_one_message_and_the_last_checkpoint_is_named(spec, monkeypatch, when, how):
    world, devices, events, saves = World(3), [Dying(0), Dying(1)], [], []
    for device in devices:
        device.world = world

    def die():
        if how == "hangs":
            world.stuck = True
        else:
            devices[0].answer = devices[1].answer = "the CUDA driver answers CUDA_ERROR_LAUNCH_FAILED"

    def listen(event):
        events.append(event)
        place = {"an iteration": 7, "an evaluation": 10}.get(when)
        if isinstance(event, IterationDone) and event.iteration == place:
            die()

    def begin_copy(store):
        saves.append(1)
        if when == "a checkpoint" and len(saves) == 2:
            die()
        return real(store)

    real, seconds = Store.begin_copy, time.monotonic()
    monkeypatch.setattr(Store, "begin_copy", begin_copy)
    options = {"opener": lambda names: devices, "watchdog": 0.3}
    monkeypatch.setattr(opening, "Session", lambda *args, **given: Session(*args, **{**given, **options}))
    monkeypatch.setitem(session_module.RUNNERS, "local", StreamRunner)
    with pytest.raises(NetspecError) as caught:
        runs.train(spec, listener=listen)
    monkeypatch.undo()
    said, folder = str(caught.value), list_runs(spec.parent / "runs")[0].folder
    assert ("CUDA_ERROR_LAUNCH_FAILED" if how == "gone" else "has not ended") in said and "\n" not in said
    assert said.endswith(
        "the last whole checkpoint is iteration-00000005.safetensors: go on from it with netspec run "
        f"--resume {folder} --devices cpu:0,cpu:1"
    )
    assert runs.told(events, RunFinished)[-1].message == said and time.monotonic() - seconds < 30
    assert not list(folder.rglob("*.unfinished"))


def test_a_loss_that_is_not_finite_ends_the_run_and_changes_nothing(on_streams):
    with opened(World(8)) as session:
        train(session, 3)
        before = session.store.tensors()
        poisoned = {**before, "conv1.bias": np.full_like(before["conv1.bias"], np.inf)}
        session.store.load(poisoned)
        session.stage(batch(3))
        session.start(3, BATCH, RATES)
        session.stage(batch(4))
        assert not session.finish().finite
        same_bits(session.store.tensors(), poisoned)
        found = explain(session, batch(3), 3, BATCH, RATES)
        assert "'conv1.bias@" in found and "was not finite before the step" in found
        session.store.load({**before, "conv1.bias": np.full_like(before["conv1.bias"], 3e38)})
        found = explain(session, batch(3), 3, BATCH, RATES)
        assert "from the forward pass of '" in found
