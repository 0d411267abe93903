"""The sample layers of docs/examples: short, checked like any plugin, and the same functions as the shipped ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cuda_checks import CUDA_CHECKS
from places import ROOT

from netspec.check import run
from netspec.check.single import SingleLayer
from netspec.contract.tensor import Tensor
from netspec.device.cpu.device import CpuDevice
from netspec.plugin import Layer, Param, Rowwise, per_channel, per_element, per_row, register
from netspec.registry import layer_types, load_plugin

SAMPLES = ROOT / "docs" / "examples" / "layers"
MOST = {"my_gelu": 12, "my_prelu": 25, "my_batch_norm": 60, "my_layer_norm": 50, "my_mse": 35}
"""Lines that each may have, empty ones aside."""
PRODUCTS = {"my_gated_dense": 40, "my_gelu_dense": 35}
"""The same of those that tests/layers/test_products.py runs: their kernels are too many to compile all."""
SHAPES = {"my_mse": [(6, 35), (6, 35)]}
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def row_softmax(tmp_path_factory) -> Path:
    """The layer that the page on plugins shows."""
    file = tmp_path_factory.mktemp("docs") / "row_softmax.py"
    file.write_text(re.search(r"```python\n(# row_softmax.py\n.*?)```", PAGE, re.DOTALL)[1])
    return file


def lines(file: Path) -> int:
    return sum(bool(line.strip()) for line in file.read_text().splitlines())


def test_each_is_short() -> None:
    most = {**MOST, **PRODUCTS}
    assert {file.stem for file in SAMPLES.glob("*.py")} == set(most)
    assert {name: lines(SAMPLES / f"{name}.py") for name in most if lines(SAMPLES / f"{name}.py") > most[name]} == {}


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_page_on_plugins_shows_those_of_products(name) -> None:
    shown = re.search(rf"```python\n# {name}.py\n(.*?)```", PAGE, re.DOTALL)[1]
    assert shown == (SAMPLES / f"{name}.py").read_text()


@pytest.mark.parametrize("name", PRODUCTS)
def test_those_of_products_pass_the_suite_on_cpus(name) -> None:
    load_plugin(SAMPLES / f"{name}.py")
    results = run(name, ["cpu"])
    assert [one for one in results if one.status == "failed"] == []
    assert {one.name for one in results if one.status == "passed"} >= {"variants", "gradients", "bfloat16"}


@pytest.mark.parametrize("name", [*MOST, "row_softmax"])
def test_each_passes_the_suite_on_both_backends(name, row_softmax) -> None:
    load_plugin(SAMPLES / f"{name}.py" if name in MOST else row_softmax)
    found = {one.name: one.status for one in run(name)}
    assert "failed" not in found.values(), found
    assert (found["gradients"], found["cuda"]) == ("passed", CUDA_CHECKS)


@pytest.mark.parametrize("name", MOST)
def test_each_is_the_shipped_layer(name) -> None:
    load_plugin(SAMPLES / f"{name}.py")
    shapes = SHAPES.get(name, [(3, 5, 4, 35)])
    kinds = name, name.removeprefix("my_")
    first, second = (SingleLayer(kind, {}, [Tensor(shape) for shape in shapes], CpuDevice(0)) for kind in kinds)
    given = {one: drawn(first, one) for role in ("input", "parameter", "state") for one in first.t.names(role)}
    slope = {f"d_{one}": drawn(first, one) for one in ("y",) if one in first.t.roles}
    for direction in ("forward", "backward"):
        ours, theirs = (done(layer, direction, given, slope) for layer in (first, second))
        for tensor in ours.keys() & theirs.keys():
            np.testing.assert_allclose(ours[tensor], theirs[tensor], rtol=2e-5, atol=2e-6, err_msg=tensor)
    assert "d_x" in ours and "d_x" in theirs


def drawn(layer, name):
    return np.abs(np.random.default_rng(len(name)).normal(size=layer.t[name].shape))


def done(layer, direction, given, slope):
    """What a direction writes; backward after forward."""
    if direction == "forward":
        return layer.forward(given)
    values = {**given, **layer.forward(given), **slope}
    asked = {str(one) for one in layer.writes("backward")}
    return layer.backward({name: value for name, value in values.items() if name not in asked})


@pytest.mark.parametrize(("name", "loops"), [("my_mse", 1), ("my_layer_norm", 3)])
def test_functions_share_a_loop_unless_one_needs_what_the_other_gives(name, loops) -> None:
    load_plugin(SAMPLES / f"{name}.py")
    forward = [one for one in layer_types()[name].kernels if one.direction == "forward" and "train" in one.phases]
    assert [one.function.__netspec_source__.count("for j in") for one in forward[:2]] == [loops, loops]


def test_row_softmax_is_softmax(row_softmax) -> None:
    load_plugin(row_softmax)
    x = np.random.default_rng(2).normal(size=(7, 33)).astype(np.float32)
    layer = SingleLayer("row_softmax", {}, [Tensor(x.shape)], CpuDevice(0))
    assert set(layer.t.roles) == {"x", "y"}, "backward asks for no number of a row, so none is saved"
    powers = np.exp(x.astype(float) - x.max(1, keepdims=True))
    np.testing.assert_allclose(layer.forward({"x": x})["y"], powers / powers.sum(1, keepdims=True), rtol=1e-6)


def test_numbers_of_rows_that_are_not_there() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.first: 'late' is of another pass; put both side by side"):

        class Wrong(Rowwise):
            @per_element("forward", writes="y")
            def first(x, late):
                return x * late

            @per_row("backward", gives="late")
            def sums(x, dy):
                return x * dy

    with pytest.raises(TypeError, match=r"Early\.first: 'total' is given further down; put that first"):

        class Early(Rowwise):
            @per_element("forward", writes="y")
            def first(x, total):
                return x * total

            @per_row("forward", gives="total")
            def sums(x):
                return x

    with pytest.raises(TypeError, match="Other: per_row is for layers that derive from Rowwise"):

        class Other(Layer):
            @per_row("forward", gives="total")
            def sums(x):
                return x


class Shares(Rowwise):
    """y = x / sum(x), with a weight for each channel that changes nothing."""

    def params(self, x):
        return {"weight": Param(x.shape[-1:], {"type": "constant", "value": 1.0})}

    @per_row("forward", gives="total")
    def sums(x):
        return x

    @per_element("forward", writes="y")
    def share(x, total):
        return x / total

    @per_row("backward", gives="along")
    def products(y, dy):
        return y * dy

    @per_element("backward", writes="d_x")
    def d_x(dy, total, along):
        return (dy - along) / total

    @per_channel("backward", writes="d_weight", rows=["total"])
    def nothing(x, total):
        return 0 * x * total


class SharesOfSquares(Shares):
    """y = x x / sum(x x)"""

    @per_row("forward", gives="total")
    def sums(x):
        return x * x

    @per_element("forward", writes="y")
    def share(x, total):
        return x * x / total

    @per_element("backward", writes="d_x")
    def d_x(x, dy, total, along):
        return 2 * x * (dy - along) / total


def test_a_row_wise_layer_may_derive_from_another() -> None:
    both = {kernel.function for kernel in Shares.kernels} & {one.function for one in SharesOfSquares.kernels}
    assert {function.__qualname__.partition("_")[0] for function in both} == {"Shares.nothing"}
    order = [kernel.writes for kernel in SharesOfSquares.kernels if "cpu" in kernel.backends]
    assert order == [kernel.writes for kernel in Shares.kernels if "cpu" in kernel.backends]
    register("shares_of_squares")(SharesOfSquares)
    assert not [result for result in run("shares_of_squares") if result.status == "failed"]


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (lambda: per_row("forward"), "per_row says what it gives, or the output of its total"),
        (lambda: per_row("forward", gives="a", by="mean"), "per_row takes a sum or a max, not 'mean'"),
        (lambda: per_row("forward", gives="a", phases="trian"), "phases are train, eval, predict, not 'trian'"),
        (lambda: per_row("forwards", gives="a"), "a pass is 'forward' or 'backward', not 'forwards'"),
        (lambda: per_element("forwards", writes="y"), "a pass is 'forward' or 'backward', not 'forwards'"),
        (lambda: per_channel("forwards", writes="y"), "a pass is 'forward' or 'backward', not 'forwards'"),
    ],
)
def test_marks_that_mean_nothing(mark, told) -> None:
    with pytest.raises(TypeError, match=told):
        mark()
