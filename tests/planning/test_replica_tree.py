"""The tree over a batch's replicas: which step runs when, what is refused, and what a plan says of it."""

from __future__ import annotations

from collections import Counter

import pytest
from nets import ONE_DEVICE, TWO_TOWERS, network

from netspec.errors import SpecError
from netspec.planning import Plan, build, check, from_plain, replica_tree, to_plain
from netspec.planning.replica_tree import levels, turn_of
from netspec.program import lower, memory
from netspec.registry import load_plugin
from netspec.spec import canonical, from_canonical, load, loads, resolved
from netspec.spec.types import Spec

DRAWN = """
from netspec.plugin import ITERATION, Layer, Tensor, backward, forward, register, uniform


@register("alike")
class Alike(Layer):
    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, key, counters):
        for i in range(start, stop):
            y[i] = x[i] + uniform(key, counters[ITERATION], i)

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]
"""
COUNTED = """
from netspec.plugin import Layer, State, Tensor, backward, forward, register


@register("counted")
class Counted(Layer):
    def outputs(self, x):
        return Tensor(x.shape)

    def state(self, x):
        return {"seen": State((1,), axis=None, dtype="int64")}

    @forward("cpu", over="x", writes=("y", "next_seen"))
    def forward_cpu(start, stop, x, y, seen, next_seen):
        next_seen[0] = seen[0] + 1
        y[start:stop] = x[start:stop]

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]
"""


def cut(text: str, replicas: int, batch: int = 8) -> Spec:
    return network(text, **{"train: {batch: 6": f"replicas: {replicas}\ntrain: {{batch: {batch}"})


