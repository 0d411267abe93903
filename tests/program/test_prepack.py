"""What is made of parameters alone is made once, and anew when they change: the same bits as when made every time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from chaos import chaos, teams
from nets import BATCH, TWO_TOWERS, batch, network, train

from netspec.planning import build
from netspec.planning.identities import STORED
from netspec.program import Program, lower, memory
from netspec.runners.execution.session import Session

SPEC = network(TWO_TOWERS)
PHASES = ("train", "eval", "predict")


def outcomes(**options: Any) -> Iterator[Any]:
    """Predictions and losses before training, between iterations, and after loading other tensors."""
    with Session(SPEC, ["cpu:0", "cpu:1"], phases=PHASES, **options) as session:
        first = session.store.tensors()
        for _ in range(2):
            for _ in range(2):
                yield session.predict(batch(7), BATCH).tobytes()
                yield session.evaluate(batch(8), BATCH).reports
            train(session, 2)
        yield session.predict(batch(7), BATCH).tobytes()
        session.store.load(first)
        yield session.predict(batch(7), BATCH).tobytes()


@pytest.fixture(scope="module")
def oracle() -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netspec.program.build.hoist", lambda steps, buffers: (list(steps), dict(buffers)))
        return list(outcomes(runner="serial"))


WAYS: dict[str, dict[str, Any]] = {
    "serial": {"runner": "serial"},
    "overlapped": {},
    "chaos": {"opener": chaos(1)},
    "teams": {"opener": teams(2, 3)},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_the_same_bits_as_when_made_every_time(options: dict[str, Any], oracle: list[Any]) -> None:
    assert list(outcomes(**options)) == oracle
    assert oracle[0] == oracle[2] == oracle[-1] != oracle[4]


def lowered(phase: Any) -> Program:
    plan = build(SPEC, phase, BATCH)
    return lower(plan, dict.fromkeys(plan.devices, "cpu"), dict.fromkeys(plan.devices, 2))


@pytest.mark.parametrize("phase", PHASES)
def test_what_runs_once(phase: str) -> None:
    program = lowered(phase)
    once = [(step, one) for step in program.steps for one in step.passes if one.once]
    derived = {key for key in program.buffers if key.role == "derived"}
    assert {step.layer for step, _ in once} == (set() if phase == "train" else {"conv1", "conv2", "conv3"})
    for step, one in once:
        for target in {target for _, target in one.args if target is not None} - set(one.per_member):
            assert step.args[target].buffer.role in (*STORED, "derived")
    for step in program.steps:
        assert not derived & {step.args[one].buffer for one in step.writes}
    assert not derived & set(program.offsets)


def test_its_memory_is_told() -> None:
    assert "derived" not in memory([lowered("train")])["left"]
    assert memory([lowered("predict")])["left"]["derived"] > 0


def test_first_values_given_anew_count_as_a_change() -> None:
    with Session(SPEC, ["cpu:0", "cpu:1"], phases=PHASES, runner="serial", seed=1) as session:
        first = session.predict(batch(7), BATCH)
        session.store.initialise(2)
        second = session.predict(batch(7), BATCH)
        session.store.initialise(1)
        assert session.predict(batch(7), BATCH).tobytes() == first.tobytes() != second.tobytes()
