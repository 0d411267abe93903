"""Exported ONNX models in ONNX Runtime against netspec's own prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from nets import TWO_TOWERS, network
from places import ROOT
from random_nets import write

from netspec.check.subject import Case, Subject
from netspec.errors import NetspecError
from netspec.registry import layer_types
from netspec.runners.execution.session import Session
from netspec.spec import loads
from netspec.spec.types import Spec

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SPECS = ROOT / "specs"
LIGHT = ("quickstart", "video", "regression", "cifar10-quick", "cifar10-18pct", "cifar10-11pct")
"""Specs that cover all layers at small cost."""
BATCH = 3


def spec_file(name: str) -> Spec:
    from netspec.spec import load

    return load(SPECS / f"{name}.yaml")


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Any]:
    """Random tensors, so large that every layer's answer depends on them, and a mean image of bytes."""
    chance = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        spread = 1 / np.sqrt(max(1, np.prod(shape[:-1]))) if len(shape) > 1 else 0.1
        arrays[name] = chance.normal(0, spread, shape).astype(np.float32)
        if name.endswith(".mean") and len(shape) > 1:
            arrays[name] = chance.uniform(90, 160, shape).astype(np.float32)
        if name.endswith(".variance"):
            arrays[name] = chance.uniform(0.5, 2, shape).astype(np.float32)
    return arrays


def both(spec: Spec, seed: int = 0, batch: int = BATCH) -> tuple[Any, Any, Any]:
    """What netspec predicts over the spec's devices, what the exported model gives, and the model."""
    from netspec.exchange.onnx_model import model_of

    devices = [f"cpu:{i}" for i in range(len(spec.devices))]
    with Session(spec, devices, phases=("predict",), eval_batch=batch) as session:
        arrays = drawn(session.store.shapes(), seed)
        session.store.load(arrays)
        feeds = inputs(spec, seed, batch)
        ours = session.predict(feeds, batch).copy()
    model = model_of(spec, arrays, {"classes": ["a"]})
    run = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = {one.name for one in run.get_inputs()}
    (theirs,) = run.run(None, {name: array for name, array in feeds.items() if name in names})
    return ours, theirs, model


def inputs(spec: Spec, seed: int, batch: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed + 1)
    feeds = {}
    for name, one in spec.inputs.items():
        shape = (batch, *one.shape)
        if one.dtype == "int32":
            continue
        image = len(shape) in (4, 5)
        feeds[name] = chance.integers(0, 256, shape, np.uint8) if image else chance.normal(size=shape).astype("f4")
    return feeds


def check(spec: Spec, seed: int = 0) -> None:
    for batch in (1, BATCH):
        ours, theirs, _ = both(spec, seed, batch)
        assert theirs.shape == ours.shape
        bound = min(1e-4, 1e-2 / ours.shape[1])  # of 1,000 classes each has a thousandth
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=bound)
    assert np.ptp(ours) > 10 * bound  # a net that answers the same to everything would prove nothing


@pytest.mark.parametrize("name", [*LIGHT, "figure1-tanh", "figure1-logistic"])
def test_shipped_specs_give_the_same_probabilities(name: str) -> None:
    check(spec_file(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in SPECS.glob("*.yaml")} - set(LIGHT)))
def test_all_other_shipped_specs_do(name: str) -> None:
    check(spec_file(name))


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_of_all_layers_over_two_devices_and_one(seed: int) -> None:
    two, one = (loads(text, "random.yaml") for text in write(seed))
    check(two, seed)
    check(one, seed)


def single(kind: str, attrs: Mapping[str, Any], shapes: list[tuple[int, ...]]) -> Spec:
    """A network of one layer between float inputs and the answer."""
    images = [f"  x{i}: {{shape: {json.dumps(list(shape[1:]))}}}" for i, shape in enumerate(shapes)]
    layer = json.dumps({"name": "only", "type": kind, "inputs": [f"x{i}" for i in range(len(shapes))], **attrs})
    return loads(
        "netspec: 1\nname: single\ndevices: [main]\ninputs:\n" + "\n".join(images) + f"\nlayers:\n  - {layer}\n"
        "data: {mean: none, scale: 0.01}\n",
        "single.yaml",
    )


CASES = [
    pytest.param(case, id=f"{kind}-{number}")
    for kind, cls in layer_types().items()
    if cls.__module__.startswith("netspec.layers") and not cls.reports
    for number, case in enumerate(Subject(kind).cases)
]


@pytest.mark.parametrize("case", CASES)
def test_each_layer_by_its_examples(case: Case) -> None:
    ours, theirs, _ = both(single(case.cls.type, case.attrs, [one.shape for one in case.inputs]))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_towers_and_crossings_become_one_graph() -> None:
    _, _, model = both(network(TWO_TOWERS))
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = [{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}["group"] for node in convs]
    assert groups == [1, 2, 1]
    assert [node.op_type for node in model.graph.node].count("Gemm") == 2
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == ["N", 9, 9, 3]


def test_averages_are_exported_where_evaluation_uses_them() -> None:
    for evaluate in ("true", "false"):
        spec = network(TWO_TOWERS.replace("train: {", f"train: {{ema: {{evaluate: {evaluate}}}, "))
        ours, theirs, _ = both(spec)
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5)


def test_a_layer_without_a_form_is_named() -> None:
    from netspec.exchange.onnx_model import model_of

    formless()
    text = TWO_TOWERS.replace("{name: relu2, type: relu}", "{name: odd2, type: formless}").replace("relu2", "odd2")
    spec = network(text)
    with Session(spec, ["cpu:0", "cpu:1"], phases=("predict",)) as session:
        arrays = session.store.tensors()
    with pytest.raises(NetspecError, match=r"odd2: a layer of type 'formless' has no ONNX form"):
        model_of(spec, arrays, {})


def formless() -> None:
    """Register a layer that says nothing of ONNX."""
    from netspec.plugin import Elementwise, register

    if "formless" in layer_types():
        return

    @register("formless")
    class Formless(Elementwise):
        """y = x"""

        def forward(x):  # type: ignore[no-untyped-def,no-redef]
            return x

        def backward(dy):  # type: ignore[no-untyped-def]
            return dy


def test_parameters_that_no_file_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from netspec.exchange import onnx_model

    spec = network(TWO_TOWERS)
    with Session(spec, ["cpu:0", "cpu:1"], phases=("train", "predict")) as session:
        arrays = session.store.tensors()
    written = sum(array.nbytes for name, array in arrays.items() if not name.endswith("momentum"))
    monkeypatch.setattr(onnx_model, "MOST", 2 * written)  # what is kept for training alone does not count
    onnx_model.model_of(spec, arrays, {})
    monkeypatch.setattr(onnx_model, "MOST", written // 2)
    with pytest.raises(NetspecError, match=r"an ONNX file holds less than 2\.00 GiB"):
        onnx_model.model_of(spec, arrays, {})
