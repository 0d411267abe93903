"""Runners and teams when something hangs, raises where nothing should, or is interrupted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from nets import BATCH, RATES, TWO_TOWERS, batch, network, train

from netspec.device.base import Call
from netspec.device.cpu.device import CpuDevice
from netspec.device.cpu.team import Job, Team
from netspec.errors import NetspecError
from netspec.runners.execution import threads
from netspec.runners.execution.session import Session
from netspec.runners.execution.trace import Trace


def hanging(release: threading.Event) -> Callable[[Sequence[str]], list[Any]]:
    """An opener whose second device hangs in conv3 until it is released."""

    class Hanging(CpuDevice):
        def bind(self, passes: Sequence[Any], arrays: Mapping[str, Any], queue: Any = "compute") -> Call:
            call = super().bind(passes, arrays, queue)
            return release.wait if any(one.kernel.startswith("conv:") for one in passes) else call  # type: ignore[return-value]

    return lambda names: [CpuDevice(0), Hanging(1)]


def test_a_step_that_never_ends_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE_S", 0.2)
    release = threading.Event()
    options = {"phases": ("train",), "watchdog": 0.1, "opener": hanging(release)}
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], **options) as session:
        began = time.monotonic()
        with pytest.raises(NetspecError, match=r"has waited 0.1 s: .*\(right compute is in 'conv1.forward@right'"):
            train(session, 1)
        assert time.monotonic() - began < 5
        release.set()


def test_an_error_beside_the_steps_ends_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no room for the trace")

    trace = Trace()
    monkeypatch.setattr(trace, "step", broken)
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",), trace=trace) as session:
        with pytest.raises(RuntimeError, match="no room"):
            train(session, 1)


def test_an_interrupted_iteration_is_not_taken_for_a_finished_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        runner = session._runners["train"]

        def interrupted() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(runner, "_finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(session, 1)
        with pytest.raises(NetspecError, match="failed before"):
            train(session, 1)


@pytest.mark.parametrize("size", [2, 4])
def test_a_member_that_raises_ends_the_pass_and_leaves_the_team_fit(size: int) -> None:
    team, done = Team(size, "test"), []

    def odd(start: int, stop: int) -> None:
        if start % 2:
            raise ValueError(f"block {start}")
        done.append(start)

    blocks = [(number, number + 1) for number in range(40)]
    with pytest.raises(ValueError, match="block"):
        team.run(Job(odd, blocks, [()] * size))
    done.clear()
    team.run(Job(lambda start, stop: done.append(start), blocks, [()] * size))
    assert sorted(done) == list(range(40))
    team.close()


def test_a_team_closes_when_a_pass_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does while the calling thread waits for its helpers."""
    before = threading.active_count()
    team, calls = Team(2, "test"), itertools.count()
    wait = team._end.wait

    def interrupted(*args: Any) -> int:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return wait(*args)

    monkeypatch.setattr(team._end, "wait", interrupted)
    job = Job(lambda start, stop: next(calls), [(0, 1), (1, 2)], [()] * 2)
    with pytest.raises(KeyboardInterrupt):
        team.run(job)
    with pytest.raises(threading.BrokenBarrierError):
        team.run(job)
    team.close()
    assert threading.active_count() == before


def test_a_batch_of_another_shape_is_told() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        with pytest.raises(NetspecError, match=r"'image' must be uint8 \(6, 9, 9, 3\), got uint8 \(1, 9, 9, 3\)"):
            session.train({**batch(), "image": batch()["image"][:1]}, 0, BATCH, RATES)
        with pytest.raises(NetspecError, match=r"'label' must be int32 \(6,\), got nothing"):
            session.train({"image": batch()["image"]}, 0, BATCH, RATES)

