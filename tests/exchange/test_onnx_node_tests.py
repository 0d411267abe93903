"""ONNX's own tests of single operators: whatever is taken comes out right, and what is taken does not grow less."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nets import answered, imported

from netspec.errors import NetspecError
from netspec.exchange.formats import Asked

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from netspec.exchange.onnx_in.operators import OPERATORS  # noqa: E402
from netspec.exchange.onnx_in.signal_windows import WINDOWED  # noqa: E402

TAKEN = {"node": 130, "pytorch": 66}
"""How many cases are taken at least, of tests of nodes and of operators that PyTorch wrote."""
VALUES = {"Add": 2, "Concat": 99, "Sum": 99}
"""How many inputs of an operator are values; of all others the first. What else a test feeds is a constant here."""
Case = tuple[str, Any, list[Any], list[Any]]


@cache
def cases(kind: str) -> tuple[Case, ...]:
    """Name, model, inputs and outputs of the tests whose operators are known here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making their data overflows and divides by zero
        found = node_cases() if kind == "node" else pytorch_cases()
        return tuple(case for case in found if {node.op_type for node in case[1].graph.node} <= OPERATORS.keys())


def node_cases() -> Iterator[Case]:
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        inputs, outputs = case.data_sets[0]
        yield case.name, case.model, inputs, outputs


def pytorch_cases() -> Iterator[Case]:
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for kind in ("pytorch-converted", "pytorch-operator"):
        for folder in sorted((data / kind).iterdir()):
            model = onnx.load(folder / "model.onnx")
            files = ([*sorted((folder / "test_data_set_0").glob(f"{side}_*.pb"))] for side in ("input", "output"))
            inputs, outputs = ([stored(file) for file in side] for side in files)
            yield f"{kind}/{folder.name}", model, inputs, outputs


def stored(file: Path) -> Any:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(file.read_bytes())
    return onnx.numpy_helper.to_array(tensor)


def with_constants(model: Any, inputs: list[Any]) -> tuple[Any, list[Any]]:
    """The model with what is no value as an initialiser, and the values."""
    made, feeds, kept = onnx.ModelProto(), [], {one.name for one in model.graph.initializer}
    made.CopyFrom(model)
    values = {name for node in model.graph.node for name in node.input[: VALUES.get(node.op_type, 1)]}
    names = [one.name for one in model.graph.input if one.name not in kept]
    for name, given in zip(names, inputs, strict=False):
        if name in values or len(names) == 1:
            feeds.append(given)
            continue
        one = given if isinstance(given, onnx.TensorProto) else onnx.numpy_helper.from_array(np.asarray(given), name)
        made.graph.initializer.append(one)
        made.graph.initializer[-1].name = name
    return made, feeds


def fits(arrays: list[Any]) -> bool:
    """Whether these are numbers that float32 has: one of PyTorch's tests holds what happened to be in memory."""
    with np.errstate(all="ignore"):
        if any(isinstance(one, onnx.TensorProto) for one in arrays):  # of numbers that numpy does not have
            return False
        return all(np.isfinite(np.asarray(one, np.float32)).all() for one in arrays)


def answer(case: Case, folder: Path) -> tuple[Any, Any] | None:
    """What comes out here and what ought to; None where the importer says no."""
    _, model, inputs, outputs = case
    made, feeds = with_constants(model, inputs)
    try:
        done = imported(made, folder, Asked(cost="none", output=model.graph.output[0].name))
    except NetspecError:
        return None
    expected = np.asarray(outputs[0])
    if any(node.op_type == "LogSoftmax" for node in model.graph.node):
        expected = np.exp(expected)
    volumes = any(node.op_type in WINDOWED for node in model.graph.node)
    return answered(done.file, [np.asarray(feed, np.float32) for feed in feeds], volumes), expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_taken_comes_out_right(kind: str, tmp_path: Path) -> None:
    taken: Mapping[str, Any] = {
        case[0]: found
        for case in cases(kind)
        if fits([*case[2][:1], *case[3][:1]]) and (found := answer(case, tmp_path)) is not None
    }
    for name, (ours, theirs) in taken.items():
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-3, atol=1e-5, err_msg=name)
    assert len(taken) >= TAKEN[kind]
