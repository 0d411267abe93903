"""Waits and the race check against a search through all pairs, and how their work grows with the network."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from netspec.contract.naming import Argument
from netspec.planning import BufferKey, RaceError, Region, Step, StepKey, build, check_races
from netspec.planning import order as order_module
from netspec.planning.builder import Builder
from netspec.planning.identities import of_layer
from netspec.planning.network import Network
from netspec.planning.order import OwnAccesses, SharedAccesses, StepList, Stretches
from netspec.planning.race import Place
from netspec.program import lower
from netspec.spec import loads

KEYS = [of_layer(f"layer{number}", "y", "activation", "left") for number in range(5)]
RANGES = [(None, 0, 0), (0, 0, 2), (0, 2, 4), (0, 1, 3), (1, 0, 4), (1, 4, 8)]


def random_steps(chance: random.Random, count: int = 24) -> list[Step]:
    """Steps on four queues that read and write whole buffers and ranges of them."""
    steps = []
    for number in range(count):
        key = StepKey("sum", chance.choice(("left", "right")), index=number)
        regions = [Region(chance.choice(KEYS), *chance.choice(RANGES)) for _ in range(chance.randint(1, 3))]
        args = {Argument("source", index=place): region for place, region in enumerate(regions)}
        writes = tuple(one for one in args if chance.random() < 0.4)
        steps.append(Step(key, chance.choice(("compute", "copy")), args, writes))
    return steps


def before(steps: Sequence[Step]) -> list[set[int]]:
    """For each step all that have ended before it starts."""
    found: list[set[int]] = []
    numbers = {step.key: number for number, step in enumerate(steps)}
    for number, step in enumerate(steps):
        queue = [n for n in range(number) if (steps[n].device, steps[n].queue) == (step.device, step.queue)]
        direct = {*queue[-1:], *(numbers[key] for key in step.after)}
        found.append(direct.union(*(found[other] for other in direct)))
    return found


def conflicts(a: Step, b: Step, places: Mapping[BufferKey, Place]) -> bool:
    return any(
        (writes or wrote) and (one.meets(other) or (one.buffer != other.buffer and share(places, one, other)))
        for one, writes in a.accesses
        for other, wrote in b.accesses
    )


def share(places: Mapping[BufferKey, Place], one: Region, other: Region) -> bool:
    if one.buffer not in places or other.buffer not in places:
        return False
    (a, start, stop), (b, low, high) = places[one.buffer], places[other.buffer]
    return a == b and start < high and low < stop


def test_a_step_waits_for_what_it_conflicts_with_and_nothing_else_implies() -> None:
    for seed in range(40):
        steps = listed(random_steps(random.Random(seed)))
        earlier = before(steps)
        for number, step in enumerate(steps):
            wanted = {n for n in range(number) if conflicts(steps[n], step, {})}
            assert wanted <= earlier[number], seed
            for key in step.after:
                without = replace(step, after=tuple(other for other in step.after if other != key))
                assert not wanted <= before([*steps[:number], without])[number], seed


def test_the_race_check_finds_what_a_search_through_all_pairs_finds() -> None:
    found: Counter[bool] = Counter()
    for seed in range(150):
        chance = random.Random(seed)
        kept = (0.9, 0.99)[seed % 2]
        steps = [
            replace(step, after=tuple(key for key in step.after if chance.random() < kept))
            for step in listed(random_steps(chance, 10))
        ]
        starts = {key: chance.choice((0, 0, 64, 128)) for key in chance.sample(KEYS, 3 if seed % 3 == 0 else 0)}
        places: dict[BufferKey, Place] = {key: ("arena", start, start + 96) for key, start in starts.items()}
        expected = is_racy(steps, places)
        found[expected] += 1
        with pytest.raises(RaceError) if expected else nullcontext():
            check_races(steps, places)
    assert min(found[True], found[False]) > 20


def listed(steps: Sequence[Step]) -> list[Step]:
    """The steps with the waits that they need."""
    found = StepList()
    for step in steps:
        found.add(step)
    return found.steps


def is_racy(steps: Sequence[Step], places: Mapping[BufferKey, Place]) -> bool:
    earlier = before(steps)
    pairs = ((a, b) for b in range(len(steps)) for a in range(b))
    return any(conflicts(steps[a], steps[b], places) and a not in earlier[b] for a, b in pairs)


def test_a_second_declaration_of_an_identity_is_an_error() -> None:
    spec = loads(deep(4), "deep.yaml")
    builder = Builder(Network(spec, "train", 2), {})
    builder.declare(KEYS[0], (2, 3), "float32")
    with pytest.raises(ValueError, match=r"the buffer 'layer0.y@left' \(activation\) is in the plan already"):
        builder.declare(KEYS[0], (2, 3), "float32")
    with pytest.raises(ValueError, match="the step 'scalars@left' is in the plan already"):
        for _ in range(2):
            builder.step(StepKey("scalars", "left"), {}, ())


def deep(layers: int) -> str:
    """Convolutions and relus one after the other, on two devices that read each other's halves now and then."""
    lines = ["  - {name: c0, type: conv, device: [left, right], inputs: image, filters: 4, size: 3, pad: 1}"]
    for number in range(1, layers // 2):
        reads = f", inputs: {{from: r{number - 1}, connect: all}}" if number % 5 == 0 else ""
        lines.append(f"  - {{name: c{number}, type: conv, filters: 4, size: 3, pad: 1{reads}}}")
        lines.append(f"  - {{name: r{number}, type: relu}}")
    last = f"{{from: {'r' if layers > 3 else 'c'}{layers // 2 - 1}, connect: all}}"
    return "\n".join((
        "netspec: 1", "devices: [left, right]", "inputs:", "  image: {shape: [4, 4, 4]}", "  label: {dtype: int32}",
        "layers:", *lines, f"  - {{name: f, type: dense, units: 3, device: left, inputs: {last}}}",
        "  - {name: loss, type: softmax_loss, inputs: [f, label]}", "train: {batch: 2}",
    ))  # fmt: skip


def test_the_work_of_planning_and_lowering_grows_with_the_number_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places that are looked at to find waits and races, and merged clocks: twice as many for twice the layers."""
    seen: Counter[str] = Counter()

    def counted(what: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Iterator[Any]:
            for one in function(*args, **options):
                seen[what] += 1
                yield one

        return call

    def called(what: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            seen[what] += 1
            return function(*args)

        return call

    for cls in (OwnAccesses, SharedAccesses):
        monkeypatch.setattr(cls, "conflicts", counted("conflicts", cls.conflicts))
    monkeypatch.setattr(Stretches, "over", lambda *args, real=Stretches.over: [*counted("stretches", real)(*args)])
    monkeypatch.setattr(order_module.Clocks, "wait", called("waits", order_module.Clocks.wait))
    monkeypatch.setattr(order_module.Clocks, "precedes", called("asked", order_module.Clocks.precedes))
    work = []
    for layers in (40, 80, 160):
        seen.clear()
        plan = build(loads(deep(layers), "deep.yaml"))
        lower(plan, dict.fromkeys(plan.devices, "cpu"), dict.fromkeys(plan.devices, 1))
        work.append(dict(seen))
    for small, large in ((work[0], work[1]), (work[1], work[2])):
        assert small.keys() == large.keys() == {"conflicts", "stretches", "waits", "asked"}
        for what in small:
            assert large[what] < 2.5 * small[what], (what, work)