def test_a_replica_s_turn_is_how_many_subtrees_it_completes() -> None:
    assert [turn_of(replica) for replica in range(16)] == [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4]
    assert [levels(1 << depth) for depth in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("replicas", [2, 4, 8])
def test_the_update_runs_for_the_whole_batch_and_the_rest_for_each_replica(replicas: int) -> None:
    plan = build(cut(TWO_TOWERS, replicas))
    depth = levels(replicas)
    assert (plan.batch, plan.replicas) == (8 // replicas, replicas)
    for step in plan.steps:
        whole = step.op in ("finite", "agree", "update", "commit") or str(step.key).startswith(("left.f", "right.f"))
        assert step.turns == ((step.key.index,) if step.op == "accumulate" else (depth,) if whole else ()), step.name
    runs = Counter(turn_of(replica) for replica in range(replicas))
    assert sum(runs.values()) == replicas and runs[depth] == 1
    assert from_plain(Plan, to_plain(plan)) == plan


def test_there_are_as_many_sets_of_gradients_as_the_tree_is_deep_and_one() -> None:
    sizes = []
    for replicas in (1, 2, 4, 8):
        plan = build(cut(TWO_TOWERS, replicas))
        own = sum(plan.buffers[key].nbytes for key in plan.keys("parameter gradient", "report") if not key.total)
        assert sum(plan.buffers[key].nbytes for key in plan.keys("subtree")) == levels(replicas) * own
        program = lower(plan, dict.fromkeys(plan.devices, "cpu"), dict.fromkeys(plan.devices, 1))
        sizes.append(memory([program])["left"])
    activations = [row["activation"] + row["gradient"] for row in sizes]
    assert activations == [activations[0] // replicas for replicas in (1, 2, 4, 8)]
    assert "subtree" not in sizes[0] and sizes[3]["subtree"] == 3 * sizes[1]["subtree"]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("smallest", [1, 300, 4 << 20])
def test_processes_exchange_buckets_as_gradients_come(monkeypatch, smallest: int, processes: int) -> None:
    monkeypatch.setattr(replica_tree, "SMALLEST_BUCKET", smallest)
    monkeypatch.setattr(replica_tree, "MESSAGE", 0)
    plan = build(cut(TWO_TOWERS, 4), processes=processes)
    assert (plan.batch, plan.replicas, plan.processes) == (2, 4, processes)
    depth, ops = levels(4 // processes), [step.op for step in plan.steps]
    meetings = [step for step in plan.steps if step.op == "all_reduce"]
    assert {(step.device, step.queue, step.turns) for step in meetings} == {("left", "net", (depth,))}
    moved = [step.args[one].buffer for step in meetings for one in step.writes]
    assert len(moved) == len(set(moved)) and set(moved) == set(plan.keys("parameter gradient", "report"))
    size = {key: plan.buffers[key].nbytes for key in moved}
    nbytes = [sum(size[step.args[one].buffer] for one in step.writes) for step in meetings]
    assert [step.bytes for step in meetings] == nbytes
    assert all(step.bytes >= smallest for step in meetings[:-2])
    first, last = ops.index("all_reduce"), len(ops) - 1 - ops[::-1].index("all_reduce")
    assert ("backward" in ops[first:]) == (smallest < 4 << 20), "a bucket goes while the rest is computed"
    assert not {"accumulate", "backward"} & set(ops[last:]) and not {"finite", "update", "agree"} & set(ops[:last])
    assert len(plan.keys("subtree")) == depth * len(moved)
    shared = [any(one.tensor == "share" for one in step.args) for step in meetings]
    assert shared == [*[depth == 0] * (len(meetings) - 1), False], "means by their share, which the tree has seen to"
    assert from_plain(Plan, to_plain(plan)) == plan
    assert not build(cut(TWO_TOWERS, 4), "eval", processes=processes).processes > 1


def test_processes_that_cannot_share_the_replicas_are_refused() -> None:
    for processes, told in ((3, "it must be a power of two"), (8, "8 processes for 4 replicas")):
        with pytest.raises(SpecError, match=told):
            build(cut(TWO_TOWERS, 4), processes=processes)


def test_one_replica_is_the_plan_without() -> None:
    assert build(cut(TWO_TOWERS, 1)) == build(network(TWO_TOWERS, **{"batch: 6": "batch: 8"}))


def test_evaluation_takes_a_replica_s_images_at_a_time() -> None:
    spec = cut(TWO_TOWERS, 4)
    assert [build(spec, phase).batch for phase in ("train", "eval", "predict")] == [2, 2, 2]
    assert build(spec, "eval", 5).batch == 5 and not build(spec, "eval").keys("subtree")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("replicas=3", "'replicas' must be a power of two, got 3 (2 or 4)"),
        ("replicas=0", "'replicas' must be a whole number of at least 1 and at most 4096, got 0"),
        ("replicas=128", "a batch of 64 images cannot be cut into 128 replicas of equal size (train.batch: 128)"),
        ("train.batch=30", "a batch of 30 images cannot be cut into 4 replicas of equal size (train.batch: 28 or 32)"),
    ],
)
def test_what_cannot_be_cut_is_told_at_its_place(written: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        load("quickstart", ["replicas=4", written] if "batch" in written else [written])
    assert told in str(caught.value) and str(caught.value).startswith("in '")
    mark = caught.value.problems[0].mark
    assert mark is not None and mark.text[mark.column - 1 :] in ("4", written.partition("=")[2])


def test_a_batch_of_the_caller_s_must_be_divisible_too() -> None:
    with pytest.raises(SpecError, match="a batch of 6 images cannot be cut into 4 replicas"):
        build(cut(TWO_TOWERS, 4), "train", 6)


def test_a_normalised_batch_of_one_is_refused_for_the_replica_that_would_have_it() -> None:
    text = ONE_DEVICE.replace("{name: drop4, type: dropout, keep: 0.5}", "{name: bn4, type: batch_norm}")
    check(cut(text, 4))
    with pytest.raises(SpecError, match="a variance needs more than one value a channel"):
        check(cut(text, 8))


@pytest.mark.parametrize(("source", "kind", "told"), [
    (DRAWN, "alike", "relu4: alike draws random numbers without 'channel_offset', so that all replicas would"),
    (COUNTED, "counted", "relu4: its state 'seen' is int64, which has no mean over replicas"),
])  # fmt: skip
def test_layers_that_know_no_replicas_are_refused(tmp_path, source: str, kind: str, told: str) -> None:
    file = tmp_path / f"{kind}.py"
    file.write_text(source)
    load_plugin(file)
    text = ONE_DEVICE.replace("{name: relu4, type: relu}", f"{{name: relu4, type: {kind}}}")
    check(cut(text, 1))
    with pytest.raises(SpecError) as caught:
        check(cut(text, 2))
    assert told in str(caught.value)


def test_the_key_is_recorded_and_old_records_have_one_replica() -> None:
    spec = cut(TWO_TOWERS, 4)
    data = canonical(spec)
    assert data["replicas"] == 4 and "replicas: 4" in resolved(spec)
    assert from_canonical(data) == spec and loads(resolved(spec)) == spec
    del data["replicas"]
    assert from_canonical(data).replicas == 1
