"""``netspec tune``: kernels are timed on the devices at hand, and programs follow what was found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from cli_tools import netspec as command
from training_runs import spec, stopping_after, told, train

from netspec.api import tune
from netspec.device.binding import models
from netspec.errors import NetspecError
from netspec.events import Note
from netspec.planning import build
from netspec.plugin import Layer, Tensor, backward, forward, register
from netspec.program import lower
from netspec.program import tuning_table as tuned
from netspec.program.choice import candidates, question
from netspec.registry.kinds import layers as registry
from netspec.runners.execution.session import Rates, Session
from netspec.runners.paired_timing import NEEDED, PairedTimes
from netspec.runners.training import checkpoint
from netspec.runners.tune import seconds_of
from netspec.spec import load, loads
from netspec.spec.types import Spec

__all__ = ["spec"]

SPEC = """
netspec: 1
name: small
devices: [left]
inputs: {image: {shape: [6, 6, 4]}, label: {dtype: int32}}
layers:
  - {name: conv1, type: conv, filters: 8, size: 3, pad: 1, inputs: image}
  - {name: fc2, type: dense, units: 3}
  - {name: loss, type: softmax_loss, inputs: [fc2, label]}
train: {batch: 4}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of these tests must not meet the user's; compiled kernels may."""
    monkeypatch.setattr("netspec.program.tuning_table.cache_root", lambda: tmp_path / "cache")


def small() -> Spec:
    return loads(SPEC, "small.yaml")


def model() -> str:
    return models({"left": "cpu:0"})["left"]


def asked(spec: Spec, name: str) -> tuple[str, tuple[str, ...]]:
    shard = next(shard for shard in build(spec, "train").shards if shard.layer == name)
    layer, t = shard.instance, shard.tensors
    able = candidates(layer, t, "cpu", "forward")
    return question(layer, t, "forward", able), able


def variants(spec: Spec, **options: object) -> dict[str, object]:
    program = lower(build(spec, "train"), {"left": "cpu"}, {"left": 1}, **options)  # type: ignore[arg-type]
    return {step.name: step.attrs.get("variant") for step in program.steps if step.layer}


def test_every_choice_is_timed_and_the_fastest_kept() -> None:
    heard = []
    found = tune(small(), devices="cpu", tell=heard.append)
    assert heard == found
    by_step = {one.step: one for one in found}
    assert set(by_step) == {f"{layer}.{way}@left" for layer in ("conv1", "fc2") for way in ("forward", "backward")}
    for one in found:
        assert one.device == model()
        assert one.variant == one.preferred or one.milliseconds[one.variant] < one.milliseconds[one.preferred]
        assert one.variant not in one.unconfirmed
        assert {one.preferred, "plain"} <= set(one.milliseconds)
        assert one.wrong == {}
    kept = {key: answer.variant for key, answer in tuned.read(model()).items()}
    assert sorted(kept.values()) == sorted(one.variant for one in found)


@pytest.mark.parametrize("wins", [0, NEEDED - 1, NEEDED])
def test_what_only_seems_faster_changes_nothing(monkeypatch: pytest.MonkeyPatch, wins: int) -> None:
    """As on a busy machine, where other work meets the kernels that are taken without measuring."""
    load = iter([9e-3] + [1e-3] * 100)
    monkeypatch.setattr("netspec.runners.tune.seconds_of", lambda *_: next(load))
    monkeypatch.setattr("netspec.runners.tune.time_in_pairs", lambda *_: PairedTimes(1e-3, 2e-3, wins))
    one, *rest = tune(small(), devices="cpu")
    first = next(name for name in one.milliseconds if name != one.preferred)
    assert all(each.variant == each.preferred and not each.unconfirmed for each in rest), "equal ones are no question"
    assert tuned.read(model())[asked(small(), "conv1")[0]].variant == one.variant
    if wins == NEEDED:
        assert (one.variant, one.unconfirmed) == (first, ())
        assert (one.milliseconds[first], one.milliseconds[one.preferred]) == (1.0, 2.0)
    else:
        assert one.variant == one.preferred and first in one.unconfirmed


