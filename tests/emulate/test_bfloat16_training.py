"""Trainings that store activations in bfloat16, on CPUs and the emulated GPU, beside the same ones in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compiled import cards, needs_compiler
from nets import BATCH, RATES, TWO_TOWERS, batch, network, same_bits, shortened, train

from netspec.device.cpu.device import CpuDevice
from netspec.planning.identities import BufferKey
from netspec.runners.execution.session import Rates, Session
from netspec.solvers import make_solver, solver_types

PHASES: Any = ("train", "eval", "predict")
ITERATIONS = 3
NEAR = 0.15
"""How far what a tensor learned may be from what it learned in float32, as a share of the largest change in it: one
number is rounded by 2**-9 at most, and now and then another pixel is the largest of its window."""
SMALL = (4, 4, 3)
PAIR = """
    netspec: 1
    devices: [main]
    inputs:
      image: {shape: [4, 4, 3]}
      label: {dtype: int32}
    layers:
      - {name: fc1, type: dense, inputs: image, units: 7, init: {type: gaussian, std: 0.1}}
      - {name: fc2, type: dense, units: 5, init: {type: gaussian, std: 0.1}}
      - {name: loss, type: softmax_loss, inputs: [fc2, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""


_KINDS = [pytest.param((9, 0), marks=needs_compiler, id="card"), pytest.param("emulated", id="cpu")]
STORING = pytest.mark.parametrize("capability", _KINDS)
OTHERS = ((8, 0), (12, 0))
"""Cards without Hopper's pipelines: other products, and other layers as on all cards."""
_OTHERS = [pytest.param(one, marks=needs_compiler, id=f"sm_{one[0]}{one[1]}") for one in OTHERS]


class StoringCpu(CpuDevice):
    """A CPU as NETSPEC_CPU_BF16=emulate makes them."""

    capability = "emulated"


def opened(text: str, train: str = "", capability: Any = None, members: int = 1) -> Session:
    """A session of the network with bf16: on emulated GPUs, on CPUs that store it, or on CPUs that do not."""
    make = {None: CpuDevice, "emulated": StoringCpu}.get(capability)

    def opener(names: Sequence[str]) -> list[Any]:
        return [make(index, members) for index in range(len(names))] if make else cards(names, capability)

    more: dict[str, Any] = {"opener": opener}
    spec = network(text, **{"train: {batch: 6": f"train: {{precision: bf16, batch: 6{train}"})
    return Session(spec, ["cpu"], phases=PHASES, runner="serial", **more)


def check_shadows(session: Session) -> None:
    """Every shadow is its parameter, rounded."""
    bound = session.bound("train")
    keys = session.plans["train"].keys("shadow")
    assert keys
    for key in keys:
        master = bound.download(BufferKey(key.of, "parameter", key.device))
        wanted = master.astype(ml_dtypes.bfloat16).astype(np.float32)
        assert np.array_equal(bound.download(key), wanted), key


def outcome(session: Session) -> tuple[dict[str, Any], Any, float]:
    """What each tensor learned, an answer and a loss."""
    before = session.store.tensors()
    train(session, ITERATIONS)
    learned = {name: one - before[name] for name, one in session.store.tensors().items() if "momentum" not in name}
    return learned, session.predict(batch(7), BATCH), session.evaluate(batch(8), BATCH).reports["loss"]["loss"]


@pytest.mark.parametrize("capability", [*_KINDS, *_OTHERS])
def test_two_devices_learn_what_they_do_in_float32(capability: Any) -> None:
    text = shortened(TWO_TOWERS) if capability in OTHERS else TWO_TOWERS
    with opened(text) as host, opened(text, capability=capability) as card:
        assert (host.storage, card.storage) == ("float32", "bfloat16")
        if capability in OTHERS:
            products = [one for one in card.programs["train"].steps if one.layer and one.layer[:2] in ("co", "fc")]
            assert {str(one.attrs["variant"])[:12] for one in products if "variant" in one.attrs} == {"bf16_stored_"}
        (wanted, probs, loss), (got, answer, judged) = outcome(host), outcome(card)
        check_shadows(card)
        activation = next(key for key in card.programs["predict"].buffers if str(key) == "relu1.y@left")
        assert card.programs["predict"].buffers[activation].dtype == "bfloat16"
        assert card.bound("predict").download(activation).dtype == answer.dtype == np.float32
    for name, change in wanted.items():
        assert np.abs(got[name] - change).max() <= NEAR * np.abs(change).max(), name
    assert np.abs(answer - probs).max() < 0.01 and answer.tobytes() != probs.tobytes()
    assert judged == pytest.approx(loss, rel=0.01)


@STORING
def test_what_is_loaded_reaches_the_shadows(capability: Any) -> None:
    with opened(PAIR, capability=capability) as card:
        answers, start = [], card.store.tensors()
        for _ in range(2):
            answers.append(card.predict(batch(7, SMALL), BATCH).tobytes())
            train(card, 1, shape=SMALL)
            check_shadows(card)
            answers.append(card.predict(batch(7, SMALL), BATCH).tobytes())
            card.store.load(start)
        assert answers[:2] == answers[2:] and answers[0] != answers[1]


@STORING
@pytest.mark.parametrize("clip", ["null", "1.0"])
@pytest.mark.parametrize("name", sorted(solver_types()))
def test_updates_of_every_solver_renew_shadows(name: str, clip: str, capability: Any) -> None:
    with opened(PAIR, f", solver: {name}, clip_norm: {clip}", capability) as card:
        numbers = Rates(0.05, make_solver(card.spec.train.solver).numbers)
        before = card.store.tensors()
        card.train(batch(0, SMALL), 0, BATCH, numbers)
        check_shadows(card)
        assert (card.store.tensor("fc2.weight") != before["fc2.weight"]).any()


@STORING
def test_frozen_parameters_and_replicas_have_shadows_too(capability: Any) -> None:
    wanted, got = (
        opened(PAIR.replace("devices:", "replicas: 2\n    devices:"), ", freeze: [fc1]", one)
        for one in (None, capability)
    )
    with wanted as host, got as card:
        for one in (host, card):
            one.train(batch(0, SMALL), 0, BATCH, RATES)
        check_shadows(card)
        assert {str(key) for key in card.plans["train"].keys("shadow")} == {
            "fc1.bf16_weight@main", "fc2.bf16_weight@main"
        }  # fmt: skip
        change = host.store.tensor("fc2.weight.momentum")
        assert np.abs(card.store.tensor("fc2.weight.momentum") - change).max() < 0.02 * np.abs(change).max()


@STORING
def test_an_average_is_evaluated_by_a_shadow_of_its_own(capability: Any) -> None:
    with opened(PAIR, ", ema: {decay: 0.5}", capability) as card:
        train(card, 1, shape=SMALL)
        card.evaluate(batch(8, SMALL), BATCH)
        bound, keys = card.bound("eval"), card.plans["eval"].keys("shadow")
        for key in keys:
            average = card.store.tensor(str(key.of))
            assert np.array_equal(bound.download(key), average.astype(ml_dtypes.bfloat16).astype(np.float32))
            assert (average != card.store.tensor(str(key.of.parameter))).any()


@pytest.mark.parametrize("capability", [(7, 5), None])
def test_elsewhere_storage_is_float32_and_a_line_says_so(capability: tuple[int, int] | None) -> None:
    with opened(PAIR, capability=capability) as session:
        assert session.storage == "float32" and not session.plans["train"].keys("shadow")
        assert {one.dtype for one in session.plans["train"].buffers.values() if one.role == "activation"} == {"float32"}
        (line,) = (note for note in session.notes if "train.precision bf16" in note)
        assert ("CPUs compute in float32" in line) == (capability is None)


def test_any_team_of_a_cpu_gives_the_same_bits() -> None:
    found = []
    for members in (1, 3):
        with opened(TWO_TOWERS, capability="emulated", members=members) as session:
            train(session, ITERATIONS)
            found.append(session.store.tensors())
    same_bits(*found)
