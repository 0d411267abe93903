"""The variations that the paper and cuda-convnet report: each differs from its base in what it is named for alone."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from netspec.planning import build
from netspec.planning.rates import Rates
from netspec.planning.trainable import inputs_read, roles
from netspec.rundir.differences import differences
from netspec.runners.execution.session import Session
from netspec.solvers import make_solver
from netspec.spec import canonical, load
from netspec.spec.files import shipped
from netspec.spec.types import Spec


def layers(*names: str) -> set[str]:
    """All of these layers: added, removed or of another kind."""
    return {f"layers.{name}" for name in names}


MOVED = {"layers.(order)"}
BASES: dict[str, tuple[str, set[str]]] = {
    "alexnet-half": (
        "alexnet",
        {"devices"}
        | {f"layers.conv{n}.filters" for n in (1, 2, 3, 4)}
        | {f"layers.{layer.name}.device" for layer in load("alexnet").layers},
    ),
    "alexnet-no-lrn": ("alexnet", layers("norm1", "norm2") | MOVED | {"layers.pool1.inputs", "layers.pool2.inputs"}),
    "alexnet-plain-pooling": ("alexnet", {f"layers.pool{n}.size" for n in (1, 2, 5)}),
    "alexnet-no-dropout": (
        "alexnet",
        layers("drop6", "drop7") | MOVED | {"layers.fc7.inputs.from", "layers.fc8.inputs.from"},
    ),
    "alexnet-tanh": ("alexnet", {f"layers.relu{n}.type" for n in range(1, 8)}),
    "alexnet-no-conv3": ("alexnet", layers("conv3", "relu3") | MOVED | {"layers.conv4.inputs"}),
    "alexnet-no-conv4": ("alexnet", layers("conv4", "relu4") | MOVED | {"layers.conv5.inputs"}),
    "alexnet-no-conv5": ("alexnet", layers("conv5", "relu5") | MOVED | {"layers.pool5.inputs"}),
    "alexnet-no-fc6": ("alexnet", layers("fc6", "relu6", "drop6") | MOVED | {"layers.fc7.inputs.from"}),
    "alexnet-no-fc7": ("alexnet", layers("fc7", "relu7", "drop7") | MOVED | {"layers.fc8.inputs.from"}),
    "alexnet-no-crossings": ("alexnet", {f"layers.{name}.inputs" for name in ("conv3", "fc6", "fc7")}),
    "alexnet-all-crossings": ("alexnet", {f"layers.conv{n}.inputs" for n in (2, 4, 5)}),
    "alexnet-no-colour": ("alexnet", {"data.augment.colour"}),
    "alexnet-no-augmentation": ("alexnet", {"data.augment", "data.mirror"}),
    "alexnet-star-pretrain": (
        "alexnet",
        layers("conv6", "conv6_relu") | MOVED | {"layers.fc6.inputs.from", "layers.fc8.units"},
    ),
    "alexnet-star": (
        "alexnet-star-pretrain",
        {"layers.fc8.units", "train.epochs", "train.solver.learning_rate", "train.init_from"},
    ),
    "alexnet-weird-trick": (
        "alexnet-torchvision",
        {"devices"}
        | {f"layers.{layer.name}.device" for layer in load("alexnet-torchvision").layers}
        | {f"layers.{layer.name}.split" for layer in load("alexnet-weird-trick").layers if layer.split == "batch"}
        | {f"layers.{name}.inputs" for name in ("fc6", "fc7", "fc8")},
    ),
    "cifar10-11pct": (
        "cifar10-13pct",
        layers("norm1", "norm2")
        | MOVED
        | {f"layers.{name}.inputs" for name in ("relu1", "pool1", "conv2", "pool2")}
        | {"layers.local3.filters", "layers.fc2.decay", "train.epochs", "train.schedule.at"},
    ),
    "cifar10-quick-fast": (
        "cifar10-quick",
        {f"layers.{name}.init.std" for name in ("conv1", "conv2", "conv3", "fc1", "fc2")}
        | {"layers.fc1.decay", "layers.fc2.decay", "data.scale", "data.resident", "train.batch", "train.epochs"}
        | {"train.schedule", "train.solver.learning_rate", "train.solver.weight_decay"},
    ),
    "figure1-tanh": ("figure1-relu", {f"layers.relu{n}.type" for n in (1, 2, 3)}),
    "figure1-logistic": (
        "figure1-relu",
        {f"layers.relu{n}.type" for n in (1, 2, 3)}
        | {f"layers.{name}.init.std" for name in ("conv1", "conv2", "conv3", "fc2")}
        | {"train.solver.learning_rate"},
    ),
}


@cache
def spec(name: str) -> Spec:
    return load(name)


def covers(path: str, changed: str) -> bool:
    return changed == path or changed.startswith(f"{path}.")


@pytest.mark.parametrize("name", BASES)
def test_a_variation_differs_in_what_it_names_alone(name: str) -> None:
    base, expected = BASES[name]
    changed = {path for path in differences(canonical(spec(base)), canonical(spec(name))) if path != "name"}
    unexpected = {path for path in changed if not any(covers(one, path) for one in expected)}
    assert not unexpected
    assert all(any(covers(one, path) for path in changed) for one in expected)


def test_all_that_vary_another_are_listed() -> None:
    assert {name for name in shipped() if name.startswith(("alexnet-", "figure1-"))} - BASES.keys() == {
        "alexnet-2012",
        "alexnet-one-device",
        "alexnet-torchvision",
        "figure1-relu",
    }


def test_they_are_what_the_paper_says_of_them() -> None:
    def parameters(name: str) -> int:
        return sum(shard.parameters for shard in build(spec(name), "predict", 1).shards)

    assert parameters("alexnet-half") == pytest.approx(60_965_224, rel=0.03)  # "approximately the same number"
    convolutions = sum(s.parameters for s in build(spec("alexnet"), "predict", 1).shards if s.type == "conv")
    assert convolutions == 2 * (17_472 + 153_728 + 442_560 + 331_968 + 221_312)
    for name in ("alexnet-no-conv3", "alexnet-no-conv4"):  # "no more than 1 % of the parameters" is of one layer
        assert parameters(name) < 60_965_224
    shapes = [build(spec(name), "predict", 1).shards for name in ("alexnet", "alexnet-plain-pooling")]
    assert [shard.outputs for shard in shapes[0]] == [shard.outputs for shard in shapes[1]]  # "equivalent dimensions"


def crossings(name: str) -> set[str]:
    return {crossing.layer for crossing in build(spec(name), "predict", 1).crossings}


def test_crossings_are_none_the_papers_or_all() -> None:
    assert crossings("alexnet-no-crossings") == {"fc8"}
    assert crossings("alexnet") == {"conv3", "fc6", "fc7", "fc8"}
    assert crossings("alexnet-all-crossings") == {"conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"}
    assert crossings("alexnet-half") == set()


def test_the_schedule_of_2012_is_that_of_run_145() -> None:
    steps = spec("alexnet-2012").train.schedule["steps"]
    assert [step["epoch"] for step in steps] == [25, 51, 67, 72, 79]


def iteration(name: str) -> dict[str, Any]:
    """The loss before and after an iteration on two images."""
    chosen, rng = load(name, ["train.batch=2"]), np.random.default_rng(0)
    image, label, *_ = inputs_read(chosen)
    shape = chosen.inputs[image].shape
    arrays = {image: rng.integers(0, 256, (2, *shape), np.uint8)}
    arrays |= {label: np.array([0, 1], np.int32)} if label else {}
    for name in roles(chosen).values:
        arrays[name] = rng.uniform(-1, 1, (2, *chosen.inputs[name].shape)).astype(np.float32)
    with Session(chosen, ["cpu:0"] * len(chosen.devices), phases=("train",)) as session:
        before = {key: session.store.tensor(key) for key in session.store.shapes() if key.endswith("bias")}
        outcome = session.train(arrays, 0, 2, Rates(0.01, make_solver(chosen.train.solver).numbers))
        moved = {key for key, value in before.items() if not np.array_equal(value, session.store.tensor(key))}
    return {"finite": outcome.finite, "loss": outcome.reports["loss"]["loss"] / 2, "moved": moved, "all": set(before)}


def expected_loss(chosen: Spec, units: int) -> float:
    """Of a network that has not learned: ln of the classes, or the mean square of what it is to answer."""
    if roles(chosen).labels:
        return math.log(units)
    return 1 / 3 if roles(chosen).values else (255 * chosen.data.scale) ** 2 / 3  # from -1 to 1; pixels from 0 to 255


def learns(name: str) -> None:
    found = iteration(name)
    attrs = [layer.attrs for layer in spec(name).layers]
    units = next(one.get("units") or one["filters"] for one in reversed(attrs) if {"units", "filters"} & one.keys())
    assert found["finite"]
    assert found["loss"] == pytest.approx(expected_loss(spec(name), units), rel=0.5)
    assert found["moved"] == found["all"]


SMALL = [name for name in shipped() if not name.startswith(("alexnet", "vgg"))]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_net_runs_an_iteration(name: str) -> None:
    learns(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped() if name not in SMALL])
def test_a_large_net_runs_an_iteration(name: str) -> None:
    learns(name)