def test_a_program_follows_the_table_and_the_run_says_so() -> None:
    text, able = asked(small(), "conv1")
    assert variants(small())["conv1.forward@left"] == able[0] != "plain"
    tuned.keep(model(), {text: tuned.Answer("plain", {"plain": 1.0})})
    measured = tuned.measured({"left": model()})
    assert variants(small(), measured=measured)["conv1.forward@left"] == "plain"
    assert variants(small(), measured=measured)["conv1.backward@left"] == able[0]
    with Session(small(), ["cpu"], phases=("train",)) as session:
        assert "conv1: kernels as measured by netspec tune" in session.notes
        arrays = {"image": np.zeros((4, 6, 6, 4), np.uint8), "label": np.zeros(4, np.int32)}
        assert session.train(arrays, 0, 4, Rates(0.1, (0.9, 0.0))).finite


def test_an_answer_among_other_candidates_is_no_answer() -> None:
    text, _ = asked(small(), "conv1")
    tuned.keep(model(), {text: tuned.Answer("plain", {"plain": 1.0})})
    measured = tuned.measured({"left": model()})
    assert variants(small(), without={"cpu": {"gemm"}}, measured=measured)["conv1.forward@left"] != "plain"


def test_a_name_switches_off_all_variants_that_begin_with_it() -> None:
    shard = next(shard for shard in build(small(), "train").shards if shard.layer == "conv1")
    layer, t = shard.instance, shard.tensors
    assert "direct" in candidates(layer, t, "cpu", "forward")
    assert "direct" in candidates(layer, t, "cpu", "forward", {"dir"})
    assert "direct" not in candidates(layer, t, "cpu", "forward", {"direct"})


def test_later_answers_are_laid_over_earlier_ones() -> None:
    tuned.keep(model(), {"a": tuned.Answer("x", {"x": 1.0}), "b": tuned.Answer("y", {"y": 1.0})})
    tuned.keep(model(), {"b": tuned.Answer("z", {"z": 0.5})})
    assert {key: one.variant for key, one in tuned.read(model()).items()} == {"a": "x", "b": "z"}


@pytest.mark.parametrize("text", ["", "{", '{"answers": 1}', '{"answers": {"a": {}}}', "[]"])
def test_a_damaged_table_is_named(text: str) -> None:
    path = tuned.keep(model(), {})
    path.write_text(text)
    with pytest.raises(NetspecError, match="remove it, and run netspec tune again"):
        tuned.read(model())


def test_a_table_that_is_no_file_is_not_waited_for() -> None:
    path = tuned.table_path("a card")
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(NetspecError, match=r"a-card\.json: is a FIFO, not a file; remove it, and run netspec tune"):
        tuned.read("a card")


def test_the_command_tunes_and_forgets(tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC)
    done = command("tune", str(spec), "--devices", "cpu")
    assert done.code == 0
    assert "conv1.forward@left" in done.out and "4 choices" in done.out
    table = tuned.table_path(model())
    assert str(table) in done.out and len(json.loads(table.read_text())["answers"]) == 4
    assert command("tune", str(spec), "--devices", "cpu", "--forget").out == f"removed {table}\n"
    assert "nothing was measured" in command("tune", str(spec), "--devices", "cpu", "--forget").out
    assert json.loads(command("tune", str(spec), "--devices", "cpu", "--forget", "--json").out) == {"removed": []}


class Card:
    """A device that enqueues, whose every start takes the host some time and whose every call takes it some."""

    enqueues = True

    def __init__(self, start: float, work: float, records: bool = True) -> None:
        self.now, self.start, self.work, self.records = 0.0, start, work, records
        self.calls = 0

    def call(self) -> None:
        self.calls += 1
        self.now += self.work

    def synchronise(self) -> None:
        self.now += self.start

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        if not self.records:
            raise NetspecError("cannot be captured")
        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Card], Card]:
    """Let a card's own clock be what is read."""

    def read(card: Card) -> Card:
        monkeypatch.setattr("netspec.runners.tune.time.perf_counter", lambda: card.now)
        return card

    return read


@pytest.mark.parametrize("records", [True, False])
def test_a_small_kernel_is_timed_without_the_host(clock: Callable[[Card], Card], records: bool) -> None:
    card = clock(Card(start=1e-4, work=5e-6, records=records))
    taken = seconds_of(card, card.call, 4e-6)  # type: ignore[arg-type]
    assert 5e-6 <= taken < 7e-6, "the start of a call, 20 times as long, must neither count nor rule it out"


def test_a_kernel_that_is_hopeless_is_not_repeated(clock: Callable[[Card], Card]) -> None:
    card = clock(Card(start=1e-4, work=0.1))
    assert seconds_of(card, card.call, 1e-3) == pytest.approx(0.1, rel=0.01)  # type: ignore[arg-type]
    assert card.calls == 1


