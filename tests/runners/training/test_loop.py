"""The training loop: what is counted, when it evaluates and saves, and that resuming changes nothing."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from training_fakes import FakeBatches, FakeSession, fake_spec

from netspec.errors import NetspecError
from netspec.events import EvaluationDone, IterationDone
from netspec.runners.training.evaluation import evaluate
from netspec.runners.training.loop import Hooks, State, TrainingLoop
from netspec.runners.training.prefetch import Fetched, InFlight
from netspec.runners.training.tally import Tally
from netspec.schedules import make_schedule

START = State()


@pytest.fixture(autouse=True, params=[(False, 1), (True, 1), (True, 2)], ids=["in turn", "ahead", "two at once"])
def ahead(request, monkeypatch):
    """Everything holds for devices that work by themselves too, and for those that take two iterations at once."""
    monkeypatch.setattr(FakeSession, "ahead", request.param[0])
    monkeypatch.setattr(FakeSession, "most", request.param[1])
    return request.param[0]


class Harness:
    """A training with fakes, which keeps what it is told; it stops after ``stop_after`` looks at the stop flag."""

    def __init__(self, *sets, state=START, session=None, images=22, val=10, stop_after=None, every=1e9, explain=None):
        self.spec = fake_spec(*sets)
        self.session = session or FakeSession()
        self.events, self.saves, self.looks, self.ahead_of = [], [], 0, []
        self.stop_after = stop_after
        self.train = FakeBatches(images)
        self.val = FakeBatches(val, training=False) if val else None
        hooks = Hooks(self.events.append, self.save, lambda: None, self.stop, explain, read_ahead=self.read_ahead)
        schedule = make_schedule(self.spec.train.schedule)
        parts = (self.spec, self.session, schedule, self.train, self.val, hooks, state)
        self.training = TrainingLoop(*parts, checkpoint_every=every)

    def save(self, state, wait):
        if state is not None:
            self.saves.append((state, self.session.tensors()))

    def read_ahead(self):
        self.ahead_of.append(len(self.told(EvaluationDone)))

    def stop(self):
        self.looks += 1
        return self.stop_after is not None and self.looks > self.stop_after

    def run(self):
        return self.training.run()

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def test_counts_and_learns():
    harness = Harness("train.epochs=12")
    assert harness.run() == "finished"
    iterations = harness.told(IterationDone)
    assert [event.iteration for event in iterations] == list(range(1, 61))  # 22 images: 5 batches of 4, two dropped
    assert [event.epoch for event in iterations[3:7]] == [1, 1, 2, 2]
    assert harness.train.held == 0 and harness.session.deepest == FakeSession.most
    evaluations = harness.told(EvaluationDone)
    assert [(event.epoch, event.iteration, event.images) for event in evaluations[:2]] == [(1, 5, 10), (2, 10, 10)]
    assert evaluations[-1].errors["top1"] <= 0.1 < evaluations[0].loss
    assert [state.iteration for state, _ in harness.saves] == list(range(5, 61, 5))
    assert harness.training.state.epoch == 12


def test_iterations_stop_it_and_the_end_is_evaluated_and_saved():
    harness = Harness("train.iterations=7")
    assert harness.run() == "finished"
    assert [event.iteration for event in harness.told(EvaluationDone)] == [5, 7]
    assert [state.iteration for state, _ in harness.saves] == [5, 7]
    assert harness.training.started("somewhere").total_iterations == 7
    state = harness.training.state
    assert (state.epoch, state.position, len(state.validation_errors)) == (1, 2, 1)


def test_images_are_read_ahead_of_each_evaluation():
    harness = Harness("train.iterations=7")
    harness.run()
    assert harness.ahead_of == [0] * 4 + [1] * 2  # iterations 2 to 5 of the first epoch's 5, and the last two


@pytest.mark.parametrize("sets", [(), ("train.schedule={type: plateau, patience: 1}",), ("train.iterations=13",)])
def test_resuming_from_any_iteration_changes_nothing(sets):
    whole = Harness(*sets, every=0)
    whole.run()
    final = whole.session.tensors()
    states = {state.iteration: (state, tensors) for state, tensors in whole.saves}
    assert len(states) >= (13 if FakeSession.most == 1 else 8)  # two at once are saved together
    for state, tensors in states.values():
        session = FakeSession()
        session.load(tensors)
        resumed = Harness(*sets, state=state, session=session)
        resumed.run()
        assert resumed.training.state == whole.training.state
        assert resumed.session.seen == whole.session.seen[state.iteration :]
        np.testing.assert_array_equal(resumed.session.tensors()["fc.weight"], final["fc.weight"])


def test_stopping_anywhere_and_going_on_changes_nothing():
    whole = Harness()
    whole.run()
    for looks in range(whole.looks):
        first = Harness(stop_after=looks)
        ended = first.run()
        state, tensors = first.saves[-1]
        session = FakeSession()
        session.load(tensors)
        second = Harness(state=state, session=session)
        second.run()
        assert ended == "interrupted" or state == whole.training.state, looks
        assert second.training.state == whole.training.state, looks
        np.testing.assert_array_equal(second.session.tensors()["fc.weight"], whole.session.tensors()["fc.weight"])


def test_a_longer_run_begins_like_a_shorter_one():
    short, long = Harness("train.iterations=7"), Harness("train.iterations=12")
    short.run()
    long.run()
    state, tensors = short.saves[-1]
    session = FakeSession()
    session.load(tensors)
    on = Harness("train.iterations=12", state=state, session=session)
    on.run()
    np.testing.assert_array_equal(session.tensors()["fc.weight"], long.session.tensors()["fc.weight"])


def test_a_finished_run_has_nothing_left_to_do():
    harness = Harness()
    harness.run()
    again = Harness(state=harness.training.state, session=harness.session)
    assert again.run() == "finished"
    assert not again.events
    assert not again.saves


def test_rates_follow_the_schedule():
    harness = Harness("train.schedule={type: step, at: [1], factor: 10}")
    harness.run()
    rates = [rate for _, rate in harness.session.seen]
    assert rates == [0.5] * 5 + [0.05] * 10


def test_without_validation_the_last_batch_speaks():
    harness = Harness(val=0)
    harness.run()
    assert not harness.told(EvaluationDone)
    assert harness.training.errors == harness.told(IterationDone)[-1].errors


def test_a_step_that_is_not_finite_ends_the_run():
    harness = Harness(session=FakeSession(bad_at=7), explain=lambda *step: f"layer fc, iteration {step[1]}")
    with pytest.raises(NetspecError) as caught:
        harness.run()
    message = str(caught.value)
    assert message.startswith("iteration 8 (epoch 2): the loss is nan; layer fc, iteration 7; the step changed nothing")
    assert "--lr" in message
    assert harness.saves[-1][0].iteration == 5


def test_an_update_that_overflows_ends_the_run_and_is_not_saved():
    harness = Harness(session=FakeSession(overflow_at=7))
    with pytest.raises(NetspecError, match=r"iteration 8 \(epoch 2\): the update made fc.weight infinite or NaN"):
        harness.run()
    assert harness.saves[-1][0].iteration == 5


def test_an_evaluation_that_is_not_finite_ends_the_run_and_is_not_saved():
    harness = Harness(session=FakeSession(bad_evaluation_at=10), explain=lambda *step: f"layer fc, {step[-1]}")
    said = r"evaluation after iteration 10 \(epoch 2\): the loss of an evaluated batch is nan; layer fc, eval\. Try a"
    with pytest.raises(NetspecError, match=said):
        harness.run()
    assert [event.iteration for event in harness.told(EvaluationDone)] == [5]
    assert [state.iteration for state, _ in harness.saves] == [5]


def test_an_evaluation_without_a_readable_image_is_an_error_after_what_was_learned_is_saved():
    harness = Harness()
    harness.val._batch = lambda rows: SimpleNamespace(**{**vars(FakeBatches._batch(harness.val, rows)), "valid": 0})
    harness.val.broken = [("a/0.png", "not an image"), ("a/1.png", "cut off")]
    with pytest.raises(NetspecError, match=r"none of the 10 images .* can be read\n  a/0.png: not an image"):
        harness.run()
    assert not harness.told(EvaluationDone)
    assert harness.saves[-1][0].iteration == 5


def test_batches_are_held_no_longer_than_need_be(ahead):
    harness = Harness()
    most, take = [], harness.train._batch
    harness.train._batch = lambda rows: (most.append(harness.train.held), take(rows))[1]
    harness.run()
    assert max(most) == 1 + ahead and harness.train.held == harness.val.held == 0


def test_what_is_taken_ahead_and_not_used_is_given_back():
    for looks in range(20):
        harness = Harness(stop_after=looks)
        harness.run()
        assert harness.train.held == harness.val.held == 0


@pytest.mark.parametrize(("seconds", "share"), [(0.0, 1.0), (0.02, 0.5), (0.1, 0.0)])
def test_waiting_counts_from_the_moment_when_devices_are_done(seconds, share):
    taken = Fetched(SimpleNamespace(waited=0.04), {}, 100.04, staged=True)
    flight = InFlight(Fetched(SimpleNamespace(waited=9.0), {}, 99.0, staged=True), None, 100.0)
    assert math.isclose(flight.idle(taken, seconds), 0.04 * share, abs_tol=1e-9)
    assert flight.idle(None, seconds) == 0.0
    assert InFlight(Fetched(SimpleNamespace(waited=9.0), {}, 99.0, staged=False), None, 100.0).idle(None, None) == 9.0


def test_devices_that_are_never_done_before_the_next_batch_is_there_have_not_waited(ahead, monkeypatch):
    """Batches take up to 8 s to make and iterations 10 s, which begin when the one before has ended."""
    now, free = [0.0], [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], monotonic=lambda: 0.0)
    monkeypatch.setattr("netspec.runners.training.loop.time", clock)
    monkeypatch.setattr("netspec.runners.training.prefetch.time", clock)
    harness = Harness("train.epochs=1", val=0)
    take, finish = harness.train._batch, harness.session.finish

    def made(rows):
        seconds = (2.0, 8.0)[len(harness.train.taken) % 2]
        now[0] += seconds
        return SimpleNamespace(**{**vars(take(rows)), "waited": seconds})

    def finished(phase="train"):
        free[0] = max(begun.pop(0), free[0]) + 10.0
        now[0] = max(now[0], free[0])
        return replace(finish(phase), seconds=10.0)

    begun, start = [], harness.session.start
    harness.session.start = lambda *of: (begun.append(now[0]), start(*of))
    harness.train._batch, harness.session.finish = made, finished
    harness.run()
    waited = [event.waited for event in harness.told(IterationDone)]
    assert all(share > 0 for share in waited[: 1 if ahead else None]) and (not ahead or not any(waited[1:]))


def test_evaluation_counts_every_image_once():
    batches = FakeBatches(10, training=False)
    done = evaluate(FakeSession(), batches, ("image", "label"), print, lambda: False)
    assert (done.images, done.views) == (10, 1) and batches.held == 0
    assert math.isclose(done.loss, math.log(3), rel_tol=1e-6)


def test_an_evaluation_without_a_readable_image_is_an_error_with_examples():
    harness = Harness()
    harness.val.broken = [("a/1.jpg", "an empty file")]
    take = harness.val._batch
    harness.val._batch = lambda rows: take(rows[:0])
    with pytest.raises(NetspecError, match=r"none of the 10 images to evaluate .*\n  a/1.jpg: an empty file"):
        harness.run()
    assert harness.saves[-1][0].evaluated is None and harness.saves[-1][0].iteration == 5
    assert not harness.told(EvaluationDone)


def test_losses_are_weighted_and_errors_named():
    one = {"loss": 2.0, "top1": 1.0, "count": 4.0, "weight": 1.0}
    two = {"loss": 8.0, "top1": 3.0, "count": 4.0, "weight": 0.3}
    tally = Tally({"side": two, "main": one})
    tally.add({"side": two, "main": one})
    assert tally.count == 8
    assert math.isclose(tally.loss, 0.5 + 0.3 * 2.0)
    assert tally.errors == {"top1": 0.25, "side.top1": 0.75}
    assert math.isnan(Tally().loss)


@pytest.mark.parametrize("validation", [False, True])
def test_when_images_fail_what_was_learned_is_saved(validation):
    harness = Harness()

    def broken(epoch, start=0):
        yield from list(FakeBatches.epoch(which, epoch, start))[:2]
        raise NetspecError("data worker 1 died")

    which = harness.val if validation else harness.train
    which.epoch = broken
    with pytest.raises(NetspecError, match="data worker 1 died"):
        harness.run()
    assert harness.saves[-1][0].iteration == (5 if validation else 2)