def test_a_run_that_is_resumed_after_tuning_says_so(spec: Path) -> None:
    first, _ = train(spec, listener=stopping_after(4))
    assert checkpoint.read(first.checkpoint).record.tuned == {}
    tune_fc(spec)
    second, events = train(spec, resume="latest", epochs=1)
    line = "fc: other kernels than before, as measured by netspec tune; the numbers will differ in rounding"
    assert [note.text for note in told(events, Note)].count(line) == 1
    assert checkpoint.read(second.checkpoint).record.tuned == {"train fc.forward@left": "plain"}
    _, events = train(spec, resume="latest", epochs=2)
    assert line not in [note.text for note in told(events, Note)]


def tune_fc(spec: Path) -> None:
    text, able = asked(load(spec), "fc")
    assert able[0] != "plain" and "plain" in able
    left = models({"left": "cpu:0", "right": "cpu:1"})["left"]
    tuned.keep(left, {text: tuned.Answer("plain", {"plain": 1.0})})


@pytest.fixture
def doubled() -> Iterator[type[Layer]]:
    """A layer type whose fast kernels are wrong: one here and there, one in all, one cannot be compiled."""

    @register("doubled")
    class Doubled(Layer):
        """y = 2 x"""

        prefer: ClassVar = {"cpu": ("sloppy", "lazy", "broken", "quick")}
        bounds: ClassVar = {"quick": 1e-3}

        def outputs(self, x: Tensor) -> Tensor:
            """As the input."""
            return x

        @forward("cpu", over="y", writes="y")
        def forward_cpu(start, stop, x, y):  # type: ignore[no-untyped-def]
            for i in range(start, stop):
                y[i] = 2 * x[i]

        @forward("cpu", over="y", writes="y", variant="quick")
        def forward_quick(start, stop, x, y):  # type: ignore[no-untyped-def]
            for i in range(start, stop):
                y[i] = 2.001 * x[i]

        @forward("cpu", over="y", writes="y", variant="sloppy")
        def forward_sloppy(start, stop, x, y):  # type: ignore[no-untyped-def]
            for i in range(start, stop):
                y[i] = 2 * x[i] if i % 64 else 0.0

        @forward("cpu", over="y", writes="y", variant="lazy")
        def forward_lazy(start, stop, y):  # type: ignore[no-untyped-def]
            pass

        @forward("cpu", over="y", writes="y", variant="broken")
        def forward_broken(start, stop, x, y):  # type: ignore[no-untyped-def]
            y[start] = x["no index"]

        @backward("cpu", over="d_x", writes="d_x")
        def backward_cpu(start, stop, dy, d_x):  # type: ignore[no-untyped-def]
            for i in range(start, stop):
                d_x[i] = 2 * dy[i]

    yield Doubled
    registry._types.pop("doubled")


def test_a_variant_that_is_wrong_never_wins_and_is_told(doubled: type[Layer], tmp_path: Path) -> None:
    text = SPEC.replace("  - {name: fc2", "  - {name: twice, type: doubled}\n  - {name: fc2")
    found = {one.step: one for one in tune(loads(text, "small.yaml"), devices="cpu")}
    one = found["twice.forward@left"]
    assert set(one.milliseconds) == {"quick", "plain"} and one.variant in one.milliseconds
    assert one.preferred == "sloppy" and set(one.wrong) == {"sloppy", "lazy", "broken"}
    assert "y[2, 0, 0, 0] is 0, expected" in one.wrong["sloppy"] and "the plain kernels give" in one.wrong["sloppy"]
    assert "cannot be compiled" in one.wrong["broken"]
    assert not found["conv1.forward@left"].wrong
    assert set(next(a for key, a in tuned.read(model()).items() if "doubled" in key).milliseconds) == {"quick", "plain"}
    spec = tmp_path / "twice.yaml"
    spec.write_text(text)
    out = command("tune", str(spec), "--devices", "cpu").out
    assert "sloppy is WRONG here and left out: y[2" in out
    assert "5 choices, " in out and "1 of them with kernels that are wrong on this machine" in out


def test_a_device_that_a_kernel_broke_is_told_with_the_kernels_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise NetspecError("work on the card failed")

    monkeypatch.setattr("netspec.runners.tune.check", broken)
    monkeypatch.setattr("netspec.device.cpu.device.CpuDevice.synchronise", broken)
    with pytest.raises(NetspecError, match=r"conv1.forward@left: after its \w+ kernels nothing runs any more"):
        tune(small(), devices="cpu")
